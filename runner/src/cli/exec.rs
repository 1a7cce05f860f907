//! `netup-run exec`.

use lexopt::{Arg, Parser};

use super::run::{process_long, process_short, rest};
use super::{Invocation, help, values, wrong};
use crate::error::{Error, Result};
use crate::request::{ExecOrder, Process};

pub(super) fn decode(mut parser: Parser) -> Result<Invocation> {
    let mut process = Process::default();
    while let Some(word) = parser.next().map_err(wrong)? {
        match word {
            Arg::Long("help") | Arg::Short('h') => return Ok(Invocation::Page(help::EXEC)),
            Arg::Short(letter) => process_short(&mut process, letter, &mut parser)?,
            Arg::Long(name) => {
                let name = name.to_owned();
                process_long(&mut process, &name, &mut parser)?;
            }
            Arg::Value(name) => {
                let name = values::text(name)?.parse()?;
                process.command = rest(&mut parser)?;
                return finish(ExecOrder { name, process });
            }
        }
    }
    Err(Error::invalid("in which container?").hint("netup-run exec [OPTIONS] NAME COMMAND…"))
}

fn finish(order: ExecOrder) -> Result<Invocation> {
    if order.process.command.is_empty() {
        return Err(Error::invalid(format!("what is to be run in {}?", order.name))
            .hint("netup-run exec [OPTIONS] NAME COMMAND…"));
    }
    Ok(Invocation::Exec(Box::new(order)))
}

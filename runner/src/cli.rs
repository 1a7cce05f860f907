//! The command line: words to an [`Invocation`]. No kernel access.
//!
//! By hand, on a parser that does no more than split: a run lasts a millisecond, and a table of
//! options built at every start would be a fifth of it.

mod exec;
mod help;
mod image;
mod network;
mod run;
mod values;

use std::ffi::OsString;

use lexopt::{Arg, Parser};

use crate::error::{Error, Result};
use crate::name::ContainerName;
use crate::request::{ExecOrder, Run};

pub use help::{HELP, topic};
pub use image::ImageOrder;

/// What the caller wants.
#[derive(Debug)]
pub enum Invocation {
    /// A container.
    Run(Box<Run>),
    /// A command in a running container.
    Exec(Box<ExecOrder>),
    /// A look at what runs.
    Ps {
        /// All processes of this one, instead of all containers.
        name: Option<ContainerName>,
        /// For machines.
        json: bool,
    },
    /// What a container uses.
    Stats {
        /// Which.
        name: ContainerName,
        /// For machines.
        json: bool,
    },
    /// Stops all processes of a container where they are.
    Pause(ContainerName),
    /// Lets them go on.
    Resume(ContainerName),
    /// Something about images.
    Image(ImageOrder),
    /// Undoes what runners left that did not come to their end.
    CollectGarbage {
        /// For machines.
        json: bool,
    },
    /// A text for the caller.
    Page(&'static str),
}

/// Whether a failure of these words is one of `run` or `exec`, which have exit statuses of their own.
#[must_use]
pub fn runs_a_command(words: &[OsString]) -> bool {
    const OTHERS: [&str; 9] =
        ["ps", "stats", "pause", "resume", "image", "gc", "help", "--help", "--version"];
    words.get(1).is_none_or(|verb| !OTHERS.iter().any(|other| verb == other))
}

/// Decodes the words of the command line, the program's own name first.
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) with the word that makes no sense.
pub fn decode(words: &[OsString]) -> Result<Invocation> {
    let mut parser = Parser::from_args(words.iter().skip(2));
    let Some(verb) = words.get(1) else { return Ok(Invocation::Page(HELP)) };
    match verb.to_str() {
        Some("run") => run::decode(parser),
        Some("exec") => exec::decode(parser),
        Some("ps" | "stats" | "pause" | "resume" | "gc") if asks_for_help(&words[2..]) => {
            Ok(Invocation::Page(HELP))
        }
        Some("ps") => ps(&mut parser),
        Some("stats") => stats(&mut parser),
        Some("pause") => one_name(&mut parser).map(Invocation::Pause),
        Some("resume") => one_name(&mut parser).map(Invocation::Resume),
        Some("image") => image::decode(&mut parser).map(Invocation::Image),
        Some("gc") => {
            let (names, json) = names_and_json(&mut parser)?;
            none_left(&names).map(|()| Invocation::CollectGarbage { json })
        }
        Some("help" | "-h" | "--help") => Ok(Invocation::Page(asked_topic(words)?)),
        Some("-V" | "--version") => Ok(Invocation::Page(VERSION)),
        // `netup-run ROOTFS COMMAND…` for short.
        _ => run::decode(Parser::from_args(words.iter().skip(1))),
    }
}

/// Nothing else can be called so.
fn asks_for_help(words: &[OsString]) -> bool {
    words.iter().any(|word| word == "--help" || word == "-h")
}

const VERSION: &str = concat!("netup-run ", env!("CARGO_PKG_VERSION"), "\n");

fn asked_topic(words: &[OsString]) -> Result<&'static str> {
    let Some(word) = words.get(2) else { return Ok(HELP) };
    word.to_str().and_then(topic).ok_or_else(|| Error::invalid(format!("no help for {word:?}")))
}

fn ps(parser: &mut Parser) -> Result<Invocation> {
    let (names, json) = names_and_json(parser)?;
    match names.as_slice() {
        [] => Ok(Invocation::Ps { name: None, json }),
        [name] => Ok(Invocation::Ps { name: Some(name.parse()?), json }),
        [_, rest @ ..] => none_left(rest).map(|()| Invocation::Ps { name: None, json }),
    }
}

fn stats(parser: &mut Parser) -> Result<Invocation> {
    let (names, json) = names_and_json(parser)?;
    let name = only(&names)?.parse()?;
    Ok(Invocation::Stats { name, json })
}

fn one_name(parser: &mut Parser) -> Result<ContainerName> {
    only(&names(parser)?)?.parse()
}

fn only(names: &[String]) -> Result<&str> {
    match names {
        [] => Err(Error::invalid("name a container").hint("netup-run ps lists those that run")),
        [name] => Ok(name),
        [_, rest @ ..] => none_left(rest).map(|()| ""),
    }
}

fn none_left(names: &[String]) -> Result<()> {
    match names.first() {
        None => Ok(()),
        Some(word) => Err(Error::invalid(format!("{word:?} is one word too many"))),
    }
}

fn names_and_json(parser: &mut Parser) -> Result<(Vec<String>, bool)> {
    let (mut names, mut json) = (Vec::new(), false);
    while let Some(word) = parser.next().map_err(wrong)? {
        match word {
            Arg::Long("json") => json = true,
            Arg::Value(name) => names.push(values::text(name)?),
            other => return Err(wrong(other.unexpected())),
        }
    }
    Ok((names, json))
}

/// As [`names_and_json`], where there is nothing to show.
fn names(parser: &mut Parser) -> Result<Vec<String>> {
    match names_and_json(parser)? {
        (names, false) => Ok(names),
        (_, true) => Err(wrong(Arg::Long("json").unexpected())),
    }
}

/// The parser's words are good enough for people.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn wrong(error: lexopt::Error) -> Error {
    Error::invalid(error.to_string()).hint("see netup-run --help")
}

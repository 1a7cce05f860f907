//! `netup-run image`.

use std::path::PathBuf;

use lexopt::{Arg, Parser};

use super::{help, values, wrong};
use crate::error::{Error, Result};
use crate::image::{ImportOrder, Limits, Source};
use crate::name::ImageName;

/// Something about images.
#[derive(Debug)]
pub enum ImageOrder {
    /// Brings one into the store.
    Import {
        /// What and how.
        order: ImportOrder,
        /// Whether nothing is told of it.
        quiet: bool,
    },
    /// Lists them.
    List {
        /// For machines.
        json: bool,
    },
    /// Removes them.
    Remove(Vec<ImageName>),
    /// How to use it.
    Help,
}

pub(super) fn decode(parser: &mut Parser) -> Result<ImageOrder> {
    match parser.next().map_err(wrong)? {
        Some(Arg::Value(verb)) => match verb.to_str() {
            Some("import") => import(parser),
            Some("ls" | "list") => list(parser),
            Some("rm" | "remove") => remove(parser),
            _ => Err(Error::invalid(format!("image {verb:?} is no verb"))
                .hint("there are import, ls and rm")),
        },
        Some(Arg::Long("help") | Arg::Short('h')) | None => Ok(ImageOrder::Help),
        Some(other) => Err(wrong(other.unexpected())),
    }
}

fn import(parser: &mut Parser) -> Result<ImageOrder> {
    let (mut names, mut replace, mut devices, mut quiet) = (Vec::new(), false, false, false);
    let mut limits = Limits::default();
    while let Some(word) = parser.next().map_err(wrong)? {
        match word {
            Arg::Long("replace") => replace = true,
            Arg::Long("devices") => devices = true,
            Arg::Long("max-size") => {
                limits.bytes = values::bytes("--max-size", &value(parser)?)?;
            }
            Arg::Long("max-entries") => {
                limits.entries = values::count("--max-entries", &value(parser)?)?;
            }
            Arg::Long("max-depth") => {
                let depth = values::count("--max-depth", &value(parser)?)?;
                limits.depth = usize::try_from(depth).unwrap_or(usize::MAX);
            }
            Arg::Long("quiet") | Arg::Short('q') => quiet = true,
            Arg::Long("help") | Arg::Short('h') => return Ok(ImageOrder::Help),
            Arg::Value(name) => names.push(name),
            other => return Err(wrong(other.unexpected())),
        }
    }
    let mut names = names.into_iter();
    let name = names.next().ok_or_else(|| {
        Error::invalid("what is the image to be called?").hint("netup-run image import NAME [FILE]")
    })?;
    let source = names.next().filter(|source| source != "-").map(PathBuf::from);
    let source = source.map_or(Source::Stdin, Source::Path);
    if let Some(word) = names.next() {
        return Err(Error::invalid(format!("{word:?} is one word too many")));
    }
    let name = values::text(name)?.parse()?;
    let order = ImportOrder { name, source, replace, devices, limits };
    Ok(ImageOrder::Import { order, quiet })
}

fn value(parser: &mut Parser) -> Result<String> {
    values::text(parser.value().map_err(wrong)?)
}

fn list(parser: &mut Parser) -> Result<ImageOrder> {
    let (names, json) = super::names_and_json(parser)?;
    super::none_left(&names).map(|()| ImageOrder::List { json })
}

fn remove(parser: &mut Parser) -> Result<ImageOrder> {
    let names = super::names(parser)?;
    if names.is_empty() {
        return Err(Error::invalid("which image?").hint("netup-run image ls lists them"));
    }
    names.iter().map(|name| name.parse()).collect::<Result<_>>().map(ImageOrder::Remove)
}

impl ImageOrder {
    /// The text for [`ImageOrder::Help`].
    #[must_use]
    pub fn help() -> &'static str {
        help::IMAGE
    }
}

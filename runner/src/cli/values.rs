//! Values of options: numbers with units, places, paths.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use crate::error::{Error, Result};
use crate::request::{Volume, VolumeKind};

pub(super) fn text(word: OsString) -> Result<String> {
    word.into_string().map_err(|word| Error::invalid(format!("{word:?} is not UTF-8")))
}

/// Bytes: a number, and `k`, `m`, `g` or `t` for powers of 1024.
pub(super) fn bytes(what: &str, text: &str) -> Result<u64> {
    let wrong = || {
        Error::invalid(format!("{what} {text:?} is no size")).hint("give bytes, or 64k, 512m, 2g")
    };
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let shift = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_bad: std::num::ParseIntError| wrong())?;
    // To a tmpfs 0 means without end.
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0).ok_or_else(wrong)
}

/// Processors, in thousandths: `2`, `0.5`, `1.25`.
pub(super) fn millicpus(text: &str) -> Result<u64> {
    let wrong = || {
        Error::invalid(format!("--cpus {text:?} is no number of processors"))
            .hint("give a number such as 2 or 0.5, at least 0.01")
    };
    let number: f64 = text.parse().map_err(|_bad: std::num::ParseFloatError| wrong())?;
    if !(0.01..=100_000.0).contains(&number) {
        return Err(wrong());
    }
    Ok((number * 1000.0).round() as u64)
}

pub(super) fn count(what: &str, text: &str) -> Result<u64> {
    match text.parse() {
        Ok(number) if number > 0 => Ok(number),
        _ => Err(Error::invalid(format!("{what} {text:?} is no positive number"))),
    }
}

/// `SOURCE:PLACE[:ro]`.
pub(super) fn volume(word: &OsString) -> Result<Volume> {
    let wrong = |why: &str| {
        Error::invalid(format!("-v {word:?} {why}"))
            .hint("give -v SOURCE:PLACE or -v SOURCE:PLACE:ro")
    };
    let parts: Vec<&[u8]> = word.as_bytes().split(|byte| *byte == b':').collect();
    let (source, at, read_only) = match parts.as_slice() {
        [source, at] | [source, at, b"rw"] => (source, at, false),
        [source, at, b"ro"] => (source, at, true),
        _ => return Err(wrong("has not two or three parts")),
    };
    let source = path(source);
    let source =
        std::path::absolute(&source).map_err(|e| wrong(&format!("has no source ({e})")))?;
    let at = path(at);
    if !at.is_absolute() {
        return Err(wrong("has a place that is not absolute"));
    }
    Ok(Volume { at, kind: VolumeKind::Bind { source, read_only } })
}

fn path(bytes: &[u8]) -> PathBuf {
    OsString::from_vec(bytes.to_vec()).into()
}

/// `PLACE[:size=64m,mode=1777]`.
pub(super) fn tmpfs(word: OsString) -> Result<Volume> {
    let text = text(word)?;
    let (at, options) = text.split_once(':').unwrap_or((text.as_str(), ""));
    let (mut size, mut mode) = (None, None);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", value)) => size = Some(bytes("size", value)?),
            Some(("mode", value)) => mode = Some(permissions(value)?),
            _ => {
                return Err(Error::invalid(format!("--tmpfs has no option {option:?}"))
                    .hint("there are size=64m and mode=1777"));
            }
        }
    }
    if !at.starts_with('/') {
        return Err(Error::invalid(format!("--tmpfs {at:?} is not absolute")));
    }
    Ok(Volume { at: at.into(), kind: VolumeKind::Tmpfs { size, mode } })
}

fn permissions(text: &str) -> Result<u32> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o7777 => Ok(mode),
        _ => Err(Error::invalid(format!("mode {text:?} is not octal permissions"))),
    }
}

/// In the order of their numbers, asm-generic/resource.h.
const RESOURCES: [&str; 16] = [
    "cpu",
    "fsize",
    "data",
    "stack",
    "core",
    "rss",
    "nproc",
    "nofile",
    "memlock",
    "as",
    "locks",
    "sigpending",
    "msgqueue",
    "nice",
    "rtprio",
    "rttime",
];

/// `NAME=SOFT[:HARD]`, with the names of setrlimit(2).
pub(super) fn rlimit(text: &str) -> Result<(u32, u64, u64)> {
    let wrong = |why: &str| {
        Error::invalid(format!("--rlimit {text:?} {why}"))
            .hint("give --rlimit nofile=1024 or --rlimit nofile=1024:4096")
    };
    let (name, values) = text.split_once('=').ok_or_else(|| wrong("has no ="))?;
    let resource = RESOURCES.iter().position(|known| name.eq_ignore_ascii_case(known));
    let resource = resource.ok_or_else(|| wrong("names no resource"))? as u32;
    let (soft, hard) = values.split_once(':').unwrap_or((values, values));
    let number = |value: &str| match value {
        "unlimited" => Ok(u64::MAX),
        _ => value
            .parse()
            .map_err(|_bad: std::num::ParseIntError| wrong("has a value that is no number")),
    };
    match (number(soft)?, number(hard)?) {
        (soft, hard) if soft > hard => Err(wrong("has a soft limit above the hard one")),
        (soft, hard) => Ok((resource, soft, hard)),
    }
}

//! The command line of `cargo bench-net`.

use std::{ffi::OsString, io, path::PathBuf};

/// What `--help` prints.
pub const USAGE: &str = "usage: cargo bench-net [-- OPTIONS]

  --rounds N    how often each contender connects and disconnects a container (40)
  --json PATH   writes everything that was measured, too
  --strict      fails when netup misses one of its bars
  --clients     times real clients instead: ctr run --cni and podman run -p, as root
  --startup     times the start of containers only, as root
  --install     installs the contenders' Debian packages that are missing, as root

NETUP and NETUP_RUN name binaries to measure in place of dist/netup and dist/netup-run, which are
built first.";

const ROUNDS: usize = 40;

/// What the process is asked to be.
pub enum Mode {
    /// The benchmark.
    Measure(Options),
    /// The start of containers.
    Startup(Options),
    /// Real clients.
    Clients(Options),
    /// The parent of one program, which tells how much memory that took. For the benchmark itself.
    Weigh(Vec<OsString>),
    /// Somebody who asks.
    Help,
}

/// How to measure.
pub struct Options {
    pub rounds: usize,
    pub json: Option<PathBuf>,
    pub strict: bool,
    pub install: bool,
}

/// Decodes what follows `bench-net`.
pub fn parse(words: impl Iterator<Item = OsString>) -> io::Result<Mode> {
    let mut options = Options { rounds: ROUNDS, json: None, strict: false, install: false };
    let (mut words, mut only): (_, fn(Options) -> Mode) = (words, Mode::Measure);
    while let Some(word) = words.next() {
        match word.to_str() {
            // As with other cargo commands; the alias has one of its own already.
            Some("--") => {}
            Some("--weigh") => return Ok(Mode::Weigh(words.collect())),
            Some("--help" | "-h") => return Ok(Mode::Help),
            Some("--clients") => only = Mode::Clients,
            Some("--startup") => only = Mode::Startup,
            Some("--strict") => options.strict = true,
            Some("--install") => options.install = true,
            Some("--rounds") => options.rounds = rounds(words.next())?,
            Some("--json") => options.json = Some(value(words.next(), "--json")?.into()),
            _ => return Err(refused(&format!("unexpected {}", word.display()))),
        }
    }
    Ok(only(options))
}

fn rounds(word: Option<OsString>) -> io::Result<usize> {
    let word = value(word, "--rounds")?;
    let number = word.to_str().and_then(|word| word.parse().ok());
    // Fewer than this have no quartiles.
    let enough = number.filter(|number| *number >= 4);
    enough.ok_or_else(|| refused("--rounds wants a number from 4 up"))
}

fn value(word: Option<OsString>, option: &str) -> io::Result<OsString> {
    word.ok_or_else(|| refused(&format!("{option} wants a value")))
}

fn refused(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{why}\n{USAGE}"))
}

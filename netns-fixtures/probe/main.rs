//! What a container is like, told from within: a static program that needs nothing of its root file
//! system.
//!
//! `probe COMMAND WORD… + COMMAND WORD…` does one after the other in one process. What it prints is
//! for `netns_fixtures::runner` to read; a refusal of the kernel is an answer and no failure.
//!
//! It starts without Rust's runtime, which would ignore SIGPIPE and open what is closed among the
//! first three descriptors before anybody could look.

#![no_main]

mod files;
mod identity;
mod kernel;
mod network;
mod processes;
mod terminal;

use std::{
    env,
    ffi::{OsStr, OsString},
    io::{self, Write},
};

/// What a command has to say. An error is a mistake of the test's, not the kernel's refusal.
type Told = Result<(), String>;

const SEPARATOR: &str = "+";
/// The exit status of a test that asks for what there is not.
pub const MISUSED: i32 = 99;

/// All commands; the exit status.
pub fn run() -> i32 {
    let words: Vec<OsString> = env::args_os().skip(1).collect();
    for command in words.split(|word| word == SEPARATOR) {
        let told = obey(command);
        io::stdout().flush().ok();
        if let Err(why) = told {
            eprintln!("probe: {why}");
            return MISUSED;
        }
    }
    0
}

fn obey(words: &[OsString]) -> Told {
    let (name, words) = words.split_first().ok_or("a command is missing")?;
    let name = name.to_string_lossy();
    match name.as_ref() {
        "args" => identity::args(words),
        "cwd" => identity::cwd(),
        "env" => identity::env(),
        "ids" => identity::ids(),
        "cat" => files::cat(words),
        "chown" => files::chown(words),
        "fds" => files::fds(),
        "ls" => files::ls(words),
        "open" => files::open(words),
        "stat" => files::stat(words),
        "stdin" => files::stdin(),
        "write" => files::write(words),
        "ask" => network::ask(words),
        "links" => network::links(),
        "serve" => network::serve(words),
        "count" => processes::count(words),
        "exec" => processes::exec(words),
        "exit" => processes::exit(words),
        "fork" => processes::fork(words),
        "memory" => processes::memory(words),
        "orphan" => processes::orphan(words),
        "ps" => processes::ps(),
        "signal" => processes::signal(words),
        "signals" => processes::signals(words),
        "sleep" => processes::sleep(words),
        "zombies" => processes::zombies(words),
        "int80" => kernel::int80(words),
        "syscall" => kernel::syscall(words),
        "tty" => terminal::tty(),
        _ => Err(format!("no command {name}")),
    }
}

/// How the kernel answered: `ok` or `errno N`.
fn outcome<T>(result: &io::Result<T>) -> String {
    match result {
        Ok(_) => "ok".to_owned(),
        Err(error) => match error.raw_os_error() {
            Some(errno) => format!("errno {errno}"),
            None => format!("error {error}"),
        },
    }
}

/// The first word.
fn word(words: &[OsString]) -> Result<&OsStr, String> {
    words.first().map(OsString::as_os_str).ok_or_else(|| "a word is missing".to_owned())
}

/// The first word as a number.
fn number<T: std::str::FromStr>(words: &[OsString]) -> Result<T, String> {
    let word = word(words)?;
    let parsed = word.to_str().and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| format!("{} is no number here", word.display()))
}

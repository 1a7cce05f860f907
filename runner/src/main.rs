//! The binary: decodes, runs what was asked for, replies, and exits as the command did.
#![no_main]
#![deny(unsafe_code)]

#[path = "sys/entry.rs"]
#[allow(unsafe_code, reason = "as all below sys")]
mod entry;

use std::ffi::OsString;
use std::io::{ErrorKind, Write};

use netup_run::cli::{self, ImageOrder, Invocation};
use netup_run::image::{Bar, Silent, Store};
use netup_run::run::Told;
use netup_run::state::State;
use netup_run::{Error, Result, exec, gc, pause, ps, reply, sealed, stats};
use serde::Serialize;

const SUCCESS: u8 = 0;

/// Called by `entry`. Gives what the process exits with.
fn main() -> u8 {
    let words: Vec<OsString> = std::env::args_os().collect();
    match cli::decode(&words).and_then(carry_out) {
        Ok(code) => code,
        Err(error) => {
            complain(&error.to_string());
            exit_code(&words, &error)
        }
    }
}

fn exit_code(words: &[OsString], error: &Error) -> u8 {
    if cli::runs_a_command(words) { error.exit_code_of_run() } else { error.kind().exit_code() }
}

fn carry_out(invocation: Invocation) -> Result<u8> {
    match invocation {
        Invocation::Run(run) => {
            sealed::ensure(&run)?;
            netup_run::run::run(&run, &mut tell).map(ended)
        }
        Invocation::Exec(order) => {
            sealed::ensure_against_all()?;
            exec::exec(&order).map(ended)
        }
        Invocation::Ps { name: None, json } => {
            show(&ps::containers(&State::open()?)?, json, |all| reply::containers(all))
        }
        Invocation::Ps { name: Some(name), json } => {
            show(&ps::processes(&State::open()?, &name)?, json, |all| reply::processes(all))
        }
        Invocation::Stats { name, json } => {
            show(&stats::stats(&State::open()?, &name)?, json, reply::stats)
        }
        Invocation::Pause(name) => pause::pause(&State::open()?, &name).map(done),
        Invocation::Resume(name) => pause::resume(&State::open()?, &name).map(done),
        Invocation::CollectGarbage { json } => collect_garbage(json),
        Invocation::Image(order) => images(order),
        Invocation::Page(page) => say(page),
    }
}

fn images(order: ImageOrder) -> Result<u8> {
    match order {
        ImageOrder::Import { order, quiet: true } => {
            Store::open()?.import(&order, &mut Silent).map(|_imported| SUCCESS)
        }
        ImageOrder::Import { order, quiet: false } => {
            say(&reply::imported(&Store::open()?.import(&order, &mut Bar::default())?))
        }
        ImageOrder::List { json } => show(&Store::open()?.list()?, json, |all| reply::images(all)),
        ImageOrder::Remove(names) => {
            let store = Store::open()?;
            names.iter().try_for_each(|name| store.remove(name)).map(done)
        }
        ImageOrder::Help => say(ImageOrder::help()),
    }
}

fn collect_garbage(json: bool) -> Result<u8> {
    let collected = gc::collect(&State::open()?)?;
    // What has no record: imports that were killed.
    Store::open()?.clean()?;
    let text = if json { reply::collected_json(&collected)? } else { reply::collected(&collected) };
    say(&text)
}

fn show<T: Serialize + ?Sized>(value: &T, json: bool, text: impl Fn(&T) -> String) -> Result<u8> {
    say(&if json { reply::json(&value)? } else { text(value) })
}

/// A reader that has seen enough is no failure.
fn say(text: &str) -> Result<u8> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::io("write", &error)),
        _ => Ok(SUCCESS),
    }
}

/// Whether anybody reads it or not: `eprintln` would end the run in the middle. What an image or a
/// helper calls itself does not speak to the terminal.
fn complain(text: &str) {
    drop(writeln!(std::io::stderr(), "netup-run: {}", reply::printable(text)));
}

fn tell(told: Told<'_>) {
    match told {
        Told::Warning(text) => complain(&format!("warning: {text}")),
        Told::Line(text) => drop(writeln!(std::io::stderr(), "{}", reply::printable(text))),
        // A reader that has seen enough is no failure.
        Told::Planned(text) => drop(writeln!(std::io::stdout(), "{}", reply::printable(text))),
    }
}

fn ended(code: i32) -> u8 {
    u8::try_from(code).unwrap_or(u8::MAX)
}

fn done((): ()) -> u8 {
    SUCCESS
}

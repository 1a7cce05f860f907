//! What netup's developers run, each by a cargo alias: `cargo demo`, `cargo dist`, `cargo lab`,
//! `cargo bench-net`.

#![deny(unsafe_code)]

mod bench;
mod command;

use std::{env, process::ExitCode};

const USAGE: &str = "usage: netns-fixtures COMMAND

  demo       connects two containers with the real netup, sends packets, takes everything down
  dist       builds the static release binaries into dist/
  lab        opens a shell on a host in a network of its own
  bench-net  measures netup beside the other ways to connect a container";

fn main() -> ExitCode {
    let outcome = match env::args().nth(1).as_deref() {
        Some("demo") => command::demo::run(),
        Some("dist") => command::dist::run(),
        Some("lab") => command::shell::run(),
        Some("bench-net") => bench::run(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

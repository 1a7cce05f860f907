//! Peak memory of a program.
//!
//! The kernel tells a parent the largest resident size among its children that ended, and counts a
//! child's time before exec with it, when it shares the parent's memory. So the parent has to be
//! small and have one child only: it is this program again, freshly started.

use super::stopwatch;
use netns_fixtures::Node;
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;
use std::{
    env,
    ffi::OsString,
    io,
    path::Path,
    process::{Command, ExitCode, Stdio},
    str,
};

/// The calls that are weighed, with many attachments around, in KiB.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Weights {
    /// What the method itself reports for `/bin/true`: less cannot be told.
    pub floor_kib: u64,
    pub up_kib: u64,
    pub down_kib: u64,
    pub ls_kib: u64,
}

impl Weights {
    /// The heaviest of netup's calls.
    pub fn peak_kib(&self) -> u64 {
        self.up_kib.max(self.down_kib).max(self.ls_kib)
    }
}

/// Runs a program on a host and returns its peak in KiB.
pub fn of(host: &Node, program: &Path, words: &[&str]) -> io::Result<u64> {
    let mut command = stopwatch::command(&env::current_exe()?, &["bench-net", "--weigh"]);
    command.arg(program).args(words);
    let reply = stopwatch::converse(host, command, b"")?;
    let text = str::from_utf8(&reply.document).map_err(io::Error::other)?;
    text.trim().parse().map_err(io::Error::other)
}

/// The other side: runs the program as the only child and prints what the kernel says of it.
pub fn weigh_in_this_process(words: &[OsString]) -> io::Result<ExitCode> {
    let nothing = || io::Error::new(io::ErrorKind::InvalidInput, "--weigh wants a program");
    let (program, words) = words.split_first().ok_or_else(nothing)?;
    let mut command = Command::new(program);
    let status = command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    println!("{}", getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss());
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

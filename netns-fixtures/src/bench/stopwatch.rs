//! The wall time of one whole process: from before it is spawned until it has been reaped.

use netns_fixtures::Node;
use std::{
    ffi::OsStr,
    io::{self, Write},
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// The same for all: an ordinary user's lacks the folders where ip, nft and iptables live.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A command for the stopwatch. The program is named by its path: with a PATH of its own to search,
/// the standard library could not use posix_spawn, and a plain fork is slower and less even.
pub fn command(program: &Path, words: &[impl AsRef<OsStr>]) -> Command {
    let mut command = Command::new(program);
    command.args(words).env("PATH", PATH).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// Runs a command on a host; its complaint goes to the terminal.
///
/// The measuring thread is what enters the host, not the child, for the same reason.
pub fn run(host: &Node, mut command: Command) -> io::Result<Duration> {
    let (elapsed, status) = host.run(|| {
        let started = Instant::now();
        let status = command.spawn()?.wait()?;
        io::Result::Ok((started.elapsed(), status))
    })??;
    expect_success(host, &command, status)?;
    Ok(elapsed)
}

/// Runs a command that reads a document and answers with another, as CNI plugins do.
pub fn converse(host: &Node, mut command: Command, input: &[u8]) -> io::Result<Reply> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let (elapsed, output) = host.run(|| {
        let started = Instant::now();
        let mut child = command.spawn()?;
        // It reads all of its input before it prints; dropping the handle ends the input.
        child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(input))?;
        let output = child.wait_with_output()?;
        io::Result::Ok((started.elapsed(), output))
    })??;
    expect_success(host, &command, output.status)
        .map_err(|error| complaint(&error, &output.stdout))?;
    Ok(Reply { elapsed, document: output.stdout })
}

/// What a process said, and how long it took.
pub struct Reply {
    pub elapsed: Duration,
    pub document: Vec<u8>,
}

fn expect_success(host: &Node, command: &Command, status: ExitStatus) -> io::Result<()> {
    if status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{}: {command:?}: {status}", host.name())))
}

/// A plugin's error is in its answer.
fn complaint(error: &io::Error, answer: &[u8]) -> io::Error {
    io::Error::other(format!("{error}: {}", String::from_utf8_lossy(answer).trim()))
}

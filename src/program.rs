//! Other programs, run to their end under a deadline: one that hangs must not hang the caller.

use std::io::{Error as IoError, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::{Error, ErrorKind, Result};

/// nft and iptables answer within milliseconds, unless others change rules all the time: then they
/// read them anew, or wait for each other.
const DEADLINE: Duration = Duration::from_secs(60);
/// How long the output of a program that has ended is waited for.
const LINGER: Duration = Duration::from_secs(5);
/// Where Debian and others keep what administrators run, which need not be on a caller's PATH.
const FURTHER_FOLDERS: &str = "/usr/sbin:/sbin:/usr/local/sbin";

/// How a program ended.
#[derive(Debug)]
pub struct Ended {
    /// Its exit status; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Ended {
    /// The first line of the complaint that says something.
    pub fn complaint(&self) -> &str {
        let lines = self.stderr.lines().map(str::trim);
        // The newer iptables warns of tables that it cannot show; that is no cause of anything.
        let mut telling = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        telling.next().unwrap_or("no message")
    }
}

/// Where a program lies: the first of several names that is installed.
pub fn find(names: &[&str]) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let in_folders = |name: &&str| {
        let folders = path.split(':').chain(FURTHER_FOLDERS.split(':'));
        let folders = folders.filter(|folder| !folder.is_empty());
        folders.map(|folder| PathBuf::from(folder).join(name)).find(|program| program.is_file())
    };
    names.iter().find_map(in_folders)
}

/// Runs a program in the calling thread's network namespace. That it fails is no error here.
pub fn run(program: &Path, arguments: &[&str], input: &str) -> Result<Ended> {
    run_within(DEADLINE, program, arguments, input)
}

fn run_within(limit: Duration, program: &Path, arguments: &[&str], input: &str) -> Result<Ended> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let operation = format!("{name} {}", arguments.join(" "));
    let failed = |e: IoError| Error::io(operation.clone(), &e);
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // Both outputs are read beside the wait: a full pipe would make the program wait for us.
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    feed(&mut child, input);
    match wait(&mut child, limit).map_err(failed)? {
        Some(code) => Ok(Ended { code, stdout: collect(&stdout), stderr: collect(&stderr) }),
        None => {
            let late = format!("{operation} did not end within {limit:?}");
            Err(Error::new(ErrorKind::Kernel, late))
        }
    }
}

/// From a thread of its own, since a program that does not read must not block us. One that ends
/// before it has read everything says itself what was wrong.
fn feed(child: &mut Child, input: &str) {
    let input = input.to_owned();
    if let Some(mut pipe) = child.stdin.take()
        && !input.is_empty()
    {
        thread::spawn(move || pipe.write_all(input.as_bytes()));
    }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        // What was read up to a failure is still worth showing.
        if let Some(mut pipe) = pipe {
            drop(pipe.read_to_end(&mut bytes));
        }
        sender.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    receiver
}

/// What an ended program printed. It is there at once, unless a process that the program left
/// behind still holds its output open.
fn collect(reader: &Receiver<String>) -> String {
    reader.recv_timeout(LINGER).unwrap_or_default()
}

/// The child's exit status; `None` if it had to be killed.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<Option<i32>>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code()));
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_micros(200));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(limit: Duration, script: &str, input: &str) -> Result<Ended> {
        run_within(limit, &find(&["no-such-program", "sh"]).unwrap(), &["-c", script], input)
    }

    #[test]
    fn output_complaint_and_status_are_told() {
        let ended = shell(DEADLINE, "cat; echo '# a warning' >&2; echo oh >&2; exit 3", "hello");
        let ended = ended.unwrap();
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), "hello"));
        assert_eq!(ended.complaint(), "oh");
        assert_eq!(find(&["no-such-program"]), None);
    }

    #[test]
    fn neither_much_output_nor_unread_input_blocks() {
        let much = "x".repeat(300_000);
        let script = "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero";
        let ended = shell(DEADLINE, script, &much).unwrap();
        assert_eq!((ended.stdout.len(), ended.stderr.len()), (300_000, 300_000));
    }

    #[test]
    fn one_that_hangs_is_killed() {
        let error = shell(Duration::from_millis(50), "exec sleep 99", "").unwrap_err();
        assert_eq!(error.message(), "sh -c exec sleep 99 did not end within 50ms");
    }
}

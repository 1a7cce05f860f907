//! Child processes under a deadline. An `nft` that hangs must not hang `doctor`.

use std::env;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{AccessFlags, access};

const DEADLINE: Duration = Duration::from_secs(5);
/// Where administration programs live; a login shell's PATH often lacks these.
const SBIN: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin";

/// An installed program.
#[derive(Debug, Clone)]
pub struct Program(PathBuf);

impl Program {
    /// Looks for a program along PATH, and then where administration programs live.
    pub fn find(name: &str) -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut folders = env::split_paths(&path).chain(env::split_paths(SBIN));
        let found = folders.find_map(|folder| executable(folder.join(name)))?;
        Some(Self(found))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Runs it to its end and returns what it prints, or in one line why it failed.
    pub fn run(&self, arguments: &[&str], input: &str) -> Result<String, String> {
        self.run_within(DEADLINE, arguments, input)
    }

    fn run_within(
        &self,
        limit: Duration,
        arguments: &[&str],
        input: &str,
    ) -> Result<String, String> {
        let until = Instant::now() + limit;
        let mut child = self
            .spawn(arguments)
            .map_err(|e| format!("{} cannot be run: {e}", self.0.display()))?;
        feed(&mut child, input.to_owned());
        let answer = finish(&mut child, until);
        if answer.is_none() {
            // Failing means that it has ended by itself in the meantime.
            let _ = child.kill();
            let _ = child.wait();
        }
        let (status, output, complaint) = answer
            .ok_or_else(|| format!("{} gave no answer within {limit:?}", self.0.display()))?;
        match status.success() {
            true => Ok(output),
            false => Err(self.why(status, &complaint)),
        }
    }

    fn why(&self, status: ExitStatus, complaint: &str) -> String {
        let lines = complaint.lines().map(str::trim);
        let lines: Vec<&str> = lines.filter(|line| says_something(line)).collect();
        match lines.is_empty() {
            true => format!("{} ended with {status}", self.0.display()),
            false => lines.join("; "),
        }
    }

    fn spawn(&self, arguments: &[&str]) -> std::io::Result<Child> {
        Command::new(&self.0)
            .args(arguments)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

fn executable(path: PathBuf) -> Option<PathBuf> {
    (path.is_absolute() && path.is_file() && access(&path, AccessFlags::X_OK).is_ok())
        .then_some(path)
}

/// Writes the input from a thread of its own: a child that does not read must not block us.
fn feed(child: &mut Child, input: String) {
    let pipe = child.stdin.take();
    thread::spawn(move || {
        // A child that ends before it has read everything says itself what was wrong.
        pipe.map(|mut pipe| pipe.write_all(input.as_bytes()))
    });
}

/// The whole output, once it is complete. Both pipes must be drained at the same time, or a child
/// that fills the one blocks while we read the other.
fn drain(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is still worth showing.
            let _ = pipe.read_to_end(&mut bytes);
        }
        sender.send(String::from_utf8_lossy(&bytes).into_owned())
    });
    receiver
}

fn finish(child: &mut Child, until: Instant) -> Option<(ExitStatus, String, String)> {
    let (output, complaint) = (drain(child.stdout.take()), drain(child.stderr.take()));
    let left = || until.saturating_duration_since(Instant::now());
    let output = output.recv_timeout(left()).ok()?;
    let complaint = complaint.recv_timeout(left()).ok()?;
    loop {
        match child.try_wait().ok()? {
            Some(status) => return Some((status, output, complaint)),
            None if left().is_zero() => return None,
            None => thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Not the `^^^^` by which nft points into the line above.
fn says_something(line: &str) -> bool {
    line.chars().any(|c| !matches!(c, '^' | '~' | ' '))
}

/// The command that installs a package with whatever this machine has for that.
pub fn install_command(package: &str) -> String {
    let managers = [
        ("apt-get", "apt-get install"),
        ("dnf", "dnf install"),
        ("zypper", "zypper install"),
        ("apk", "apk add"),
        ("pacman", "pacman -S"),
    ];
    let installed = managers.iter().find(|(name, _)| Program::find(name).is_some());
    match installed {
        Some((_, command)) => format!("{command} {package}"),
        None => format!("install the package {package}"),
    }
}

/// The first of several names under which a program may be installed.
pub fn first_of(names: &[&str]) -> Option<OsString> {
    names.iter().find_map(|name| Program::find(name)?.0.file_name().map(Into::into))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell() -> Program {
        Program::find("sh").unwrap()
    }

    #[test]
    fn returns_output_or_the_complaint() {
        assert_eq!(shell().run(&["-c", "cat"], "hello").unwrap(), "hello");
        let complaint =
            shell().run(&["-c", "echo 'no such thing' >&2; echo '  ^^^' >&2; exit 3"], "");
        assert_eq!(complaint.unwrap_err(), "no such thing");
        let silent = shell().run(&["-c", "exit 3"], "").unwrap_err();
        assert!(silent.ends_with("sh ended with exit status: 3"), "{silent}");
    }

    #[test]
    fn much_output_on_both_pipes_does_not_block() {
        let chatty = "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero";
        assert_eq!(shell().run(&["-c", chatty], "").unwrap().len(), 300_000);
    }

    #[test]
    fn a_child_that_hangs_is_killed() {
        let began = Instant::now();
        let limit = Duration::from_millis(100);
        let why = shell().run_within(limit, &["-c", "exec sleep 9"], "").unwrap_err();
        assert!(why.ends_with("gave no answer within 100ms"), "{why}");
        // Output closed, but still running.
        let why = shell().run_within(limit, &["-c", "exec sleep 9 >&- 2>&-"], "").unwrap_err();
        assert!(why.ends_with("gave no answer within 100ms"), "{why}");
        assert!(began.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn unknown_programs_are_not_found() {
        assert!(Program::find("no-such-program-here").is_none());
    }
}

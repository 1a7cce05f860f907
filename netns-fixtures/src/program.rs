//! Programs that are not trusted to end: what they said, or that they hang.

use crate::blame::Blame;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fmt,
    fs::File,
    io::{self, Seek, Write},
    os::unix::{fs::FileExt, process::ExitStatusExt},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

/// How often one looks whether a program has ended.
const TICK: Duration = Duration::from_micros(500);

/// A program that runs. It is ended when this goes out of scope.
#[derive(Debug)]
pub struct Started {
    what: String,
    child: Child,
    stdout: File,
    stderr: File,
}

/// How a program ended, and what it said.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its status, if it was not killed.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it complained of.
    pub stderr: String,
}

/// Runs a program to its end, with this input.
pub fn run(command: Command, input: &[u8], deadline: Duration) -> io::Result<Ended> {
    start(command, input)?.finish(deadline)
}

/// Starts a program with this input.
pub fn start(mut command: Command, input: &[u8]) -> io::Result<Started> {
    let what = format!("{command:?}");
    // Files and no pipes: what the program leaves running inherits these and would keep them open.
    let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    command.stdin(file_with(input)?).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
    let child = command.spawn().blame(&what)?;
    Ok(Started { what, child, stdout, stderr })
}

fn file_with(input: &[u8]) -> io::Result<Stdio> {
    if input.is_empty() {
        return Ok(Stdio::null());
    }
    let mut file = tempfile::tempfile()?;
    file.write_all(input)?;
    file.rewind()?;
    Ok(file.into())
}

impl Started {
    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it at once.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> io::Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// What it has said so far.
    pub fn said(&mut self) -> io::Result<(String, String)> {
        Ok((text(&self.stdout)?, text(&self.stderr)?))
    }

    /// Waits until it has printed this line.
    pub fn await_line(&mut self, line: &str, deadline: Duration) -> io::Result<()> {
        let started = Instant::now();
        loop {
            // Asked before the look: what ends after it has said something has said it.
            let ended = self.has_ended()?;
            let (stdout, stderr) = self.said()?;
            if stdout.lines().any(|own| own == line) {
                return Ok(());
            }
            if ended || started.elapsed() > deadline {
                let message = format!("{} did not print {line}: {stdout}{stderr}", self.what);
                return Err(io::Error::new(io::ErrorKind::TimedOut, message));
            }
            thread::sleep(TICK);
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        let pid = i32::try_from(self.pid()).map_err(io::Error::other)?;
        kill(Pid::from_raw(pid), signal).blame(format_args!("signal {}", self.what))
    }

    /// Waits for its end. One that is not done by the deadline is killed, and an error.
    pub fn finish(mut self, deadline: Duration) -> io::Result<Ended> {
        let status = self.wait(deadline)?;
        let (stdout, stderr) = self.said()?;
        let Some(status) = status else {
            let message = format!("{} hangs: {stdout}{stderr}", self.what);
            return Err(io::Error::new(io::ErrorKind::TimedOut, message));
        };
        debug_assert!(status.code().is_some() || status.signal().is_some());
        Ok(Ended { code: status.code(), stdout, stderr })
    }

    fn wait(&mut self, deadline: Duration) -> io::Result<Option<ExitStatus>> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if started.elapsed() > deadline {
                self.child.kill()?;
                self.child.wait()?;
                return Ok(None);
            }
            thread::sleep(TICK);
        }
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Read from where nobody else's position is moved: the program writes through the same open file.
fn text(file: &File) -> io::Result<String> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len()).map_err(io::Error::other)?];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], read as u64)? {
            0 => break,
            more => read += more,
        }
    }
    bytes.truncate(read);
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Ended {
    /// Whether its status is 0.
    pub fn is_success(&self) -> bool {
        self.code == Some(0)
    }

    /// What it printed, unless it failed.
    pub fn success(self) -> io::Result<String> {
        if self.is_success() { Ok(self.stdout) } else { Err(io::Error::other(self.to_string())) }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {:?}: {}{}", self.code, self.stdout, self.stderr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn input_goes_in_and_both_outputs_come_out() {
        let ended = run(shell("cat; echo no >&2; exit 3"), b"yes", SOON).unwrap();
        assert_eq!(
            (ended.code, ended.stdout.as_str(), ended.stderr.as_str()),
            (Some(3), "yes", "no\n")
        );
    }

    #[test]
    fn what_hangs_is_an_error_with_what_it_said() {
        let error = run(shell("echo here; exec sleep 100"), b"", Duration::from_millis(300));
        assert!(error.unwrap_err().to_string().contains("hangs: here"));
    }

    #[test]
    fn what_it_leaves_running_does_not_delay_the_end() {
        let mut started = start(shell("sleep 1000 & echo $!"), b"").unwrap();
        while !started.has_ended().unwrap() {}
        let said = started.said().unwrap().0;
        Command::new("kill").arg(said.trim()).status().unwrap();
    }
}

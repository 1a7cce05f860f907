//! A helper process: a program of the host's that lives and dies with this one.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::Timespec;
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::error::{Error, ErrorKind, Result};
use crate::refusal;
use crate::signals::Ending;
use crate::sys::parent_death;

/// Neither the caller's PATH nor its environment says what is run.
const FOLDERS: [&str; 3] = ["/usr/bin", "/usr/local/bin", "/bin"];

/// A helper is ready after some 40 ms. One that is not by then never will be.
const PATIENCE: Duration = Duration::from_secs(10);
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 500_000 };

/// Both helpers open it in the container's network namespace.
const TUN: &str = "/dev/net/tun";

/// A helper that runs. It is killed when this is dropped, or when this process ends.
#[derive(Debug)]
pub struct Process {
    what: String,
    child: Child,
    pidfd: OwnedFd,
    complaint: File,
}

/// Where a helper lies.
///
/// # Errors
/// [`MissingTool`](ErrorKind::MissingTool) with what to install, and
/// [`NotPermitted`](ErrorKind::NotPermitted) where no helper could do anything.
pub fn find(name: &str, package: &str) -> Result<PathBuf> {
    let mut paths = FOLDERS.iter().map(|folder| Path::new(folder).join(name));
    let program = paths.find(|path| path.is_file()).ok_or_else(|| {
        let what = format!("{name} is in none of {}", FOLDERS.join(", "));
        Error::new(ErrorKind::MissingTool, what).hint(format!("install {package}"))
    })?;
    match rustix::fs::access(TUN, rustix::fs::Access::READ_OK | rustix::fs::Access::WRITE_OK) {
        Ok(()) => Ok(program),
        Err(errno) => Err(Error::kernel(format!("{name} needs {TUN}"), errno)
            .hint(format!("modprobe tun; chmod 666 {TUN}"))),
    }
}

impl Process {
    /// Starts a helper. It has our signals blocked, as all are: a key of the terminal ends the
    /// command, not its network.
    pub fn start(program: &Path, arguments: &[OsString], stdin: Stdio) -> Result<Self> {
        let what = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let failed = |errno: Errno| Error::kernel(format!("start {what}"), errno);
        // No pipe, which could be full while nobody reads it.
        let complaint =
            rustix::fs::memfd_create("complaint", MemfdFlags::CLOEXEC).map_err(failed)?;
        let complaint = File::from(complaint);
        let heard = complaint.try_clone().map_err(|e| Error::io("duplicate a file", &e))?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().stdin(stdin).stdout(Stdio::null()).stderr(heard);
        parent_death::end_with_us(&mut command);
        let mut child =
            command.spawn().map_err(|e| refusal::of_program(format!("start {what}"), &e))?;
        let pidfd = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default())
            .ok_or(Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::empty()));
        match pidfd {
            Ok(pidfd) => Ok(Self { what, child, pidfd, complaint }),
            Err(errno) => {
                child.kill().and_then(|()| child.wait()).ok();
                Err(failed(errno))
            }
        }
    }

    /// It becomes readable when the helper ends.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Waits until the helper is found ready, asking every now and then.
    pub fn wait_until(
        &mut self,
        ending: &Ending,
        is_ready: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        self.wait_within(PATIENCE, ending, is_ready)
    }

    fn wait_within(
        &mut self,
        patience: Duration,
        ending: &Ending,
        mut is_ready: impl FnMut() -> Result<bool>,
    ) -> Result<()> {
        let started = Instant::now();
        while !is_ready()? {
            if self.has_ended(ending)? {
                return Err(self.failed("has ended"));
            }
            if started.elapsed() > patience {
                return Err(self.failed(&format!("was not ready within {patience:?}")));
            }
        }
        Ok(())
    }

    /// An error with the helper's own words.
    pub fn failed(&mut self, how: &str) -> Error {
        let mut said = String::new();
        if self.complaint.rewind().is_ok() {
            self.complaint.read_to_string(&mut said).ok();
        }
        let said = telling(&said);
        let what = format!("{} {how}", self.what);
        Error::new(
            ErrorKind::Network,
            if said.is_empty() { what } else { format!("{what}: {said}") },
        )
    }

    /// Whether it has, waiting a moment for it.
    fn has_ended(&self, ending: &Ending) -> Result<bool> {
        ending.wait([self.pidfd.as_fd()], Some(TICK)).map(|[ended]| ended)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It is killed and not asked to end: it may be spinning.
        pidfd_send_signal(&self.pidfd, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

/// Removes what a helper of the same name was given by a runner that was killed.
pub fn remove_left_behind(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::state(format!("remove {}", path.display()), &error))
        }
        _ => Ok(()),
    }
}

/// What a helper complained of, without pasta's regrets that there is no system log.
fn telling(said: &str) -> String {
    let lines = said.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.ends_with("bytes to syslog"));
    lines.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        let arguments = ["-c".into(), script.into()];
        Process::start(Path::new("/bin/sh"), &arguments, Stdio::null()).unwrap()
    }

    #[test]
    fn one_that_fails_is_quoted() {
        let mut process =
            shell("echo Failed to send 9 bytes to syslog >&2; echo no route >&2; exit 1");
        let error = process.wait_until(&Ending::Uncaught, || Ok(false)).unwrap_err();
        assert_eq!(error.message(), "sh has ended: no route");
        assert_eq!(error.kind(), ErrorKind::Network);
    }

    #[test]
    fn one_that_never_gets_ready_is_not_waited_for() {
        let mut process = shell("while :; do :; done");
        let error = process
            .wait_within(Duration::from_millis(100), &Ending::Uncaught, || Ok(false))
            .unwrap_err();
        assert_eq!(error.message(), "sh was not ready within 100ms");
    }

    #[test]
    fn one_is_killed_when_it_is_no_longer_wanted() {
        let process = shell("trap '' TERM; while :; do :; done");
        let pid = process.child.id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn the_environment_is_not_the_callers() {
        let mut process = shell("env >&2; exit 1");
        let error = process.wait_until(&Ending::Uncaught, || Ok(false)).unwrap_err();
        assert!(!error.message().contains("CARGO"), "{error}");
    }
}

//! The parent's part while the command runs: signals in, the exit code out.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitIdStatus, WaitStatus, getpid, waitid};

use crate::error::{Error, ErrorKind, Result};
use crate::signals;
use crate::sys::signal::{self, Number, Receiver, SignalFd};
use crate::terminal::Terminal;

/// How the command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code, 128+n if signal n ended it.
    pub code: i32,
}

/// The exit code that stands for how a process ended: its own, or 128+n for signal n.
#[must_use]
pub fn exit_code(status: WaitStatus) -> i32 {
    code_of(status.exit_status(), status.terminating_signal())
}

fn code_of(exited: Option<i32>, killed_by: Option<i32>) -> i32 {
    exited.or(killed_by.map(|signal| 128 + signal)).unwrap_or(128)
}

/// Stays until the container's first process, a child, ends, and reaps it.
///
/// Signals that come to us go on to it, each once: the command has a session of its own, so that
/// nothing that a key of the caller's terminal sends reaches it by another way. `watched` is the pidfd
/// of what the container cannot be without, a network helper; if that ends first, the container is
/// killed and that is an error.
pub fn supervise(
    child: BorrowedFd<'_>,
    received: &SignalFd,
    mut terminal: Option<Terminal>,
    watched: Option<BorrowedFd<'_>>,
) -> Result<Ended> {
    loop {
        let ready = wait(child, received, terminal.as_ref(), watched)?;
        if let Some(terminal) = &mut terminal {
            terminal.copy();
        }
        if ready.child {
            let ended = reap(child)?;
            finish(terminal, received)?;
            return Ok(ended);
        }
        if ready.watched {
            return Err(kill_for_lost_helper(child));
        }
        pass_on_all(child, received, terminal.as_ref())?;
    }
}

/// Stays until the command ends, or the container's first process, which may be killed; the container
/// has no terminal. Signals go on as in [`supervise`].
pub fn until_the_command_ends(
    command: impl AsFd,
    child: BorrowedFd<'_>,
    received: &SignalFd,
) -> Result<()> {
    loop {
        let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
        let mut fds = [command.as_fd(), child, received.as_fd()].map(readable);
        until_ready(&mut fds)?;
        if fds[..2].iter().any(|fd| !fd.revents().is_empty()) {
            return Ok(());
        }
        pass_on_all(child, received, None)?;
    }
}

struct Ready {
    child: bool,
    watched: bool,
}

fn wait(
    child: BorrowedFd<'_>,
    received: &SignalFd,
    terminal: Option<&Terminal>,
    watched: Option<BorrowedFd<'_>>,
) -> Result<Ready> {
    let readable = |fd| PollFd::from_borrowed_fd(fd, PollFlags::IN);
    let mut fds = vec![readable(child), readable(received.as_fd())];
    fds.extend(watched.map(readable));
    fds.extend(terminal.into_iter().flat_map(Terminal::waits_for));
    until_ready(&mut fds)?;
    let is_ready = |at: usize| !fds[at].revents().is_empty();
    Ok(Ready { child: is_ready(0), watched: watched.is_some() && is_ready(2) })
}

fn until_ready(fds: &mut [PollFd<'_>]) -> Result<()> {
    match poll(fds, None) {
        // Stopped and continued.
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(Error::kernel("wait for the container", errno)),
    }
}

fn reap(child: BorrowedFd<'_>) -> Result<Ended> {
    let status = waitid(WaitId::PidFd(child), WaitIdOptions::EXITED)
        .map_err(|errno| Error::kernel("wait for the container's end", errno))?;
    let of = |part: fn(&WaitIdStatus) -> Option<i32>| status.as_ref().and_then(part);
    let code = code_of(of(WaitIdStatus::exit_status), of(WaitIdStatus::terminating_signal));
    Ok(Ended { code })
}

fn kill_for_lost_helper(child: BorrowedFd<'_>) -> Error {
    let lost = Error::new(ErrorKind::Network, "the program that connected the container ended")
        .hint("the container was killed, since it had no network any more");
    match end(child) {
        Ok(_) => lost,
        Err(error) => lost.with_undo_failures(vec![error]),
    }
}

/// Kills the container and reaps it, unless that is done.
pub(crate) fn end(child: BorrowedFd<'_>) -> Result<()> {
    match signal::send_by_pidfd(child, libc::SIGKILL) {
        Ok(()) => reap(child).map(drop),
        Err(Errno::SRCH) => Ok(()),
        Err(errno) => Err(Error::kernel("kill the container", errno)),
    }
}

/// Shows the rest of the output. Whoever reads it may be slow, or gone to sleep: a signal ends that.
fn finish(terminal: Option<Terminal>, received: &SignalFd) -> Result<()> {
    let Some(mut terminal) = terminal else { return Ok(()) };
    while !terminal.finish() {
        let mut fds = vec![PollFd::from_borrowed_fd(received.as_fd(), PollFlags::IN)];
        fds.extend(terminal.waits_for());
        until_ready(&mut fds)?;
        while let Some(number) = next(received)? {
            if signals::ends(number) {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn next(received: &SignalFd) -> Result<Option<Number>> {
    received.next().map_err(|errno| Error::kernel("read a signal", errno))
}

fn pass_on_all(
    child: BorrowedFd<'_>,
    received: &SignalFd,
    terminal: Option<&Terminal>,
) -> Result<()> {
    while let Some(number) = next(received)? {
        match (number, terminal) {
            (libc::SIGWINCH, Some(terminal)) => terminal.resize(),
            (libc::SIGTSTP, _) => stop_with(child, terminal)?,
            // It may just have ended.
            (other, _) => drop(signal::send_by_pidfd(child, other)),
        }
    }
    Ok(())
}

/// Stops the container and then the runner, as a shell's ^Z does with a job, and goes on with both.
/// SIGCONT, which continues us, is read like every signal and passed on.
fn stop_with(child: BorrowedFd<'_>, terminal: Option<&Terminal>) -> Result<()> {
    signal::send_by_pidfd(child, libc::SIGTSTP).ok();
    if let Some(terminal) = terminal {
        terminal.suspend();
    }
    let us = Receiver::Process(getpid().as_raw_pid());
    signal::send(us, libc::SIGSTOP).map_err(|errno| Error::kernel("stop", errno))?;
    terminal.map_or(Ok(()), Terminal::resume)
}

//! Signals that come to the runner: which end the start of a command, and which go on to it.

use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::error::{Error, Result};
use crate::sys::signal::{self, Mask, Number, SignalFd};

/// What is sent to a program to end it.
const ENDS: [(Number, &str); 4] = [
    (libc::SIGINT, "SIGINT"),
    (libc::SIGTERM, "SIGTERM"),
    (libc::SIGHUP, "SIGHUP"),
    (libc::SIGQUIT, "SIGQUIT"),
];

/// Not sent to the container by anybody: a child's news, a reader that went away, urgent data, and our
/// own job's place at the terminal.
const OWN: [Number; 5] = [libc::SIGCHLD, libc::SIGPIPE, libc::SIGURG, libc::SIGTTIN, libc::SIGTTOU];

/// Whether a signal is sent to end a program.
pub(crate) fn ends(number: Number) -> bool {
    ENDS.iter().any(|(one, _)| *one == number)
}

/// All signals, caught.
#[derive(Debug)]
pub struct Signals {
    pub(crate) ending: Ending,
    /// For the command, once it runs: what has come by then is not lost.
    pub(crate) passed_on: SignalFd,
}

impl Signals {
    /// Blocks them all, for this process and those that it makes.
    pub(crate) fn catch() -> Result<Self> {
        let failed = |errno| Error::kernel("signalfd", errno);
        signal::block_all().map_err(failed)?;
        let ending = SignalFd::of(Mask::only(&ENDS.map(|(number, _)| number))).map_err(failed)?;
        let passed_on = SignalFd::of(Mask::all_but(&OWN)).map_err(failed)?;
        Ok(Self { ending: Ending::Caught(ending), passed_on })
    }
}

/// Those that end a start.
#[derive(Debug)]
pub(crate) enum Ending {
    /// They end a wait for something else.
    Caught(SignalFd),
    /// They end the whole program.
    Uncaught,
}

impl Ending {
    /// Whether no such signal has come by now.
    ///
    /// # Errors
    /// [`Interrupted`](crate::ErrorKind::Interrupted) if one has.
    pub(crate) fn check(&self) -> Result<()> {
        self.wait([], Some(Timespec::default())).map(|[]| ())
    }

    /// Waits until at least one of these can be read, and says which; none, when time is up.
    ///
    /// # Errors
    /// [`Interrupted`](crate::ErrorKind::Interrupted) if a signal came instead.
    pub(crate) fn wait<const N: usize>(
        &self,
        fds: [BorrowedFd<'_>; N],
        patience: Option<Timespec>,
    ) -> Result<[bool; N]> {
        let signals = match self {
            Self::Caught(signals) => Some(signals),
            Self::Uncaught => None,
        };
        let all = fds.into_iter().chain(signals.map(AsFd::as_fd));
        let mut all: Vec<_> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        rustix::io::retry_on_intr(|| poll(&mut all, patience.as_ref()))
            .map_err(|errno| Error::kernel("poll", errno))?;
        let ready: [bool; N] = std::array::from_fn(|at| !all[at].revents().is_empty());
        match signals {
            // What is ready goes first: a command that runs by now is to have the signal itself.
            Some(signals) if !ready.contains(&true) && !all[N].revents().is_empty() => {
                refuse_next(signals).map(|()| ready)
            }
            _ => Ok(ready),
        }
    }
}

fn refuse_next(signals: &SignalFd) -> Result<()> {
    let came = signals.next().map_err(|errno| Error::kernel("read a signal", errno))?;
    match came.and_then(|came| ENDS.iter().find(|(number, _)| *number == came)) {
        Some((number, name)) => Err(Error::interrupted(*number as u8, name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_a_start_is_told_from_what_does_not() {
        assert!(ends(libc::SIGTERM) && ends(libc::SIGHUP));
        assert!(!ends(libc::SIGWINCH) && !ends(libc::SIGUSR1) && !ends(libc::SIGCHLD));
    }
}

//! The caller's terminal without line editing, echo or keys of its own, and its way back.

use std::panic;

use rustix::process::getpgrp;
use rustix::stdio::stdin;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr};

use crate::error::{Error, Result};

/// Standard input in raw mode, until this is dropped. A panic ends it too, also where panics abort and
/// drop nothing. Signals that end the runner are read by its loop, which returns; after SIGKILL only
/// reset(1) helps.
#[derive(Debug)]
pub(super) struct Raw {
    before: Termios,
}

impl Raw {
    pub(super) fn enter() -> Result<Self> {
        let failed = |errno| Error::kernel("read the mode of the caller's terminal", errno);
        // Signals are blocked, so the kernel would not stop us for touching another job's terminal.
        if tcgetpgrp(stdin()).map_err(failed)? != getpgrp() {
            return Err(Error::invalid("standard input is the terminal of another job")
                .hint("bring the job to the foreground, or leave out -i"));
        }
        let before = tcgetattr(stdin()).map_err(failed)?;
        leave_when_panicking(before.clone());
        let raw = Self { before };
        raw.again()?;
        Ok(raw)
    }

    pub(super) fn again(&self) -> Result<()> {
        let mut mode = self.before.clone();
        mode.make_raw();
        tcsetattr(stdin(), OptionalActions::Now, &mode)
            .map_err(|errno| Error::kernel("make the caller's terminal raw", errno))
    }

    pub(super) fn leave(&self) {
        // If it hung up, there is nothing to go back to.
        tcsetattr(stdin(), OptionalActions::Now, &self.before).ok();
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        self.leave();
    }
}

fn leave_when_panicking(before: Termios) {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        tcsetattr(stdin(), OptionalActions::Now, &before).ok();
        others(panic);
    }));
}

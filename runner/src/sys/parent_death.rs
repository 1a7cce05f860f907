//! Programs that must not outlive this process.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal};

/// Has the kernel kill the program when this thread ends, however that comes about. The program must
/// not change its user, which takes the order back (prctl(2), `PR_SET_PDEATHSIG`).
pub fn end_with_us(command: &mut Command) {
    let us = getpid();
    let order = move || {
        set_parent_process_death_signal(Some(Signal::KILL))?;
        // We may have ended before the order was given.
        match getppid() == Some(us) {
            true => Ok(()),
            false => Err(io::Error::from(rustix::io::Errno::SRCH)),
        }
    };
    // SAFETY: between fork and exec the closure makes two system calls and neither allocates nor
    // takes a lock.
    unsafe { command.pre_exec(order) };
}

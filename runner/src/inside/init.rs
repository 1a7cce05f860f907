//! The container's PID 1: passes signals on to the command, reaps orphans, and ends with the command.
//!
//! PID 1 is special twice: it becomes the parent of every orphan, and the kernel drops signals that
//! it has no handler for. Few programs are written for that, so this one goes before them.

use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, getpgid, wait};

use crate::supervise::exit_code;
use crate::sys::signal::{self, Number, Receiver};

/// Looks after `command`, a child, until it ends, and gives its exit code, 128+n if signal n ended it.
///
/// Whatever else runs then is killed by the kernel when the caller exits, as PID 1 it must do so at
/// once: waiting for the others would keep a container alive that nobody needs. Every signal must have
/// been blocked since before `command` was started, so that none is lost, its end included.
pub fn run(command: i32) -> i32 {
    loop {
        match signal::wait() {
            Ok(libc::SIGCHLD) => {
                if let Some(status) = reap(command) {
                    return exit_code(status);
                }
            }
            Ok(number) => pass_on(command, number),
            // A stop and continuation of ourselves.
            Err(_) => {}
        }
    }
}

/// Takes in all that have ended, since one SIGCHLD can stand for many.
fn reap(command: i32) -> Option<WaitStatus> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_pid() == command => return Some(status),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) | Err(_) => return None,
        }
    }
}

fn pass_on(command: i32, number: Number) {
    let pid = Pid::from_raw(command);
    // Without a group of its own the command shares ours, and the signal would come back to us.
    let leads = pid.is_some() && getpgid(pid).ok() == pid;
    let to = if leads && is_for_groups(number) {
        Receiver::Group(command)
    } else {
        Receiver::Process(command)
    };
    let number = match number {
        // Nobody outside the command's session is its parent, so that the kernel drops the
        // terminal's stop signals there (setpgid(2), orphaned process groups); STOP works.
        libc::SIGTSTP => libc::SIGSTOP,
        // About the runner's own terminal.
        libc::SIGTTIN | libc::SIGTTOU => return,
        other => other,
    };
    // It may have ended; that comes as SIGCHLD.
    let _ = signal::send(to, number);
}

/// What a terminal sends, it sends to a whole job: a shell's script and what it waits for.
fn is_for_groups(number: Number) -> bool {
    matches!(
        number,
        libc::SIGINT
            | libc::SIGQUIT
            | libc::SIGHUP
            | libc::SIGTSTP
            | libc::SIGCONT
            | libc::SIGWINCH
    )
}

//! Signals as a whole: blocked, awaited, passed on. The safe wrappers know no real-time signals.
#![allow(unsafe_code, reason = "sigset_t, sigaction and raw signal numbers have no safe wrapper")]

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::io::{Errno, Result};

/// A signal by its number, 1 to 64.
pub type Number = i32;

/// Which signals a thread blocks.
#[derive(Clone, Copy)]
pub struct Mask(libc::sigset_t);

impl std::fmt::Debug for Mask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Mask")
    }
}

impl Mask {
    /// Every signal.
    #[must_use]
    pub fn all() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigfillset writes the whole set and cannot fail with a valid pointer.
        unsafe {
            libc::sigfillset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// No signal.
    #[must_use]
    pub fn none() -> Self {
        let mut set = MaybeUninit::uninit();
        // SAFETY: sigemptyset writes the whole set and cannot fail with a valid pointer.
        unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            Self(set.assume_init())
        }
    }

    /// These alone.
    #[must_use]
    pub fn only(signals: &[Number]) -> Self {
        let mut mask = Self::none();
        for signal in signals {
            // SAFETY: the set is whole; a number that is none leaves it as it is.
            unsafe { libc::sigaddset(&raw mut mask.0, *signal) };
        }
        mask
    }

    /// Every signal but these.
    #[must_use]
    pub fn all_but(signals: &[Number]) -> Self {
        let mut mask = Self::all();
        for signal in signals {
            // SAFETY: the set is whole; a number that is none leaves it as it is.
            unsafe { libc::sigdelset(&raw mut mask.0, *signal) };
        }
        mask
    }

    /// Makes this the calling thread's mask, and gives the one before.
    pub fn set(self) -> Result<Self> {
        let mut old = MaybeUninit::uninit();
        // SAFETY: both point to whole sets; on success the old one has been written.
        unsafe {
            match libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, old.as_mut_ptr()) {
                0 => Ok(Self(old.assume_init())),
                errno => Err(Errno::from_raw_os_error(errno)),
            }
        }
    }
}

/// Blocks every signal in the calling thread, and gives the mask before. What the thread clones or
/// executes from then on has them blocked too, and loses none that comes meanwhile.
pub fn block_all() -> Result<Mask> {
    Mask::all().set()
}

/// Gives every signal its default effect again and unblocks all: what a command may expect of its
/// caller. std ignores SIGPIPE, and whoever started us may have ignored others; execve keeps that.
pub fn reset() -> Result<()> {
    // SAFETY: an all-zero sigaction is one with no handler, flag or mask.
    let mut default: libc::sigaction = unsafe { mem::zeroed() };
    default.sa_sigaction = libc::SIG_DFL;
    // Those above are the programs' own (signal(7)): nobody ignores them for others.
    for signal in 1..32 {
        // SAFETY: `default` is valid. KILL and STOP, and the two that libc keeps for threads, are
        // refused with EINVAL; they are at their default.
        unsafe { libc::sigaction(signal, &raw const default, ptr::null_mut()) };
    }
    Mask::none().set().map(drop)
}

/// Waits for any signal; all must be blocked.
pub fn wait() -> Result<Number> {
    let all = Mask::all();
    // SAFETY: the set is valid, and no information beside the number is asked for.
    check(unsafe { libc::sigwaitinfo(&raw const all.0, ptr::null_mut()) })
}

/// To whom a signal is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Receiver {
    /// One process.
    Process(i32),
    /// The process group of this leader.
    Group(i32),
}

/// kill(2).
pub fn send(to: Receiver, signal: Number) -> Result<()> {
    let target = match to {
        Receiver::Process(pid) => pid,
        Receiver::Group(leader) => -leader,
    };
    // SAFETY: no memory is involved.
    check(unsafe { libc::kill(target, signal) }).map(drop)
}

/// pidfd_send_signal(2): the process that is meant, whoever has its number by now.
pub fn send_by_pidfd(pidfd: BorrowedFd<'_>, signal: Number) -> Result<()> {
    let no_info = ptr::null::<libc::siginfo_t>();
    // SAFETY: without information the kernel fills it in as kill(2) does.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, no_info, 0)
    };
    if result == 0 { Ok(()) } else { Err(last()) }
}

/// Blocked signals as a file that can be polled.
#[derive(Debug)]
pub struct SignalFd(OwnedFd);

impl SignalFd {
    /// These signals; they must be blocked.
    pub fn of(mask: Mask) -> Result<Self> {
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: the set is valid; a new file descriptor belongs to nobody else.
        unsafe {
            let fd = check(libc::signalfd(-1, &raw const mask.0, flags))?;
            Ok(Self(OwnedFd::from_raw_fd(fd)))
        }
    }

    /// The next signal, if one has come.
    pub fn next(&self) -> Result<Option<Number>> {
        let mut info = [0; mem::size_of::<libc::signalfd_siginfo>()];
        match rustix::io::read(&self.0, &mut info) {
            // ssi_signo is the first field.
            Ok(_) => Ok(Some(i32::from_ne_bytes([info[0], info[1], info[2], info[3]]))),
            Err(Errno::AGAIN) => Ok(None),
            Err(errno) => Err(errno),
        }
    }
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn check(result: libc::c_int) -> Result<libc::c_int> {
    if result < 0 { Err(last()) } else { Ok(result) }
}

fn last() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

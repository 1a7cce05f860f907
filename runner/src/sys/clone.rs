//! clone3(2): a child in new namespaces, held by pidfd from its first moment.

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::io::Errno;
use rustix::thread::futex;

pub use libc::{CLONE_NEWNET, CLONE_NEWNS, CLONE_NEWUSER};

/// From linux/sched.h; libc's is an `int`, which it does not fit into.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;
/// What a child that panicked exits with, as every failure of the runner.
const PANICKED: i32 = 125;

/// A child process. As long as it is not waited for, its PID cannot be another's.
#[derive(Debug)]
pub struct Child {
    /// Its PID, as the caller sees it.
    pub pid: i32,
    /// Holds it.
    pub pidfd: OwnedFd,
}

/// Makes a child in new namespaces (`CLONE_NEW*`) and, if given, in this cgroup. It runs `work`
/// and ends with the code that this returns; destructors of the caller's frames do not run in it.
///
/// The caller must be single-threaded, as this whole program is: the child is a copy of the calling
/// thread alone, and a lock that another thread holds would stay locked in it.
///
/// # Errors
/// What clone3(2) says.
pub fn spawn(
    namespaces: i32,
    cgroup: Option<BorrowedFd<'_>>,
    work: impl FnOnce() -> i32,
) -> Result<Child, Errno> {
    let mut pidfd: RawFd = -1;
    let mut flags = (libc::CLONE_PIDFD as u64) | u64::from(namespaces.cast_unsigned());
    if cgroup.is_some() {
        flags |= CLONE_INTO_CGROUP;
    }
    // SAFETY: all zeroes is a valid clone_args.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = flags;
    arguments.pidfd = (&raw mut pidfd) as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    arguments.cgroup = cgroup.map_or(0, |fd| u64::from(fd.as_raw_fd().cast_unsigned()));
    // SAFETY: no memory is shared and no stack given, so the child goes on where the parent does,
    // as after fork(2). `arguments` and `pidfd` outlive the call.
    let pid = unsafe {
        libc::syscall(libc::SYS_clone3, &raw const arguments, size_of::<libc::clone_args>())
    };
    match pid {
        -1 => Err(last_errno()),
        0 => {
            let code = catch_unwind(AssertUnwindSafe(work)).unwrap_or(PANICKED);
            // SAFETY: ends the process at once, without the parent's exit handlers.
            unsafe { libc::_exit(code) }
        }
        // SAFETY: the kernel has just put a new descriptor there, which nobody else owns.
        pid => Ok(Child { pid: pid as i32, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// The errno of the last failed call of libc.
pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::INVAL)
}

/// A stack in memory of its own. It is never given back: both kinds of child end or become another
/// program, and so does this process soon.
struct Stack(*mut libc::c_void);

impl Stack {
    fn new(size: usize) -> Result<Self, Errno> {
        let access = libc::PROT_READ | libc::PROT_WRITE;
        let kind = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        // SAFETY: a new mapping, which nothing refers to yet.
        let start = unsafe { libc::mmap(ptr::null_mut(), size, access, kind, -1, 0) };
        if start == libc::MAP_FAILED {
            return Err(last_errno());
        }
        // SAFETY: its end; stacks grow down on every processor that this is for.
        Ok(Self(unsafe { start.add(size) }))
    }
}

type Work<'a> = Box<dyn FnOnce() -> i32 + 'a>;

/// A child in this process's memory that will become another program.
#[derive(Debug)]
pub struct Lodger {
    /// Its PID, as the caller sees it.
    pub pid: i32,
    /// Made zero by the kernel when it has left this memory.
    lodges: Box<AtomicU32>,
}

/// Makes a child that runs `work` in this process's memory, on a stack of its own, beside the caller.
/// Nothing has to be copied for it, which is a fifth of a millisecond.
///
/// From then on until [`Lodger::wait_until_gone`] has come back the caller has to do nothing but system
/// calls, by functions that leave `errno` alone: memory is not to be allocated, freed or otherwise
/// changed by two at once, and both have the same thread-local variables. What the child changes in
/// memory stays changed; its descriptors, signals and ids are its own.
///
/// # Errors
/// What clone(2) or mmap(2) says.
pub fn spawn_lodger(work: impl FnOnce() -> i32) -> Result<Lodger, Errno> {
    /// As much as a main thread has.
    const SIZE: usize = 8 << 20;
    let stack = Stack::new(SIZE)?;
    let lodges = Box::new(AtomicU32::new(1));
    let work: Box<Work<'_>> = Box::new(Box::new(work));
    let flags = libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    let (none, tid) = (ptr::null_mut::<libc::c_void>(), lodges.as_ptr());
    // SAFETY: nobody else uses the stack, `run` gets what it expects, and the counter outlives the
    // child's stay, for whoever drops it has waited.
    let pid =
        unsafe { libc::clone(run, stack.0, flags, Box::into_raw(work).cast(), none, none, tid) };
    if pid == -1 { Err(last_errno()) } else { Ok(Lodger { pid, lodges }) }
}

impl Lodger {
    /// Waits until the child has become another program or has ended.
    pub fn wait_until_gone(&self) {
        while self.lodges.load(Ordering::Acquire) != 0 {
            // Woken by the kernel, or nothing to wait for any more.
            futex::wait(&self.lodges, futex::Flags::empty(), 1, None).ok();
        }
    }
}

extern "C" fn run(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: made by `spawn_lodger`, for this one call.
    let work = unsafe { Box::from_raw(argument.cast::<Work<'_>>()) };
    let code = catch_unwind(AssertUnwindSafe(*work)).unwrap_or(PANICKED);
    // SAFETY: ends the child at once, without exit handlers, which are the parent's.
    unsafe { libc::_exit(code) }
}

/// What [`spawn_beside`] gives to what it runs.
type Descriptors = [Option<BorrowedFd<'static>>; 3];

/// What [`spawn_beside`] runs: nothing but system calls, by functions that leave `errno` alone. Memory
/// is not to be allocated, freed or otherwise changed by two at once.
pub type Calls = fn(Descriptors) -> Result<(), Errno>;

/// Makes a child that runs `calls` in this process's memory, beside the caller, and ends with the
/// errno. Of the caller's descriptors it has only these, under the numbers 0, 1 and 2.
///
/// # Errors
/// What clone(2) or mmap(2) says.
pub fn spawn_beside(calls: Calls, fds: [Option<BorrowedFd<'_>>; 3]) -> Result<Child, Errno> {
    const SIZE: usize = 64 << 10;
    let stack = Stack::new(SIZE)?;
    let mut pidfd: RawFd = -1;
    let fds = fds.map(|fd| fd.map_or(-1, |fd| fd.as_raw_fd()));
    // At the stack's end, where it stays as long as the child does.
    let order = stack.0.cast::<Order>().wrapping_sub(1);
    // SAFETY: this memory is the stack's own, aligned to pages before the subtraction.
    unsafe { order.write(Order { calls, fds }) };
    let flags = libc::CLONE_VM | libc::CLONE_PIDFD | libc::SIGCHLD;
    // SAFETY: nobody else uses the stack, `call` gets what it expects, and the kernel writes the
    // descriptor before this comes back.
    let pid = unsafe { libc::clone(call, order.cast(), flags, order.cast(), &raw mut pidfd) };
    match pid {
        -1 => Err(last_errno()),
        // SAFETY: the kernel has just put a new descriptor there, which nobody else owns.
        pid => Ok(Child { pid, pidfd: unsafe { OwnedFd::from_raw_fd(pidfd) } }),
    }
}

/// A multiple of 16 bytes, to which a stack has to be aligned.
#[repr(align(16))]
struct Order {
    calls: Calls,
    fds: [RawFd; 3],
}

extern "C" fn call(argument: *mut libc::c_void) -> libc::c_int {
    // SAFETY: written by `spawn_beside`.
    let order = unsafe { argument.cast::<Order>().read() };
    let code = isolate(order.fds)
        .and_then(|fds| (order.calls)(fds))
        .map_or_else(Errno::raw_os_error, |()| 0);
    // SAFETY: ends the child at once, without exit handlers, which are the parent's.
    unsafe { libc::_exit(code) }
}

/// Only these descriptors are left: others hold locks, or ends of pipes that somebody waits for.
fn isolate(fds: [RawFd; 3]) -> Result<Descriptors, Errno> {
    // SAFETY: takes integers only, and changes this process's own copies of the descriptors. The
    // parent has 0, 1 and 2 open, so those that are given have other numbers.
    unsafe {
        for (number, fd) in (0..).zip(fds) {
            if fd != -1 && libc::dup3(fd, number, 0) == -1 {
                return Err(Errno::BADF);
            }
        }
        libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0);
        Ok([0, 1, 2]
            .map(|number| (fds[number as usize] != -1).then(|| BorrowedFd::borrow_raw(number))))
    }
}

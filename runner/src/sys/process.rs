//! What a process is: its ids, its descriptors, its keyring, and the program it runs.
//!
//! The ids are set by bare system calls: libc's functions set those of every thread and take locks
//! for it, and this program has one thread.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use rustix::io::Errno;

use super::clone::last_errno;

fn checked(result: libc::c_long) -> Result<(), Errno> {
    if result == -1 { Err(last_errno()) } else { Ok(()) }
}

/// Sets the real, effective and saved user id.
///
/// # Errors
/// What setresuid(2) says.
pub fn set_user(uid: u32) -> Result<(), Errno> {
    // SAFETY: takes integers only.
    checked(unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) })
}

/// Sets the real, effective and saved group id.
///
/// # Errors
/// What setresgid(2) says.
pub fn set_group(gid: u32) -> Result<(), Errno> {
    // SAFETY: takes integers only.
    checked(unsafe { libc::syscall(libc::SYS_setresgid, gid, gid, gid) })
}

/// Sets the supplementary groups.
///
/// # Errors
/// What setgroups(2) says.
pub fn set_groups(groups: &[u32]) -> Result<(), Errno> {
    // SAFETY: the length is that of the slice.
    checked(unsafe { libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()) })
}

/// Closes every descriptor from `first` on.
///
/// # Errors
/// What close_range(2) says.
///
/// The caller owns them all, and uses none of them afterwards.
pub fn close_from(first: RawFd) -> Result<(), Errno> {
    // SAFETY: only descriptors change; those that a value of this process owns are not used again,
    // for what follows is the end of the process, an exec, or code that was given the ones below.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) })
}

/// Orders that a descriptor is closed when a program is executed.
///
/// # Errors
/// EBADF if there is none of this number.
pub fn close_at_exec(number: RawFd) -> Result<(), Errno> {
    // SAFETY: changes a flag of the descriptor, if there is one.
    checked(unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) }.into())
}

/// Closes a descriptor that no value of this process owns.
pub fn close(number: RawFd) {
    // SAFETY: the caller's to close.
    unsafe { libc::close(number) };
}

/// Joins a new session keyring, so that the caller's keys cannot be reached.
///
/// # Errors
/// What keyctl(2) says.
pub fn new_session_keyring() -> Result<(), Errno> {
    /// From linux/keyctl.h.
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: a null name means a new anonymous keyring.
    checked(unsafe {
        libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, ptr::null::<libc::c_char>())
    })
}

/// Sets a limit of this process: soft and hard.
///
/// # Errors
/// What prlimit(2) says.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let limit = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    // SAFETY: `limit` outlives the call, and a null pointer asks for no old value.
    checked(unsafe {
        libc::syscall(
            libc::SYS_prlimit64,
            0,
            resource,
            &raw const limit,
            ptr::null_mut::<libc::rlimit64>(),
        )
    })
}

/// Replaces the program. Comes back only with the reason why it could not.
pub fn execute(path: &CStr, arguments: &[CString], environment: &[CString]) -> Errno {
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: both arrays end with a null pointer and point to strings that outlive the call.
    unsafe { libc::execve(path.as_ptr(), arguments.as_ptr(), environment.as_ptr()) };
    last_errno()
}

/// Becomes the program in this open file, execveat(2). Returns only if that fails.
pub fn execute_file(file: impl AsFd, arguments: &[CString], environment: &[CString]) -> Errno {
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    // SAFETY: the path is a constant, and both arrays end with a null pointer and point to strings
    // that live until the call returns, if it does.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_fd().as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        )
    };
    last_errno()
}

fn pointers(words: &[CString]) -> Vec<*const libc::c_char> {
    words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect()
}

/// Puts a copy of a descriptor at a number, which is then inherited by the program that follows.
///
/// # Errors
/// What dup3(2) says.
pub fn put_at(fd: impl AsFd, number: RawFd, close_on_exec: bool) -> Result<(), Errno> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: takes integers only; whatever was open at `number` is given up by the caller.
    let done = unsafe { libc::dup3(fd.as_fd().as_raw_fd(), number, flags) };
    checked(libc::c_long::from(done))
}

/// Moves a descriptor to a number; it is closed when a program is executed.
///
/// # Errors
/// What dup3(2) says.
pub fn move_to(fd: OwnedFd, number: RawFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() == number {
        return Ok(fd);
    }
    put_at(fd.as_fd(), number, true)?;
    // SAFETY: the kernel has just put it there; what was there before is closed.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Ends this process at once: no destructor runs, nothing is flushed.
pub fn exit(code: i32) -> ! {
    // SAFETY: takes an integer and does not return.
    unsafe { libc::_exit(code) }
}

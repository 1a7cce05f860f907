//! Open-file-description locks on byte ranges, fcntl(2), Linux 3.15. Unlike flock(2), one can be
//! asked about without being taken.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Bytes of a file, which need not exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first byte.
    pub start: i64,
    /// How many.
    pub len: i64,
}

/// Takes the range for writing; false if somebody else has any of it.
pub fn try_lock(file: BorrowedFd<'_>, range: Range) -> Result<bool, Errno> {
    match call(file, libc::F_OFD_SETLK, &mut request(range, libc::F_WRLCK)) {
        Ok(()) => Ok(true),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// Gives the range back.
pub fn unlock(file: BorrowedFd<'_>, range: Range) -> Result<(), Errno> {
    call(file, libc::F_OFD_SETLK, &mut request(range, libc::F_UNLCK))
}

/// What somebody else has locked of the range, as far as it was locked in one piece.
pub fn held(file: BorrowedFd<'_>, range: Range) -> Result<Option<Range>, Errno> {
    let mut answer = request(range, libc::F_WRLCK);
    call(file, libc::F_OFD_GETLK, &mut answer)?;
    let free = i32::from(answer.l_type) == libc::F_UNLCK;
    Ok((!free).then_some(Range { start: answer.l_start, len: answer.l_len }))
}

fn request(range: Range, kind: libc::c_int) -> libc::flock {
    libc::flock {
        l_type: kind as libc::c_short,
        l_whence: libc::SEEK_SET as libc::c_short,
        l_start: range.start,
        l_len: range.len,
        // Must be zero with these commands, or the kernel answers EINVAL.
        l_pid: 0,
    }
}

fn call(file: BorrowedFd<'_>, command: libc::c_int, lock: &mut libc::flock) -> Result<(), Errno> {
    // SAFETY: the descriptor is borrowed and so open; the three commands read or write exactly one
    // `flock`, which outlives the call.
    match unsafe { libc::fcntl(file.as_raw_fd(), command, std::ptr::from_mut(lock)) } {
        0 => Ok(()),
        _ => Err(Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)),
    }
}

//! Namespaces as open files, ioctl_nsfs(2).

use std::os::fd::{AsRawFd, BorrowedFd};

/// `_IO(0xb7, 3)`.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// Whether it is a network namespace, and not another kind or an ordinary file.
#[must_use]
pub fn is_network(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: the call takes no argument and writes no memory; on what is no namespace it fails.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

//! Namespaces as open files, ioctl_nsfs(2).

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space, unshare_unsafe};

/// `_IO(0xb7, 3)`.
const NS_GET_NSTYPE: libc::Ioctl = 0xb703;

/// Whether it is a network namespace, and not another kind or an ordinary file.
#[must_use]
pub fn is_network(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: the call takes no argument and writes no memory; on what is no namespace it fails.
    let kind = unsafe { libc::ioctl(fd.as_raw_fd(), NS_GET_NSTYPE) };
    kind == libc::CLONE_NEWNET
}

/// A new network namespace. The caller, who has one thread, is in it for a moment. It makes sure
/// beforehand that it may come back, and if it cannot after all the process ends: everything it would do
/// from then on would be done in the wrong namespace.
///
/// # Errors
/// What open(2), setns(2) or unshare(2) says.
pub fn new_network() -> Result<OwnedFd, Errno> {
    let own = || openat(CWD, c"/proc/self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let home = own()?;
    let go_home = || move_into_link_name_space(home.as_fd(), Some(LinkNameSpaceType::Network));
    go_home()?;
    // SAFETY: of what unshare(2) can take apart, a network namespace is nothing that memory is in.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }?;
    let made = own();
    if go_home().is_err() {
        std::process::abort();
    }
    made
}

//! mount_setattr(2), which sets flags on a whole tree of mounts at once, and on one that is not
//! attached yet; and whose the files of a mount are.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::io::Errno;

use super::clone::last_errno;
use crate::plan::Attributes;

/// Sets flags on a mount and, if `recursive`, on all below it.
///
/// # Errors
/// What mount_setattr(2) says.
pub fn set_attributes(
    mount: impl AsFd,
    attributes: Attributes,
    recursive: bool,
) -> Result<(), Errno> {
    let mut wanted = unchanged();
    wanted.attr_set = attributes.bits();
    set(mount.as_fd(), &wanted, if recursive { libc::AT_RECURSIVE } else { 0 })
}

/// Shows what belongs to an id on disk as belonging to that id of a user namespace, on a mount that
/// has never been attached. The maps of the namespace have to be written by then. What is mounted on
/// it is seen nowhere else, though the mount that it is a copy of may be shared.
///
/// # Errors
/// `INVAL` if the file system of the mount cannot do that, `PERM` if it is not ours to decide.
pub fn map_ids(mount: impl AsFd, users: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut wanted = unchanged();
    wanted.attr_set = libc::MOUNT_ATTR_IDMAP;
    wanted.propagation = libc::MS_PRIVATE;
    wanted.userns_fd = users.as_raw_fd().cast_unsigned().into();
    set(mount.as_fd(), &wanted, 0)
}

fn unchanged() -> libc::mount_attr {
    // SAFETY: all zeroes is a valid mount_attr.
    unsafe { std::mem::zeroed() }
}

fn set(mount: BorrowedFd<'_>, wanted: &libc::mount_attr, flags: i32) -> Result<(), Errno> {
    // SAFETY: the path is a string constant, and `wanted` is borrowed for the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags | libc::AT_EMPTY_PATH,
            std::ptr::from_ref(wanted),
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

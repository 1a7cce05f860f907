//! mount_setattr(2), which sets flags on a whole tree of mounts at once, and on one that is not
//! attached yet.

use std::os::fd::{AsFd, AsRawFd};

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
    // SAFETY: all zeroes is a valid mount_attr.
    let mut wanted: libc::mount_attr = unsafe { std::mem::zeroed() };
    wanted.attr_set = attributes.bits();
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path is a string constant, and `wanted` outlives the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const wanted,
            size_of::<libc::mount_attr>(),
        )
    };
    if done == 0 { Ok(()) } else { Err(last_errno()) }
}

//! Btrfs subvolumes: made, snapshot, destroyed. See linux/btrfs.h and `btrfs-subvolume(8)`.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{fstat, fstatfs};
use rustix::io::Errno;

use super::clone::last_errno;

/// `BTRFS_SUPER_MAGIC`.
const MAGIC: u64 = 0x9123_683E;
/// `BTRFS_FIRST_FREE_OBJECTID`: the inode number of every subvolume's root directory.
const SUBVOLUME_ROOT: u64 = 256;
/// From linux/btrfs.h: `BTRFS_IOCTL_MAGIC`.
const BTRFS: u32 = 0x94;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct Named {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct NamedWithFlags {
    fd: i64,
    transid: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

const SUBVOL_CREATE: libc::Ioctl = libc::_IOW::<Named>(BTRFS, 14);
const SNAP_DESTROY: libc::Ioctl = libc::_IOW::<Named>(BTRFS, 15);
const SNAP_CREATE_V2: libc::Ioctl = libc::_IOW::<NamedWithFlags>(BTRFS, 23);

/// Whether an open file or directory is on Btrfs.
///
/// # Errors
/// What fstatfs(2) says.
pub fn is_btrfs(fd: impl AsFd) -> Result<bool, Errno> {
    Ok(fstatfs(fd)?.f_type as u64 & 0xFFFF_FFFF == MAGIC)
}

/// Whether an open directory is the root of a subvolume.
///
/// # Errors
/// What fstat(2) and fstatfs(2) say.
pub fn is_subvolume(directory: impl AsFd) -> Result<bool, Errno> {
    let directory = directory.as_fd();
    Ok(fstat(directory)?.st_ino == SUBVOLUME_ROOT && is_btrfs(directory)?)
}

/// Makes an empty subvolume.
///
/// # Errors
/// What the kernel says; `NAMETOOLONG` for a name that no file can have.
pub fn create(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let arguments = Named { fd: 0, name: filled(name)? };
    call(parent, SUBVOL_CREATE, &arguments)
}

/// Makes a writable snapshot of a subvolume.
///
/// # Errors
/// What the kernel says; `PERM` if the caller is not root and does not own the subvolume.
pub fn snapshot(
    subvolume: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<(), Errno> {
    let arguments = NamedWithFlags {
        fd: i64::from(subvolume.as_raw_fd()),
        transid: 0,
        flags: 0,
        unused: [0; 4],
        name: filled(name)?,
    };
    call(parent, SNAP_CREATE_V2, &arguments)
}

/// Destroys a subvolume with all that it holds, except for other subvolumes.
///
/// # Errors
/// What the kernel says; `PERM` without root, unless the file system is mounted with
/// `user_subvol_rm_allowed`; `NOTEMPTY` if it holds other subvolumes.
pub fn destroy(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let arguments = Named { fd: 0, name: filled(name)? };
    call(parent, SNAP_DESTROY, &arguments)
}

/// A name with the zero that ends it.
fn filled<const N: usize>(name: &OsStr) -> Result<[u8; N], Errno> {
    let mut buffer = [0; N];
    let bytes = name.as_bytes();
    let space = buffer[..N - 1].get_mut(..bytes.len()).ok_or(Errno::NAMETOOLONG)?;
    space.copy_from_slice(bytes);
    Ok(buffer)
}

fn call<T>(fd: BorrowedFd<'_>, request: libc::Ioctl, arguments: &T) -> Result<(), Errno> {
    // SAFETY: each request above is built from the type of its argument, which is `repr(C)` as the
    // kernel has it and outlives the call; the kernel only reads it.
    match unsafe { libc::ioctl(fd.as_raw_fd(), request, std::ptr::from_ref(arguments)) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

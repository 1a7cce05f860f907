//! Opening a path that must not leave a folder: openat2(2).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::path::Arg;

/// A rename takes microseconds; so many in a row are somebody's purpose.
const MOST_TRIES: usize = 10_000;

/// Opens a path below a folder. Magic links, which lead anywhere, are never followed.
///
/// With `..` on the way the kernel gives up (`EAGAIN`) whenever anything on the machine is renamed
/// or mounted meanwhile, since it could no longer tell whether the folder was left.
pub(super) fn open(
    folder: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    how: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let how = how | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..MOST_TRIES {
        match openat2(&folder, path, flags, Mode::empty(), how) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            other => return other,
        }
    }
    Err(Errno::AGAIN)
}

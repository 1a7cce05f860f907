//! Pseudo-terminals: both ends, opened so that no name in between can mislead.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, major, minor, openat2};
use rustix::io::{Errno, Result};
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};

/// `DEVPTS_SUPER_MAGIC`, linux/magic.h.
const DEVPTS: u64 = 0x1cd1;
/// The device number of every ptmx, Documentation/admin-guide/devices.txt.
const PTMX: (u32, u32) = (5, 2);
/// The first major number of the slaves; there are eight.
const SLAVES: std::ops::Range<u32> = 136..144;

/// A terminal: what the program on it sees, and the end that plays the keyboard and the screen.
#[derive(Debug)]
pub struct Pair {
    /// The end of the runner.
    pub master: OwnedFd,
    /// The end of the program.
    pub slave: OwnedFd,
}

/// A new terminal of the devpts that is mounted at `pts` below `dev`. `EXDEV`, `ELOOP` or `ENOTTY` if what
/// is there is not what it should be.
pub fn open(dev: impl AsFd) -> Result<Pair> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let master = openat2(dev, "pts/ptmx", flags, Mode::empty(), resolve)?;
    verify(&master, |device| device == PTMX)?;
    unlockpt(&master)?;
    // By the master and not by name: a link in place of the slave was how CVE-2025-52565 worked.
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, flags)?;
    verify(&slave, |(major, _)| SLAVES.contains(&major))?;
    Ok(Pair { master, slave })
}

fn verify(fd: &OwnedFd, is_right: impl FnOnce((u32, u32)) -> bool) -> Result<()> {
    let stat = fstat(fd)?;
    let device = (major(stat.st_rdev), minor(stat.st_rdev));
    let is_device = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    let of_devpts = u64::try_from(fstatfs(fd)?.f_type).is_ok_and(|magic| magic == DEVPTS);
    if is_device && of_devpts && is_right(device) { Ok(()) } else { Err(Errno::NOTTY) }
}

/// Makes this the controlling terminal of the calling process, which must lead a session that has none.
pub fn make_controlling(slave: impl AsFd) -> Result<()> {
    ioctl_tiocsctty(slave)
}

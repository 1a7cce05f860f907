//! Advisory locks on files and folders: flock(2). They end with the process that holds them.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, lstat, open};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};

/// A lock that is held as long as this exists.
#[derive(Debug)]
pub(crate) struct Lock(OwnedFd);

impl Lock {
    /// Waits until nobody has it exclusively.
    pub(crate) fn shared(path: &Path) -> Result<Self> {
        Self::take(path, FlockOperation::LockShared)
    }

    /// Waits until nobody has it.
    pub(crate) fn exclusive(path: &Path) -> Result<Self> {
        Self::take(path, FlockOperation::LockExclusive)
    }

    /// The lock, unless somebody has it.
    pub(crate) fn try_exclusive(path: &Path) -> Result<Option<Self>> {
        let lock = Self(opened(path)?);
        match flock(&lock.0, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if lock.is_of(path) => Ok(Some(lock)),
            // It was removed, and perhaps made anew, before it was locked.
            Ok(()) => Err(failed(path, Errno::NOENT)),
            Err(Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(failed(path, errno)),
        }
    }

    fn is_of(&self, path: &Path) -> bool {
        let inode = |found: rustix::fs::Stat| (found.st_dev, found.st_ino);
        let locked = fstat(&self.0).map(inode);
        locked.is_ok() && locked == lstat(path).map(inode)
    }

    fn take(path: &Path, operation: FlockOperation) -> Result<Self> {
        let lock = Self(opened(path)?);
        rustix::io::retry_on_intr(|| flock(&lock.0, operation))
            .map_err(|errno| failed(path, errno))?;
        Ok(lock)
    }
}

fn opened(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    open(path, flags, Mode::empty()).map_err(|errno| failed(path, errno))
}

fn failed(path: &Path, errno: Errno) -> Error {
    let error = Error::kernel(format!("lock {}", path.display()), errno);
    match errno {
        Errno::NOENT => error.with_kind(ErrorKind::NotFound),
        _ => error,
    }
}

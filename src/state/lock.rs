//! Locks: byte ranges of one file, so that no lock file is ever left behind or removed under
//! somebody's feet. They are open-file-description locks (fcntl(2), Linux 3.15): they hold between
//! threads too, and the kernel drops them when the holder dies.

use std::fs::{File, OpenOptions};
use std::hash::Hasher;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use siphasher::sip::SipHasher24;

use crate::addr::Prefix;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{AttachmentId, IfName};
use crate::state::{State, in_its_folder};

/// A lock that is held until it is dropped.
#[derive(Debug)]
#[must_use = "the lock is released when this is dropped"]
pub struct Lock {
    file: File,
    offset: i64,
}

/// How long to wait for others. Each needs a millisecond, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each kind of lock has a range of its own; within it the offset is a hash. Two names with one
/// hash merely wait for each other.
const SPAN: u64 = 1 << 60;
/// The range that is held while the kernel reclaims what was deleted.
const RECLAIM: u64 = 4;

fn offset(kind: u64, hash: u64) -> i64 {
    i64::try_from(kind * SPAN + hash % SPAN).unwrap_or(i64::MAX)
}

impl State {
    /// Keeps everybody else from this attachment.
    pub fn lock_attachment(&self, id: &AttachmentId) -> Result<Lock> {
        self.lock(0, id.hash(0), libc::F_WRLCK)
    }

    /// As [`State::lock_attachment`]; `None` if somebody has it.
    pub fn try_lock_attachment(&self, id: &AttachmentId) -> Result<Option<Lock>> {
        let lock = self.unlocked(0, id.hash(0))?;
        lock.try_take(libc::F_WRLCK).map(|taken| taken.then_some(lock))
    }

    /// Keeps everybody else from this pool.
    pub fn lock_pool(&self, pool: Prefix) -> Result<Lock> {
        self.lock(1, hash(&pool.to_string()), libc::F_WRLCK)
    }

    /// Keeps everybody else from this bridge.
    pub fn lock_bridge(&self, bridge: &IfName) -> Result<Lock> {
        self.lock(2, hash(bridge.as_str()), libc::F_WRLCK)
    }

    /// Announces a call. It relies on what all attachments share: forwarding, the static rules and
    /// the state folder itself. To be taken before any other lock.
    pub fn share_host(&self) -> Result<Lock> {
        self.lock(3, 0, libc::F_RDLCK)
    }

    /// Waits until no call relies on what is shared.
    pub fn lock_host(&self) -> Result<Lock> {
        self.lock(3, 0, libc::F_WRLCK)
    }

    /// Keeps everybody else from loading the static rules.
    pub fn lock_rules(&self) -> Result<Lock> {
        self.lock(5, 0, libc::F_WRLCK)
    }

    /// Announces that the kernel is reclaiming what was deleted; held by the child that waits.
    pub fn announce_reclaim(&self) -> Result<Lock> {
        self.lock(RECLAIM, 0, libc::F_RDLCK)
    }

    fn lock(&self, kind: u64, hash: u64, how: libc::c_int) -> Result<Lock> {
        loop {
            let lock = self.unlocked(kind, hash)?;
            if !lock.try_take(how)? {
                lock.wait(how)?;
            }
            // The last one out may have removed the file between our open and our lock.
            if lock.is_current() {
                return Ok(lock);
            }
        }
    }

    fn unlocked(&self, kind: u64, hash: u64) -> Result<Lock> {
        let path = self.path("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        // A descriptor of its own: the lock belongs to the open file, not to the process.
        let file = in_its_folder("open", &path, || options.open(&path))?;
        Ok(Lock { file, offset: offset(kind, hash) })
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Lock {
    /// Whether anybody has announced that the kernel is reclaiming what was deleted. Any lock's file
    /// will do to ask.
    pub fn is_reclaiming(&self) -> Result<bool> {
        let mut range = self.range(libc::F_WRLCK);
        range.l_start = offset(RECLAIM, 0);
        match fcntl(&self.file, FcntlArg::F_OFD_GETLK(&mut range)) {
            Ok(_) => Ok(i32::from(range.l_type) != libc::F_UNLCK),
            Err(errno) => Err(refused(errno)),
        }
    }

    /// Turns a shared lock into one that nobody else has any part in; false if somebody has.
    pub fn try_upgrade(&self) -> Result<bool> {
        self.try_take(libc::F_WRLCK)
    }

    /// Waits in the kernel, which serves those who wait in turn. It knows no deadline for this, so
    /// a thread waits; the lock that it gets is the open file's, and so ours.
    fn wait(&self, how: libc::c_int) -> Result<()> {
        let file = self.file.try_clone().map_err(|e| Error::io("duplicate a lock", &e))?;
        let range = self.range(how);
        let (done, outcome) = mpsc::channel();
        thread::spawn(move || {
            // Nobody listens any more once the patience is at its end.
            done.send(take_in_turn(&file, &range)).is_ok()
        });
        match outcome.recv_timeout(PATIENCE) {
            Ok(taken) => taken.map_err(refused),
            Err(_) => Err(busy()),
        }
    }

    /// Whether the file still has its name, under which others look for it.
    fn is_current(&self) -> bool {
        self.file.metadata().is_ok_and(|file| file.nlink() != 0)
    }

    fn try_take(&self, how: libc::c_int) -> Result<bool> {
        match fcntl(&self.file, FcntlArg::F_OFD_SETLK(&self.range(how))) {
            Ok(_) => Ok(true),
            Err(Errno::EAGAIN | Errno::EACCES) => Ok(false),
            Err(errno) => Err(refused(errno)),
        }
    }

    fn range(&self, how: libc::c_int) -> libc::flock {
        libc::flock {
            l_type: how as libc::c_short,
            l_whence: libc::SEEK_SET as libc::c_short,
            l_start: self.offset,
            l_len: 1,
            l_pid: 0,
        }
    }
}

fn take_in_turn(file: &File, range: &libc::flock) -> Result<(), Errno> {
    loop {
        match fcntl(file, FcntlArg::F_OFD_SETLKW(range)) {
            Err(Errno::EINTR) => {}
            other => return other.map(drop),
        }
    }
}

fn refused(errno: Errno) -> Error {
    Error::kernel("lock the state folder", errno as i32, None)
}

fn busy() -> Error {
    Error::new(
        ErrorKind::State,
        format!("another netup call has held its lock for {} s", PATIENCE.as_secs()),
    )
    .hint("look for a netup process that hangs")
}

fn hash(text: &str) -> u64 {
    let mut hasher = SipHasher24::new();
    hasher.write(text.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::scratch;

    #[test]
    fn a_lock_keeps_others_out_and_only_from_the_same_thing() {
        let (state, _folder) = scratch();
        let id = |name: &str| crate::ident::AttachmentId {
            container: name.parse().unwrap(),
            ifname: "eth0".parse().unwrap(),
        };
        let held = state.lock_attachment(&id("a")).unwrap();
        assert!(state.try_lock_attachment(&id("a")).unwrap().is_none());
        assert!(state.try_lock_attachment(&id("b")).unwrap().is_some());
        drop(held);
        assert!(state.try_lock_attachment(&id("a")).unwrap().is_some());
    }

    #[test]
    fn a_shared_lock_is_upgraded_only_when_alone() {
        let (state, _folder) = scratch();
        let (first, second) = (state.share_host().unwrap(), state.share_host().unwrap());
        assert!(!first.try_upgrade().unwrap());
        drop(second);
        assert!(first.try_upgrade().unwrap());
    }

    #[test]
    fn a_lock_that_went_with_the_folder_is_not_taken_for_one() {
        let (state, _folder) = scratch();
        let presence = state.share_host().unwrap();
        let waiting = thread::scope(|scope| {
            let waiting = scope.spawn(|| state.lock_host().unwrap());
            thread::sleep(Duration::from_millis(50));
            state.remove(&presence).unwrap();
            drop(presence);
            waiting.join().unwrap()
        });
        // It keeps those out who come now, so it is on the file that is there now.
        let newcomer = state.unlocked(3, 0).unwrap();
        assert!(!newcomer.try_upgrade().unwrap());
        drop(waiting);
        assert!(newcomer.try_upgrade().unwrap());
    }
}

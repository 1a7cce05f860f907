//! The lease folder of one network, as the reference plugin keeps it too:
//!
//! ```text
//! <dataDir>/<network>/
//!   lock                 flock(2) keeps others out, of both implementations
//!   10.0.0.2             one file per address: ID \r\n IFNAME
//!   last_reserved_ip.0   the address that the range set of this number gave out last
//! ```
//!
//! The lock is held for a whole call. What only that makes true: a lease file without content is
//! nobody's. Its writer was interrupted, or the file system was full.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::cni::failure::Failure;
use crate::cni::ipam::host_local::index::{Index, Owners};
use crate::cni::ipam::host_local::owner::{Owner, key_of};
use crate::cni::ipam::host_local::scan::Scanned;
use crate::cni::ipam::host_local::{boot, file_failed};

/// The folder, locked.
#[derive(Debug)]
pub struct Leases {
    folder: PathBuf,
    /// `None` if there can be none, or it went wrong: then the lease files are read.
    index: Option<Index>,
    /// What reading all lease files came to, if they were read.
    scanned: Option<Scanned>,
    changed: bool,
    _lock: Flock<File>,
}

impl Leases {
    /// Locks the folder, which is made where it is missing.
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        if let Some(leases) = Self::open_existing(folder)? {
            return Ok(leases);
        }
        let made = DirBuilder::new().recursive(true).mode(0o755).create(folder);
        made.map_err(|e| file_failed("create", folder, &e))?;
        let gone = || file_failed("open", folder, &io::ErrorKind::NotFound.into());
        Self::open_existing(folder)?.ok_or_else(gone)
    }

    /// Locks the folder, if there is one.
    pub fn open_existing(folder: &Path) -> Result<Option<Self>, Failure> {
        let path = folder.join("lock");
        let file =
            OpenOptions::new().read(true).custom_flags(nix::libc::O_CREAT).mode(0o750).open(&path);
        let file = match file {
            Err(e) if is_absent(&e) => return Ok(None),
            file => file.map_err(|e| file_failed("open", &path, &e))?,
        };
        let lock = locked(file).map_err(|e| file_failed("lock", &path, &e.into()))?;
        Self::with_lock(folder, lock).map(Some)
    }

    fn with_lock(folder: &Path, lock: Flock<File>) -> Result<Self, Failure> {
        let metadata = fs::metadata(folder).map_err(|e| file_failed("read", folder, &e))?;
        let mut leases = Self {
            folder: folder.to_owned(),
            index: Index::of(&metadata),
            scanned: None,
            changed: false,
            _lock: lock,
        };
        if !leases.index.as_ref().is_some_and(|index| index.is_current(&metadata)) {
            leases.scan()?;
        }
        Ok(leases)
    }

    /// The addresses of an owner. An error if that cannot be told.
    pub fn of(&mut self, owner: &Owner) -> Result<Vec<IpAddr>, Failure> {
        let ips = [self.by_key(&owner.key())?, self.by_key(&owner.id)?].concat();
        match self.scanned.as_ref().and_then(|scanned| scanned.unreadable.clone()) {
            Some(unreadable) if ips.is_empty() => Err(unreadable),
            _ => Ok(ips),
        }
    }

    /// The addresses of the owner, or those of the container's files that name no interface if
    /// there are no others.
    fn releasable(&mut self, owner: &Owner) -> Result<(String, Vec<IpAddr>), Failure> {
        let own = self.by_key(&owner.key())?;
        match own.is_empty() {
            true => Ok((owner.id.clone(), self.by_key(&owner.id)?)),
            false => Ok((owner.key(), own)),
        }
    }

    /// What is listed under the key. The index is believed only where the files agree, in case one
    /// was removed while we held the lock, by somebody who does not care for it.
    pub fn by_key(&mut self, key: &str) -> Result<Vec<IpAddr>, Failure> {
        if self.scanned.is_none() {
            let told = self.index.as_ref().and_then(|index| index.addresses(key));
            let holds = |ip: &IpAddr| {
                fs::read(self.path(*ip)).is_ok_and(|held| key_of(&held).as_deref() == Some(key))
            };
            match told {
                Some(ips) if ips.iter().all(holds) => return Ok(ips),
                _ => self.scan()?,
            }
        }
        let owners = self.scanned.as_ref().map(|scanned| &scanned.owners);
        Ok(owners.and_then(|owners| owners.get(key)).cloned().unwrap_or_default())
    }

    /// Every owner, and what could not be read.
    pub fn all(&mut self) -> Result<(Owners, Option<Failure>), Failure> {
        if self.scanned.is_none() {
            match self.index.as_ref().and_then(Index::owners) {
                Some(owners) => return Ok((owners, None)),
                None => self.scan()?,
            }
        }
        let scanned = self.scanned.as_ref();
        Ok(scanned.map(|s| (s.owners.clone(), s.unreadable.clone())).unwrap_or_default())
    }

    /// The names of all addresses that have a file, whatever it holds.
    pub fn taken(&self) -> Result<Vec<IpAddr>, Failure> {
        let names = fs::read_dir(&self.folder).and_then(|entries| {
            entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>()
        });
        let names = names.map_err(|e| file_failed("list", &self.folder, &e))?;
        Ok(names.iter().filter_map(|name| name.to_str()?.parse().ok()).collect())
    }

    /// Takes an address; false if somebody has it.
    pub fn take(&mut self, ip: IpAddr, owner: &Owner) -> Result<bool, Failure> {
        let path = self.path(ip);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = match file {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
            file => file.map_err(|e| file_failed("create", &path, &e))?,
        };
        self.changed = true;
        if let Err(e) = file.write_all(owner.content().as_bytes()) {
            let failure = file_failed("write", &path, &e);
            return Err(with_undo(failure, fs::remove_file(&path), &path));
        }
        let others = self.by_key_unverified(&owner.key());
        self.note(&owner.key(), [others, vec![ip]].concat());
        Ok(true)
    }

    fn by_key_unverified(&self, key: &str) -> Vec<IpAddr> {
        match (&self.scanned, &self.index) {
            (Some(scanned), _) => scanned.owners.get(key).cloned(),
            (None, Some(index)) => index.addresses(key),
            (None, None) => None,
        }
        .unwrap_or_default()
    }

    /// Gives back all that the owner has. That there is nothing is success; that this cannot be
    /// told is not.
    pub fn release(&mut self, owner: &Owner) -> Result<(), Failure> {
        let (key, ips) = self.releasable(owner)?;
        let unreadable = self.scanned.as_ref().and_then(|scanned| scanned.unreadable.clone());
        match (ips.is_empty(), unreadable) {
            (true, Some(unreadable)) => Err(unreadable),
            (true, None) => Ok(()),
            (false, _) => self.remove(&key, &ips),
        }
    }

    /// Removes the files of addresses, which are the owner's of this key.
    pub fn remove(&mut self, key: &str, ips: &[IpAddr]) -> Result<(), Failure> {
        let mut left = self.by_key_unverified(key);
        let mut failed = None;
        for &ip in ips {
            let path = self.path(ip);
            self.changed = true;
            match fs::remove_file(&path) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => {
                    failed = failed.or_else(|| Some(file_failed("remove", &path, &e)));
                }
                _ => left.retain(|other| *other != ip),
            }
        }
        self.note(key, left);
        failed.map_or(Ok(()), Err)
    }

    /// The address that a set gave out last. What cannot be read only costs its turn.
    pub fn last(&self, set: usize) -> Option<IpAddr> {
        fs::read_to_string(self.last_path(set)).ok()?.trim().parse().ok()
    }

    /// Remembers the address that a set gave out last.
    pub fn set_last(&self, set: usize, ip: IpAddr) -> Result<(), Failure> {
        let path = self.last_path(set);
        let write = || {
            let mut options = OpenOptions::new();
            // Not emptied beforehand: in place it can be written even if the file system is full.
            let options = options.write(true).create(true).truncate(false).mode(0o600);
            let (mut file, text) = (options.open(&path)?, ip.to_string());
            file.write_all(text.as_bytes())?;
            file.set_len(text.len() as u64)
        };
        write().map_err(|e| file_failed("write", &path, &e))
    }

    fn last_path(&self, set: usize) -> PathBuf {
        self.folder.join(format!("last_reserved_ip.{set}"))
    }

    fn path(&self, ip: IpAddr) -> PathBuf {
        self.folder.join(ip.to_string())
    }

    /// Notes what an owner has now. An index that cannot be written is one no more.
    fn note(&mut self, key: &str, ips: Vec<IpAddr>) {
        if self.index.as_ref().is_some_and(|index| index.set(key, &ips).is_err()) {
            self.index = None;
        }
        if let Some(scanned) = &mut self.scanned {
            scanned.owners.insert(key.to_owned(), ips);
        }
    }

    /// Reads every lease file, and has the index say the same.
    fn scan(&mut self) -> Result<(), Failure> {
        // The index, made afterwards, is the mark that leases from before the boot are gone. Where
        // it cannot be made they are left alone: they would be looked for again and again.
        self.index.take_if(|index| !index.can_exist());
        let first = self.index.as_ref().is_some_and(|index| !index.exists());
        let scanned = Scanned::of(&self.folder, first.then(boot::beginning).flatten())?;
        self.index.take_if(|index| {
            scanned.unreadable.is_some() || index.rebuild(&scanned.owners).is_err()
        });
        self.scanned = Some(scanned);
        self.changed = true;
        Ok(())
    }

    /// Ends the call: what follows may rely on the index.
    pub fn close(self) {
        if let (true, Some(index)) = (self.changed, &self.index) {
            // If it fails, the next call reads all lease files.
            drop(index.stamp(&self.folder));
        }
    }
}

/// Nor can there be anything below what is no folder.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn locked(mut file: File) -> Result<Flock<File>, Errno> {
    loop {
        match Flock::lock(file, FlockArg::LockExclusive) {
            Err((same, Errno::EINTR)) => file = same,
            other => return other.map_err(|(_, errno)| errno),
        }
    }
}

/// The failure, and that what it left could not be removed either.
fn with_undo(failure: Failure, undo: io::Result<()>, path: &Path) -> Failure {
    match undo {
        Ok(()) => failure,
        Err(e) => {
            let also = file_failed("remove", path, &e);
            Failure { msg: format!("{}; also, {}", failure.msg, also.msg), ..failure }
        }
    }
}

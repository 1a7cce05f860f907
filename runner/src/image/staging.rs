//! A layer that is not yet in the store.

use std::fs::{self, DirBuilder, File};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use super::{LayerId, Lock, Store};
use crate::error::{Error, Result};
use crate::sys::btrfs;

/// A folder with the files of a layer to be. It is removed when this goes out of scope, unless it
/// was put in its place; a crash leaves it without a lock, and the next call finds it.
#[derive(Debug)]
pub(super) struct Staging<'a> {
    store: &'a Store,
    id: LayerId,
    folder: PathBuf,
    _lock: Lock,
    kept: bool,
}

impl<'a> Staging<'a> {
    /// The caller holds the store's lock, so that nobody takes the folder for left behind before
    /// it is locked.
    pub(super) fn new(store: &'a Store, _held: &Lock) -> Result<Self> {
        let id = LayerId::new()?;
        let folder = store.layers().join(format!(".new-{id}"));
        let failed = |error| Error::state(format!("create {}", folder.display()), &error);
        DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
        let lock = Lock::exclusive(&folder)?;
        let staging = Self { store, id, folder, _lock: lock, kept: false };
        staging.make_root()?;
        Ok(staging)
    }

    fn make_root(&self) -> Result<()> {
        let root = self.root();
        let failed = |error| Error::state(format!("create {}", root.display()), &error);
        let folder = File::open(&self.folder).map_err(failed)?;
        if btrfs::is_btrfs(&folder).map_err(|errno| failed(errno.into()))? {
            btrfs::create(folder.as_fd(), "root".as_ref()).map_err(|errno| {
                Error::kernel(format!("ioctl(BTRFS_IOC_SUBVOL_CREATE, {})", root.display()), errno)
            })?;
        } else {
            fs::create_dir(&root).map_err(failed)?;
        }
        // Whatever the caller's umask is, others than root shall reach what is in the root.
        rustix::fs::chmod(root.as_os_str().as_bytes(), 0o755.into())
            .map_err(|errno| failed(errno.into()))
    }

    /// Where the files go.
    pub(super) fn root(&self) -> PathBuf {
        self.folder.join("root")
    }

    /// The folder itself, for what else is needed on the way.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Puts it in its place. The caller holds the store's lock and writes the image down next.
    pub(super) fn keep(mut self, _held: &Lock) -> Result<LayerId> {
        let place = self.store.layer(&self.id);
        fs::rename(&self.folder, &place)
            .map_err(|error| Error::state(format!("rename to {}", place.display()), &error))?;
        self.kept = true;
        Ok(self.id.clone())
    }
}

impl Drop for Staging<'_> {
    fn drop(&mut self) {
        if !self.kept {
            // What is left is cleared by the next call; the cause of all this is told already.
            self.store.erase(&self.folder).ok();
        }
    }
}

//! The folder of a container that runs.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, symlink};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::erase;
use crate::error::{Error, ErrorKind, Result};
use crate::image::{LayerId, Lock, Store, owners};
use crate::name::{ContainerName, ImageName};
use crate::sys::btrfs;

/// The folder of a container that runs. It is removed when this goes out of scope; a crash leaves
/// it without a lock.
#[derive(Debug)]
pub(super) struct RunFolder {
    path: PathBuf,
    _lock: Lock,
    is_gone: bool,
}

impl RunFolder {
    /// Makes the folder; one that a dead runner left under this name is removed.
    pub(super) fn make(
        store: &Store,
        name: &ContainerName,
        image: Option<&ImageName>,
    ) -> Result<Self> {
        let path = store.run(name);
        let failed = |error: io::Error| Error::state(format!("create {}", path.display()), &error);
        // Between making and locking it nobody may take it for left behind.
        let _held = store.lock()?;
        let make = || DirBuilder::new().mode(0o700).create(&path);
        match make() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::discard(&path)?;
                make().map_err(|error| taken(name, error))?;
            }
            made => made.map_err(failed)?,
        }
        let lock = Lock::exclusive(&path)?;
        if let Some(image) = image {
            symlink(image.as_str(), path.join("image")).map_err(failed)?;
        }
        Ok(Self { path, _lock: lock, is_gone: false })
    }

    /// Removes the folder at a path, unless a running container has it.
    pub(super) fn discard(path: &Path) -> Result<()> {
        // The path is from a record; nothing else is ever removed by one.
        let is_run = path.parent().and_then(Path::file_name) == Some("runs".as_ref());
        if !is_run {
            let message = format!("{} is no folder of a container", path.display());
            return Err(Error::new(ErrorKind::State, message));
        }
        match Lock::try_exclusive(path) {
            Ok(Some(_lock)) => erase::tree(owners()?.as_ref(), path),
            Ok(None) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn root(&self) -> PathBuf {
        self.path.join("root")
    }

    pub(super) fn work(&self) -> PathBuf {
        self.path.join("work")
    }

    pub(super) fn snapshot(&self, subvolume: BorrowedFd<'_>) -> Result<(), Errno> {
        let folder = File::open(&self.path).map_err(|error| errno_of(&error))?;
        btrfs::snapshot(subvolume, folder.as_fd(), "root".as_ref())
    }

    /// The folders of an overlay that is written to disk.
    pub(super) fn make_upper(&self) -> Result<()> {
        for folder in [self.root(), self.work()] {
            let failed = |errno| Error::kernel(format!("create {}", folder.display()), errno);
            fs::create_dir(&folder).map_err(|error| failed(errno_of(&error)))?;
            rustix::fs::chmod(&folder, 0o755.into()).map_err(failed)?;
        }
        Ok(())
    }

    pub(super) fn remove(mut self) -> Result<()> {
        self.is_gone = true;
        erase::tree(owners()?.as_ref(), &self.path)
    }

    /// Makes it a layer. The caller holds the store's lock and writes the image down next.
    pub(super) fn keep(mut self, store: &Store) -> Result<LayerId> {
        let owners = owners()?;
        erase::tree(owners.as_ref(), &self.work())?;
        erase::tree(None, &self.path.join("image"))?;
        let id = LayerId::new()?;
        let place = store.layer(&id);
        fs::rename(&self.path, &place)
            .map_err(|error| Error::state(format!("rename to {}", place.display()), &error))?;
        self.is_gone = true;
        Ok(id)
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        if !self.is_gone
            && let Ok(owners) = owners()
        {
            // What is left is cleared by the next call; the cause of all this is told already.
            erase::tree(owners.as_ref(), &self.path).ok();
        }
    }
}

fn taken(name: &ContainerName, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Error::new(ErrorKind::Conflict, format!("a container {name} is running"))
                .hint("choose another name with --name")
        }
        _ => Error::state(format!("create the folder of container {name}"), &error),
    }
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

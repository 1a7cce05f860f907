//! The folders that entries are in: found, made if need be, and what of a lower layer is taken out
//! of them.
//!
//! What a whiteout hides is of the layers below, wherever in its archive it stands. So it is known
//! which names this archive has made: each by the inode of its folder, since the same folder can be
//! reached by several paths.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, futimens, mkdirat, openat, statat,
};
use rustix::io::Errno;

use super::path::EntryPath;
use super::{Time, bad, failed, times};
use crate::erase;
use crate::error::{Error, Result};
use crate::image::resolve;

/// An open folder.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    fd: Rc<OwnedFd>,
    inode: u64,
}

impl AsFd for Folder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

pub(super) struct Folders {
    root: Folder,
    /// Archives go folder by folder.
    last: Option<(Vec<u8>, Folder)>,
    made: Option<Made>,
    /// Whatever is put into a folder changes its time, so that is set at the end.
    unfinished: Vec<Unfinished>,
}

/// What this archive has made.
#[derive(Default)]
struct Made {
    names: HashSet<(u64, OsString)>,
    /// Folders that hold something made, however deep.
    folders: HashSet<u64>,
}

struct Unfinished {
    path: Vec<u8>,
    inode: u64,
    modified: Time,
}

impl Folders {
    /// Without a layer below, nothing can be hidden.
    pub(super) fn new(has_lower: bool) -> Result<Self> {
        let root = openat(CWD, "/", flags() | OFlags::PATH, Mode::empty());
        let root = Folder::new(root.map_err(failed("open the root"))?)?;
        let made = has_lower.then(Made::default);
        Ok(Self { root, last: None, made, unfinished: Vec::new() })
    }

    /// The root, open for reading.
    pub(super) fn root(&self) -> Result<OwnedFd, Errno> {
        openat(&self.root, ".", flags(), Mode::empty())
    }

    /// The folder that an entry is in, made if it is not there.
    pub(super) fn of(&mut self, path: &EntryPath<'_>) -> Result<Folder> {
        let parent = path.parent();
        let bytes = parent.to_bytes();
        if let Some((path, folder)) = &self.last
            && *path == bytes
        {
            return Ok(folder.clone());
        }
        let folder = match self.open(&bytes) {
            Err(Errno::NOENT) => self.make(&parent)?,
            found => Folder::new(found.map_err(failed("open its folder"))?)?,
        };
        self.last = Some((bytes, folder.clone()));
        Ok(folder)
    }

    /// The folder of something that has to be there.
    pub(super) fn existing(&self, path: &EntryPath<'_>) -> Result<Folder> {
        let found = self.open(&path.parent().to_bytes());
        Folder::new(found.map_err(failed("open the folder of what it links to"))?)
    }

    /// Something was removed, which may have been on the way.
    pub(super) fn forget(&mut self) {
        self.last = None;
    }

    /// Remembers that this archive makes a name.
    pub(super) fn mark(&mut self, folder: &Folder, name: &OsStr) -> Result<()> {
        let Some(made) = &mut self.made else { return Ok(()) };
        made.names.insert((folder.inode, name.to_owned()));
        let mut at = folder.clone();
        while made.folders.insert(at.inode) && at.inode != self.root.inode {
            let up = openat(&at, "..", flags() | OFlags::PATH, Mode::empty());
            at = Folder::new(up.map_err(failed("open its folder"))?)?;
        }
        Ok(())
    }

    /// Takes away what the layers below have by this name.
    pub(super) fn hide(&mut self, path: &EntryPath<'_>, name: &OsStr) -> Result<()> {
        let Some(folder) = self.lower_folder(path)? else { return Ok(()) };
        let Some(made) = &self.made else { return Ok(()) };
        match hide_name(&folder, name, made)? {
            true => self.hide_below(&folder, vec![name.to_owned()]),
            false => Ok(()),
        }
    }

    /// Takes away all that the layers below have in a folder.
    pub(super) fn hide_all(&mut self, path: &EntryPath<'_>) -> Result<()> {
        let Some(folder) = self.lower_folder(path)? else { return Ok(()) };
        self.hide_below(&folder, vec![OsString::from(".")])
    }

    /// The folder of a whiteout, if a layer below has it.
    fn lower_folder(&mut self, path: &EntryPath<'_>) -> Result<Option<Folder>> {
        if self.made.is_none() {
            return Ok(None);
        }
        self.forget();
        match self.open(&path.parent().to_bytes()) {
            Ok(folder) => Folder::new(folder).map(Some),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
            Err(errno) => Err(failed("open its folder")(errno)),
        }
    }

    /// Leaves in these folders, by their paths, only what this archive has made.
    fn hide_below(&self, top: &Folder, mut paths: Vec<OsString>) -> Result<()> {
        let Some(made) = &self.made else { return Ok(()) };
        let how = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        while let Some(path) = paths.pop() {
            let folder = resolve::open(top, path.as_os_str(), flags(), how);
            let folder = Folder::new(folder.map_err(failed("open what is hidden"))?)?;
            let names = erase::names(folder.as_fd(), usize::MAX).map_err(failed("list"))?;
            for name in names {
                if hide_name(&folder, &name, made)? {
                    paths.push([path.as_os_str(), &name].join(OsStr::new("/")));
                }
            }
        }
        Ok(())
    }

    /// Sets a folder's time when all is done.
    pub(super) fn finish_later(
        &mut self,
        path: &EntryPath<'_>,
        directory: impl AsFd,
        modified: Time,
    ) -> Result<()> {
        let inode = fstat(directory).map_err(failed("look at it"))?.st_ino;
        self.unfinished.push(Unfinished { path: path.to_bytes(), inode, modified });
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        for Unfinished { path, inode, modified } in std::mem::take(&mut self.unfinished) {
            match self.open_to_read(&path) {
                // Another one at its path has been given its own time.
                Ok(found) if fstat(&found).map_err(failed("look at it"))?.st_ino != inode => {}
                Ok(found) => {
                    futimens(found, &times(modified)).map_err(failed("set a folder's time"))?;
                }
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
                Err(errno) => return Err(Error::kernel("open a folder", errno)),
            }
        }
        Ok(())
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        in_root(&self.root, path, flags() | OFlags::PATH)
    }

    fn open_to_read(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        in_root(&self.root, path, flags() | OFlags::NOFOLLOW)
    }

    /// Makes the folders on the way that are not there.
    fn make(&mut self, path: &EntryPath<'_>) -> Result<Folder> {
        let mut folder = self.root.clone();
        for count in 1..=path.depth() {
            let so_far = path.parts()[..count].join(&b'/');
            folder = match self.open(&so_far) {
                Err(Errno::NOENT) => {
                    self.make_one(&folder, OsStr::from_bytes(path.parts()[count - 1]))?
                }
                found => Folder::new(found.map_err(failed("open its folder"))?)?,
            };
        }
        Ok(folder)
    }

    fn make_one(&mut self, folder: &Folder, name: &OsStr) -> Result<Folder> {
        self.mark(folder, name)?;
        match mkdirat(folder, name, Mode::from_raw_mode(0o755)) {
            Err(Errno::EXIST) => return Err(bad("its folder is a link that leads nowhere")),
            made => made.map_err(failed("make its folder"))?,
        }
        let flags = flags() | OFlags::PATH | OFlags::NOFOLLOW;
        Folder::new(openat(folder, name, flags, Mode::empty()).map_err(failed("open its folder"))?)
    }
}

impl Folder {
    fn new(fd: OwnedFd) -> Result<Self> {
        let inode = fstat(&fd).map_err(failed("look at its folder"))?.st_ino;
        Ok(Self { fd: Rc::new(fd), inode })
    }
}

/// Removes a name unless it is of this archive. Whether something below it may have to go: it is a
/// folder in which this archive has made something.
fn hide_name(folder: &Folder, name: &OsStr, made: &Made) -> Result<bool> {
    let found = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => found,
        Err(Errno::NOENT) => return Ok(false),
        Err(errno) => return Err(failed("look at what is hidden")(errno)),
    };
    let is_directory = FileType::from_raw_mode(found.st_mode).is_dir();
    if is_directory && made.folders.contains(&found.st_ino) {
        return Ok(true);
    }
    if made.names.contains(&(folder.inode, name.to_owned())) {
        // A folder of this archive in which it has nothing: what is in there is of below.
        return Ok(is_directory);
    }
    erase::entry(folder.as_fd(), name).map_err(failed("remove what is hidden"))?;
    Ok(false)
}

fn flags() -> OFlags {
    OFlags::DIRECTORY | OFlags::CLOEXEC
}

/// Opens a path as if the root were the root, which it is by now; twice is no harm.
fn in_root(root: &Folder, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    resolve::open(root, path, flags, ResolveFlags::IN_ROOT)
}

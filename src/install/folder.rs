//! A folder of plugins, and what is in it.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{hint, iter};

use netup::{Error, ErrorKind, Result};
use nix::fcntl::{Flock, FlockArg};

use super::Fate;
use crate::cni::registry::{OWN_NAME, STANDARD_NAMES};

/// Where files of others are kept while ours are in their place.
const REPLACED: &str = ".netup-replaced";
/// By this text any release of netup knows any other.
static MARK: &str = "\u{1}this program is netup, also under the names of CNI plugins\u{1}";
const BOUND: char = '\u{1}';
/// This program, whatever has become of its path.
pub const THIS_PROGRAM: &str = "/proc/self/exe";

/// What is under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing.
    Absent,
    /// The folder's netup itself, or a hard link to it.
    Link,
    /// Another netup, or a symbolic link to one.
    Ours,
    /// Another file.
    Foreign,
    /// A folder, which cannot make way.
    Folder,
}

impl Standing {
    /// Whether it is netup under this name.
    pub fn is_ours(self) -> bool {
        matches!(self, Self::Link | Self::Ours)
    }

    /// What an installation makes of it.
    pub fn fate_of_install(self, stays: bool) -> Fate {
        match self {
            _ if stays => Fate::Unchanged,
            Self::Absent => Fate::Installed,
            Self::Link | Self::Ours => Fate::Updated,
            Self::Foreign | Self::Folder => Fate::Replaced,
        }
    }
}

/// A folder of plugins, locked against other installations.
pub struct Folder {
    path: PathBuf,
    lock: Flock<File>,
}

impl Folder {
    /// The folder, made if it is missing.
    pub fn make(path: &Path) -> Result<Self> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o755).create(path);
        made.map_err(|e| failed("make the folder", path, &e))?;
        Self::open(path)
    }

    /// The folder, if there is one.
    pub fn find(path: &Path) -> Result<Option<Self>> {
        own_metadata(path)?.map(|_| Self::open(path)).transpose()
    }

    fn open(path: &Path) -> Result<Self> {
        let dir = File::open(path).map_err(|e| failed("open the folder", path, &e))?;
        let is_dir = dir.metadata().is_ok_and(|metadata| metadata.is_dir());
        if !is_dir {
            return Err(Error::invalid(format!("{} is no folder", path.display()))
                .hint("give the folder where runtimes look for plugins, such as /opt/cni/bin"));
        }
        let locked = Flock::lock(dir, FlockArg::LockExclusive);
        let lock = locked.map_err(|(_, e)| failed("lock the folder", path, &e.into()))?;
        Ok(Self { path: path.to_owned(), lock })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn at(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Where somebody else's file of this name is kept.
    pub fn replaced(&self, name: &str) -> PathBuf {
        self.at(REPLACED).join(name)
    }

    /// The folder of those.
    pub fn make_replaced(&self) -> Result<PathBuf> {
        let dir = self.at(REPLACED);
        match fs::create_dir(&dir) {
            Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
                Err(failed("make the folder", &dir, &e))
            }
            _ => Ok(dir),
        }
    }

    /// What is under each name that a plugin of ours may have, the binary's own first.
    pub fn standings(&self) -> Result<Vec<(&'static str, Standing)>> {
        let own = self.own_binary()?;
        let names = iter::once(OWN_NAME).chain(STANDARD_NAMES);
        names.map(|name| Ok((name, self.standing(name, own)?))).collect()
    }

    /// The folder's netup, if it is one.
    fn own_binary(&self) -> Result<Option<Identity>> {
        let path = self.at(OWN_NAME);
        match own_metadata(&path)? {
            Some(file) if file.is_file() && is_marked(&path)? => Ok(Some(identity(&file))),
            _ => Ok(None),
        }
    }

    fn standing(&self, name: &str, own: Option<Identity>) -> Result<Standing> {
        let path = self.at(name);
        let Some(here) = own_metadata(&path)? else {
            return Ok(Standing::Absent);
        };
        if here.is_dir() {
            return Ok(Standing::Folder);
        }
        if here.is_file() && own == Some(identity(&here)) {
            return Ok(Standing::Link);
        }
        // Nothing is read that could block or never end.
        let is_file = metadata(&path)?.is_some_and(|file| file.is_file());
        let is_ours = is_file && is_marked(&path)?;
        Ok(if is_ours { Standing::Ours } else { Standing::Foreign })
    }

    /// Whether the folder's netup is this program to the byte, and can be started by anyone.
    pub fn is_current(&self) -> Result<bool> {
        let (path, this) = (self.at(OWN_NAME), Path::new(THIS_PROGRAM));
        let is_file =
            |file: &Metadata| file.is_file() && file.permissions().mode() & 0o777 == 0o755;
        let Some(file) = own_metadata(&path)?.filter(is_file) else {
            return Ok(false);
        };
        let is_running = metadata(this)?.is_some_and(|t| identity(&t) == identity(&file));
        Ok(is_running || content(&path)? == content(this)?)
    }

    /// Removes what nobody needs any more.
    pub fn tidy(&self) {
        // Not empty is a reason to keep it, and that it cannot be removed none to fail.
        let _ = fs::remove_dir(self.at(REPLACED));
    }

    /// Sees to it that a power cut takes nothing back.
    pub fn sync(&self) -> Result<()> {
        self.lock.sync_all().map_err(|e| failed("sync", &self.path, &e))
    }
}

/// Of a symbolic link itself.
fn own_metadata(path: &Path) -> Result<Option<Metadata>> {
    if_there(path, fs::symlink_metadata(path))
}

/// Of what a symbolic link leads to.
fn metadata(path: &Path) -> Result<Option<Metadata>> {
    if_there(path, fs::metadata(path))
}

fn if_there<T>(path: &Path, looked: io::Result<T>) -> Result<Option<T>> {
    match looked {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("look at", path, &e)),
    }
}

/// A file is known for as long as it has a link.
type Identity = (u64, u64);

fn identity(file: &Metadata) -> Identity {
    (file.dev(), file.ino())
}

fn is_marked(path: &Path) -> Result<bool> {
    // The compiler may not take the text apart: it has to be in the binary as it is.
    let text = hint::black_box(MARK).trim_matches(BOUND).as_bytes();
    Ok(content(path)?.split(|byte| char::from(*byte) == BOUND).any(|part| part == text))
}

fn content(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut content));
    read.map_err(|e| failed("read", path, &e))?;
    Ok(content)
}

/// Whether something is there, be it a symbolic link that leads nowhere.
pub fn exists(path: &Path) -> Result<bool> {
    Ok(own_metadata(path)?.is_some())
}

/// A failed operation on a file here.
pub fn failed(operation: &str, path: &Path, source: &io::Error) -> Error {
    let error = Error::io(format!("{operation} {}", path.display()), source);
    match error.kind() {
        ErrorKind::NotPermitted if source.kind() == io::ErrorKind::PermissionDenied => {
            error.hint("run as root, or choose another folder by --dir")
        }
        _ => error,
    }
}

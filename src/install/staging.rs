//! Changes to the files of one folder that come about together or not at all.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use netup::Result;

use super::folder::{THIS_PROGRAM, exists, failed};

/// Where files are prepared, and kept that had to go. On the folder's own file system, so that each
/// is put into place by one rename.
const STAGING: &str = ".netup-staging";

/// A change that was made.
struct Change {
    /// Where the file came from.
    from: PathBuf,
    /// Where it is now.
    to: PathBuf,
    /// What was there before.
    before: Option<PathBuf>,
}

/// The changes so far. Unless they are [`Staging::done`], all are taken back.
pub struct Staging {
    dir: PathBuf,
    changes: Vec<Change>,
    kept: usize,
}

impl Staging {
    /// Begins. What an interrupted call has left is removed: since the folder is locked, nobody is
    /// at it any more.
    pub fn new(folder: &Path) -> Result<Self> {
        let dir = folder.join(STAGING);
        remove(&dir)?;
        fs::create_dir(&dir).map_err(|e| failed("make the folder", &dir, &e))?;
        Ok(Self { dir, changes: Vec::new(), kept: 0 })
    }

    /// Prepares a copy of this program.
    pub fn copy_of_this_program(&self, name: &str) -> Result<PathBuf> {
        let copy = self.dir.join(name);
        copy_program(&copy).map_err(|e| failed("copy this program to", &copy, &e))?;
        Ok(copy)
    }

    /// Prepares a hard link. A symbolic link is not followed.
    pub fn link(&self, to: &Path, name: &str) -> Result<PathBuf> {
        let link = self.dir.join(name);
        fs::hard_link(to, &link).map_err(|e| failed("make the hard link", &link, &e))?;
        Ok(link)
    }

    /// Puts a file into its place, at once and instead of what is there.
    pub fn put(&mut self, from: &Path, to: &Path) -> Result<()> {
        let before = match exists(to)? {
            true => Some(self.link(to, &self.name_to_keep())?),
            false => None,
        };
        self.rename(from, to, before)
    }

    /// Takes a file away.
    pub fn remove(&mut self, path: &Path) -> Result<()> {
        let kept = self.dir.join(self.name_to_keep());
        self.rename(path, &kept, None)
    }

    fn rename(&mut self, from: &Path, to: &Path, before: Option<PathBuf>) -> Result<()> {
        fs::rename(from, to).map_err(|e| failed("put into place", to, &e))?;
        self.kept += 1;
        self.changes.push(Change { from: from.to_owned(), to: to.to_owned(), before });
        Ok(())
    }

    fn name_to_keep(&self) -> String {
        format!("kept.{}", self.kept)
    }

    /// The changes stay.
    pub fn done(mut self) -> Result<()> {
        self.changes.clear();
        remove(&self.dir)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // If one cannot be put back, those before it stay as well: what one change has set aside the
        // next may have overwritten.
        if self.changes.drain(..).rev().try_for_each(|change| take_back(&change)).is_ok() {
            let _ = remove(&self.dir);
        }
    }
}

/// Without a moment at which nothing is in the place where something was.
fn take_back(change: &Change) -> io::Result<()> {
    match &change.before {
        Some(before) => {
            fs::hard_link(&change.to, &change.from)?;
            fs::rename(before, &change.to)
        }
        None => fs::rename(&change.to, &change.from),
    }
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", dir, &e)),
        _ => Ok(()),
    }
}

fn copy_program(to: &Path) -> io::Result<()> {
    let mut copy = File::options().write(true).create_new(true).mode(0o755).open(to)?;
    io::copy(&mut File::open(THIS_PROGRAM)?, &mut copy)?;
    // Whatever the caller's umask is: runtimes without root start plugins, too.
    copy.set_permissions(fs::Permissions::from_mode(0o755))?;
    copy.sync_all()
}

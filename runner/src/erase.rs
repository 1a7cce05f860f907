//! Removing a tree of files that somebody else has written: however deep it is, it takes no more
//! descriptors and no more stack. A container can make directories that are thousands deep.

use std::ffi::{OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, RawDir, RenameFlags, openat, renameat_with, unlinkat,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::idmap::UserNamespace;
use crate::{confined, sys::btrfs};

/// How many names are held at once.
const BATCH: usize = 4096;

/// Removes a tree as one who may: directly, or as root of a user namespace in which its owners are
/// known. What is gone already is no error.
pub(crate) fn tree(users: Option<&UserNamespace>, path: &Path) -> Result<()> {
    let remove = || {
        let folder = path.parent().unwrap_or(Path::new("/"));
        let name = path.file_name().unwrap_or_default();
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        match openat(CWD, folder, flags, Mode::empty()) {
            Ok(folder) => entry(folder.as_fd(), name),
            Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
        .map_err(|errno| Error::kernel(format!("remove {}", path.display()), errno))
    };
    match users {
        None => remove(),
        Some(_) => confined::run(users, remove),
    }
}

/// Removes what a folder has by this name, and all below it.
pub(crate) fn entry(folder: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    if remove_simply(folder, name)? {
        return Ok(());
    }
    let directory = open(folder, name)?;
    if btrfs::is_subvolume(&directory)? && btrfs::destroy(folder, name).is_ok() {
        return Ok(());
    }
    empty(directory.as_fd(), directory.as_fd())?;
    gone(unlinkat(folder, name, AtFlags::REMOVEDIR))
}

/// Empties `top`. Whatever is found deeper is moved up to `top` first, and other subvolumes, from
/// which nothing else can be moved out, as a whole to `outermost`.
fn empty(outermost: BorrowedFd<'_>, top: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut counter = 0;
    loop {
        let names = names(top, BATCH)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if !remove_simply(top, &name)? {
                dissolve(outermost, top, &name, &mut counter)?;
            }
        }
    }
}

/// Removes a directory of `top` that is not empty.
fn dissolve(
    outermost: BorrowedFd<'_>,
    top: BorrowedFd<'_>,
    name: &OsStr,
    counter: &mut u64,
) -> Result<(), Errno> {
    let directory = open(top, name)?;
    if btrfs::is_subvolume(&directory)? {
        if btrfs::destroy(top, name).is_ok() {
            return Ok(());
        }
        if !is_same(outermost, top)? {
            return move_up(top, name, outermost, counter);
        }
        empty(outermost, directory.as_fd())?;
    } else {
        hoist(outermost, top, directory.as_fd(), counter)?;
    }
    gone(unlinkat(top, name, AtFlags::REMOVEDIR))
}

/// Empties a directory without looking into what it holds.
fn hoist(
    outermost: BorrowedFd<'_>,
    top: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    counter: &mut u64,
) -> Result<(), Errno> {
    loop {
        let names = names(directory, BATCH)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            if remove_simply(directory, &name)? {
                continue;
            }
            let is_subvolume = btrfs::is_subvolume(open(directory, &name)?)?;
            let up = if is_subvolume { outermost } else { top };
            move_up(directory, &name, up, counter)?;
        }
    }
}

fn move_up(
    from: BorrowedFd<'_>,
    name: &OsStr,
    to: BorrowedFd<'_>,
    counter: &mut u64,
) -> Result<(), Errno> {
    loop {
        *counter += 1;
        let new = format!(".{counter}");
        match renameat_with(from, name, to, &new, RenameFlags::NOREPLACE) {
            Err(Errno::EXIST) => {}
            done => return done,
        }
    }
}

/// Removes what is no directory, or an empty one. Whether it is gone.
fn remove_simply(folder: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    let refused = match gone(unlinkat(folder, name, AtFlags::empty())) {
        Ok(()) => return Ok(true),
        // Linux says ISDIR where POSIX says PERM.
        Err(errno @ (Errno::ISDIR | Errno::PERM)) => errno,
        Err(errno) => return Err(errno),
    };
    match gone(unlinkat(folder, name, AtFlags::REMOVEDIR)) {
        Ok(()) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        // A file after all, an immutable one perhaps (chattr(1)).
        Err(Errno::NOTDIR) => Err(refused),
        Err(errno) => Err(errno),
    }
}

fn gone(removed: Result<(), Errno>) -> Result<(), Errno> {
    match removed {
        Err(Errno::NOENT) => Ok(()),
        other => other,
    }
}

fn open(folder: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    openat(folder, name, flags, Mode::empty())
}

fn is_same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> Result<bool, Errno> {
    let (one, other) = (rustix::fs::fstat(one)?, rustix::fs::fstat(other)?);
    Ok((one.st_dev, one.st_ino) == (other.st_dev, other.st_ino))
}

/// So many of the names in a directory; none only if it is empty.
pub(crate) fn names(directory: BorrowedFd<'_>, most: usize) -> Result<Vec<OsString>, Errno> {
    // A descriptor of its own, since the position is the descriptor's.
    let directory = openat(
        directory,
        ".",
        OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut buffer = [MaybeUninit::uninit(); 8192];
    let mut entries = RawDir::new(directory, &mut buffer);
    let mut names = Vec::new();
    while names.len() < most {
        let Some(entry) = entries.next() else { break };
        let name = OsStr::from_bytes(entry?.file_name().to_bytes()).to_owned();
        if name != "." && name != ".." {
            names.push(name);
        }
    }
    Ok(names)
}

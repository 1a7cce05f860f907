//! Places below the container's root, found by the kernel: no symbolic link of an image leads out,
//! and on the way to a place that is the kernel's own none is followed at all.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, mknodat, openat2, statat, unlinkat,
};
use rustix::io::Errno;

use crate::error::{Error, Result};

const HANDLE: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// The path below the root's descriptor: an absolute path of the container without its `/`.
pub(super) fn below(path: &Path) -> &Path {
    let rest = path.strip_prefix("/").unwrap_or(path);
    if rest.as_os_str().is_empty() { Path::new(".") } else { rest }
}

fn open(
    root: impl AsFd,
    path: &Path,
    flags: OFlags,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let resolve = resolve | ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    // EAGAIN: a rename somewhere meanwhile, see openat2(2).
    loop {
        match openat2(&root, below(path), flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            done => return done,
        }
    }
}

/// What is there, links followed below the root.
pub(super) fn find(root: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    open(root, path, HANDLE, ResolveFlags::empty())
}

/// What is there, if no link is on the way.
pub(super) fn find_plain(root: impl AsFd, path: &Path) -> Result<OwnedFd, Errno> {
    open(root, path, HANDLE, ResolveFlags::NO_SYMLINKS)
}

/// A directory of the kernel's own: `/proc`, `/sys`, `/dev`, made if it is missing. An image in which
/// one of them is a link is refused.
pub(super) fn own_directory(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let flags = HANDLE | OFlags::DIRECTORY;
    let find = || open(&root, path, flags, ResolveFlags::NO_SYMLINKS);
    let found = match find() {
        Err(Errno::NOENT) => make_directory(&root, path).and_then(|()| find()),
        found => found,
    };
    found.map_err(|errno| match errno {
        Errno::LOOP | Errno::NOTDIR => Error::kernel(attempt(path), errno)
            .hint("the image has a link or a file there; it has to be a directory"),
        _ => refused(path, errno),
    })
}

/// A directory to mount something on, made with all above it if it is missing.
pub(super) fn directory(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let find = || open(&root, path, HANDLE | OFlags::DIRECTORY, ResolveFlags::empty());
    let found = match find() {
        Err(Errno::NOENT) => make_all(&root, path).and_then(|()| find()),
        found => found,
    };
    found.map_err(|errno| refused(path, errno))
}

/// A file to mount something on, made if it is missing. A link that leads nowhere gives way to it.
pub(super) fn file(root: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let failed = |errno| refused(path, errno);
    match find(&root, path) {
        Err(Errno::NOENT) => {}
        found => return found.map_err(failed),
    }
    let folder = directory(&root, path.parent().unwrap_or(Path::new("/")))?;
    let name = path.file_name().map(PathBuf::from).unwrap_or_default();
    make_file(&folder, &name).map_err(failed)?;
    find_plain(&folder, &name).map_err(failed)
}

fn attempt(path: &Path) -> String {
    format!("open {} of the container", path.display())
}

/// A place that is not there, or cannot be made.
fn refused(path: &Path, errno: Errno) -> Error {
    let error = Error::kernel(attempt(path), errno);
    match errno {
        // The last is the kernel's word for a folder whose owner has no number in the namespace.
        Errno::ACCESS | Errno::PERM | Errno::OVERFLOW => error.hint(
            "it is missing, and a folder on the way belongs to somebody whom the container's root is \
             not and may not write for: make it there, give that folder to the caller, or map more \
             ids with --users ranges",
        ),
        Errno::ROFS => error.hint("it is missing, and the root cannot be written: make it there"),
        Errno::NOTDIR => error.hint("it has to be a directory, and all on the way as well"),
        _ => error,
    }
}

fn make_file(folder: &OwnedFd, name: &Path) -> Result<(), Errno> {
    let make = || mknodat(folder, name, FileType::RegularFile, Mode::from_raw_mode(0o644), 0);
    match make() {
        Err(Errno::EXIST) if is_link(folder, name) => {
            unlinkat(folder, name, AtFlags::empty())?;
            make()
        }
        done => done,
    }
}

fn is_link(folder: &OwnedFd, name: &Path) -> bool {
    statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Symlink)
}

fn make_directory(root: impl AsFd, path: &Path) -> Result<(), Errno> {
    let (above, name) = (path.parent().unwrap_or(Path::new("/")), path.file_name());
    let name = name.ok_or(Errno::INVAL)?;
    let above = open(root, above, HANDLE | OFlags::DIRECTORY, ResolveFlags::empty())?;
    match mkdirat(above, name, Mode::from_raw_mode(0o755)) {
        Err(Errno::EXIST) => Ok(()),
        done => done,
    }
}

/// As `mkdir -p`, each part looked up below the root.
fn make_all(root: impl AsFd, path: &Path) -> Result<(), Errno> {
    let mut above: Vec<&Path> = path.ancestors().filter(|one| one.file_name().is_some()).collect();
    above.reverse();
    above.into_iter().try_for_each(|one| make_directory(&root, one))
}

/// A path by which mount(2), which takes no descriptors, finds exactly what was opened.
pub(super) fn by_descriptor(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

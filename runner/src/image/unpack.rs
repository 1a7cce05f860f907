//! Writing the entries of an archive into the root of this process, which is the folder that they
//! are to fill: `confined` has seen to it that nothing outside can be reached.
//!
//! Nevertheless each path is resolved by openat2(2) below the root and every change goes by
//! descriptor to what was just made, because within the root a link must not lead one entry to
//! another one's file either.

mod attributes;
mod folders;
mod path;
mod whiteout;

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, chownat, fchmod, fchown,
    futimens, linkat, makedev, mkdirat, mknodat, openat, statat, symlinkat, utimensat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::Limits;
use super::compression::decompressed;
use super::tar::{Entry, Kind, Reader, Skip, Sparse, Time, damage};
use crate::erase;
use crate::error::{Error, ErrorKind, Result};
use folders::{Folder, Folders};
use path::EntryPath;
use whiteout::{Whiteout, whiteout};

/// How an archive is unpacked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) limits: Limits,
    /// Whether device nodes are made.
    pub(super) devices: bool,
    /// Whether there is a layer below, which this one can hide.
    pub(super) has_lower: bool,
    /// What has been unpacked before.
    pub(super) before: Counts,
}

/// What was unpacked.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(super) struct Counts {
    pub(super) bytes: u64,
    pub(super) entries: u64,
    /// Device nodes that were not made.
    pub(super) devices_left_out: u64,
}

/// Unpacks an archive, compressed perhaps, to the last byte of the source.
pub(super) fn unpack(source: File, rules: Rules) -> Result<Counts> {
    let mut reader = Reader::new(decompressed(source).map_err(damage)?);
    let mut writer = Writer::new(rules)?;
    while let Some(entry) = reader.next().map_err(|error| writer.after(error))? {
        writer
            .entry(&entry, &mut reader)
            .map_err(|error| error.context(format!("entry {}", shown(&entry.path))))?;
        writer.last = entry.path;
    }
    writer.folders.finish()?;
    reader.drain(rules.limits.bytes)?;
    Ok(writer.counts)
}

/// A path as a message has it: its end, and nothing that speaks to a terminal.
fn shown(path: &[u8]) -> String {
    const LONGEST: usize = 150;
    match path.len().checked_sub(LONGEST) {
        None | Some(0) => format!("{:?}", String::from_utf8_lossy(path)),
        Some(cut) => format!("…{:?}", String::from_utf8_lossy(&path[cut..])),
    }
}

struct Writer {
    rules: Rules,
    counts: Counts,
    folders: Folders,
    last: Vec<u8>,
}

impl Writer {
    fn new(rules: Rules) -> Result<Self> {
        let folders = Folders::new(rules.has_lower)?;
        Ok(Self { rules, counts: rules.before, folders, last: Vec::new() })
    }

    /// Where in the archive something is wrong.
    fn after(&self, error: Error) -> Error {
        match self.last.as_slice() {
            [] => error,
            last => error.context(format!("after entry {}", shown(last))),
        }
    }

    fn entry<R: Skip>(&mut self, entry: &Entry, content: &mut Reader<R>) -> Result<()> {
        self.counts.entries += 1;
        if self.counts.entries > self.rules.limits.entries {
            return Err(self.rules.limits.too_many_entries());
        }
        let path = EntryPath::parse(&entry.path)?;
        self.rules.limits.check_depth(path.depth())?;
        match whiteout(&path)? {
            Some(Whiteout::Ignored) => Ok(()),
            Some(Whiteout::Hides(name)) => self.folders.hide(&path, name),
            Some(Whiteout::HidesAll) => self.folders.hide_all(&path),
            None => self.make(entry, &path, content),
        }
    }

    fn make<R: Skip>(
        &mut self,
        entry: &Entry,
        path: &EntryPath<'_>,
        content: &mut Reader<R>,
    ) -> Result<()> {
        let Some(name) = path.name() else { return self.root(entry) };
        let folder = self.folders.of(path)?;
        match &entry.kind {
            Kind::File(size) => {
                let file = self.create(&folder, name, *size)?;
                copy(content, &file, *size)?;
                finish_file(entry, &file)
            }
            Kind::Sparse(sparse) => {
                let file = self.create(&folder, name, sparse.size)?;
                copy_pieces(content, &file, sparse)?;
                finish_file(entry, &file)
            }
            Kind::Directory => self.directory(entry, path, &folder, name),
            Kind::HardLink(target) => self.hard_link(target, &folder, name),
            Kind::Symlink(target) => {
                self.replace(&folder, name, |at| symlinkat(target.as_slice(), at, name))?;
                own_by_name(entry, &folder, name)
            }
            Kind::Fifo => self.node(entry, &folder, name, FileType::Fifo, (0, 0)),
            Kind::CharacterDevice(major, minor) => {
                self.device(entry, &folder, name, FileType::CharacterDevice, (*major, *minor))
            }
            Kind::BlockDevice(major, minor) => {
                self.device(entry, &folder, name, FileType::BlockDevice, (*major, *minor))
            }
        }
    }

    fn count(&mut self, bytes: u64) -> Result<()> {
        self.counts.bytes = self.counts.bytes.saturating_add(bytes);
        if self.counts.bytes > self.rules.limits.bytes {
            return Err(self.rules.limits.too_many_bytes());
        }
        Ok(())
    }

    /// Makes something at a name; what is there gives way to it.
    fn replace<T>(
        &mut self,
        folder: &Folder,
        name: &OsStr,
        make: impl Fn(BorrowedFd<'_>) -> Result<T, Errno>,
    ) -> Result<T> {
        self.folders.mark(folder, name)?;
        match make(folder.as_fd()) {
            Err(Errno::EXIST) => {
                self.folders.forget();
                erase::entry(folder.as_fd(), name).map_err(failed("remove what was there"))?;
                make(folder.as_fd())
            }
            other => other,
        }
        .map_err(failed("create"))
    }

    /// An empty file, whose size is counted.
    fn create(&mut self, folder: &Folder, name: &OsStr, size: u64) -> Result<File> {
        self.count(size)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        self.replace(folder, name, |at| openat(at, name, flags, mode)).map(File::from)
    }

    fn directory(
        &mut self,
        entry: &Entry,
        path: &EntryPath<'_>,
        folder: &Folder,
        name: &OsStr,
    ) -> Result<()> {
        let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW);
        // Only a directory over a directory adds to it.
        let adds = found.is_ok_and(|it| FileType::from_raw_mode(it.st_mode).is_dir());
        if adds {
            self.folders.mark(folder, name)?;
        } else {
            self.replace(folder, name, |at| mkdirat(at, name, Mode::RWXU))?;
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = openat(folder, name, flags, Mode::empty()).map_err(failed("open"))?;
        own(entry, &directory)?;
        self.folders.finish_later(path, &directory, entry.modified)
    }

    /// The folder that all is unpacked into.
    fn root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            return Err(bad("the root is no folder"));
        }
        let root = self.folders.root().map_err(failed("open"))?;
        own(entry, &root)?;
        self.folders.finish_later(&EntryPath::ROOT, &root, entry.modified)
    }

    fn hard_link(&mut self, target: &[u8], folder: &Folder, name: &OsStr) -> Result<()> {
        let target = EntryPath::parse(target)?;
        let Some(target_name) = target.name() else { return Err(bad("a link to the root")) };
        let target_folder = self.folders.existing(&target)?;
        let link =
            |at: BorrowedFd<'_>| linkat(&target_folder, target_name, at, name, AtFlags::empty());
        let same = is_same(&target_folder, target_name, folder, name);
        // Linked to itself it would be removed for itself.
        if same { Ok(()) } else { self.replace(folder, name, link) }
    }

    fn device(
        &mut self,
        entry: &Entry,
        folder: &Folder,
        name: &OsStr,
        kind: FileType,
        number: (u32, u32),
    ) -> Result<()> {
        // Overlayfs takes a character device 0:0 for a file that is not there.
        let is_mark = kind == FileType::CharacterDevice && number == (0, 0);
        if !self.rules.devices || is_mark {
            self.counts.devices_left_out += 1;
            return Ok(());
        }
        self.node(entry, folder, name, kind, number)
    }

    fn node(
        &mut self,
        entry: &Entry,
        folder: &Folder,
        name: &OsStr,
        kind: FileType,
        (major, minor): (u32, u32),
    ) -> Result<()> {
        let mode = Mode::from_raw_mode(entry.mode & 0o777);
        self.replace(folder, name, |at| mknodat(at, name, kind, mode, makedev(major, minor)))
            .map_err(|error| match error.errno() {
                Some(Errno::PERM) => error.hint("only root can make device nodes"),
                _ => error,
            })?;
        own_by_name(entry, folder, name)
    }
}

fn copy<R: Skip>(content: &mut Reader<R>, file: &File, size: u64) -> Result<()> {
    let mut file = file;
    let mut left = size;
    let mut buffer = [0; 64 * 1024];
    while left > 0 {
        let most = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let read = content.read(&mut buffer[..most]).map_err(damage)?;
        file.write_all(&buffer[..read]).map_err(|error| Error::io("write", &error))?;
        left -= read as u64;
    }
    Ok(())
}

fn copy_pieces<R: Skip>(content: &mut Reader<R>, file: &File, sparse: &Sparse) -> Result<()> {
    for (offset, length) in &sparse.pieces {
        let mut at = file;
        at.seek(SeekFrom::Start(*offset)).map_err(|error| Error::io("seek", &error))?;
        copy(content, file, *length)?;
    }
    file.set_len(sparse.size).map_err(|error| Error::io("ftruncate", &error))
}

fn finish_file(entry: &Entry, file: &File) -> Result<()> {
    own(entry, file)?;
    futimens(file, &times(entry.modified)).map_err(failed("set the time"))
}

/// Owner, attributes and mode, in this order: a new owner takes set-user-ID and file capabilities
/// away.
fn own(entry: &Entry, file: impl AsFd) -> Result<()> {
    let file = file.as_fd();
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    fchown(file, Some(uid), Some(gid)).map_err(|errno| unknown_owner(entry, errno))?;
    attributes::set(file, &entry.attributes)?;
    fchmod(file, Mode::from_raw_mode(entry.mode)).map_err(failed("set the mode"))
}

/// For what cannot be opened without consequences. It is what was made just now, in a folder that
/// nobody else can reach.
fn own_by_name(entry: &Entry, folder: &Folder, name: &OsStr) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(entry.uid), Gid::from_raw(entry.gid));
    chownat(folder, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|errno| unknown_owner(entry, errno))?;
    utimensat(folder, name, &times(entry.modified), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(failed("set the time"))
}

fn unknown_owner(entry: &Entry, errno: Errno) -> Error {
    let error = Error::kernel(format!("chown to {}:{}", entry.uid, entry.gid), errno);
    match errno {
        // The user namespace has no such id.
        Errno::INVAL => error
            .with_kind(ErrorKind::NotPermitted)
            .hint("let root set more ids aside for you in /etc/subuid and /etc/subgid"),
        _ => error,
    }
}

fn times(modified: Time) -> Timestamps {
    let time = Timespec { tv_sec: modified.seconds, tv_nsec: modified.nanoseconds.into() };
    Timestamps { last_access: time, last_modification: time }
}

fn is_same(one: &Folder, one_name: &OsStr, other: &Folder, other_name: &OsStr) -> bool {
    let inode = |folder: &Folder, name| {
        let found = statat(folder, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
        Some((found.st_dev, found.st_ino))
    };
    let found = inode(one, one_name);
    found.is_some() && found == inode(other, other_name)
}

/// A refusal of the kernel; those that only a path or a name can cause are the archive's fault.
fn failed(what: &'static str) -> impl Fn(Errno) -> Error {
    move |errno| {
        let error = Error::kernel(what, errno);
        match errno {
            Errno::NOENT
            | Errno::NOTDIR
            | Errno::ISDIR
            | Errno::LOOP
            | Errno::NAMETOOLONG
            | Errno::INVAL
            | Errno::EXIST => error.with_kind(ErrorKind::BadImage),
            _ => error,
        }
    }
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadImage, message)
}

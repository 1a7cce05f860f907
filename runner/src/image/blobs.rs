//! The named parts of an image: of an unpacked layout, or of an archive.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat};
use rustix::io::Errno;

use super::resolve;
use super::tar::{Entry, Kind, Reader, Skip};
use crate::error::{Error, ErrorKind, Result};

/// Manifests and configurations are a few kilobytes.
const LARGEST_DOCUMENT: u64 = 8 << 20;
/// An archive of an image has a few names a layer.
const MOST_MEMBERS: usize = 100_000;
/// Links that lead from one to the next.
const MOST_LINKS: usize = 8;

/// Where the parts are.
#[derive(Debug)]
pub(super) enum Blobs {
    Folder(OwnedFd),
    Archive { file: Rc<File>, members: HashMap<String, Member> },
}

/// What an archive has by a name.
#[derive(Debug, Clone)]
pub(super) enum Member {
    Span { offset: u64, size: u64 },
    Link(String),
}

/// A part that is being read.
pub(super) struct Blob {
    pub(super) size: u64,
    pub(super) content: Box<dyn Read>,
}

impl Blobs {
    pub(super) fn folder(path: &Path) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::PATH | OFlags::CLOEXEC;
        openat(CWD, path, flags, Mode::empty())
            .map(Self::Folder)
            .map_err(|errno| Error::kernel(format!("open {}", path.display()), errno))
    }

    /// The members of an archive, which is read through from where it stands.
    pub(super) fn archive(file: File) -> Result<Self> {
        let file = Rc::new(file);
        let mut members = HashMap::new();
        let mut reader = Reader::new(Seekable(Rc::clone(&file)));
        while let Some(entry) = reader.next()? {
            let name = normal(&entry.path);
            if let Some(member) = member(&name, &entry, reader.position())? {
                members.insert(name, member);
            }
            if members.len() > MOST_MEMBERS {
                return Err(bad("the archive has too many members"));
            }
        }
        Ok(Self::Archive { file, members })
    }

    pub(super) fn has(&self, name: &str) -> Result<bool> {
        Ok(self.open(name)?.is_some())
    }

    /// A part that has to be there.
    pub(super) fn get(&self, name: &str) -> Result<Blob> {
        self.open(name)?.ok_or_else(|| bad(format!("{name} is missing")))
    }

    /// A part as a whole, which is text.
    pub(super) fn document(&self, name: &str) -> Result<Vec<u8>> {
        let blob = self.get(name)?;
        if blob.size > LARGEST_DOCUMENT {
            return Err(bad(format!("{name} has {} bytes, too many", blob.size)));
        }
        let mut bytes = Vec::new();
        let read = blob.content.take(LARGEST_DOCUMENT).read_to_end(&mut bytes);
        read.map_err(|error| Error::io(format!("read {name}"), &error))?;
        Ok(bytes)
    }

    fn open(&self, name: &str) -> Result<Option<Blob>> {
        match self {
            Self::Folder(folder) => below(folder, name),
            Self::Archive { file, members } => {
                let Some((offset, size)) = follow(members, name)? else { return Ok(None) };
                let content = Box::new(Span { file: Rc::clone(file), offset, left: size });
                Ok(Some(Blob { size, content }))
            }
        }
    }
}

/// Opens a file below a folder, wherever the name or links would lead.
fn below(folder: &OwnedFd, name: &str) -> Result<Option<Blob>> {
    // Not to wait for a writer, should it be a pipe.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let failed = |errno| Error::kernel(format!("open {name} of the layout"), errno);
    let file = match resolve::open(folder, name, flags, ResolveFlags::BENEATH) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) => return Ok(None),
        Err(errno @ (Errno::XDEV | Errno::LOOP | Errno::NOTDIR)) => {
            return Err(failed(errno).with_kind(ErrorKind::BadImage));
        }
        Err(errno) => return Err(failed(errno)),
    };
    let about = file.metadata().map_err(|error| Error::io(format!("look at {name}"), &error))?;
    if !about.is_file() {
        return Err(bad(format!("{name} is no file")));
    }
    Ok(Some(Blob { size: about.len(), content: Box::new(file) }))
}

fn follow(members: &HashMap<String, Member>, name: &str) -> Result<Option<(u64, u64)>> {
    let mut name = name;
    for _ in 0..MOST_LINKS {
        match members.get(name) {
            None => return Ok(None),
            Some(Member::Span { offset, size }) => return Ok(Some((*offset, *size))),
            Some(Member::Link(target)) => name = target,
        }
    }
    Err(bad(format!("{name} is a link that leads nowhere")))
}

fn member(name: &str, entry: &Entry, offset: u64) -> Result<Option<Member>> {
    Ok(match &entry.kind {
        Kind::File(size) => Some(Member::Span { offset, size: *size }),
        // `docker save` of old writes a layer once and links to it.
        Kind::Symlink(target) => {
            let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
            Some(Member::Link(beside(folder, &String::from_utf8_lossy(target))))
        }
        Kind::HardLink(target) => Some(Member::Link(normal(target))),
        Kind::Sparse(_) => return Err(bad(format!("{name} has holes"))),
        _ => None,
    })
}

/// The name without what says nothing. It is looked up only, and never becomes a path.
pub(super) fn normal(path: &[u8]) -> String {
    beside("", &String::from_utf8_lossy(path))
}

fn beside(folder: &str, target: &str) -> String {
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// A file that several read.
struct Seekable(Rc<File>);

impl Read for Seekable {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        (&*self.0).read(buffer)
    }
}

impl Skip for Seekable {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
        io::Seek::seek(&mut &*self.0, io::SeekFrom::Current(bytes)).map(drop)
    }
}

/// A part of a file, read at its own position.
struct Span {
    file: Rc<File>,
    offset: u64,
    left: u64,
}

impl Read for Span {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.offset)?;
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

pub(super) fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadImage, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_looked_up_as_they_are_meant() {
        assert_eq!(normal(b"./blobs//sha256/ab"), "blobs/sha256/ab");
        assert_eq!(beside("one", "../two/layer.tar"), "two/layer.tar");
        assert_eq!(beside("one", "../../../two"), "two");
    }

    #[test]
    fn links_in_a_circle_lead_nowhere() {
        let link = |to: &str| Member::Link(to.to_owned());
        let members = [("a".to_owned(), link("b")), ("b".to_owned(), link("a"))];
        assert!(follow(&members.into(), "a").is_err());
    }
}

//! Reading tar archives of unknown origin, entry by entry.
//!
//! The `tar` crate decodes the headers; how they belong together is decided here, because that is
//! where parsers disagree and where an archive can be one thing to a scanner and another to a
//! runner. What is ambiguous is refused, what an entry makes us hold in memory is bounded, and
//! attributes may hold any byte.

mod pax;
mod sparse;

use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};

use ::tar::{EntryType, Header};

use crate::error::{Error, ErrorKind, Result};
use pax::Records;
pub(super) use sparse::Sparse;

const BLOCK: usize = 512;
/// The most that a long name or a set of extended attributes takes. Linux has at most 64 KiB for
/// the attributes of a file.
const LONGEST_EXTENSION: u64 = 1 << 20;

/// What an archive says of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its path as it is written, without a zero byte.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    /// Permissions with set-user-ID, set-group-ID and sticky.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: Time,
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file of so many bytes.
    File(u64),
    /// A file with holes.
    Sparse(Sparse),
    Directory,
    HardLink(Vec<u8>),
    Symlink(Vec<u8>),
    CharacterDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

/// Since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time {
    pub(super) seconds: i64,
    pub(super) nanoseconds: u32,
}

/// Goes forward without looking.
pub(super) trait Skip: Read + Sized {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        match io::copy(&mut self.by_ref().take(bytes), &mut io::sink())? {
            read if read == bytes => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

impl Skip for Box<dyn Read + '_> {}
impl Skip for Cursor<Vec<u8>> {}

impl Skip for File {
    /// Beyond the end the next header is missing.
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
        self.seek(SeekFrom::Current(bytes)).map(drop)
    }
}

/// An archive that is being read.
pub(super) struct Reader<R> {
    source: R,
    /// Where the source stands.
    position: u64,
    /// Bytes of the current entry's content that have not been read.
    left: u64,
    padding: u64,
}

/// What stands before an entry and belongs to it.
#[derive(Default)]
struct Prefix {
    name: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    records: Option<Records>,
}

impl<R: Skip> Reader<R> {
    pub(super) fn new(source: R) -> Self {
        Self { source, position: 0, left: 0, padding: 0 }
    }

    /// Where the content of the current entry is in the archive, as far as it is not read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// The next entry; none at the end of the archive.
    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        let mut prefix = Prefix::default();
        while let Some(header) = self.header()? {
            let size = match header.entry_type() {
                EntryType::XHeader | EntryType::XGlobalHeader => None,
                _ => prefix.records.as_ref().and_then(|records| records.size),
            };
            self.open(size.map_or_else(|| header.entry_size().map_err(damage), Ok)?)?;
            match header.entry_type() {
                EntryType::XHeader => {
                    put(&mut prefix.records, Records::parse(&self.extension()?)?)?;
                }
                EntryType::XGlobalHeader => Records::parse(&self.extension()?)?.refuse_global()?,
                EntryType::GNULongName => put(&mut prefix.name, name(self.extension()?)?)?,
                EntryType::GNULongLink => put(&mut prefix.link, name(self.extension()?)?)?,
                // The label of a tape.
                other if other.as_byte() == b'V' => {}
                _ => return self.entry(&header, prefix).map(Some),
            }
        }
        if prefix.name.is_some() || prefix.link.is_some() || prefix.records.is_some() {
            return Err(bad("the archive ends before an entry that was begun"));
        }
        Ok(None)
    }

    /// Reads what is left to the end of the source, so that whoever writes into a pipe can finish
    /// and the checksum of a compressed stream is looked at.
    pub(super) fn drain(&mut self, most: u64) -> Result<()> {
        let rest = &mut self.source.by_ref().take(most.saturating_add(1));
        match io::copy(rest, &mut io::sink()).map_err(damage)? {
            read if read <= most => Ok(()),
            _ => Err(bad("there is too much after the end of the archive")),
        }
    }

    fn entry(&mut self, header: &Header, prefix: Prefix) -> Result<Entry> {
        let records = prefix.records.unwrap_or_default();
        let path = one_of(prefix.name, records.path.clone(), || header.path_bytes().into_owned())?;
        let link = one_of(prefix.link, records.link.clone(), || {
            header.link_name_bytes().unwrap_or_default().into_owned()
        })?;
        let kind = self.kind(header, &path, link, &records)?;
        let id = |said: Option<u64>, header: io::Result<u64>| {
            let id = said.map_or_else(|| header.map_err(damage), Ok)?;
            let id = u32::try_from(id).ok().filter(|id| *id != u32::MAX);
            id.ok_or_else(|| bad("an owner's id is out of range"))
        };
        Ok(Entry {
            path,
            kind,
            mode: header.mode().map_err(damage)? & 0o7777,
            uid: id(records.uid, header.uid())?,
            gid: id(records.gid, header.gid())?,
            modified: match records.modified {
                Some(time) => time,
                None => seconds(header.mtime().map_err(damage)?)?,
            },
            attributes: records.attributes,
        })
    }

    fn kind(
        &mut self,
        header: &Header,
        path: &[u8],
        link: Vec<u8>,
        records: &Records,
    ) -> Result<Kind> {
        if let Some(holes) = self.holes(header, records)? {
            return self.sparse(holes);
        }
        let kind = match header.entry_type() {
            // Before POSIX a folder was known by its name.
            EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
            EntryType::Regular | EntryType::Continuous => return Ok(Kind::File(self.left)),
            EntryType::Directory => Kind::Directory,
            EntryType::Link => Kind::HardLink(link),
            EntryType::Symlink => Kind::Symlink(link),
            EntryType::Char => device(header, Kind::CharacterDevice)?,
            EntryType::Block => device(header, Kind::BlockDevice)?,
            EntryType::Fifo => Kind::Fifo,
            other => return Err(unknown(other)),
        };
        // Parsers disagree whether content follows these.
        if self.left > 0 {
            return Err(bad("an entry that is no file has content"));
        }
        Ok(kind)
    }

    /// Where the content of a file lies that has holes, by the old GNU header or by the records.
    fn holes(&mut self, header: &Header, records: &Records) -> Result<Option<Sparse>> {
        match (header.entry_type(), &records.sparse) {
            (EntryType::GNUSparse, _) => {
                sparse::of_gnu_header(header, || self.extra_block()).map(Some)
            }
            (EntryType::Regular | EntryType::Continuous, Some(described)) => {
                described.clone().resolve(|| self.map_block()).map(Some)
            }
            _ => Ok(None),
        }
    }

    fn sparse(&self, sparse: Sparse) -> Result<Kind> {
        sparse.check(self.left)?;
        Ok(Kind::Sparse(sparse))
    }

    fn open(&mut self, size: u64) -> Result<()> {
        self.left = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
        match size.checked_add(BLOCK as u64) {
            Some(_) => Ok(()),
            None => Err(bad("an entry's size is out of range")),
        }
    }

    fn header(&mut self) -> Result<Option<Header>> {
        let rest = self.left + self.padding;
        self.source.skip(rest).map_err(damage)?;
        self.position += rest;
        (self.left, self.padding) = (0, 0);
        let mut header = Header::new_old();
        self.source.read_exact(header.as_mut_bytes()).map_err(damage)?;
        self.position += BLOCK as u64;
        if header.as_bytes().iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        check_sum(&header)?;
        Ok(Some(header))
    }

    /// The content of an entry that describes another one.
    fn extension(&mut self) -> Result<Vec<u8>> {
        if self.left > LONGEST_EXTENSION {
            return Err(bad(format!("an extension is larger than {LONGEST_EXTENSION} bytes")));
        }
        let mut content = vec![0; self.left as usize];
        self.read_exact(&mut content).map_err(damage)?;
        Ok(content)
    }

    /// A block after the header that belongs to it and is not content.
    fn extra_block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.source.read_exact(&mut block).map_err(damage)?;
        self.position += BLOCK as u64;
        Ok(block)
    }

    /// A block of the content.
    fn map_block(&mut self) -> Result<[u8; BLOCK]> {
        let mut block = [0; BLOCK];
        self.read_exact(&mut block).map_err(damage)?;
        Ok(block)
    }
}

/// The content of the current entry.
impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.source.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        self.position += read as u64;
        Ok(read)
    }
}

fn check_sum(header: &Header) -> Result<()> {
    let bytes = header.as_bytes();
    let counted = bytes[..148].iter().chain(&[b' '; 8]).chain(&bytes[156..]);
    let sum: u32 = counted.map(|byte| u32::from(*byte)).sum();
    match header.cksum() {
        Ok(said) if said == sum => Ok(()),
        _ => Err(bad("a header's checksum is wrong")),
    }
}

fn device(header: &Header, kind: impl Fn(u32, u32) -> Kind) -> Result<Kind> {
    let major = header.device_major().map_err(damage)?;
    let minor = header.device_minor().map_err(damage)?;
    match (major, minor) {
        (Some(major), Some(minor)) => Ok(kind(major, minor)),
        _ => Err(bad("a device has no number")),
    }
}

fn seconds(seconds: u64) -> Result<Time> {
    let seconds = i64::try_from(seconds).map_err(|_range| bad("a time is out of range"))?;
    Ok(Time { seconds, nanoseconds: 0 })
}

/// Two descriptions of the same thing are two readings of the archive.
fn put<T>(place: &mut Option<T>, value: T) -> Result<()> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(bad("two extensions describe the same entry")),
    }
}

fn one_of(
    long: Option<Vec<u8>>,
    record: Option<Vec<u8>>,
    header: impl FnOnce() -> Vec<u8>,
) -> Result<Vec<u8>> {
    match (long, record) {
        (Some(_), Some(_)) => Err(bad("two extensions name the same entry")),
        (Some(name), None) | (None, Some(name)) => Ok(name),
        (None, None) => Ok(header()),
    }
}

/// A name up to the zero that ends it.
fn name(mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    without_zero(bytes)
}

fn without_zero(bytes: Vec<u8>) -> Result<Vec<u8>> {
    if bytes.contains(&0) { Err(bad("a name has a zero byte")) } else { Ok(bytes) }
}

/// What cannot be read: a refusal of the kernel, or an archive that is not as it should be.
pub(super) fn damage(error: io::Error) -> Error {
    match (error.raw_os_error(), error.kind()) {
        (Some(_), _) => Error::io("read the archive", &error),
        (None, io::ErrorKind::UnexpectedEof) => bad("the archive is cut off"),
        (None, _) => bad(format!("the archive is damaged: {error}")),
    }
}

fn unknown(kind: EntryType) -> Error {
    let letter = char::from(kind.as_byte()).escape_default();
    bad(format!("an entry has the unknown type '{letter}'"))
}

fn bad(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::BadImage, message)
}

#[cfg(test)]
mod tests;

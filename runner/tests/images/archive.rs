//! Archives as they should be, and as they should not.

use std::io::Write;

use flate2::write::GzEncoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use tar::{Builder, EntryType, Header};

/// An archive in the making.
pub struct Archive(Builder<Vec<u8>>);

impl Archive {
    pub fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    pub fn file(self, path: &str, content: &str) -> Self {
        self.owned_file(path, content, 0o644, 0)
    }

    pub fn owned_file(self, path: &str, content: &str, mode: u32, owner: u32) -> Self {
        self.entry(path, EntryType::Regular, content.as_bytes(), |header| {
            header.set_mode(mode);
            header.set_uid(owner.into());
            header.set_gid(owner.into());
        })
    }

    pub fn folder(self, path: &str) -> Self {
        self.entry(path, EntryType::Directory, b"", |header| header.set_mode(0o755))
    }

    pub fn link(self, path: &str, kind: EntryType, target: &str) -> Self {
        self.entry(path, kind, b"", |header| write_name(&mut header.as_old_mut().linkname, target))
    }

    pub fn symlink(self, path: &str, target: &str) -> Self {
        self.link(path, EntryType::Symlink, target)
    }

    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(path, EntryType::Link, target)
    }

    pub fn device(self, path: &str, kind: EntryType, major: u32, minor: u32) -> Self {
        self.entry(path, kind, b"", |header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        })
    }

    /// Records that describe the next entry.
    pub fn records(mut self, records: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(records.iter().copied()).unwrap();
        self
    }

    /// The name goes into the header as it is: the crate would refuse what is to be refused.
    pub fn entry(
        mut self,
        path: &str,
        kind: EntryType,
        content: &[u8],
        change: impl FnOnce(&mut Header),
    ) -> Self {
        let mut header = header(path, kind, content.len() as u64);
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    /// A name that is too long for a header.
    pub fn long(mut self, path: &[u8], kind: EntryType, content: &[u8]) -> Self {
        let length = (path.len() + 1) as u64;
        let name = header("././@LongLink", EntryType::GNULongName, length);
        self.0.append(&name, &[path, &[0]].concat()[..]).unwrap();
        self.entry("cut", kind, content, |_| {})
    }

    pub fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

pub fn header(path: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    write_name(&mut header.as_old_mut().name, path);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1_000_000_000);
    header.set_cksum();
    header
}

fn write_name(field: &mut [u8; 100], name: &str) {
    field[..name.len()].copy_from_slice(name.as_bytes());
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    compress_to_vec(bytes, CompressionLevel::Fastest)
}

pub type Compress = fn(&[u8]) -> Vec<u8>;

/// The ways of compression by name.
pub const WAYS: [(&str, Compress); 3] = [("plain", <[u8]>::to_vec), ("gzip", gzip), ("zstd", zstd)];

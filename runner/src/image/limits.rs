//! How much an image may be: a few bytes of archive can say that they are a universe of files.

use crate::error::{Error, ErrorKind, Result};

/// The most that an import accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all files together, holes included.
    pub bytes: u64,
    /// Files, folders and everything else that has a name.
    pub entries: u64,
    /// Folders in each other.
    pub depth: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 30, entries: 4_000_000, depth: 256 }
    }
}

impl Limits {
    /// The error for more bytes than these.
    pub(super) fn too_many_bytes(&self) -> Error {
        Error::new(ErrorKind::BadImage, format!("the files are larger than {} bytes", self.bytes))
            .hint("a larger image needs --max-size")
    }

    /// The error for more entries than these.
    pub(super) fn too_many_entries(&self) -> Error {
        Error::new(ErrorKind::BadImage, format!("there are more than {} entries", self.entries))
            .hint("a larger image needs --max-entries")
    }

    /// Refuses a path of too many parts.
    pub(super) fn check_depth(&self, depth: usize) -> Result<()> {
        if depth <= self.depth {
            return Ok(());
        }
        let message = format!("the path has {depth} parts, more than {}", self.depth);
        Err(Error::new(ErrorKind::BadImage, message).hint("a deeper image needs --max-depth"))
    }
}

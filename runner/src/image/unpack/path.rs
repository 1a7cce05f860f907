//! The path of an entry, in its parts.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::{bad, shown};
use crate::error::Result;

/// `PATH_MAX` without the zero at its end.
const LONGEST: usize = 4095;

/// A path from the root of what is unpacked; absolute or not is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EntryPath<'a> {
    parts: Vec<&'a [u8]>,
}

impl<'a> EntryPath<'a> {
    pub(super) const ROOT: EntryPath<'static> = EntryPath { parts: Vec::new() };

    /// Nobody who means well climbs.
    pub(super) fn parse(path: &'a [u8]) -> Result<Self> {
        if path.is_empty() {
            return Err(bad("a path is empty"));
        }
        if path.len() > LONGEST {
            return Err(bad(format!("a path has {} bytes", path.len())));
        }
        let parts = path.split(|byte| *byte == b'/');
        let parts: Vec<_> = parts.filter(|part| !matches!(part, [] | [b'.'])).collect();
        match parts.contains(&&b".."[..]) {
            false => Ok(Self { parts }),
            true => Err(bad(format!("the path {} has `..`", shown(path)))),
        }
    }

    pub(super) fn depth(&self) -> usize {
        self.parts.len()
    }

    /// The last part; the root has none.
    pub(super) fn name(&self) -> Option<&'a OsStr> {
        self.parts.last().map(|part| OsStr::from_bytes(part))
    }

    /// The folder that the last part is in.
    pub(super) fn parent(&self) -> Self {
        let parts = self.parts.split_last().map_or(&[][..], |(_, parent)| parent);
        Self { parts: parts.to_vec() }
    }

    pub(super) fn parts(&self) -> &[&'a [u8]] {
        &self.parts
    }

    /// As the kernel wants it; the root is `.`.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        if self.parts.is_empty() { b".".to_vec() } else { self.parts.join(&b'/') }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_its_parts() {
        let path = EntryPath::parse(b"/usr//./bin/sh/").unwrap();
        assert_eq!(path.to_bytes(), b"usr/bin/sh");
        assert_eq!(path.parent().to_bytes(), b"usr/bin");
        assert_eq!((path.depth(), path.name()), (3, Some(OsStr::new("sh"))));
        assert_eq!(EntryPath::parse(b"./").unwrap(), EntryPath::ROOT);
        assert_eq!(EntryPath::ROOT.to_bytes(), b".");
    }

    #[test]
    fn nobody_climbs() {
        for path in [&b".."[..], b"../a", b"a/../b", b"a/..", b"/..", b"", &[b'a'; 5000]] {
            assert!(EntryPath::parse(path).is_err(), "{path:?}");
        }
        assert!(EntryPath::parse(b"..a/b../...").is_ok());
    }
}

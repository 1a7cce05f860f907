//! A file system for the kernel to unpack into memory: a cpio archive in the format `newc` (the
//! kernel's `Documentation/driver-api/early-userspace/buffer-format.rst`).

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

const FOLDER: u32 = 0o040_755;
const FILE: u32 = 0o100_644;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;

/// An archive that grows.
#[derive(Debug, Default)]
pub struct Archive {
    bytes: Vec<u8>,
    known: BTreeSet<PathBuf>,
}

impl Archive {
    /// Adds a folder, and those above it.
    pub fn folder(&mut self, path: &Path) {
        let above: Vec<&Path> = path.ancestors().filter(|path| *path != Path::new("")).collect();
        for folder in above.into_iter().rev() {
            if self.known.insert(folder.to_owned()) {
                self.entry(folder.as_os_str(), FOLDER, b"");
            }
        }
    }

    /// Adds a file with the folders above it. One that is there already stays.
    pub fn file(&mut self, path: &Path, content: &[u8], executable: bool) {
        self.inside(path, if executable { PROGRAM } else { FILE }, content);
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &Path, target: &str) {
        self.inside(path, LINK, target.as_bytes());
    }

    fn inside(&mut self, path: &Path, mode: u32, content: &[u8]) {
        if let Some(folder) = path.parent() {
            self.folder(folder);
        }
        if self.known.insert(path.to_owned()) {
            self.entry(path.as_os_str(), mode, content);
        }
    }

    fn entry(&mut self, name: &OsStr, mode: u32, content: &[u8]) {
        let number = u32::try_from(self.known.len()).unwrap_or(u32::MAX);
        let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        // inode, mode, owner, group, links, time, size, two device numbers twice, name's size, sum
        let name_size = length(name.as_bytes()) + 1;
        let size = length(content);
        let fields = [number, mode, 0, 0, 1, 0, size, 0, 0, 0, 0, name_size, 0];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend(content);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// The whole archive.
    pub fn finish(mut self) -> Vec<u8> {
        self.entry(OsStr::new("TRAILER!!!"), 0, b"");
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_headed_and_padded() {
        let mut archive = Archive::default();
        archive.file(Path::new("a/b"), b"text!", true);
        archive.file(Path::new("a/b"), b"once only", true);
        let text = String::from_utf8(archive.finish()).unwrap();
        let heads: Vec<usize> = text.match_indices("070701").map(|(at, _)| at).collect();
        assert_eq!(heads.len(), 3);
        assert!(heads.iter().all(|at| at % 4 == 0), "{heads:?}");
        let (folder, file) = (&text[..heads[1]], &text[heads[1]..heads[2]]);
        assert!(folder[110..].starts_with("a\0") && folder[14..22] == *"000041ed", "{folder}");
        assert!(file[14..22] == *"000081ed" && file[54..62] == *"00000005", "{file}");
        assert!(file[110..].starts_with("a/b\0") && file.contains("text!\0\0\0"), "{file}");
    }
}

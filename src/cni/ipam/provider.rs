//! Which program the `ipam` object names, and whether that is this one.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use netup::{Error, ErrorKind};
use serde::Deserialize;

use crate::cni::Call;
use crate::cni::conf::decode;
use crate::cni::failure::Failure;

/// Who gives out addresses.
#[derive(Debug, PartialEq, Eq)]
pub enum Provider {
    /// Type `host-local`, in this process.
    HostLocal,
    /// Type `static`, in this process.
    Static,
    /// Another program.
    Foreign(PathBuf),
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Ipam {
    #[serde(rename = "type")]
    name: String,
}

/// The name that `ipam.type` gives; empty if there is none.
pub fn name(call: &Call) -> Result<String, Failure> {
    let ipam: Result<Option<Ipam>, Failure> =
        call.conf.get("ipam").cloned().map(decode).transpose();
    let ipam =
        ipam.map_err(|failure| Failure { msg: format!("ipam: {}", failure.msg), ..failure })?;
    let ipam = ipam.unwrap_or_default();
    Ok(ipam.name)
}

impl Provider {
    /// The one whom the configuration names.
    pub fn of(call: &Call) -> Result<Self, Failure> {
        let name = name(call)?;
        validate(&name)?;
        let built_in = Self::built_in(&name);
        match find(&name, &call.env.path) {
            Some(path) if is_this_program(&path) => built_in.ok_or_else(|| no_ipam(&name)),
            Some(path) => Ok(Self::Foreign(path)),
            // The reference plugins fail where they find nothing. This one brings its own.
            None => built_in.ok_or_else(|| not_found(&name, &call.env.path)),
        }
    }

    fn built_in(name: &str) -> Option<Self> {
        match name {
            "host-local" => Some(Self::HostLocal),
            "static" => Some(Self::Static),
            _ => None,
        }
    }
}

fn validate(name: &str) -> Result<(), Failure> {
    match name {
        "" => Err(Failure::config("no plugin name provided").details("name one in ipam.type")),
        name if name.contains('/') => {
            Err(Failure::config(format!("invalid plugin name: {name}")).details("in ipam.type"))
        }
        _ => Ok(()),
    }
}

/// The first regular file of the name. That it can be executed is not asked for: what cannot be is
/// an error rather than passed over.
fn find(name: &str, folders: &[PathBuf]) -> Option<PathBuf> {
    folders.iter().map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// A type of ours that asks an IPAM plugin itself would ask itself again, and so on for ever.
fn no_ipam(name: &str) -> Failure {
    Failure::config(format!("plugin {name:?} gives out no addresses"))
        .details("name host-local, static or another IPAM plugin in ipam.type")
}

fn not_found(name: &str, folders: &[PathBuf]) -> Failure {
    let folders: Vec<String> = folders.iter().map(|path| path.display().to_string()).collect();
    let message = format!("failed to find plugin {name:?} in path [{}]", folders.join(" "));
    let hint = format!("install {name}, or put its folder into CNI_PATH");
    Error::new(ErrorKind::MissingTool, message).hint(hint).into()
}

/// Whether the file is this program: itself, by a link, or a copy, as a runtime that copies the
/// plugins' folder makes one.
fn is_this_program(path: &Path) -> bool {
    const SELF: &str = "/proc/self/exe";
    match (fs::metadata(path), fs::metadata(SELF)) {
        (Ok(file), Ok(own)) if is_same(&file, &own) => true,
        (Ok(file), Ok(own)) if file.len() == own.len() => {
            is_copy(path, Path::new(SELF), own.len()).unwrap_or(false)
        }
        _ => false,
    }
}

fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Whether two files of this length are equal where no two builds are, let alone two programs: at
/// the beginning, with the layout of segments and the entry point, and at the end, with that of the
/// sections. To compare all of it would take longer than starting the program.
fn is_copy(a: &Path, b: &Path, length: u64) -> io::Result<bool> {
    const PART: u64 = 4096;
    let (a, b) = (File::open(a)?, File::open(b)?);
    for offset in [0, length.saturating_sub(PART)] {
        let size = PART.min(length) as usize;
        let (mut one, mut other) = (vec![0; size], vec![0; size]);
        a.read_exact_at(&mut one, offset)?;
        b.read_exact_at(&mut other, offset)?;
        if one != other {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn this_program_is_known_by_a_link_and_by_a_copy() {
        let folder = tempfile::tempdir().unwrap();
        let exe = fs::canonicalize("/proc/self/exe").unwrap();
        let path = |name: &str| folder.path().join(name);
        symlink(&exe, path("symlink")).unwrap();
        fs::copy(&exe, path("copy")).unwrap();
        fs::copy(&exe, path("changed")).unwrap();
        let end = fs::metadata(&exe).unwrap().len() - 8;
        let changed = File::options().write(true).open(path("changed")).unwrap();
        changed.write_all_at(b"********", end).unwrap();
        assert!(is_this_program(&path("symlink")));
        assert!(is_this_program(&path("copy")));
        assert!(!is_this_program(&path("changed")));
        assert!(!is_this_program(Path::new("/bin/true")));
        assert!(!is_this_program(&path("absent")));
    }

    #[test]
    fn the_first_folder_with_a_file_counts() {
        let folder = tempfile::tempdir().unwrap();
        let folders: Vec<PathBuf> = ["a", "b", "c"].map(|name| folder.path().join(name)).into();
        for folder in &folders {
            fs::create_dir(folder).unwrap();
        }
        assert_eq!(find("x", &folders), None);
        fs::create_dir(folders[0].join("x")).unwrap();
        fs::write(folders[2].join("x"), "").unwrap();
        symlink(folders[2].join("x"), folders[1].join("x")).unwrap();
        assert_eq!(find("x", &folders), Some(folders[1].join("x")));
    }

    #[test]
    fn names() {
        for bad in ["", "/bin/true", "../host-local", "a/b"] {
            assert_eq!(validate(bad).unwrap_err().code, Failure::CONFIG, "{bad:?}");
        }
        validate("whereabouts").unwrap();
    }
}

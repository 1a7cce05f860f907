//! What is remembered between calls: small files under `/run/netup`, one folder per host network
//! namespace, told apart by cookie. A reboot clears it, as it clears the kernel's state.
//!
//! ```text
//! /run/netup/COOKIE/
//!   lock                        byte ranges of this file are the locks
//!   attachments/ID/IFNAME       one record per attachment
//!   claims/ADDRESS -> ID@IFNAME who has an address
//!   pools/PREFIX                which address of a network is next
//!   bridges/NAME                what netup did to a bridge
//!   bridges/NAME.members/…      the attachments on it
//! ```

mod bridge;
mod claims;
mod lock;
mod pool;
mod record;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};

pub use bridge::BridgeRecord;
pub use claims::Claim;
pub use lock::Lock;
pub use record::{Phase, Record};

const FOLDERS: [&str; 4] = ["attachments", "claims", "pools", "bridges"];

/// Names another folder in place of `/run/netup`.
pub const STATE_DIR_VARIABLE: &str = "NETUP_STATE_DIR";

/// The state of one host network namespace.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
}

impl State {
    /// The state of the namespace with this cookie. Nothing is created until something is written.
    pub fn of(cookie: u64) -> Result<Self> {
        Ok(Self { folder: root()?.join(cookie.to_string()) })
    }

    /// Creates the folders where they are missing.
    pub fn create(&self) -> Result<()> {
        if self.path("bridges").is_dir() {
            return Ok(());
        }
        // The last one is the mark that all are there.
        FOLDERS.iter().try_for_each(|name| make_folder(&self.path(name)))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Removes the folders when nothing is left in them and nobody else is at work. A pool counts:
    /// it knows which addresses were used last.
    pub fn tidy(&self, presence: &Lock) -> Result<()> {
        match self.is_empty() && presence.try_upgrade()? && self.is_empty() {
            true => self.remove(presence),
            false => Ok(()),
        }
    }

    fn is_empty(&self) -> bool {
        let empty = |name: &str| {
            fs::read_dir(self.path(name)).is_ok_and(|mut entries| entries.next().is_none())
        };
        FOLDERS.iter().all(|name| empty(name))
    }

    /// Removes the folders. The host's lock keeps everybody out meanwhile.
    pub fn remove(&self, _alone: &Lock) -> Result<()> {
        absent_ok(fs::remove_dir_all(&self.folder)).map_err(|e| failed("remove", &self.folder, &e))
    }
}

fn root() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os(STATE_DIR_VARIABLE) {
        return Ok(folder.into());
    }
    if nix::unistd::geteuid().is_root() {
        return Ok("/run/netup".into());
    }
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) => Ok(Path::new(&folder).join("netup")),
        None => Err(Error::new(
            ErrorKind::State,
            "there is no folder for the state: XDG_RUNTIME_DIR is not set",
        )
        .hint(format!("run as root, or set {STATE_DIR_VARIABLE}"))),
    }
}

fn make_folder(path: &Path) -> Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|e| {
        failed("create", path, &e).hint(format!(
            "run as root, or set {STATE_DIR_VARIABLE} to a folder that can be written"
        ))
    })
}

fn failed(verb: &str, path: &Path, error: &io::Error) -> Error {
    Error::state(format!("{verb} {}", path.display()), error)
}

fn absent_ok(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Writes a file whole or not at all: a reader sees the old content or the new, and a crash leaves
/// at most a temporary file that the next write replaces.
fn write_whole(path: &Path, content: &[u8]) -> Result<()> {
    let temporary = temporary(path);
    let write = || {
        let mut file = fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        io::Write::write_all(&mut file, content)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|e| failed("write", path, &e))
}

/// Beside the file, under a name that no record can have: neither ids nor links start with a dot
/// followed by `tmp-`… an interface may, so the record's own lock keeps two writers apart.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".tmp-{name}"))
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed("list", folder, &e)),
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    Ok(entries.filter_map(name).filter(|name| !name.starts_with(".tmp-")).collect())
}

#[cfg(test)]
pub(crate) fn scratch() -> (State, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let state = State { folder: folder.path().to_owned() };
    state.create().expect("the folders");
    (state, folder)
}

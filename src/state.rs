//! What is remembered between calls: small files under `/run/netup`, one folder per host network
//! namespace, told apart by cookie. A reboot clears it, as it clears the kernel's state.
//!
//! ```text
//! /run/netup/COOKIE/
//!   lock                        byte ranges of this file are the locks
//!   attachments/ID/IFNAME       one record per attachment
//!   extensions/ID/IFNAME:PART   one record per part that was added to an interface
//!   claims/ADDRESS -> ID@IFNAME who has an address
//!   pools/PREFIX                which address of a network is next
//!   unfinished/                 files that are being written
//!   bridges/NAME                what netup did to a bridge
//!   bridges/NAME.members/…      the attachments on it
//! ```

mod bridge;
mod claims;
mod document;
mod extension;
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
use document::Document;
pub use extension::ExtensionRecord;
pub use lock::Lock;
pub use pool::Span;
pub use record::{Phase, Record};

/// Each is made with the first file in it. The first ones are those that keep the others most often,
/// to which [`State::tidy`] looks first.
const FOLDERS: [&str; 5] = ["pools", "attachments", "extensions", "claims", "bridges"];

/// Where files are written before they take their place.
const UNFINISHED: &str = "unfinished";

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
        Ok(Self { folder: state_folder()?.join(cookie.to_string()) })
    }

    /// Writes a file whole or not at all: a reader sees the old content or the new. A crash leaves
    /// at most a file in `unfinished`, which the next write of the same file replaces, and
    /// [`State::sweep`] removes.
    fn write_whole(&self, path: &Path, content: &[u8]) -> Result<()> {
        let unfinished = self.unfinished(path);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let write = || {
            let mut file = in_its_folder("write", &unfinished, || options.open(&unfinished))?;
            io::Write::write_all(&mut file, content).map_err(|e| failed("write", path, &e))?;
            in_its_folder("write", path, || fs::rename(&unfinished, path))
        };
        write().inspect_err(|_| {
            // On a full disk above all, half a file is in the way.
            drop(fs::remove_file(&unfinished));
        })
    }

    /// One flat folder, so that an interrupted write keeps no other folder from being removed. No
    /// name that is written may hold a `%`, so no two files share one.
    fn unfinished(&self, path: &Path) -> PathBuf {
        let name = path.strip_prefix(&self.folder).unwrap_or(path).to_string_lossy();
        self.path(UNFINISHED).join(name.replace('/', "%"))
    }

    /// Removes a file, and what an interrupted write of it left.
    fn remove_whole(&self, path: &Path) -> Result<()> {
        for path in [path, &self.unfinished(path)] {
            absent_ok(fs::remove_file(path)).map_err(|e| failed("remove", path, &e))?;
        }
        Ok(())
    }

    /// Removes what interrupted calls left: unfinished files and empty folders. Does nothing while
    /// anybody else is at work.
    pub fn sweep(&self, presence: &Lock) -> Result<()> {
        if !presence.try_upgrade()? {
            return Ok(());
        }
        for name in names_in(&self.path(UNFINISHED))? {
            let path = self.path(UNFINISHED).join(name);
            absent_ok(fs::remove_file(&path)).map_err(|e| failed("remove", &path, &e))?;
        }
        for folder in ["attachments", "extensions", "bridges"] {
            for name in names_in(&self.path(folder))? {
                // Only empty folders go: on anything else this fails, as it should.
                drop(fs::remove_dir(self.path(folder).join(name)));
            }
        }
        Ok(())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Removes the folders when nothing is left in them and nobody else is at work. A pool counts:
    /// it knows which addresses were used last.
    pub fn tidy(&self, presence: &Lock) -> Result<()> {
        if !presence.try_upgrade()? {
            return Ok(());
        }
        for name in FOLDERS {
            if !remove_empty(&self.path(name))? {
                return Ok(());
            }
        }
        self.remove_rest()
    }

    /// Removes the folders and what is in them. The host's lock keeps everybody out meanwhile.
    pub fn remove(&self, _alone: &Lock) -> Result<()> {
        FOLDERS.iter().try_for_each(|name| remove_filled(&self.path(name)))?;
        self.remove_rest()
    }

    /// The lock goes last: who gets a new one finds nothing that is still being removed. Such a one
    /// may have come already, and then the root is theirs.
    fn remove_rest(&self) -> Result<()> {
        let unfinished = self.path(UNFINISHED);
        if !remove_empty(&unfinished)? {
            remove_filled(&unfinished)?;
        }
        let lock = self.path("lock");
        absent_ok(fs::remove_file(&lock)).map_err(|e| failed("remove", &lock, &e))?;
        remove_empty(&self.folder).map(drop)
    }
}

/// The folder below which everything is that must be remembered between calls, but not for longer
/// than the host is up: `/run/netup`, or what `NETUP_STATE_DIR` names.
pub fn state_folder() -> Result<PathBuf> {
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
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|e| failed("create", path, &e).hint(unwritable()))
}

fn unwritable() -> String {
    format!("run as root, or set {STATE_DIR_VARIABLE} to a folder that can be written")
}

/// Makes a file, and the folder if it is the first in it. The folder goes with the last one, perhaps
/// just now.
fn in_its_folder<T>(verb: &str, path: &Path, mut make: impl FnMut() -> io::Result<T>) -> Result<T> {
    const ATTEMPTS: usize = 10;
    for _ in 1..ATTEMPTS {
        match make() {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_folder(path.parent().unwrap_or(path))?;
            }
            made => return made.map_err(|e| refused(verb, path, &e)),
        }
    }
    make().map_err(|e| refused(verb, path, &e))
}

fn refused(verb: &str, path: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::PermissionDenied => failed(verb, path, error).hint(unwritable()),
        _ => failed(verb, path, error),
    }
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

/// Removes a folder unless something is in it, at a cost that does not grow with it: listing it
/// would. True if it is gone.
fn remove_empty(folder: &Path) -> Result<bool> {
    match fs::remove_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
        done => absent_ok(done).map(|()| true).map_err(|e| failed("remove", folder, &e)),
    }
}

fn remove_filled(folder: &Path) -> Result<()> {
    absent_ok(fs::remove_dir_all(folder)).map_err(|e| failed("remove", folder, &e))
}

fn names_in(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(failed("list", folder, &e)),
    };
    let name = |entry: io::Result<fs::DirEntry>| entry.ok()?.file_name().into_string().ok();
    Ok(entries.filter_map(name).collect())
}

#[cfg(test)]
pub(crate) fn scratch() -> (State, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let state = State { folder: folder.path().to_owned() };
    (state, folder)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ident::AttachmentId;

    fn id() -> AttachmentId {
        AttachmentId { container: "a".parse().unwrap(), ifname: "eth0".parse().unwrap() }
    }

    #[test]
    fn the_last_one_out_removes_all_but_what_is_remembered() {
        let (state, folder) = scratch();
        let ip = "10.0.0.2".parse().unwrap();
        for _ in 0..2 {
            let presence = state.share_host().unwrap();
            state.claim(ip, &id()).unwrap();
            fs::create_dir(state.path("attachments")).unwrap();
            state.tidy(&presence).unwrap();
            assert_eq!(state.owner(ip).unwrap(), Some(id()));
            // As an interrupted call leaves it.
            state.write_whole(&state.path("attachments").join("b"), b"{").unwrap();
            fs::rename(state.path("attachments/b"), state.path("unfinished/b")).unwrap();
            state.release("10.0.0.2/24".parse().unwrap(), &id()).unwrap();
            state.tidy(&presence).unwrap();
            assert!(!folder.path().exists());
        }
    }

    #[test]
    fn nothing_is_removed_while_another_is_at_work() {
        let (state, _folder) = scratch();
        let (presence, _other) = (state.share_host().unwrap(), state.share_host().unwrap());
        make_folder(&state.path("claims")).unwrap();
        state.tidy(&presence).unwrap();
        assert!(state.path("claims").exists());
    }
}

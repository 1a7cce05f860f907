//! The containers that run: one small file each, below `/run/netup-run`, whose lock the runner holds
//! for as long as the container lives. A record without a holder is what a dead runner left.
//!
//! A record is only ever appended to, whole lines of JSON of which the last one counts: a reader
//! needs no lock, and a runner that dies while it writes leaves the former line in force.

mod claim;
mod record;

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result};
use crate::name::ContainerName;

pub use claim::Claim;
pub use record::{Init, Record, RootRecord, UserNamespace};

use claim::Holder;

/// Names another folder in place of the usual one.
pub const FOLDER_VARIABLE: &str = "NETUP_RUN_STATE";

/// The folder of the records.
#[derive(Debug, Clone)]
pub struct State {
    folder: PathBuf,
}

impl State {
    /// The caller's own. Nothing is made or looked at yet.
    ///
    /// # Errors
    /// [`State`](ErrorKind::State) for an ordinary user without `XDG_RUNTIME_DIR`.
    pub fn open() -> Result<Self> {
        if let Some(folder) = std::env::var_os(FOLDER_VARIABLE) {
            return Ok(Self::at(folder));
        }
        if rustix::process::geteuid().is_root() {
            return Ok(Self::at("/run/netup-run"));
        }
        match std::env::var_os("XDG_RUNTIME_DIR") {
            Some(folder) => Ok(Self::at(Path::new(&folder).join("netup-run"))),
            None => Err(Error::new(
                ErrorKind::State,
                "there is no folder for running containers: XDG_RUNTIME_DIR is not set",
            )
            .hint(format!("log in by a way that sets it, or set {FOLDER_VARIABLE} to a folder"))),
        }
    }

    /// The records in this folder.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// The record of a running container.
    ///
    /// # Errors
    /// [`NotFound`](ErrorKind::NotFound) if none of that name runs.
    pub fn record(&self, name: &ContainerName) -> Result<Record> {
        let running = self.look(name)?.filter(|(holder, _)| *holder == Holder::Runner);
        match running {
            Some((_, Some(record))) => Ok(record),
            Some((_, None)) => Err(not_running(name).hint("it is just being started")),
            None => Err(not_running(name).hint("see netup-run ps")),
        }
    }

    /// The records of all containers that run, by name.
    ///
    /// # Errors
    /// If the folder or a record cannot be read.
    pub fn running(&self) -> Result<Vec<Record>> {
        let mut records = Vec::new();
        for name in self.names()? {
            if let Some((Holder::Runner, Some(record))) = self.look(&name)? {
                records.push(record);
            }
        }
        Ok(records)
    }

    /// The names whose runner has died without clearing up.
    ///
    /// # Errors
    /// If the folder or a record cannot be read.
    pub fn dead(&self) -> Result<Vec<ContainerName>> {
        let mut names = self.names()?;
        let mut failure = None;
        names.retain(|name| match self.look(name) {
            Ok(found) => found.is_some_and(|(holder, _)| holder == Holder::Nobody),
            Err(error) => {
                failure.get_or_insert(error);
                false
            }
        });
        failure.map_or(Ok(names), Err)
    }

    /// All names, in order. Anything else in the folder is not ours.
    fn names(&self) -> Result<Vec<ContainerName>> {
        let failed = |e: &io::Error| Error::state(format!("list {}", self.folder.display()), e);
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(&e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|e| failed(&e))?.file_name();
            names.extend(name.to_str().and_then(|name| name.parse().ok()));
        }
        names.sort();
        Ok(names)
    }

    fn path(&self, name: &ContainerName) -> PathBuf {
        self.folder.join(name.as_str())
    }

    /// Where others can write they could put links in the place of what helpers write there.
    fn refuse_others_folder(&self) -> Result<()> {
        let failed = |e| Error::state(format!("look at {}", self.folder.display()), &e);
        let about = match fs::metadata(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            about => about.map_err(failed)?,
        };
        if about.uid() == rustix::process::geteuid().as_raw() && about.mode() & 0o022 == 0 {
            return Ok(());
        }
        let what = format!("{} can be written by others", self.folder.display());
        Err(Error::new(ErrorKind::State, what)
            .hint(format!("set {FOLDER_VARIABLE} to a folder that only you can write")))
    }

    fn create(&self) -> Result<()> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(|e| {
            Error::state(format!("create {}", self.folder.display()), &e)
                .hint(format!("set {FOLDER_VARIABLE} to a folder that can be written"))
        })
    }
}

fn not_running(name: &ContainerName) -> Error {
    Error::new(ErrorKind::NotFound, format!("no container {name} is running"))
}

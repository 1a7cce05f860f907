//! What netup did to a bridge, and who relies on it. The last one takes it back.

use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::ident::IfName;
use crate::plan::Step;
use crate::state::{State, absent_ok, failed, in_its_folder, names_in};

/// What was done to a bridge. Its absence means nothing was.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeRecord {
    /// Whether netup made it.
    pub ours: bool,
    /// Each change, by whichever attachment.
    pub steps: Vec<Step>,
    /// What takes them back, in the order to run.
    pub undo: Vec<Step>,
}

impl State {
    fn bridge_path(&self, name: &IfName) -> PathBuf {
        self.path("bridges").join(name.as_str())
    }

    fn members_path(&self, name: &IfName) -> PathBuf {
        // Longer than any interface name with the ending, so it cannot be another bridge's record.
        self.path("bridges").join(format!("{name}.{:-<15}", "members"))
    }

    /// The record of a bridge, if netup did anything to it.
    pub fn bridge(&self, name: &IfName) -> Result<Option<BridgeRecord>> {
        let path = self.bridge_path(name);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|e| {
                Error::new(ErrorKind::State, format!("{} cannot be used: {e}", path.display()))
            }),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(failed("read", &path, &e)),
        }
    }

    /// Writes it; `None` forgets it.
    pub fn save_bridge(&self, name: &IfName, record: Option<&BridgeRecord>) -> Result<()> {
        let path = self.bridge_path(name);
        let Some(record) = record else {
            return absent_ok(fs::remove_file(&path)).map_err(|e| failed("remove", &path, &e));
        };
        let text = serde_json::to_vec(record)
            .map_err(|e| Error::new(ErrorKind::State, format!("encode {}: {e}", path.display())))?;
        self.write_whole(&path, &text)
    }

    /// The bridges that netup did something to and that nobody relies on any more.
    pub fn idle_bridges(&self) -> Result<Vec<IfName>> {
        let names = names_in(&self.path("bridges"))?;
        let mut idle: Vec<IfName> = names.iter().filter_map(|name| name.parse().ok()).collect();
        idle.retain(|name| !self.members_path(name).exists());
        Ok(idle)
    }

    /// Whether anybody relies on the bridge.
    pub fn bridge_has_members(&self, name: &IfName) -> Result<bool> {
        Ok(!names_in(&self.members_path(name))?.is_empty())
    }

    /// Notes that an attachment, or what was added to an interface, relies on the bridge.
    pub fn join_bridge(&self, name: &IfName, id: &impl Display) -> Result<()> {
        let path = self.members_path(name).join(id.to_string());
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        in_its_folder("write", &path, || options.open(&path)).map(drop)
    }

    /// Notes that it no longer is; true if it was the last one.
    pub fn leave_bridge(&self, name: &IfName, id: &impl Display) -> Result<bool> {
        let folder = self.members_path(name);
        let path = folder.join(id.to_string());
        absent_ok(fs::remove_file(&path)).map_err(|e| failed("remove", &path, &e))?;
        // rmdir is the count: it succeeds only when nobody is left.
        match fs::remove_dir(&folder) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(false),
            Err(e) => Err(failed("remove", &folder, &e)),
        }
    }
}

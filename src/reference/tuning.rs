//! What the reference's `tuning` wrote down before it changed an interface.

use std::fs;
use std::io::ErrorKind::{InvalidFilename, InvalidInput, NotADirectory, NotFound};
use std::path::Path;

use serde::Deserialize;

use crate::error::{Error, ErrorKind, Result};

/// Where it does so by default.
pub const TUNING_FOLDER: &str = "/run/cni/tuning";

/// The attributes of an interface as they were before; what was not changed is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TuningBackup {
    /// The hardware address.
    pub mac: Option<String>,
    /// Whether it was promiscuous.
    pub promisc: Option<bool>,
    /// The MTU in bytes.
    pub mtu: Option<u32>,
    /// Whether it took every multicast packet.
    pub allmulti: Option<bool>,
    /// The length of its queue, in packets.
    #[serde(rename = "txQLen")]
    pub tx_queue_length: Option<u32>,
}

/// Reads what is to be put back on an interface, and removes the file; `None` if there is none.
///
/// A file that cannot be understood is removed as well: nothing else would ever come of it.
pub fn tuning_backup(folder: &Path, container: &str, ifname: &str) -> Result<Option<TuningBackup>> {
    let name = format!("{container}_{ifname}.json");
    if name.contains(['/', '\0']) {
        return Err(Error::invalid(format!("{name:?} cannot be the name of a file")));
    }
    let path = folder.join(name);
    let failed = |verb: &str, e| Error::state(format!("{verb} {}", path.display()), &e);
    let text = match fs::read(&path) {
        Ok(text) => text,
        // At a path that cannot be, nothing was ever saved.
        Err(e) if matches!(e.kind(), NotFound | NotADirectory | InvalidInput | InvalidFilename) => {
            return Ok(None);
        }
        Err(e) => return Err(failed("read", e)),
    };
    match fs::remove_file(&path) {
        Err(e) if e.kind() != NotFound => return Err(failed("remove", e)),
        _ => {}
    }
    serde_json::from_slice(&text).map(Some).map_err(|e| {
        let message = format!("{} holds no attributes to put back: {e}", path.display());
        Error::new(ErrorKind::State, message)
    })
}

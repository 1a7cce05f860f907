//! The record of what was added to one interface: written as an intent before the first change,
//! completed after the last, as an attachment's is.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::extension::{ExtensionId, PartKind};
use crate::ident::{AttachmentId, ContainerId, IfName, NetworkName};
use crate::plan::Step;
use crate::state::{Document, Phase, State, names_in};
use crate::target::TargetName;

/// The layout of the file.
const VERSION: u32 = 1;

/// What is remembered of a part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtensionRecord {
    version: u32,
    /// How far it has come.
    pub phase: Phase,
    /// Which part of which interface.
    pub id: ExtensionId,
    /// The network on whose behalf.
    pub network_name: NetworkName,
    /// What the caller called the container.
    pub target: TargetName,
    /// The container's namespace, by its cookie.
    pub netns_cookie: u64,
    /// The bridge whose settings it shares with others.
    pub bridge: Option<IfName>,
    /// Each change.
    pub steps: Vec<Step>,
    /// What takes them back, in the order to run.
    pub undo: Vec<Step>,
}

impl ExtensionRecord {
    /// A record of what is about to be done, without its steps.
    #[must_use]
    pub fn intent(
        id: ExtensionId,
        network_name: NetworkName,
        target: TargetName,
        netns_cookie: u64,
    ) -> Self {
        Self {
            version: VERSION,
            phase: Phase::Intent,
            id,
            network_name,
            target,
            netns_cookie,
            bridge: None,
            steps: Vec::new(),
            undo: Vec::new(),
        }
    }
}

impl Document for ExtensionRecord {
    const VERSION: u32 = VERSION;

    fn version(&self) -> u32 {
        self.version
    }

    fn phase(&self) -> Phase {
        self.phase
    }
}

impl State {
    fn extension_path(&self, id: &ExtensionId) -> PathBuf {
        let name = format!("{}:{}", id.attachment.ifname, id.part.as_str());
        self.extensions_folder(&id.attachment.container).join(name)
    }

    fn extensions_folder(&self, container: &ContainerId) -> PathBuf {
        self.path("extensions").join(container.as_str())
    }

    /// The record of a part, if there is one.
    pub fn extension(&self, id: &ExtensionId) -> Result<Option<ExtensionRecord>> {
        let remedy = || "remove the file; netup reload --remove takes all rules away".to_owned();
        self.read_document(&self.extension_path(id), remedy)
    }

    /// Writes a record.
    pub fn save_extension(&self, record: &ExtensionRecord) -> Result<()> {
        self.write_document(&self.extension_path(&record.id), record)
    }

    /// Forgets a part.
    pub fn forget_extension(&self, id: &ExtensionId) -> Result<()> {
        self.remove_document(&self.extension_path(id))
    }

    /// The parts that were added to an interface.
    pub fn extensions_of(&self, id: &AttachmentId) -> Result<Vec<ExtensionId>> {
        let mut found = self.extensions_of_container(&id.container)?;
        found.retain(|extension| extension.attachment.ifname == id.ifname);
        Ok(found)
    }

    /// Every part of every interface, in order of id.
    pub fn extension_ids(&self) -> Result<Vec<ExtensionId>> {
        let mut found = Vec::new();
        for name in names_in(&self.path("extensions"))? {
            if let Ok(container) = name.parse() {
                found.extend(self.extensions_of_container(&container)?);
            }
        }
        found.sort();
        Ok(found)
    }

    fn extensions_of_container(&self, container: &ContainerId) -> Result<Vec<ExtensionId>> {
        let names = names_in(&self.extensions_folder(container))?;
        Ok(names.iter().filter_map(|name| extension_id(container, name)).collect())
    }
}

fn extension_id(container: &ContainerId, name: &str) -> Option<ExtensionId> {
    let (ifname, part) = name.rsplit_once(':')?;
    let attachment = AttachmentId { container: container.clone(), ifname: ifname.parse().ok()? };
    Some(ExtensionId { attachment, part: part.parse::<PartKind>().ok()? })
}

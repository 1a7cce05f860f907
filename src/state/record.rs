//! The record of one attachment: written as an intent before the first change, completed after the
//! last. It holds all that is needed to take the attachment back, whatever became of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ident::{AttachmentId, ContainerId, IfName, NetworkName};
use crate::outcome::Attachment;
use crate::plan::Step;
use crate::request::Network;
use crate::state::{Document, State, names_in};

/// The layout of the file.
const VERSION: u32 = 1;

/// How far an attach has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// It may have done any of its steps.
    Intent,
    /// It has done all of them.
    Complete,
}

/// What is remembered of an attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// How far it has come.
    pub phase: Phase,
    /// The network that it belongs to, if it has a name.
    #[serde(default)]
    pub network_name: Option<NetworkName>,
    /// What was asked for, to tell whether a later request is the same.
    pub network: Network,
    /// What was made of it.
    pub attachment: Attachment,
    /// Each change.
    pub steps: Vec<Step>,
    /// What takes them back, in the order to run.
    pub undo: Vec<Step>,
}

impl Record {
    /// A record of what is about to be done.
    #[must_use]
    pub fn intent(
        network: Network,
        attachment: Attachment,
        steps: Vec<Step>,
        undo: Vec<Step>,
    ) -> Self {
        Self {
            version: VERSION,
            phase: Phase::Intent,
            network_name: None,
            network,
            attachment,
            steps,
            undo,
        }
    }

    /// The same record of an attachment that belongs to a named network.
    #[must_use]
    pub fn of_network(mut self, name: Option<NetworkName>) -> Self {
        self.network_name = name;
        self
    }

    /// The identity.
    #[must_use]
    pub fn id(&self) -> &AttachmentId {
        &self.attachment.id
    }
}

impl Document for Record {
    const VERSION: u32 = VERSION;

    fn version(&self) -> u32 {
        self.version
    }

    fn phase(&self) -> Phase {
        self.phase
    }
}

impl State {
    fn record_path(&self, id: &AttachmentId) -> PathBuf {
        self.container_folder(&id.container).join(id.ifname.as_str())
    }

    fn container_folder(&self, container: &ContainerId) -> PathBuf {
        self.path("attachments").join(container.as_str())
    }

    /// The record of an attachment, if there is one.
    pub fn record(&self, id: &AttachmentId) -> Result<Option<Record>> {
        let remedy = || format!("remove the file, then run netup down {}", id.container);
        self.read_document(&self.record_path(id), remedy)
    }

    /// Writes a record.
    pub fn save(&self, record: &Record) -> Result<()> {
        self.write_document(&self.record_path(record.id()), record)
    }

    /// Forgets an attachment.
    pub fn forget(&self, id: &AttachmentId) -> Result<()> {
        self.remove_document(&self.record_path(id))
    }

    /// The attachments of one container.
    pub fn attachments_of(&self, container: &ContainerId) -> Result<Vec<AttachmentId>> {
        let names = names_in(&self.container_folder(container))?;
        let id = |name: String| {
            Some(AttachmentId {
                container: container.clone(),
                ifname: name.parse::<IfName>().ok()?,
            })
        };
        Ok(names.into_iter().filter_map(id).collect())
    }

    /// Every attachment, in order of id.
    pub fn attachment_ids(&self) -> Result<Vec<AttachmentId>> {
        let mut ids = Vec::new();
        for name in names_in(&self.path("attachments"))? {
            if let Ok(container) = name.parse() {
                ids.extend(self.attachments_of(&container)?);
            }
        }
        ids.sort();
        Ok(ids)
    }
}

//! The record of one attachment: written as an intent before the first change, completed after the
//! last. It holds all that is needed to take the attachment back, whatever became of it.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};
use crate::ident::{AttachmentId, ContainerId, IfName, NetworkName};
use crate::outcome::Attachment;
use crate::plan::Step;
use crate::request::Network;
use crate::state::{State, failed, make_folder, names_in};

/// The layout of the file. A release that changes it reads the older ones too.
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

impl State {
    fn record_path(&self, id: &AttachmentId) -> PathBuf {
        self.container_folder(&id.container).join(id.ifname.as_str())
    }

    fn container_folder(&self, container: &ContainerId) -> PathBuf {
        self.path("attachments").join(container.as_str())
    }

    /// The record of an attachment, if there is one.
    pub fn record(&self, id: &AttachmentId) -> Result<Option<Record>> {
        let path = self.record_path(id);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed("read", &path, &e)),
        };
        let unreadable = |why: String| {
            Error::new(ErrorKind::State, format!("record {} cannot be used: {why}", path.display()))
                .hint(format!("remove the file, then run netup down {}", id.container))
        };
        let record: Record =
            serde_json::from_slice(&text).map_err(|e| unreadable(e.to_string()))?;
        match record.version {
            VERSION => Ok(Some(record)),
            other => {
                Err(unreadable(format!("its version is {other}, this release knows {VERSION}")))
            }
        }
    }

    /// Writes a record.
    pub fn save(&self, record: &Record) -> Result<()> {
        let text = serde_json::to_vec(record).map_err(|e| {
            Error::new(ErrorKind::State, format!("encode record {}: {e}", record.id()))
        })?;
        let path = self.record_path(record.id());
        if record.phase == Phase::Complete {
            return self.write_whole(&path, &text);
        }
        make_folder(&self.container_folder(&record.id().container))?;
        // The folder goes with the container's last record, perhaps just now.
        self.write_whole(&path, &text).or_else(|_| {
            make_folder(&self.container_folder(&record.id().container))?;
            self.write_whole(&path, &text)
        })
    }

    /// Forgets an attachment.
    pub fn forget(&self, id: &AttachmentId) -> Result<()> {
        let path = self.record_path(id);
        self.remove_whole(&path)?;
        // Fails while other interfaces of the container are attached, as it should.
        drop(fs::remove_dir(self.container_folder(&id.container)));
        Ok(())
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

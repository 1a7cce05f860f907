//! What a container's root file system is made of.

use std::path::PathBuf;

/// What a container's root file system is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootPlan {
    /// This directory itself.
    Directory {
        /// Its path on the host.
        path: PathBuf,
    },
    /// Directories one above the other, the topmost of which takes the writes.
    Overlay {
        /// The layers that stay as they are, topmost first.
        lowers: Vec<PathBuf>,
        /// Where writes go.
        upper: Upper,
        /// Whether marks are kept in `user.*` attributes, as inside a user namespace they must be.
        userxattr: bool,
    },
}

/// The layer of an overlay that takes the writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upper {
    /// In memory; gone with the mount namespace.
    Memory {
        /// The most that fits, in bytes; half of the machine's memory if not given.
        size: Option<u64>,
    },
    /// On disk.
    Disk {
        /// What was written.
        upper: PathBuf,
        /// The kernel's own work folder, on the same file system.
        work: PathBuf,
    },
}

impl RootPlan {
    /// The directory that the container's root is mounted over, in its own mount namespace.
    #[must_use]
    pub fn base(&self) -> &PathBuf {
        match self {
            Self::Directory { path } => path,
            Self::Overlay { lowers, .. } => &lowers[0],
        }
    }
}

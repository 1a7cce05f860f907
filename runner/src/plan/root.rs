//! What a container's root file system is made of.

use std::path::{Path, PathBuf};

/// What a container's root file system is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RootPlan {
    /// This directory itself.
    Directory {
        /// Its path on the host.
        path: PathBuf,
        /// Whether it is seen by an idmapped mount.
        idmapped: bool,
    },
    /// Directories one above the other.
    Overlay(Overlay),
}

/// Directories one above the other, the topmost of which takes the writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overlay {
    /// The layers that stay as they are, topmost first.
    pub lowers: Vec<PathBuf>,
    /// Whether these are seen by idmapped mounts.
    pub idmapped: bool,
    /// Where writes go.
    pub upper: Upper,
    /// Whether marks are kept in `user.*` attributes, as inside a user namespace they must be.
    pub userxattr: bool,
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
        /// Holds `root`, which is what was written, and `work`, the kernel's own.
        folder: PathBuf,
        /// Whether it is seen by an idmapped mount.
        idmapped: bool,
    },
}

impl RootPlan {
    /// The directory that the container's root is mounted over, in its own mount namespace.
    #[must_use]
    pub fn base(&self) -> &Path {
        match self {
            Self::Directory { path, idmapped: false } => path,
            Self::Overlay(Overlay { lowers, idmapped: false, .. }) => &lowers[0],
            // The files are where the container's root may not even search; here anybody may.
            Self::Directory { .. } | Self::Overlay(_) => Path::new("/"),
        }
    }

    /// What is seen by idmapped mounts: mounts that show what belongs to an id on disk as belonging
    /// to that id of the user namespace. Lower layers come first, in their order.
    #[must_use]
    pub fn idmapped(&self) -> Vec<PathBuf> {
        match self {
            Self::Directory { idmapped: false, .. } => Vec::new(),
            Self::Directory { path, idmapped: true } => vec![path.clone()],
            Self::Overlay(Overlay { lowers, idmapped, upper, .. }) => {
                let lowers = if *idmapped { lowers.as_slice() } else { &[] };
                lowers.iter().chain(upper.idmapped()).cloned().collect()
            }
        }
    }
}

impl Upper {
    fn idmapped(&self) -> Option<&PathBuf> {
        match self {
            Self::Disk { folder, idmapped: true } => Some(folder),
            Self::Disk { .. } | Self::Memory { .. } => None,
        }
    }
}

//! Where a real runtime runs: a cell in which the fixed paths of CNI lead into a folder of the test's.

use super::cgroup::Cgroup;
use crate::{Cell, Node, blame::Blame};
use serde_json::Value;
use std::{fs, io, path::Path};
use tempfile::TempDir;

/// The folder, and what is where in it.
#[derive(Debug)]
pub(super) struct Sandbox {
    // Ends first: what runs in it writes into the folder.
    pub cell: Cell,
    pub folder: TempDir,
    /// For the control groups of what runs in it, which are gone by now.
    pub cgroup: Cgroup,
}

/// Nothing of the host's own is touched: what has to lie at a fixed path is mounted over it, in this
/// cell only, and so is /dev/shm, where podman has its locks. A host without /etc/cni/net.d gets a copy of its /etc for that.
const MOUNTS: &str = r#"
mkdir -p bin net.d var run
mount --bind "$plugins" bin
mount -t tmpfs tmpfs /opt
mkdir -p /opt/cni/bin
mount --bind bin /opt/cni/bin
if ! [ -d /etc/cni/net.d ]; then
  cp -a /etc etc
  mkdir -p etc/cni/net.d
  mount --bind etc /etc
fi
mount --bind net.d /etc/cni/net.d
mount -t tmpfs tmpfs /var/lib
mkdir /var/lib/cni
mount --bind var /var/lib/cni
mount -t tmpfs tmpfs /dev/shm
"#;

impl Sandbox {
    /// A sandbox where this network is configured and these plugins are installed.
    pub fn new(host: &Node, plugins: &Path, network: &Value) -> io::Result<Self> {
        let folder = TempDir::with_prefix("netup-client-")?;
        let words = format!("plugins='{}'\ncd '{}'\n", plugins.display(), folder.path().display());
        let cell = Cell::new(host, &(words + MOUNTS + "cd /\n"))?;
        let sandbox = Self { cell, folder, cgroup: Cgroup::new() };
        sandbox.configure(network)?;
        Ok(sandbox)
    }

    /// Writes the network's configuration, the only one there is.
    pub fn configure(&self, network: &Value) -> io::Result<()> {
        let path = self.folder.path().join("net.d/10-network.conflist");
        fs::write(&path, network.to_string()).blame(path.display())
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Writes a file into the folder and returns its path.
    pub fn file(&self, name: &str, content: &str) -> io::Result<String> {
        let path = self.path(name);
        fs::write(&path, content).blame(&path)?;
        Ok(path)
    }
}

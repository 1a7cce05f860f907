//! The control groups that a runtime makes and leaves behind, empty.

use std::{
    fs,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

const ROOT: &str = "/sys/fs/cgroup";

/// A name for control groups that nobody else has. What is there by this name goes with it.
#[derive(Debug)]
pub(super) struct Cgroup {
    name: String,
}

impl Cgroup {
    pub fn new() -> Self {
        static SERIAL: AtomicU32 = AtomicU32::new(0);
        let serial = SERIAL.fetch_add(1, Ordering::Relaxed);
        Self { name: format!("netup-{}-{serial}", process::id()) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // With version 1 there is a hierarchy for each controller, with version 2 one for all.
        for hierarchy in folders(Path::new(ROOT)).into_iter().chain([ROOT.into()]) {
            remove(&hierarchy.join(&self.name));
        }
    }
}

/// Innermost first: the kernel removes a group only when there is none in it.
fn remove(group: &Path) {
    folders(group).iter().for_each(|inner| remove(inner));
    fs::remove_dir(group).ok();
}

fn folders(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).into_iter().flatten().flatten();
    let folder = |entry: fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir()).then(|| entry.path())
    };
    entries.filter_map(folder).collect()
}

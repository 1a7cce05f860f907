//! netup's program under the plugins' names.

use netns_fixtures::cni::plugin_dir;
use std::{
    fs, io,
    path::{Path, PathBuf},
};
use tempfile::TempDir;

/// A folder of links that goes with this. The program is copied first, as its own folder may not be
/// ours to write to.
pub struct Plugins {
    folder: PathBuf,
    _place: TempDir,
}

impl Plugins {
    pub fn of(program: &Path) -> io::Result<Self> {
        let place = TempDir::with_prefix("netup-bench-")?;
        let copy = place.path().join("netup");
        fs::copy(program, &copy)?;
        Ok(Self { folder: plugin_dir(&copy)?, _place: place })
    }

    pub fn path(&self) -> &Path {
        &self.folder
    }
}

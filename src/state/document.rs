//! Files that hold one record each, in a folder of the container's: written whole, told apart by
//! version, and gone with their folder.

use std::fs;
use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, ErrorKind, Result};
use crate::state::{Phase, State, failed, make_folder};

/// What such a file holds.
pub trait Document: Serialize + DeserializeOwned {
    /// The layout that this release writes. A release that changes it reads the older ones too.
    const VERSION: u32;

    /// The layout that it was read in.
    fn version(&self) -> u32;

    /// How far what it is about has come.
    fn phase(&self) -> Phase;
}

impl State {
    /// What the file holds, if there is one. `remedy` is for a file that cannot be used.
    pub(super) fn read_document<T: Document>(
        &self,
        path: &Path,
        remedy: impl FnOnce() -> String,
    ) -> Result<Option<T>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(failed("read", path, &e)),
        };
        let unusable = |why: String| {
            Error::new(ErrorKind::State, format!("record {} cannot be used: {why}", path.display()))
                .hint(remedy())
        };
        match serde_json::from_slice::<T>(&text) {
            Ok(document) if document.version() == T::VERSION => Ok(Some(document)),
            Ok(document) => Err(unusable(format!(
                "its version is {}, this release knows {}",
                document.version(),
                T::VERSION
            ))),
            Err(e) => Err(unusable(e.to_string())),
        }
    }

    /// Writes the file. The folder is made with the first one in it.
    pub(super) fn write_document<T: Document>(&self, path: &Path, document: &T) -> Result<()> {
        let text = serde_json::to_vec(document).map_err(|e| {
            Error::new(ErrorKind::State, format!("encode record {}: {e}", path.display()))
        })?;
        if document.phase() == Phase::Intent {
            make_folder(path.parent().unwrap_or(path))?;
        }
        self.write_whole(path, &text)
    }

    /// Removes the file, and the folder with the last one in it.
    pub(super) fn remove_document(&self, path: &Path) -> Result<()> {
        self.remove_whole(path)?;
        // Fails while there are others, as it should.
        drop(fs::remove_dir(path.parent().unwrap_or(path)));
        Ok(())
    }
}

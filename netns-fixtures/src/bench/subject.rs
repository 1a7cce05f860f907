//! The binary that is measured.

use crate::command::dist;
use serde::Serialize;
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// netup, as it would be shipped.
#[derive(Debug, Serialize)]
pub struct Subject {
    pub path: PathBuf,
    pub bytes: u64,
    pub is_static: bool,
}

impl Subject {
    /// Builds dist/netup, unless NETUP names another.
    pub fn obtain() -> io::Result<Self> {
        let path = match env::var_os("NETUP") {
            Some(path) => PathBuf::from(path).canonicalize()?,
            None => built()?,
        };
        let bytes = fs::metadata(&path)?.len();
        let is_static = !asks_for_a_loader(&path)?;
        Ok(Self { path, bytes, is_static })
    }
}

/// `cargo dist` puts it into the workspace, and refuses a binary that is not static.
fn built() -> io::Result<PathBuf> {
    dist::run()?;
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/netup").canonicalize()
}

/// As ldd finds out: told so, a loader lists libraries and never starts the program. Without a
/// loader the program runs, and answers.
fn asks_for_a_loader(program: &Path) -> io::Result<bool> {
    let mut version = Command::new(program);
    version.arg("--version").env("LD_TRACE_LOADED_OBJECTS", "1").stdin(Stdio::null());
    Ok(!version.output()?.stdout.starts_with(b"netup "))
}

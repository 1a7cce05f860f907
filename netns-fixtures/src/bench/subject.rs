//! The binary that is measured.

use crate::command::dist;
use serde::Serialize;
use std::{
    env, fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// netup or netup-run, as it would be shipped.
#[derive(Debug, Serialize)]
pub struct Subject {
    pub path: PathBuf,
    pub bytes: u64,
    pub is_static: bool,
}

impl Subject {
    /// dist/netup, built first, unless NETUP names another.
    pub fn netup() -> io::Result<Self> {
        Self::obtain("NETUP", dist::NETUP)
    }

    /// dist/netup-run, built first, unless NETUP_RUN names another.
    pub fn netup_run() -> io::Result<Self> {
        Self::obtain("NETUP_RUN", dist::NETUP_RUN)
    }

    fn obtain(variable: &str, name: &str) -> io::Result<Self> {
        let path = match env::var_os(variable) {
            Some(path) => PathBuf::from(path).canonicalize()?,
            // It refuses a binary that is not static.
            None => dist::one(name)?.canonicalize()?,
        };
        let bytes = fs::metadata(&path)?.len();
        let is_static = !asks_for_a_loader(&path)?;
        Ok(Self { path, bytes, is_static })
    }
}

/// As ldd finds out: told so, a loader lists libraries and never starts the program. Without a
/// loader the program runs, and answers.
fn asks_for_a_loader(program: &Path) -> io::Result<bool> {
    let mut version = Command::new(program);
    version.arg("--version").env("LD_TRACE_LOADED_OBJECTS", "1").stdin(Stdio::null());
    Ok(!version.output()?.stdout.starts_with(b"netup"))
}

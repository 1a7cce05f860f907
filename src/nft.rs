//! The nft program: only for the static rules, once per boot, and to read them back for a check.

use std::path::PathBuf;

use crate::error::{Error, ErrorKind, Result};
use crate::program;

/// Loads a script into the calling thread's network namespace, in one transaction.
pub fn load(script: &str) -> Result<()> {
    run(&["-f", "-"], script).map(drop)
}

/// A table as nft's JSON.
pub fn list_json(family: &str, table: &str) -> Result<String> {
    run(&["-j", "list", "table", family, table], "")
}

fn run(arguments: &[&str], input: &str) -> Result<String> {
    let ended = program::run(&find()?, arguments, input).map_err(|error| match error.kind() {
        ErrorKind::Kernel => error.with_kind(ErrorKind::Nft),
        _ => error,
    })?;
    match ended.code {
        Some(0) => Ok(ended.stdout),
        _ => Err(refused(&format!("nft {}", arguments.join(" ")), ended.complaint())),
    }
}

fn refused(operation: &str, complaint: &str) -> Error {
    let error = Error::new(ErrorKind::Nft, format!("{operation} failed: {complaint}"));
    if complaint.contains("Operation not permitted") {
        return error.with_kind(ErrorKind::NotPermitted).hint("run as root, or with CAP_NET_ADMIN");
    }
    error.hint("netup doctor tells which feature of nf_tables the kernel lacks")
}

fn find() -> Result<PathBuf> {
    program::find(&["nft"]).ok_or_else(|| {
        Error::new(ErrorKind::MissingTool, "the program nft is not installed")
            .hint("install the package nftables (apt-get install nftables)")
    })
}

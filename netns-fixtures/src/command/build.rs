//! Building the real binary with cargo.

use serde::Deserialize;
use std::{
    env,
    ffi::OsString,
    io,
    path::PathBuf,
    process::{Command, Stdio},
};

/// Builds a package's program of the same name for release, with these further arguments, and
/// returns where cargo put it.
pub fn program(name: &str, arguments: &[&str], rustflags: Option<&str>) -> io::Result<PathBuf> {
    let mut build = Command::new(cargo());
    build.args(["build", "--release", "--package", name, "--bin", name]).args(arguments);
    build.arg("--message-format=json-render-diagnostics");
    if let Some(flags) = rustflags {
        let inherited = env::var("RUSTFLAGS").unwrap_or_default();
        build.env("RUSTFLAGS", format!("{inherited} {flags}").trim());
    }
    let messages = printed(build)?;
    let executable = messages
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .find_map(|artifact: Artifact| artifact.program(name));
    executable.ok_or_else(|| io::Error::other(format!("cargo built no binary called {name}")))
}

/// The folder of the workspace, wherever inside it the command was given.
pub fn workspace() -> io::Result<PathBuf> {
    let mut locate = Command::new(cargo());
    locate.args(["locate-project", "--workspace", "--message-format", "plain"]);
    let manifest = PathBuf::from(printed(locate)?.trim_end());
    manifest
        .parent()
        .map(PathBuf::from)
        .ok_or_else(|| io::Error::other("the manifest lies in no folder"))
}

/// The target triple that cargo builds for by default.
pub fn host_triple() -> io::Result<String> {
    let mut version = Command::new(cargo());
    version.arg("-vV");
    let printed = printed(version)?;
    let triple = printed.lines().find_map(|line| line.strip_prefix("host: "));
    triple.map(str::to_owned).ok_or_else(|| io::Error::other("cargo -vV names no host"))
}

/// Set by `cargo run`; by hand, the one on PATH.
fn cargo() -> OsString {
    env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Progress and complaints go to the terminal as they come.
fn printed(mut command: Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if output.status.success() {
        return String::from_utf8(output.stdout).map_err(io::Error::other);
    }
    let arguments: Vec<_> = command.get_args().map(|argument| argument.to_string_lossy()).collect();
    Err(io::Error::other(format!("cargo {}: {}", arguments.join(" "), output.status)))
}

/// What matters of cargo's compiler-artifact message.
#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

impl Artifact {
    fn program(self, name: &str) -> Option<PathBuf> {
        self.executable.filter(|_| self.target.name == name)
    }
}

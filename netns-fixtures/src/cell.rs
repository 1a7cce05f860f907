//! A place for daemons and what they start: mounts and processes of its own, on a laboratory host.
//!
//! Invariant: whatever runs in a cell, however it detaches itself, ends with the cell, and with the
//! process that made the cell even when that one is killed: all of it is in one pid namespace, whose
//! first process waits for the end of a pipe.

use crate::{Node, blame::Blame, program, tools};
use std::{
    ffi::OsStr,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// Tells its pid outside, by the /proc of outside; then gets a /proc of its own. The shell stays to
/// reap what is left to it.
const FIRST: &str = r#"
read -r pid rest </proc/self/stat
mount -t proc proc /proc
eval "$1"
echo "$pid"
cat
exit 0
"#;

/// Mounts and processes of their own in a node's network namespace.
#[derive(Debug)]
pub struct Cell {
    node: Node,
    keeper: Child,
    pid: u32,
}

impl Cell {
    /// A cell whose first process runs `script`, which makes the mounts. Needs real root.
    pub fn new(node: &Node, script: &str) -> io::Result<Self> {
        let mut command = node.command(tools::find("unshare")?);
        command.args(["--mount", "--pid", "--fork", "/bin/sh", "-euc", FIRST, "cell", script]);
        command.env("PATH", program_path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().blame("start a cell")?;
        let pid = told(&mut keeper);
        let pid = pid.inspect_err(|_| end(&mut keeper)).blame("make a cell's mounts")?;
        Ok(Self { node: node.clone(), keeper, pid })
    }

    /// A command whose process runs in the cell.
    pub fn command(&self, program: impl AsRef<OsStr>) -> io::Result<Command> {
        let mut command = self.node.command(tools::find("nsenter")?);
        let target = self.pid.to_string();
        command.args(["--target", &target, "--mount", "--pid", "--"]).arg(program);
        command.env_clear().env("PATH", program_path()).stdin(Stdio::null());
        Ok(command)
    }

    /// Starts a program in the cell.
    pub fn start(&self, words: &[&str]) -> io::Result<program::Started> {
        let (program, words) = words.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = self.command(program)?;
        command.args(words);
        program::start(command, b"")
    }

    /// By which path one sees from outside what is at `path` in the cell.
    pub fn outside(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        let root = PathBuf::from(format!("/proc/{}/root", self.pid));
        root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// The network namespace of a process of the cell, by its pid in there.
    pub fn netns(&self, name: &str, pid: u32) -> Node {
        Node::at(name, self.outside(format!("/proc/{pid}/ns/net")))
    }
}

impl Drop for Cell {
    fn drop(&mut self) {
        end(&mut self.keeper);
    }
}

/// The pipe ends, so the first process does, so all do.
fn end(keeper: &mut Child) {
    drop(keeper.stdin.take());
    keeper.wait().ok();
}

fn told(keeper: &mut Child) -> io::Result<u32> {
    let mut line = String::new();
    if let Some(stdout) = keeper.stdout.take() {
        BufReader::new(stdout).read_line(&mut line)?;
    }
    line.trim().parse().map_err(|e| io::Error::other(format!("it said {line:?}, no pid: {e}")))
}

/// The same for all: an ordinary user's lacks the folders where ip, nft and iptables live.
pub(crate) fn program_path() -> &'static str {
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
}

//! One network namespace, and doing things in it.
//!
//! Invariant: no thread of the test ever changes its own netns. Work inside happens on a disposable
//! thread, or in a child process, and neither comes back.

use crate::{blame::Blame, kernel, tools};
use nix::sched::{CloneFlags, setns};
use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    panic,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

/// A network namespace of the laboratory. Cheap to clone; the [`Lab`](crate::Lab) owns the namespace.
#[derive(Debug, Clone)]
pub struct Node {
    name: String,
    path: PathBuf,
}

impl Node {
    /// A handle to the namespace at `path`, which stays somebody else's to remove.
    pub fn at(name: impl Into<String>, path: impl Into<PathBuf>) -> Self {
        Self { name: name.into(), path: path.into() }
    }

    /// The name it was declared with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A path that opens the namespace: under /run/netns, or of the container's process.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What tells this namespace from the others that exist now. The kernel reuses these numbers.
    pub fn netns_inode(&self) -> io::Result<u64> {
        Ok(fs::metadata(&self.path).blame(self.path.display())?.ino())
    }

    /// Runs `work` on a thread that enters the namespace and then ends. A panic inside is passed on.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        let netns =
            File::open(&self.path).blame(format_args!("open the netns of {}", self.name))?;
        let inside = || {
            setns(&netns, CloneFlags::CLONE_NEWNET)
                .blame(format_args!("enter the netns of {}", self.name))?;
            Ok(work())
        };
        thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| panic::resume_unwind(panic))
    }

    /// A command whose process runs in the namespace.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        kernel::command_inside(program.as_ref(), File::open(&self.path))
    }

    /// Reads a sysctl below /proc/sys, such as `net/ipv4/ip_forward`.
    /// Dots may separate too, but only slashes can name an interface like `eth0.100`.
    pub fn sysctl(&self, key: &str) -> io::Result<String> {
        let path = sysctl_path(key);
        let text = self.run(|| fs::read_to_string(&path))?.blame(path.display())?;
        Ok(text.trim_end().to_owned())
    }

    /// Writes a sysctl below /proc/sys; see [`Node::sysctl`] for the key.
    pub fn set_sysctl(&self, key: &str, value: &str) -> io::Result<()> {
        let path = sysctl_path(key);
        self.run(|| fs::write(&path, value))?.blame(format_args!("{} = {value}", path.display()))
    }

    /// Runs iproute2 inside and returns what it printed; its complaint is the error.
    pub fn ip(&self, arguments: &[&str]) -> io::Result<String> {
        let mut command = self.command(tools::find("ip")?);
        let output = command.args(arguments).stdin(Stdio::null()).output();
        printed(&format!("{}: ip {}", self.name, arguments.join(" ")), output)
    }

    /// Runs an nft script inside, as one transaction.
    pub fn nft(&self, script: &str) -> io::Result<()> {
        let mut command = self.command(tools::find("nft")?);
        let piped = command
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let fed = piped.spawn().and_then(|mut child| {
            // nft reads all of its input before it prints; dropping the handle ends the input.
            child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(script.as_bytes()))?;
            child.wait_with_output()
        });
        printed(&format!("{}: nft -f -", self.name), fed).map(drop)
    }

    /// The whole ruleset, without counters and other state.
    pub fn nft_list(&self) -> io::Result<String> {
        let mut command = self.command(tools::find("nft")?);
        let output = command.args(["-s", "list", "ruleset"]).stdin(Stdio::null()).output();
        printed(&format!("{}: nft list ruleset", self.name), output)
    }
}

fn sysctl_path(key: &str) -> PathBuf {
    let relative = if key.contains('/') { key.to_owned() } else { key.replace('.', "/") };
    Path::new("/proc/sys").join(relative.trim_start_matches('/'))
}

fn printed(what: &str, output: io::Result<Output>) -> io::Result<String> {
    let output = output.blame(what)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{what}: {}: {}", output.status, complaint.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysctl_keys_take_dots_or_slashes() {
        let forwarding = Path::new("/proc/sys/net/ipv4/ip_forward");
        assert_eq!(sysctl_path("net.ipv4.ip_forward"), forwarding);
        assert_eq!(sysctl_path("net/ipv4/ip_forward"), forwarding);
        let vlan = Path::new("/proc/sys/net/ipv4/conf/eth0.100/rp_filter");
        assert_eq!(sysctl_path("net/ipv4/conf/eth0.100/rp_filter"), vlan);
    }
}

//! The contenders' Debian packages.

use netns_fixtures::tools;
use std::{
    io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// A program that a contender consists of, and the package it comes in.
pub struct Part {
    pub program: &'static str,
    pub package: &'static str,
}

pub const BRIDGE: Part =
    Part { program: "/usr/lib/cni/bridge", package: "containernetworking-plugins" };
pub const PORTMAP: Part =
    Part { program: "/usr/lib/cni/portmap", package: "containernetworking-plugins" };
pub const FIREWALL: Part =
    Part { program: "/usr/lib/cni/firewall", package: "containernetworking-plugins" };
pub const NETAVARK: Part = Part { program: "/usr/lib/podman/netavark", package: "netavark" };
pub const IPTABLES: Part = Part { program: "/usr/sbin/iptables", package: "iptables" };

impl Part {
    /// Where it is.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(self.program)
    }

    fn is_there(&self) -> bool {
        Path::new(self.program).is_file()
    }
}

/// The one command that completes a contender, when it is not complete.
pub fn lacks(parts: &[&Part]) -> Option<String> {
    let packages = missing(parts);
    (!packages.is_empty()).then(|| format!("not installed: apt-get install {}", packages.join(" ")))
}

/// Installs what any contender lacks.
pub fn install_missing() -> io::Result<()> {
    let packages = missing(&[&BRIDGE, &PORTMAP, &NETAVARK, &IPTABLES]);
    if packages.is_empty() {
        return Ok(());
    }
    apt_get(&["update"])?;
    apt_get(&[&["install", "-y", "--no-install-recommends"], &packages[..]].concat())
}

fn missing(parts: &[&Part]) -> Vec<&'static str> {
    let mut packages: Vec<_> =
        parts.iter().filter(|part| !part.is_there()).map(|part| part.package).collect();
    packages.dedup();
    packages
}

fn apt_get(words: &[&str]) -> io::Result<()> {
    let mut command = Command::new(tools::find("apt-get")?);
    command.args(words).env("DEBIAN_FRONTEND", "noninteractive");
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status()?;
    let failed = || io::Error::other(format!("apt-get {}: {status}", words.join(" ")));
    if status.success() { Ok(()) } else { Err(failed()) }
}

//! The programs the laboratory needs from the machine.

use crate::blame::Blame;
use nix::unistd::{AccessFlags, access, geteuid};
use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// An ordinary user's PATH on Debian lacks these, and ip and nft live there.
const SYSTEM_FOLDERS: [&str; 4] = ["/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin"];

/// The Debian package of each tool whose package has another name.
const PACKAGES: [(&str, &str); 19] = [
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("bridge", "iproute2"),
    ("ss", "iproute2"),
    ("nft", "nftables"),
    ("ping", "iputils-ping"),
    ("sysctl", "procps"),
    ("modprobe", "kmod"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("newuidmap", "uidmap"),
    ("bwrap", "bubblewrap"),
    ("pasta", "passt"),
    ("busybox", "busybox-static"),
    ("ctr", "containerd"),
    ("dpkg-deb", "dpkg"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("strip", "binutils"),
];

/// Where a tool is. When it is missing the error names the command that installs it.
pub fn find(tool: &str) -> io::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(SYSTEM_FOLDERS.map(PathBuf::from));
    let mut candidates = folders.map(|folder| folder.join(tool));
    candidates.find(|candidate| is_program(candidate)).ok_or_else(|| missing(&[tool]))
}

/// Makes sure that all the tools are there. Root on Debian and its kin gets the missing ones installed.
/// To be called before [`isolate`](crate::enter::isolate): afterwards there is no network to fetch from.
pub fn require(tools: &[&str]) -> io::Result<()> {
    let absent: Vec<&str> = tools.iter().copied().filter(|tool| find(tool).is_err()).collect();
    if absent.is_empty() {
        return Ok(());
    }
    if !geteuid().is_root() || find("apt-get").is_err() {
        return Err(missing(&absent));
    }
    install(&packages(&absent))?;
    tools.iter().try_for_each(|tool| find(tool).map(drop))
}

fn is_program(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

fn missing(tools: &[&str]) -> io::Error {
    let (names, packages) = (tools.join(", "), packages(tools).join(" "));
    let message = format!(
        "not found: {names}. Run `sudo apt-get install {packages}`, or your system's equivalent"
    );
    io::Error::new(io::ErrorKind::NotFound, message)
}

fn packages<'a>(tools: &[&'a str]) -> Vec<&'a str> {
    let known =
        |tool: &str| PACKAGES.iter().find(|(name, _)| *name == tool).map(|(_, package)| *package);
    let mut packages: Vec<&str> = tools.iter().map(|tool| known(tool).unwrap_or(tool)).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn install(packages: &[&str]) -> io::Result<()> {
    eprintln!("installing {}", packages.join(" "));
    apt_get(&["update"])?;
    apt_get(&[&["install", "-y", "--no-install-recommends"], packages].concat())
}

fn apt_get(arguments: &[&str]) -> io::Result<()> {
    let what = format!("apt-get {}", arguments.join(" "));
    let mut command = Command::new(find("apt-get")?);
    command
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    let status = command.status().blame(&what)?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("{what}: {status}"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_an_error_with_the_remedy() {
        let error = find("no-such-tool").unwrap_err().to_string();
        assert!(error.contains("sudo apt-get install no-such-tool"), "{error}");
        let error = missing(&["tc", "ip", "nft"]).to_string();
        assert!(error.contains("sudo apt-get install iproute2 nftables`,"), "{error}");
    }
}

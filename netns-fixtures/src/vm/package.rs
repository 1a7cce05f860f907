//! Kernels as Debian packages them.

use crate::{blame::Blame, program, tools};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};
use tempfile::TempDir;

/// What of a kernel's modules a machine gets: whatever networks need, but for the rarer protocols.
const MODULES: [&str; 14] = [
    "net/802",
    "net/8021q",
    "net/bridge",
    "net/core",
    "net/ipv4/netfilter",
    "net/ipv6/netfilter",
    "net/llc",
    "net/netfilter",
    "net/sched",
    "drivers/net/veth.ko",
    "drivers/net/ifb.ko",
    "drivers/net/dummy.ko",
    "crypto/crc32c_generic.ko",
    "lib",
];

/// An unpacked kernel.
#[derive(Debug)]
pub struct Kernel {
    folder: TempDir,
}

impl Kernel {
    /// The kernel whose package lies in a folder. If there is none the error says how to get one.
    pub fn in_folder(folder: &Path, fetch: &str) -> io::Result<Self> {
        let is_package = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "deb");
        let package = files(folder).unwrap_or_default().into_iter().rfind(is_package);
        let package = package.ok_or_else(|| {
            let message = format!("no kernel package in {}. Run {fetch}", folder.display());
            io::Error::new(io::ErrorKind::NotFound, message)
        })?;
        let folder = tempfile::tempdir()?;
        let mut unpack = Command::new(tools::find("dpkg-deb")?);
        unpack.arg("--extract").arg(&package).arg(folder.path());
        program::run(unpack, b"", Duration::from_secs(60))?.success()?;
        Ok(Self { folder })
    }

    /// What the machine boots.
    pub(super) fn image(&self) -> io::Result<PathBuf> {
        let images = files(&self.folder.path().join("boot"))?;
        let is_image = |path: &&PathBuf| {
            path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
        };
        images.iter().find(is_image).cloned().ok_or_else(|| io::Error::other("no kernel in it"))
    }

    /// Its modules, by their paths in the machine.
    pub(super) fn modules(&self) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut modules = Vec::new();
        for release in files(&self.folder.path().join("lib/modules"))? {
            for part in MODULES {
                self.collect(&release.join("kernel").join(part), &mut modules)?;
            }
        }
        Ok(modules)
    }

    fn collect(&self, path: &Path, modules: &mut Vec<(PathBuf, Vec<u8>)>) -> io::Result<()> {
        if path.is_dir() {
            return files(path)?.iter().try_for_each(|path| self.collect(path, modules));
        }
        // Another release may have it elsewhere, or built in.
        if path.extension().is_some_and(|ending| ending == "ko") && path.is_file() {
            let inside = path.strip_prefix(self.folder.path()).map_err(io::Error::other)?;
            modules.push((inside.to_owned(), fs::read(path).blame(path.display())?));
        }
        Ok(())
    }
}

/// What is in a folder, in order.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).blame(folder.display())?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    Ok(paths)
}

//! Root file systems.

use super::{User, program};
use crate::{blame::Blame, program as programs, tools};
use std::{
    fs::{self, Permissions},
    io,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

/// Where the probe is in all of them.
const PROBE: &str = "probe";
/// Packing a distribution takes seconds.
const DEADLINE: Duration = Duration::from_secs(120);

const PASSWD: &str = "\
root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/:/bin/false
worker:x:1000:1000:worker:/home/worker:/bin/sh
1000:x:1001:1001:whose name is a number:/:/bin/sh
";
const GROUP: &str = "\
root:x:0:
daemon:x:1:
tty:x:5:
staff:x:50:worker
audio:x:29:root,worker
worker:x:1000:
";

/// A folder that holds a root file system.
#[derive(Debug, Clone)]
pub struct Root {
    path: PathBuf,
}

impl Root {
    /// With the probe and nothing else, not even mount points.
    pub fn minimal(path: impl Into<PathBuf>) -> io::Result<Self> {
        let root = Self { path: path.into() };
        fs::create_dir_all(&root.path).blame(root.path.display())?;
        root.program(program::probe(), PROBE)?;
        Ok(root)
    }

    /// With busybox under all of its names, some users, and the usual folders.
    pub fn busybox(path: impl Into<PathBuf>) -> io::Result<Self> {
        let root = Self::minimal(path)?;
        for folder in ["bin", "dev", "etc", "home/worker", "proc", "root", "sys", "tmp", "var"] {
            root.folder(folder, 0o755)?;
        }
        root.folder("tmp", 0o1777)?;
        root.file("etc/passwd", PASSWD)?;
        root.file("etc/group", GROUP)?;
        std::os::unix::fs::chown(root.at("home/worker"), Some(1000), Some(1000))
            .blame("chown home/worker")?;
        let busybox = tools::find("busybox")?;
        root.program(&busybox, "bin/busybox")?;
        for applet in applets(&busybox)?.lines().filter(|name| *name != "busybox") {
            symlink("busybox", root.at("bin").join(applet)).blame(applet)?;
        }
        Ok(root)
    }

    /// What somebody else made.
    pub fn existing(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a path of the container is.
    pub fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.path.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Makes a folder with these permissions.
    pub fn folder(&self, path: &str, mode: u32) -> io::Result<()> {
        let path = self.at(path);
        fs::create_dir_all(&path).blame(path.display())?;
        fs::set_permissions(&path, Permissions::from_mode(mode)).blame(path.display())
    }

    /// Writes a file.
    pub fn file(&self, path: &str, text: &str) -> io::Result<()> {
        let path = self.at(path);
        fs::write(&path, text).blame(path.display())
    }

    /// Installs a program.
    pub fn program(&self, source: &Path, path: &str) -> io::Result<()> {
        let path = self.at(path);
        fs::copy(source, &path).blame(source.display())?;
        fs::set_permissions(&path, Permissions::from_mode(0o755)).blame(path.display())
    }

    /// All of it given to a user, as whose root it then counts.
    pub fn owned_by(self, user: &User) -> io::Result<Self> {
        user.own_all(&self.path)?;
        Ok(self)
    }

    /// An archive of it at `path`, with numeric owners.
    pub fn pack(&self, path: &Path) -> io::Result<()> {
        let mut tar = Command::new(tools::find("tar")?);
        tar.args(["--numeric-owner", "-C"]).arg(&self.path).arg("-cf").arg(path).arg(".");
        programs::run(tar, b"", DEADLINE)?.success().map(drop)
    }

    /// The words that run the probe in a container of this root.
    pub(super) fn probe_call(&self, options: &[&str], words: &[&str]) -> io::Result<Vec<String>> {
        let not_text = || io::Error::other(format!("{} is no text", self.path.display()));
        let path = self.path.to_str().ok_or_else(not_text)?;
        let call = [&["run"], options, &[path, "--", "/probe"], words].concat();
        Ok(call.into_iter().map(str::to_owned).collect())
    }
}

fn applets(busybox: &Path) -> io::Result<String> {
    let mut list = Command::new(busybox);
    list.arg("--list");
    programs::run(list, b"", DEADLINE)?.success()
}

//! Where the contenders run: one host with an uplink, one root file system, an ordinary user.

use crate::bench::{chain, plugins::Plugins};
use netns_fixtures::{
    Lab, Node,
    cni::{Podman, REFERENCE},
    runner::{Ground, Root, User, nothing},
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// All that contenders need.
pub struct Stage {
    // Ends first: podman's groups are taken down where they were made.
    _hierarchy: OneHierarchy,
    pub ground: Ground,
    /// The same files, once owned by root and once by the user.
    pub root: Root,
    pub own_root: Root,
    pub user: User,
    /// Or why it does not run here.
    pub podman: Result<Podman, String>,
    /// podman has a host of its own, as its network stays.
    pub podman_host: Node,
    pub podman_outside: Node,
    _plugins: Plugins,
    _lab: Lab,
}

impl Stage {
    pub fn set(netup: &Path, netup_run: &Path) -> io::Result<Self> {
        let ground = Ground::new(netup_run)?;
        let user = ground.user()?;
        let root = furnished(ground.folder().join("root"))?;
        let own_root = furnished(user.home.join("root"))?.owned_by(&user)?;
        let lab = Lab::new();
        let (podman_host, podman_outside) = (lab.host("podman")?, lab.host("podman-outside")?);
        lab.internet(&podman_outside, &podman_host)?;
        let plugins = Plugins::of(netup)?;
        let podman = podman(&podman_host, &plugins);
        let hierarchy = OneHierarchy::show()?;
        Ok(Self {
            _hierarchy: hierarchy,
            ground,
            root,
            own_root,
            user,
            podman,
            podman_host,
            podman_outside,
            _plugins: plugins,
            _lab: lab,
        })
    }

    /// Where the programs of the host's that have no other place may write.
    pub fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.ground.folder().join(name);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }
}

/// The mount points are there, so that nobody has to make them.
fn furnished(path: PathBuf) -> io::Result<Root> {
    let root = Root::minimal(path)?;
    for folder in ["bin", "dev", "etc", "proc", "root", "sys", "tmp"] {
        root.folder(folder, 0o755)?;
    }
    root.file("etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")?;
    root.file("etc/group", "root:x:0:\n")?;
    root.program(nothing(), "bin/true")?;
    Ok(root)
}

/// With the reference plugins where they are installed, as podman's own stack is another contender's.
fn podman(host: &Node, plugins: &Plugins) -> Result<Podman, String> {
    let reference = Path::new(REFERENCE);
    let folder = if reference.join("bridge").is_file() { reference } else { plugins.path() };
    Podman::new(host, folder, &chain::standard()).map_err(|error| error.to_string())
}

/// A mount of version 2 over whatever the machine has, in this process's namespace only. podman
/// copes with both versions at once, and crun refuses that.
struct OneHierarchy;

const HIERARCHY: &str = "/sys/fs/cgroup";

impl OneHierarchy {
    fn show() -> io::Result<Self> {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        mount(Some("cgroup2"), HIERARCHY, Some("cgroup2"), flags, None::<&str>)?;
        Ok(Self)
    }
}

impl Drop for OneHierarchy {
    fn drop(&mut self) {
        umount2(HIERARCHY, MntFlags::MNT_DETACH).ok();
    }
}

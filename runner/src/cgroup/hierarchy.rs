//! Where the version 2 hierarchy is, and where in it this process may make cgroups.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{getxattr, statfs};

use crate::error::{Error, Result};
use crate::name::ContainerName;

/// linux/magic.h; mountinfo need not be read, which grows with the mounts.
const CGROUP2_SUPER_MAGIC: rustix::fs::FsWord = 0x6367_7270;

/// Version 2 alone, and beside version 1 as systemd mounts it then.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

const MEMBERSHIP: &str = "/proc/self/cgroup";

/// Where containers' cgroups go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a directory for all of them, which is made and removed as needed.
    Shared(PathBuf),
    /// In a cgroup that somebody gave to the caller.
    Own(PathBuf),
}

impl Place {
    /// The directory above the containers'.
    pub fn folder(&self) -> &Path {
        match self {
            Self::Shared(folder) | Self::Own(folder) => folder,
        }
    }

    /// Whether the directory comes and goes with the containers.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }

    /// A container's directory. With the runner's process id it is unique on the machine, where a
    /// name is only in one folder of records.
    pub fn of(&self, name: &ContainerName, runner: u32) -> PathBuf {
        match self {
            Self::Shared(folder) => folder.join(format!("{name}.{runner}")),
            Self::Own(folder) => folder.join(format!("{SHARED}-{name}.{runner}")),
        }
    }
}

/// The directory of root's containers.
pub const SHARED: &str = "netup-run";

/// Where a version 2 hierarchy is mounted.
pub fn find() -> Option<PathBuf> {
    let is_v2 =
        |path: &&&str| statfs(**path).is_ok_and(|about| about.f_type == CGROUP2_SUPER_MAGIC);
    MOUNTS.iter().find(is_v2).map(PathBuf::from)
}

/// Where the caller's containers go; `None` if its own cgroup is not to be seen from here.
pub fn place(hierarchy: &Path) -> Result<Option<Place>> {
    let membership = membership()?;
    let own = own(&membership).map(|path| hierarchy.join(path));
    if let Some(own) = &own
        && let Some(delegated) = delegated(hierarchy, own)
    {
        return Ok(Some(Place::Own(delegated.to_owned())));
    }
    match rustix::process::geteuid().is_root() {
        true => Ok(Some(Place::Shared(hierarchy.join(SHARED)))),
        false => Ok(own.map(Place::Own)),
    }
}

/// `/proc/self/cgroup`: the cgroups that the caller is in.
pub fn membership() -> Result<String> {
    fs::read_to_string(MEMBERSHIP).map_err(|e| Error::io(format!("read {MEMBERSHIP}"), &e))
}

/// The version 2 cgroup in `/proc/self/cgroup`, relative to the hierarchy's root. One outside the
/// cgroup namespace reads as `/../…`.
fn own(membership: &str) -> Option<&str> {
    let path = membership.lines().find_map(|line| line.strip_prefix("0::/"))?;
    (!path.split('/').any(|part| part == "..")).then_some(path)
}

/// The mount point of a controller that version 1 has, by the name systemd mounts it.
pub fn v1_mount(membership: &str, controller: &str) -> Option<String> {
    let controllers = membership.lines().filter_map(|line| line.split(':').nth(1));
    let joint = controllers.filter(|names| names.split(',').any(|name| name == controller));
    joint.map(|names| format!("{}/{names}", MOUNTS[0])).next()
}

/// The caller's own cgroup if systemd's Delegate= gave it away, or the one above, as with
/// DelegateSubgroup=.
fn delegated<'a>(hierarchy: &Path, own: &'a Path) -> Option<&'a Path> {
    let mut candidates = own.ancestors().take(2).filter(|path| *path != hierarchy);
    candidates.find(|path| path.starts_with(hierarchy) && is_delegated(path))
}

/// systemd says so by an extended attribute, by another one where the user may not see the first.
fn is_delegated(path: &Path) -> bool {
    ["trusted.delegate", "user.delegate"].iter().any(|name| {
        let mut value = [0_u8; 2];
        getxattr(path, *name, &mut value).is_ok_and(|length| &value[..length] == b"1")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str =
        "5:cpu,cpuacct:/\n4:memory:/user\n1:name=systemd:/a\n0::/user.slice/a.scope\n";

    #[test]
    fn the_own_cgroup_is_found_among_the_others() {
        assert_eq!(own(HYBRID), Some("user.slice/a.scope"));
        assert_eq!(own("0::/\n"), Some(""));
        assert_eq!(own("0::/../../a\n"), None);
        assert_eq!(own("1:name=systemd:/\n"), None);
    }

    #[test]
    fn a_controller_of_version_1_is_told_with_its_mount() {
        assert_eq!(v1_mount(HYBRID, "cpu").unwrap(), "/sys/fs/cgroup/cpu,cpuacct");
        assert_eq!(v1_mount(HYBRID, "memory").unwrap(), "/sys/fs/cgroup/memory");
        assert_eq!(v1_mount(HYBRID, "pids"), None);
    }

    #[test]
    fn containers_in_a_given_cgroup_cannot_be_mistaken() {
        let name = "web".parse().unwrap();
        let own = Place::Own("/c".into());
        assert_eq!(own.of(&name, 7), Path::new("/c/netup-run-web.7"));
        let shared = Place::Shared("/c/netup-run".into());
        assert_eq!(shared.of(&name, 7), Path::new("/c/netup-run/web.7"));
    }
}

//! Mounts that show what belongs to an id on disk as belonging to that id of a container's user
//! namespace. Nothing on disk is changed for it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::mount::{OpenTreeFlags, open_tree};

use crate::error::{Error, ErrorKind, Result};
use crate::sys::mount::map_ids;

/// Mounts of these paths, not attached anywhere, for the user namespace of a process whose maps are
/// written. It takes `CAP_SYS_ADMIN` where the file systems were mounted, so no container makes them.
pub(crate) fn mounts(paths: &[PathBuf], process: i32) -> Result<Vec<OwnedFd>> {
    let namespace = format!("/proc/{process}/ns/user");
    let users = openat(CWD, &namespace, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::kernel(format!("open {namespace}"), errno))?;
    let mount = |path: &PathBuf| {
        let tree = detached(path)?;
        map_ids(&tree, users.as_fd()).map_err(|errno| refused(path, errno))?;
        Ok(tree)
    };
    paths.iter().map(mount).collect()
}

/// What [`mounts`] does, as calls.
pub(crate) fn lines(paths: &[PathBuf], process: &str) -> Vec<String> {
    let users = format!("open(\"/proc/{process}/ns/user\")");
    let mount = |path: &PathBuf| {
        let tree =
            format!("open_tree(AT_FDCWD, {:?}, OPEN_TREE_CLONE)", path.display().to_string());
        format!(
            "mount_setattr({tree}, \"\", AT_EMPTY_PATH, \
             {{MOUNT_ATTR_IDMAP, MS_PRIVATE, userns_fd={users}}})"
        )
    };
    let sent = (!paths.is_empty()).then(|| "sendmsg(container, SCM_RIGHTS)".to_owned());
    paths.iter().map(mount).chain(sent).collect()
}

fn detached(path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags).map_err(|errno| {
        Error::kernel(format!("open_tree({}, OPEN_TREE_CLONE)", path.display()), errno)
    })
}

fn refused(path: &Path, errno: Errno) -> Error {
    let error = Error::kernel(
        format!("mount_setattr({}, MOUNT_ATTR_IDMAP) for --users ranges", path.display()),
        errno,
    );
    match errno {
        Errno::INVAL => error.with_kind(ErrorKind::MissingFeature).hint(
            "its file system cannot map ids: set NETUP_RUN_STORE to a folder on ext4, XFS or, from \
             Linux 5.15 on, Btrfs; or run a directory with --writes memory, or with -u and without \
             --users ranges",
        ),
        Errno::PERM => error.with_kind(ErrorKind::MissingFeature).hint(
            "this takes root where the file system was mounted, and a mount without mapped ids; run \
             it as an ordinary user, or without --users ranges",
        ),
        _ => error,
    }
}

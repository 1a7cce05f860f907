//! The new root: mounted over its base, made the root, and the old one detached.
//!
//! All is mounted over the base directory, in this mount namespace alone: no folder has to exist for
//! it, and it goes with the namespace.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags, openat, statx};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, open_tree, unmount,
};
use rustix::process::{chdir, fchdir, pivot_root};
use rustix::thread::{Timespec, nanosleep, sched_yield};

use super::enact::Inside;
use super::mounts::attach;
use super::overlay;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Attributes, ROOT_ATTRIBUTES, RootPlan};
use crate::sys::mount::set_attributes;

/// Between two looks at what PID 1 does.
const A_MOMENT: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000 };
/// Ten seconds' worth of them.
const MOST_LOOKS: usize = 100_000;
const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

pub(super) fn scratch(
    inside: &mut Inside<'_>,
    over: &Path,
    size: Option<u64>,
    takes_up: bool,
) -> Result<()> {
    let failed = |errno| Error::kernel(format!("mount a tmpfs over {}", over.display()), errno);
    let base = open_base(over)?;
    if takes_up {
        inside.tree = Some(directory(&base, over)?);
    }
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    fsconfig_set_string(&context, "source", "scratch").map_err(failed)?;
    fsconfig_set_string(&context, "mode", "755").map_err(failed)?;
    if let Some(size) = size {
        fsconfig_set_string(&context, "size", size.to_string()).map_err(failed)?;
    }
    fsconfig_create(&context).map_err(failed)?;
    let scratch = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(failed)?;
    // An overlay's layers have to be attached to be cloned (before Linux 6.15).
    attach(&scratch, &base).map_err(failed)?;
    (inside.base, inside.scratch) = (Some(base), Some(scratch));
    Ok(())
}

pub(super) fn open_base(path: &Path) -> Result<OwnedFd> {
    openat(CWD, path, DIRECTORY, Mode::empty()).map_err(|errno| {
        let error = Error::kernel(format!("open root file system {}", path.display()), errno);
        match errno {
            Errno::NOENT => error.with_kind(ErrorKind::NotFound),
            Errno::NOTDIR => error.hint("a root file system is a directory"),
            Errno::ACCESS => {
                error.hint("the container's user may not search a folder on the way; chmod o+x it")
            }
            _ => error,
        }
    })
}

pub(super) fn make(inside: &mut Inside<'_>, plan: &RootPlan) -> Result<()> {
    let (Some(base), Some(scratch)) = (&inside.base, &inside.scratch) else {
        return Err(Error::invalid("the plan makes the root before the scratch"));
    };
    let root = match plan {
        RootPlan::Directory { idmapped: false, .. } => taken_up(&mut inside.tree),
        RootPlan::Directory { idmapped: true, .. } => taken_up(&mut inside.idmapped.pop()),
        RootPlan::Overlay(overlay) => overlay::make(overlay, base, scratch, &inside.idmapped),
    }?;
    let failed = |errno| Error::kernel("mount the root file system", errno);
    set_attributes(&root, ROOT_ATTRIBUTES, true).map_err(failed)?;
    attach(&root, base).map_err(failed)?;
    inside.root = Some(root);
    Ok(())
}

fn taken_up(tree: &mut Option<OwnedFd>) -> Result<OwnedFd> {
    tree.take().ok_or_else(|| Error::invalid("the plan makes a root of what was not taken up"))
}

/// With what is mounted below it.
fn directory(base: &OwnedFd, path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(base, "", flags)
        .map_err(|errno| Error::kernel(format!("bind {} on itself", path.display()), errno))
}

/// The trick of pivot_root(2): the old root ends up on top of the new one, and no folder is needed.
pub(super) fn pivot(inside: &mut Inside<'_>) -> Result<()> {
    let failed = |errno| Error::kernel("pivot_root(\".\", \".\")", errno);
    let old = openat(CWD, "/", DIRECTORY, Mode::empty()).map_err(failed)?;
    fchdir(inside.root()?).map_err(failed)?;
    pivot_root(".", ".").map_err(failed)?;
    chdir("/").map_err(failed)?;
    inside.old_root = Some(old);
    Ok(())
}

/// By the process that is there for it, or here.
pub(super) fn detach_old(inside: &mut Inside<'_>) -> Result<()> {
    let missing = || Error::invalid("the plan detaches the old root before the pivot");
    let old = inside.old_root.take().ok_or_else(missing)?;
    if let Some(ready) = inside.pivoted.take() {
        return ready.say(old.as_fd());
    }
    detach(&old)
        .and_then(|()| chdir("/"))
        .map_err(|errno| Error::kernel("umount2(\".\", MNT_DETACH)", errno))
}

fn detach(old: &OwnedFd) -> Result<(), Errno> {
    fchdir(old)?;
    loop {
        match unmount(".", UnmountFlags::DETACH) {
            Ok(()) => {}
            // No mount of this namespace any more.
            Err(Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(errno),
        }
    }
}

/// As long as the old root is mounted on top of the new one, that is where `/..` leads.
pub(super) fn await_detached() -> Result<()> {
    let failed = |errno| Error::kernel("statx(\"/..\")", errno);
    let mount = |path| statx(CWD, path, AtFlags::empty(), StatxFlags::MNT_ID).map_err(failed);
    let own = mount("/")?.stx_mnt_id;
    for attempt in 0..MOST_LOOKS {
        if mount("/..")?.stx_mnt_id == own {
            return Ok(());
        }
        match attempt {
            // It takes some microseconds, if there is a processor for it.
            0..100 => sched_yield(),
            _ => drop(nanosleep(&A_MOMENT)),
        }
    }
    Err(Error::new(ErrorKind::Kernel, "the old root was not detached within ten seconds"))
}

pub(super) fn read_only(root: &OwnedFd) -> Result<()> {
    set_attributes(root, Attributes::READ_ONLY, false)
        .map_err(|errno| Error::kernel("make the root read-only", errno))
}

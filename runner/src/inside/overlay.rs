//! An overlay as the root, of layers that overlayfs is told by descriptor: so no path is too long or
//! holds a character that the options take for theirs.

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use rustix::process::chdir;

use super::mounts::attach;
use super::place::by_descriptor;
use super::root::open_base;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Overlay, Upper};

/// An overlay that is not attached yet. `base` is the topmost lower layer, unless the lower layers are
/// among the idmapped mounts.
pub(super) fn make(
    plan: &Overlay,
    base: &OwnedFd,
    scratch: &OwnedFd,
    idmapped: &[OwnedFd],
) -> Result<OwnedFd> {
    attach_in(scratch, idmapped)?;
    let lowers = if plan.idmapped { plan.lowers.len() } else { 0 };
    let missing = || Error::invalid("the plan makes an overlay of mounts that were not taken");
    let (lowers, rest) = idmapped.split_at_checked(lowers).ok_or_else(missing)?;
    let (upper, work, _held) = writable(scratch, &plan.upper, rest.first())?;
    if plan.idmapped {
        return mount(plan, lowers.iter(), &upper, &work);
    }
    // The topmost is covered by the scratch by now.
    let others: Vec<OwnedFd> =
        plan.lowers[1..].iter().map(|path| open_base(path)).collect::<Result<_>>()?;
    mount(plan, [base].into_iter().chain(&others), &upper, &work)
}

/// Before Linux 6.15 overlayfs takes no layer from a mount that is not attached to this namespace.
fn attach_in(scratch: &OwnedFd, mounts: &[OwnedFd]) -> Result<()> {
    let failed = |errno| Error::kernel("attach an idmapped mount in the scratch", errno);
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for (number, mount) in mounts.iter().enumerate() {
        let name = number.to_string();
        mkdirat(scratch, &name, Mode::from_raw_mode(0o755)).map_err(failed)?;
        let place = openat(scratch, &name, flags, Mode::empty()).map_err(failed)?;
        attach(mount, place).map_err(failed)?;
    }
    Ok(())
}

fn mount<'a>(
    plan: &Overlay,
    lowers: impl Iterator<Item = &'a OwnedFd>,
    upper: &str,
    work: &str,
) -> Result<OwnedFd> {
    let failed = |errno| refused(plan, errno);
    let lower = lower(lowers, plan.lowers.len())?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed)?;
    fsconfig_set_string(&context, "source", "overlay").map_err(failed)?;
    fsconfig_set_string(&context, "lowerdir", lower).map_err(failed)?;
    fsconfig_set_string(&context, "upperdir", upper).map_err(failed)?;
    fsconfig_set_string(&context, "workdir", work).map_err(failed)?;
    if plan.userxattr {
        fsconfig_set_flag(&context, "userxattr").map_err(failed)?;
    }
    fsconfig_create(&context).map_err(failed)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).map_err(failed)
}

/// The layers as an option of overlayfs. fsconfig(2) takes 255 bytes, which whole paths fill with 15
/// layers, and numbers with 63 at least.
fn lower<'a>(layers: impl Iterator<Item = &'a OwnedFd>, count: usize) -> Result<String> {
    const LONGEST: usize = 255;
    let numbers: Vec<String> = layers.map(|fd| fd.as_raw_fd().to_string()).collect();
    let text = numbers.join(":");
    if text.len() > LONGEST {
        let message = format!("{count} layers are more than an overlay takes");
        return Err(Error::new(ErrorKind::MissingFeature, message)
            .hint("run it from a copy in one layer: tar -C / -c . in it, and import that"));
    }
    chdir("/proc/self/fd").map_err(|errno| Error::kernel("chdir to /proc/self/fd", errno))?;
    Ok(text)
}

fn refused(plan: &Overlay, errno: Errno) -> Error {
    let over = plan.lowers[0].display();
    let error = Error::kernel(format!("mount an overlay over {over}"), errno);
    match (errno, &plan.upper) {
        (Errno::NODEV, _) => error.hint("this kernel has no overlayfs; use --writes direct"),
        (Errno::INVAL, Upper::Disk { idmapped: false, .. }) => error
            .hint("the store's file system cannot take an overlay's writes; use --writes memory"),
        (Errno::INVAL, Upper::Disk { idmapped: true, .. }) => error.hint(
            "for --users ranges of root this takes Linux 5.19, and a file system that can take an \
             overlay's writes; run it as an ordinary user, or without --users ranges",
        ),
        (Errno::INVAL, Upper::Memory { .. }) if plan.idmapped => error.hint(
            "for an image and --users ranges of root this takes Linux 5.19; run a directory, or as an \
             ordinary user, or without --users ranges",
        ),
        _ => error,
    }
}

/// The paths of the upper and the work folder, valid while what comes with them is held.
fn writable(
    scratch: &OwnedFd,
    upper: &Upper,
    idmapped: Option<&OwnedFd>,
) -> Result<(String, String, Option<OwnedFd>)> {
    let failed = |errno| Error::kernel("make the upper layer in the scratch", errno);
    let paths = |folder: &OwnedFd, upper: &str| {
        let folder = by_descriptor(folder);
        (format!("{folder}/{upper}"), format!("{folder}/work"))
    };
    let ((upper, work), held) = match (upper, idmapped) {
        (Upper::Memory { .. }, _) => {
            for folder in ["upper", "work"] {
                mkdirat(scratch, folder, Mode::from_raw_mode(0o755)).map_err(failed)?;
            }
            (paths(scratch, "upper"), None)
        }
        (Upper::Disk { idmapped: true, .. }, Some(folder)) => (paths(folder, "root"), None),
        (Upper::Disk { folder, .. }, _) => {
            let folder = open_base(folder)?;
            (paths(&folder, "root"), Some(folder))
        }
    };
    Ok((upper, work, held))
}

//! `/dev`: a file system of the container's own with the six devices that hold nothing of the host.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, fstat, major, makedev, minor, mknodat, symlinkat};
use rustix::mount::{OpenTreeFlags, open_tree};

use super::enact::Inside;
use super::mounts::attach;
use super::place;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Attributes, Device};
use crate::sys::mount::set_attributes;

const ANYONE: Mode = Mode::from_raw_mode(0o666);

fn failed(what: &str, device: Device, errno: rustix::io::Errno) -> Error {
    Error::kernel(format!("{what} /dev/{}", device.name), errno)
}

/// Found once.
fn dev<'a>(inside: &'a mut Inside<'_>) -> Result<&'a OwnedFd> {
    if inside.dev.is_none() {
        inside.dev = Some(place::own_directory(inside.root()?, Path::new("/dev"))?);
    }
    inside.dev.as_ref().ok_or_else(|| Error::invalid("no /dev"))
}

pub(super) fn make(inside: &mut Inside<'_>, device: Device) -> Result<()> {
    let number = makedev(device.major, device.minor);
    mknodat(dev(inside)?, device.name, FileType::CharacterDevice, ANYONE, number)
        .map_err(|errno| failed("make", device, errno))
}

/// The host's device, looked at before it is trusted: what is called `null` may be anything.
pub(super) fn open(device: &Device) -> Result<(&'static str, OwnedFd)> {
    let path = format!("/dev/{}", device.name);
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    let tree = open_tree(CWD, &path, flags).map_err(|errno| failed("open", *device, errno))?;
    verify(&tree, *device)?;
    let attributes = Attributes::NO_SUID.and(Attributes::NO_EXECUTION);
    set_attributes(&tree, attributes, false)
        .map_err(|errno| failed("set the flags of", *device, errno))?;
    Ok((device.name, tree))
}

/// Whether it is the device that it is called.
pub(super) fn verify(fd: impl AsFd, device: Device) -> Result<()> {
    let stat = fstat(fd).map_err(|errno| failed("stat", device, errno))?;
    let is_character = FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice;
    let numbers = (major(stat.st_rdev), minor(stat.st_rdev));
    if is_character && numbers == (device.major, device.minor) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NotPermitted,
        format!("/dev/{} is not the device {}:{}", device.name, device.major, device.minor),
    ))
}

pub(super) fn bind(inside: &mut Inside<'_>, device: Device) -> Result<()> {
    let target = place::file(dev(inside)?, Path::new(device.name))?;
    let opened = inside.devices.iter().find(|(name, _)| *name == device.name);
    let (_, tree) =
        opened.ok_or_else(|| Error::invalid(format!("the plan binds {} unopened", device.name)))?;
    attach(tree, &target).map_err(|errno| failed("bind", device, errno))
}

pub(super) fn link(inside: &mut Inside<'_>, at: &Path, to: &Path) -> Result<()> {
    let name = at.strip_prefix("/dev").unwrap_or(at);
    symlinkat(to, dev(inside)?, name)
        .map_err(|errno| Error::kernel(format!("symlink {}", at.display()), errno))
}

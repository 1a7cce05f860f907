//! What of `/proc` and `/sys` the container neither sees nor changes.
//!
//! Made on descriptors: what is laid over a file is the container's own `/dev/null`, looked at first,
//! for an image or a neighbour may have put something else in its place (CVE-2025-31133).

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{FileType, Mode, fstat, mkdirat};
use rustix::io::Errno;

use super::enact::Inside;
use super::mounts::{attach, detached};
use super::{devices, place};
use crate::error::{Error, Result};
use crate::plan::{Attributes, DEVICES};
use crate::sys::mount::set_attributes;

/// What is not there needs no mask, and what the kernel does not let even root see none either.
fn target(root: &OwnedFd, path: &Path) -> Result<Option<OwnedFd>> {
    match place::find_plain(root, path) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NOENT | Errno::ACCESS) => Ok(None),
        Err(errno) => Err(failed(path, errno)),
    }
}

fn failed(path: &Path, errno: Errno) -> Error {
    Error::kernel(format!("mask {}", path.display()), errno)
}

pub(super) fn mask(inside: &Inside<'_>, path: &Path) -> Result<()> {
    let root = inside.root()?;
    let Some(target) = target(root, path)? else { return Ok(()) };
    let stat = fstat(&target).map_err(|errno| failed(path, errno))?;
    let cover = match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => empty_directory(inside)?,
        _ => null(root)?,
    };
    attach(&cover, &target).map_err(|errno| failed(path, errno))
}

/// One empty folder for all: a file system for each would be a superblock for each.
fn empty_directory(inside: &Inside<'_>) -> Result<OwnedFd> {
    let failed = |errno| Error::kernel("make the empty folder of masks", errno);
    let scratch = inside.scratch.as_ref().ok_or_else(|| Error::invalid("no scratch"))?;
    match mkdirat(scratch, "empty", Mode::from_raw_mode(0o555)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let empty = place::find_plain(scratch, Path::new("empty")).map_err(failed)?;
    let cover = detached(&empty).map_err(failed)?;
    let attributes = Attributes::DATA.and(Attributes::READ_ONLY);
    set_attributes(&cover, attributes, false).map_err(failed)?;
    Ok(cover)
}

fn null(root: &OwnedFd) -> Result<OwnedFd> {
    let path = Path::new("/dev/null");
    let null = place::find_plain(root, path).map_err(|errno| failed(path, errno))?;
    devices::verify(&null, DEVICES[0])?;
    detached(&null).map_err(|errno| failed(path, errno))
}

pub(super) fn read_only(root: &OwnedFd, path: &Path) -> Result<()> {
    let Some(target) = target(root, path)? else { return Ok(()) };
    let failed = |errno| failed(path, errno);
    let cover = detached(&target).map_err(failed)?;
    let attributes = Attributes::DATA.and(Attributes::READ_ONLY);
    set_attributes(&cover, attributes, false).map_err(failed)?;
    attach(&cover, &target).map_err(failed)
}

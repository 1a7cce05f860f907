//! Mounts inside the new root: file systems of the container's own, and parts of the host's.

use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, fstat, fstatfs, mkdirat, openat};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount, mount_change,
    move_mount, open_tree,
};

use super::enact::Inside;
use super::place;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::{Attributes, Bind, Device, File, Fresh};
use crate::sys::mount::set_attributes;

/// File systems that are what the kernel says, and nothing else.
const KERNELS_OWN: [libc::c_long; 4] = [
    libc::PROC_SUPER_MAGIC as libc::c_long,
    libc::SYSFS_MAGIC as libc::c_long,
    libc::CGROUP2_SUPER_MAGIC as libc::c_long,
    // devpts, from linux/magic.h.
    0x1cd1,
];

/// Part of the host's files, detached from where it is.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) tree: OwnedFd,
    is_directory: bool,
}

pub(super) fn make_private() -> Result<()> {
    let flags = MountPropagationFlags::REC | MountPropagationFlags::PRIVATE;
    mount_change("/", flags).map_err(|errno| Error::kernel("make all mounts private", errno))
}

impl Inside<'_> {
    /// Opened while the host's files can still be seen, and before anything covers them.
    pub(super) fn open_sources(&mut self, binds: &[Bind], devices: &[Device]) -> Result<()> {
        self.sources = binds.iter().map(open_source).collect::<Result<_>>()?;
        self.devices = devices.iter().map(super::devices::open).collect::<Result<_>>()?;
        Ok(())
    }
}

fn open_source(bind: &Bind) -> Result<Source> {
    let failed = |what: &str, errno| {
        Error::kernel(format!("{what} {} of the host", bind.source.display()), errno)
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = open_tree(rustix::fs::CWD, &bind.source, flags).map_err(|errno| {
        let error = failed("open", errno);
        match errno {
            Errno::NOENT => error.hint("a volume's source has to exist"),
            _ => error,
        }
    })?;
    set_attributes(&tree, bind.attributes, true)
        .map_err(|errno| failed("set the flags of", errno))?;
    let stat = fstat(&tree).map_err(|errno| failed("stat", errno))?;
    let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
    Ok(Source { tree, is_directory })
}

/// Mounts a new file system.
pub(super) fn fresh(root: &OwnedFd, fresh: &Fresh) -> Result<()> {
    let target = if is_kernels(&fresh.at) {
        place::own_directory(root, &fresh.at)?
    } else {
        let found = place::directory(root, &fresh.at)?;
        refuse_kernels_own(root, &found, &fresh.at)?;
        found
    };
    let options = CString::new(fresh.option_text())
        .map_err(|e| Error::invalid(format!("options of {}: {e}", fresh.at.display())))?;
    let flags = MountFlags::from_bits_retain(fresh.attributes.bits() as u32);
    let target = place::by_descriptor(&target);
    match mount(fresh.kind, target, fresh.kind, flags, options.as_c_str()) {
        Ok(()) => Ok(()),
        // Neither is in every kernel, and a container without them is a container.
        Err(Errno::NODEV) if matches!(fresh.kind, "mqueue" | "cgroup2") => Ok(()),
        Err(errno) => Err(refused(fresh, errno)),
    }
}

fn is_kernels(at: &Path) -> bool {
    ["/proc", "/sys", "/dev"].iter().any(|own| at.starts_with(own))
}

fn refused(fresh: &Fresh, errno: Errno) -> Error {
    let error = Error::kernel(format!("mount {} on {}", fresh.kind, fresh.at.display()), errno);
    match (fresh.kind, errno) {
        ("proc" | "sysfs", Errno::PERM) => error.hint(
            "inside a container whose own /proc or /sys is masked the kernel refuses a new one to a \
             user namespace; run this one outside, or unmask the outer one's",
        ),
        _ => error,
    }
}

/// Attaches what was opened before.
pub(super) fn bind(inside: &Inside<'_>, number: usize, bind: &Bind) -> Result<()> {
    let missing = || Error::invalid(format!("the plan binds source {number} before it is opened"));
    let source = inside.sources.get(number).ok_or_else(missing)?;
    let root = inside.root()?;
    let target = if bind.at == Path::new("/sys") {
        place::own_directory(root, &bind.at)?
    } else {
        let at = if source.is_directory { place::directory } else { place::file };
        let found = at(root.as_fd(), &bind.at)?;
        refuse_kernels_own(root, &found, &bind.at)?;
        found
    };
    attach(&source.tree, &target).map_err(|errno| {
        unlike(format!("bind {} to {}", bind.source.display(), bind.at.display()), errno)
    })
}

/// What is attached has to be of the kind of what it covers.
fn unlike(call: String, errno: Errno) -> Error {
    let error = Error::kernel(call, errno);
    match errno {
        // The second is move_mount(2)'s word for it.
        Errno::NOTDIR | Errno::INVAL => {
            error.hint("one of them is a directory and the other is not")
        }
        _ => error,
    }
}

/// From a place that is the caller's to choose a link of the image can lead to where only the
/// kernel's files may be (CVE-2019-19921), or to the root or `/dev`, which are made already.
fn refuse_kernels_own(root: &OwnedFd, target: &OwnedFd, at: &Path) -> Result<()> {
    let failed = |errno| Error::kernel(format!("look at {} of the container", at.display()), errno);
    let kind = fstatfs(target).map_err(failed)?.f_type;
    let same = |other: &OwnedFd| -> Result<bool, Errno> {
        let (target, other) = (fstat(target)?, fstat(other)?);
        Ok((target.st_dev, target.st_ino) == (other.st_dev, other.st_ino))
    };
    let dev = place::own_directory(root, Path::new("/dev"))?;
    let made = same(root).map_err(failed)? || same(&dev).map_err(failed)?;
    if !made && !KERNELS_OWN.contains(&(kind as libc::c_long)) {
        return Ok(());
    }
    let message = format!("{} is a link of the image to the kernel's own files", at.display());
    Err(Error::new(ErrorKind::NotPermitted, message))
}

/// Attaches a detached mount to what a descriptor stands for.
pub(super) fn attach(tree: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(tree, "", target, "", flags)
}

/// A mount of the same, not attached anywhere.
pub(super) fn detached(of: impl AsFd) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    open_tree(of, "", flags)
}

/// Lays a file of ours over whatever the image has there.
pub(super) fn put(inside: &Inside<'_>, file: &File) -> Result<()> {
    let at = &file.at;
    let failed = |errno| Error::kernel(format!("put {}", at.display()), errno);
    let target = match place::file(inside.root()?, at) {
        Err(error) if !file.needed && is_not_ours_to_write(&error) => return Ok(()),
        target => target?,
    };
    refuse_kernels_own(inside.root()?, &target, at)?;
    let file = write_scratch(inside, at, &file.content)?;
    let tree = detached(&file).map_err(failed)?;
    let attributes = Attributes::DATA;
    set_attributes(&tree, attributes, false).map_err(failed)?;
    attach(&tree, &target).map_err(|errno| unlike(format!("put a file at {}", at.display()), errno))
}

fn is_not_ours_to_write(error: &Error) -> bool {
    matches!(error.errno(), Some(Errno::ACCESS | Errno::PERM | Errno::ROFS | Errno::OVERFLOW))
}

fn write_scratch(inside: &Inside<'_>, at: &Path, content: &[u8]) -> Result<OwnedFd> {
    let failed = |errno| Error::kernel(format!("write {} to the scratch", at.display()), errno);
    let scratch = inside.scratch.as_ref().ok_or_else(|| Error::invalid("no scratch"))?;
    let (folder, name) = (place::below(at.parent().unwrap_or(at)), place::below(at));
    match mkdirat(scratch, folder, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
    let file = openat(scratch, name, flags, Mode::from_raw_mode(0o644)).map_err(failed)?;
    let mut file = std::fs::File::from(file);
    file.write_all(content)
        .map_err(|error| Error::io(format!("write {} to the scratch", at.display()), &error))?;
    Ok(file.into())
}

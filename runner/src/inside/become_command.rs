//! On the way to being the command: session, limits, rights, working directory.

use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{chdir, getcwd, setsid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space, set_no_new_privs};

use super::enact::Inside;
use crate::error::{Error, ErrorKind, Result};
use crate::plan::DEVICES;
use crate::seccomp;
use crate::sys::{self, process, pty};

pub(super) fn join_network(path: &Path) -> Result<()> {
    let failed = |what, errno| Error::kernel(format!("{what} {}", path.display()), errno);
    let netns = openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| failed("open network namespace", errno))?;
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|errno| failed("setns to network namespace", errno))
}

pub(super) fn enter_network(inside: &Inside<'_>) -> Result<()> {
    let netns = inside.channel().wait_for_network()?;
    move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))
        .map_err(|errno| Error::kernel("setns to the new network namespace", errno))
}

pub(super) fn new_session(inside: &Inside<'_>, terminal: bool) -> Result<()> {
    setsid().map_err(|errno| Error::kernel("setsid", errno))?;
    if !terminal {
        return Ok(());
    }
    let slave = inside.terminal.as_ref().ok_or_else(|| Error::invalid("no terminal"))?;
    let failed = |errno| Error::kernel("ioctl(TIOCSCTTY)", errno);
    pty::make_controlling(slave).map_err(failed)?;
    (0..3).try_for_each(|number| process::put_at(slave, number, false)).map_err(failed)
}

/// Standard input that ends at once: the container's own `/dev/null`, looked at before it is trusted.
pub(super) fn no_input() -> Result<()> {
    let failed = |errno| Error::kernel("open /dev/null of the container", errno);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let null = openat(CWD, "/dev/null", flags, Mode::empty()).map_err(failed)?;
    super::devices::verify(&null, DEVICES[0])?;
    process::put_at(&null, 0, false).map_err(failed)
}

pub(super) fn limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    process::set_limit(resource, soft, hard).map_err(|errno| {
        let error = Error::kernel(format!("setrlimit({resource}, {soft}, {hard})"), errno);
        match errno {
            Errno::PERM => error.hint("a hard limit can only be raised with CAP_SYS_RESOURCE"),
            _ => error,
        }
    })
}

pub(super) fn no_new_privileges() -> Result<()> {
    set_no_new_privs(true).map_err(|errno| Error::kernel("prctl(PR_SET_NO_NEW_PRIVS)", errno))
}

pub(super) fn load_filter(nested_users: bool) -> Result<()> {
    sys::seccomp::load(seccomp::program(nested_users))
        .map_err(|errno| Error::kernel("seccomp(SECCOMP_SET_MODE_FILTER)", errno))
}

/// Entered as the command's user, and verified: a directory outside the root, as one behind a leaked
/// descriptor is (CVE-2024-21626), has no path from it.
pub(super) fn working_directory(path: &Path) -> Result<()> {
    let failed = |errno| {
        let error = Error::kernel(format!("chdir to {}", path.display()), errno);
        match errno {
            Errno::NOENT => error.hint("the working directory has to exist in the container"),
            Errno::ACCESS => error.hint("the command's user may not enter it"),
            _ => error,
        }
    };
    chdir(path).map_err(failed)?;
    let seen = getcwd(Vec::new()).map_err(failed)?;
    if seen.as_bytes().first() == Some(&b'/') {
        return Ok(());
    }
    let message = format!("working directory {} is outside the container", path.display());
    Err(Error::new(ErrorKind::NotPermitted, message))
}

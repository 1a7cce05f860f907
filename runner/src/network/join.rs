//! A network namespace that exists already.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::error::{Error, ErrorKind, Result};
use crate::sys::namespace;

/// Opens a network namespace.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) if nothing is there,
/// [`InvalidArgument`](ErrorKind::InvalidArgument) if it is something else.
pub fn open(path: &Path) -> Result<OwnedFd> {
    // O_NONBLOCK: a FIFO at this path must not make us wait for its writer.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| cannot(path, errno))?;
    match namespace::is_network(file.as_fd()) {
        true => Ok(file),
        false => Err(Error::invalid(format!("{} is no network namespace", path.display()))
            .hint("give a path such as /run/netns/NAME or /proc/PID/ns/net")),
    }
}

fn cannot(path: &Path, errno: Errno) -> Error {
    let error = Error::kernel(format!("open network namespace {}", path.display()), errno);
    match errno {
        Errno::NOENT | Errno::NOTDIR => {
            error.with_kind(ErrorKind::NotFound).hint("see ip netns list")
        }
        _ => error,
    }
}

//! The system calls that have no safe wrapper. The only module that may hold unsafe code.

#![allow(unsafe_code, reason = "this is the one module for it")]

use nix::{
    libc,
    sched::{CloneFlags, setns, unshare},
};
use std::{
    ffi::OsStr,
    fs::File,
    io,
    net::UdpSocket,
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::Command,
};

/// A command whose process enters `netns` between fork and exec.
/// A netns that could not be opened fails the spawn, as a missing program would.
pub(crate) fn command_inside(program: &OsStr, netns: io::Result<File>) -> Command {
    let netns = netns.map_err(|error| error.raw_os_error().unwrap_or(libc::ENOENT));
    let mut command = Command::new(program);
    // SAFETY: the hook runs in the forked child of a process that may have threads. It only makes the
    // setns system call and builds errors from plain numbers: it takes no lock and never allocates.
    unsafe {
        command.pre_exec(move || match &netns {
            Ok(netns) => Ok(setns(netns, CloneFlags::CLONE_NEWNET)?),
            Err(errno) => Err(io::Error::from_raw_os_error(*errno)),
        })
    };
    command
}

/// A command whose process starts in a fresh network namespace.
pub(crate) fn command_unshared(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    // SAFETY: as above: one system call between fork and exec, no lock, no allocation.
    unsafe { command.pre_exec(|| Ok(unshare(CloneFlags::CLONE_NEWNET)?)) };
    command
}

/// Brings lo up in the calling thread's netns, without needing any tool.
pub(crate) fn loopback_up() -> io::Result<()> {
    // A socket belongs to the netns it was made in; an unbound one is the classic handle for SIOC ioctls.
    let socket = UdpSocket::bind((std::net::Ipv4Addr::UNSPECIFIED, 0))?;
    // SAFETY: ifreq is plain data (arrays, integers, a union of those, a pointer); all zeroes is valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one ifreq; `request` is initialised and outlives the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

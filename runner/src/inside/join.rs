//! Entering a container that runs, for one more command.

use std::convert::Infallible;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};

use super::enact::Inside;
use super::{CHANNEL, FAILED, hide, start};
use crate::channel::Channel;
use crate::error::{Error, Result};
use crate::plan::Step;
use crate::sys::process::{close_from, move_to};

/// What it takes to enter.
#[derive(Debug)]
pub struct Entry<'a> {
    /// A pidfd of a process in the container's namespaces.
    pub process: &'a OwnedFd,
    /// Which namespaces those are.
    pub namespaces: i32,
    /// Whether supplementary groups may be set in the user namespace.
    pub may_set_groups: bool,
    /// Whether the command gets a terminal.
    pub terminal: bool,
    /// What its process does on the way to the command.
    pub command: &'a [Step],
}

/// Enters and runs the command. To be called in a new process, which stays outside of the container's
/// pid namespace and ends with the command, as the command did.
pub fn enter(entry: &Entry<'_>, channel: Channel) -> i32 {
    // Away from the numbers below, one of which may be its own.
    let held = fcntl_dupfd_cloexec(entry.process, CHANNEL + 2);
    let channel = match channel.put_at(CHANNEL) {
        Ok(channel) => channel,
        Err(_gone) => return FAILED,
    };
    let Err(error) = held
        .map_err(|errno| Error::kernel("dup the pidfd", errno))
        .and_then(|held| join(entry, held, &channel));
    channel.failed(&error);
    FAILED
}

fn join(entry: &Entry<'_>, held: OwnedFd, channel: &Channel) -> Result<Infallible> {
    // Before anything of the container can see us.
    hide()?;
    let mut inside = Inside::new(channel);
    inside.make(&Step::DieWithParent)?;
    move_into_namespaces(held, entry.namespaces)?;
    if is_set(entry.namespaces, ThreadNameSpaceType::USER) {
        inside.make(&Step::BecomeRoot { drop_groups: entry.may_set_groups })?;
        // The change of ids took both back.
        hide()?;
        inside.make(&Step::DieWithParent)?;
    }
    inside.make(&Step::SessionKeyring)?;
    if entry.terminal {
        inside.root = Some(root()?);
        inside.open_terminal_of_running()?;
    }
    inside.make(&Step::AwaitRunner)?;
    start(entry.command, &mut inside)
}

fn move_into_namespaces(process: OwnedFd, namespaces: i32) -> Result<()> {
    let failed = |errno| Error::kernel("setns to the container's namespaces", errno);
    let process = move_to(process, CHANNEL + 1).map_err(failed)?;
    close_from(CHANNEL + 2).map_err(failed)?;
    let kinds = ThreadNameSpaceType::from_bits_retain(namespaces.cast_unsigned());
    move_into_thread_name_spaces(process.as_fd(), kinds).map_err(failed)
}

fn is_set(namespaces: i32, kind: ThreadNameSpaceType) -> bool {
    namespaces.cast_unsigned() & kind.bits() != 0
}

/// setns(2) to a mount namespace makes its root ours.
fn root() -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, "/", flags, Mode::empty())
        .map_err(|errno| Error::kernel("open the container's root", errno))
}

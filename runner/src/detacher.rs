//! The process that takes the old root out of a new container.
//!
//! A mount is gone at once when it is detached, but the kernel lets the caller go on only a millisecond
//! or so later (`namespace_unlock` in fs/namespace.c waits for RCU). That is as long as all the rest of a
//! start takes, so somebody else has that time: a child of the runner's, which nobody waits for. It is
//! outside of the container's pid namespace, so nothing in the container can see it or take anything from
//! it. The container's command is not executed before it has seen the old root gone.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::{Errno, fcntl_dupfd_cloexec};
use rustix::mount::{UnmountFlags, unmount};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{WaitId, WaitIdOptions, fchdir, waitid};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::error::{Error, ErrorKind, Result};
use crate::refusal;
use crate::signals::Ending;
use crate::sys::clone::{self, Child};

/// The container's end: what it says is that it has a new root.
#[derive(Debug)]
pub(crate) struct Ready(OwnedFd);

/// The runner's end.
#[derive(Debug)]
pub(crate) struct Waiting(OwnedFd);

/// The process. It is reaped when this is dropped, if it has ended by then.
#[derive(Debug)]
pub(crate) struct Detacher(Child);

/// Whether there is something to hear from the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    Something,
    /// Not yet, and the old root is detached.
    Nothing,
}

pub(crate) fn pair() -> Result<(Waiting, Ready)> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    socketpair(AddressFamily::UNIX, kind, flags, None)
        .map(|(ours, theirs)| (Waiting(ours), Ready(theirs)))
        .map_err(|errno| Error::kernel("socketpair(AF_UNIX, SOCK_SEQPACKET)", errno))
}

impl Ready {
    /// The same under a number that is at least this.
    pub(crate) fn above(self, number: i32) -> Result<Self, Errno> {
        fcntl_dupfd_cloexec(&self.0, number).map(Self)
    }

    /// The same under this number.
    pub(crate) fn put_at(self, number: i32) -> Result<Self, Errno> {
        crate::sys::process::move_to(self.0, number).map(Self)
    }

    /// This is the old root, on top of the new one. It need not be the root of all mounts: the runner
    /// may be in a chroot.
    pub(crate) fn say(self, old_root: BorrowedFd<'_>) -> Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let fds = [old_root];
        control.push(SendAncillaryMessage::ScmRights(&fds));
        sendmsg(&self.0, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL)
            .map(drop)
            .map_err(|errno| Error::kernel("ask for the old root to be detached", errno))
    }
}

impl Waiting {
    /// Starts the process for the container whose first process is this child.
    pub(crate) fn start(self, first: &Child, has_users: bool) -> Result<Detacher> {
        let open = |kind: &str| {
            let path = format!("/proc/{}/ns/{kind}", first.pid);
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            openat(CWD, &path, flags, Mode::empty())
                .map_err(|errno| Error::kernel(format!("open {path}"), errno))
        };
        let mounts = open("mnt")?;
        // Rights over the mounts come with the user namespace that they belong to.
        let users = has_users.then(|| open("user")).transpose()?;
        let users = users.as_ref().map(AsFd::as_fd);
        clone::spawn_beside(detach, [Some(self.0.as_fd()), Some(mounts.as_fd()), users])
            .map(Detacher)
            .map_err(|errno| refusal::of_process("clone(CLONE_VM)", errno))
    }
}

/// Nothing but system calls, for the runner goes on in the same memory.
fn detach([ready, mounts, users]: [Option<BorrowedFd<'static>>; 3]) -> Result<(), Errno> {
    let (Some(ready), Some(mounts)) = (ready, mounts) else { return Err(Errno::BADF) };
    // Otherwise the container did not come that far.
    let Some(old_root) = receive(ready)? else { return Ok(()) };
    if let Some(users) = users {
        move_into_link_name_space(users, Some(LinkNameSpaceType::User))?;
    }
    move_into_link_name_space(mounts, Some(LinkNameSpaceType::Mount))?;
    fchdir(&old_root)?;
    unmount(".", UnmountFlags::DETACH)?;
    // With the scratch mounted over the old root itself, that was the scratch.
    while unmount(".", UnmountFlags::DETACH).is_ok() {}
    Ok(())
}

fn receive(ready: BorrowedFd<'_>) -> Result<Option<OwnedFd>, Errno> {
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let slices = &mut [IoSliceMut::new(&mut byte)];
    recvmsg(ready, slices, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    Ok(control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    }))
}

impl Detacher {
    /// Waits until there is something to hear from the container, or nothing to wait for here any more.
    /// The container waits for this process in turn, and would do so for long if this had not come to a
    /// good end.
    pub(crate) fn watch_until(&self, heard: &impl AsFd, ending: &Ending) -> Result<Heard> {
        let failed = |errno| Error::kernel("wait for the old root to be detached", errno);
        if let [_, true] = ending.wait([self.0.pidfd.as_fd(), heard.as_fd()], None)? {
            return Ok(Heard::Something);
        }
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        let status = waitid(WaitId::PidFd(self.0.pidfd.as_fd()), look).map_err(failed)?;
        match status.and_then(|status| status.exit_status()) {
            Some(0) => Ok(Heard::Nothing),
            Some(number) => Err(Error::kernel(
                "umount2(\"/\", MNT_DETACH) of the old root",
                Errno::from_raw_os_error(number),
            )),
            None => Err(Error::new(
                ErrorKind::Kernel,
                "who detaches the container's old root was killed",
            )),
        }
    }

    /// Waits for the process, a millisecond or so, unless the container has ended before: a container
    /// that runs for long is not to have a zombie beside it.
    pub(crate) fn wait_unless_ended(self, first: &Child) {
        let both = [&self.0.pidfd, &first.pidfd];
        let mut ready = both.map(|pidfd| PollFd::new(pidfd, PollFlags::IN));
        rustix::io::retry_on_intr(|| poll(&mut ready, None)).ok();
    }
}

impl Drop for Detacher {
    fn drop(&mut self) {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        // If it is not done yet, whoever inherits it reaps it.
        waitid(WaitId::PidFd(self.0.pidfd.as_fd()), options).ok();
    }
}

//! A container's first process: made, given its ids, let go on, and heard until the command runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use crate::channel::{self, Channel, Report};
use crate::detacher::{self, Detacher};
use crate::error::{Error, ErrorKind, Result};
use crate::inside::{self, Entry};
use crate::plan::{Namespaces, Plan};
use crate::sealed;
use crate::sys::clone::{self, Child};
use crate::sys::namespace;
use crate::terminal::size_as_callers;

/// A container that is being made. Unless it is let go, dropping it ends it.
#[derive(Debug)]
pub struct Launch {
    child: Option<Child>,
    channel: Channel,
    terminal: Option<OwnedFd>,
    command: Option<OwnedFd>,
    netns: Option<OwnedFd>,
    detacher: Option<Detacher>,
    /// How long it has to end by itself after a failure.
    patience: Timespec,
}

/// A container whose command runs.
#[derive(Debug)]
pub struct Running {
    /// Its first process.
    pub child: Child,
    /// The runner's end of its terminal.
    pub terminal: Option<OwnedFd>,
    /// A pidfd of the command, where its end is of interest before that of the first process.
    pub command: Option<OwnedFd>,
}

impl Launch {
    /// Makes the first process, which goes to work at once, up to where it has to wait.
    ///
    /// # Errors
    /// What clone3(2) says.
    pub(crate) fn start(plan: &Plan, cgroup: Option<BorrowedFd<'_>>) -> Result<Self> {
        let flags = plan.namespaces.flags();
        let (waiting, pivoted) = plan.has_init().then(detacher::pair).transpose()?.unzip();
        let enter = |channel| inside::enter(plan, channel, pivoted);
        let mut launch =
            Self::spawn(flags, cgroup, enter)?.map_err(|errno| refused(plan.namespaces, errno))?;
        if let (Some(waiting), Some(child)) = (waiting, &launch.child) {
            let detacher = waiting.start(child, plan.namespaces.has_users());
            // If the process failed meanwhile, that is why there is nothing to enter.
            launch.detacher = Some(detacher.map_err(|error| launch.failure().unwrap_or(error))?);
        }
        // The detacher has it too, for a moment longer, and has time.
        sealed::let_mount_go();
        if plan.enters_network() {
            launch.netns = Some(launch.hand_over_network()?);
        }
        Ok(launch)
    }

    /// Makes a process that enters a running container.
    ///
    /// # Errors
    /// What clone3(2) says.
    pub fn join(entry: &Entry<'_>, cgroup: Option<BorrowedFd<'_>>) -> Result<Self> {
        let failed = |errno| Error::kernel("start a process in the container's cgroup", errno);
        let mut launch = Self::spawn(0, cgroup, |channel| inside::enter_running(entry, channel))?
            .map_err(failed)?;
        // Its child is in the container's pid namespace, which cannot end before somebody has waited
        // for that child: it is not left to whoever would inherit it.
        launch.patience = Timespec { tv_sec: 1, tv_nsec: 0 };
        Ok(launch)
    }

    fn spawn(
        namespaces: i32,
        cgroup: Option<BorrowedFd<'_>>,
        work: impl FnOnce(Channel) -> i32,
    ) -> Result<Result<Self, Errno>> {
        let (ours, theirs) = channel::pair()?;
        let child = clone::spawn(namespaces, cgroup, move || work(theirs));
        Ok(child.map(|child| Self {
            child: Some(child),
            channel: ours,
            terminal: None,
            command: None,
            netns: None,
            detacher: None,
            patience: Timespec::default(),
        }))
    }

    /// The process's PID.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.as_ref().map_or(0, |child| child.pid)
    }

    /// The ids are mapped.
    ///
    /// # Errors
    /// That the process is gone.
    pub fn ids_are_mapped(&self) -> Result<()> {
        self.channel.let_go_on()
    }

    /// The kernel takes half a millisecond for a network namespace, which clone3(2) would take longer. So
    /// it is made here, while the process makes its mounts.
    fn hand_over_network(&self) -> Result<OwnedFd> {
        let netns = namespace::new_network().map_err(without_network)?;
        // If the process failed meanwhile, that is why nobody listens.
        let sent = self.channel.hand_over_network(netns.as_fd());
        sent.map_err(|error| self.failure().unwrap_or(error)).map(|()| netns)
    }

    /// The container's network namespace, once, if it was made beside.
    pub(crate) fn take_network(&mut self) -> Option<OwnedFd> {
        self.netns.take()
    }

    /// The idmapped mounts that it waits for.
    ///
    /// # Errors
    /// That the process is gone.
    pub fn hand_over(&self, mounts: &[OwnedFd]) -> Result<()> {
        let mounts: Vec<BorrowedFd<'_>> = mounts.iter().map(AsFd::as_fd).collect();
        self.channel.hand_over_mounts(&mounts)
    }

    /// What the process has said went wrong by now, if anything.
    #[must_use]
    pub fn failure(&self) -> Option<Error> {
        let mut ready = [PollFd::new(&self.channel, PollFlags::IN)];
        // A moment for a failure that is on its way: it may be the cause of what the caller saw.
        let soon = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        poll(&mut ready, Some(&soon)).ok().filter(|count| *count > 0)?;
        match self.channel.report() {
            Ok(Report::Failed(error)) => Some(error),
            _ => None,
        }
    }

    /// Waits until all is made but what the runner does.
    ///
    /// # Errors
    /// What the process says went wrong, or that it died.
    pub fn wait_until_made(&mut self) -> Result<()> {
        loop {
            match self.next_report()? {
                Report::Ready => return Ok(()),
                Report::Terminal(master) => {
                    // Before the command runs, which may ask at once.
                    size_as_callers(&master)?;
                    self.terminal = Some(master);
                }
                Report::Failed(error) => return Err(error),
                Report::Command(_) | Report::Executing | Report::Ended => return Err(died()),
            }
        }
    }

    fn next_report(&self) -> Result<Report> {
        if let Some(detacher) = &self.detacher {
            detacher.watch_until(&self.channel)?;
        }
        self.channel.report()
    }

    /// The runner's part is done.
    ///
    /// # Errors
    /// That the process is gone.
    pub fn go_on(&self) -> Result<()> {
        // If the process failed meanwhile, that is why nobody listens.
        self.channel.let_go_on().map_err(|error| self.failure().unwrap_or(error))
    }

    /// Waits until the command runs, or it is known why it does not.
    ///
    /// # Errors
    /// Why it does not.
    pub fn wait_for_command(mut self) -> Result<Running> {
        // The channel ends when the command is executed, and also if somebody is killed before.
        let mut executing = false;
        loop {
            match self.next_report()? {
                Report::Command(process) => self.command = Some(process),
                Report::Executing => executing = true,
                Report::Failed(error) => return Err(error),
                Report::Ended if executing => break,
                Report::Ended | Report::Ready | Report::Terminal(_) => return Err(died()),
            }
        }
        let child = self.child.take().ok_or_else(died)?;
        if let Some(detacher) = self.detacher.take() {
            detacher.wait_unless_ended(&child);
        }
        Ok(Running { child, terminal: self.terminal.take(), command: self.command.take() })
    }
}

impl Drop for Launch {
    fn drop(&mut self) {
        if let Some(child) = &self.child {
            poll(&mut [PollFd::new(&child.pidfd, PollFlags::IN)], Some(&self.patience)).ok();
            // As PID 1 it takes all others of its namespace with it.
            pidfd_send_signal(&child.pidfd, Signal::KILL).ok();
            waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).ok();
        }
    }
}

fn died() -> Error {
    Error::new(ErrorKind::Kernel, "the container's first process ended before the command was run")
        .hint("something killed it: look for the kernel's out-of-memory messages in dmesg")
}

fn without_network(errno: Errno) -> Error {
    Error::kernel("unshare(CLONE_NEWNET)", errno)
        .hint("this needs root; there may be as many as /proc/sys/user/max_net_namespaces says")
}

fn refused(namespaces: Namespaces, errno: Errno) -> Error {
    let error = Error::kernel(format!("clone3({namespaces})"), errno);
    match errno {
        Errno::PERM => error.hint(
            "this needs root, or user namespaces for ordinary users: see \
             /proc/sys/kernel/unprivileged_userns_clone and \
             /proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        ),
        Errno::NOSPC | Errno::USERS => {
            error.hint("a limit on namespaces is reached: see /proc/sys/user/max_*_namespaces")
        }
        _ => error,
    }
}

//! A container's first process: made, given its ids, let go on, and heard until the command runs.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, pidfd_send_signal,
    set_child_subreaper, waitid,
};

use crate::channel::{self, Channel, Report};
use crate::detacher::{self, Detacher, Heard};
use crate::error::{Error, ErrorKind, Result};
use crate::inside::{self, Entry};
use crate::plan::{Namespaces, Plan};
use crate::procfs;
use crate::refusal;
use crate::sealed;
use crate::signals::Ending;
use crate::sys::clone::{self, Child};
use crate::sys::namespace;
use crate::terminal::size_as_callers;

/// A container that is being made. Unless it is let go, dropping it ends it.
#[derive(Debug)]
pub struct Launch<'a> {
    child: Option<Child>,
    channel: Channel,
    terminal: Option<OwnedFd>,
    command: Option<OwnedFd>,
    netns: Option<OwnedFd>,
    detacher: Option<Detacher>,
    /// What ends every wait for it.
    ending: &'a Ending,
    /// How long it has to end by itself after a failure.
    patience: Timespec,
    /// Our other children, if its child has to be waited for, too.
    adopts_beside: Option<Vec<i32>>,
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

impl<'a> Launch<'a> {
    /// Makes the first process, which goes to work at once, up to where it has to wait.
    ///
    /// # Errors
    /// What clone3(2) says.
    pub(crate) fn start(
        plan: &Plan,
        cgroup: Option<BorrowedFd<'_>>,
        ending: &'a Ending,
    ) -> Result<Self> {
        let flags = plan.namespaces.flags();
        let (waiting, pivoted) =
            plan.is_detached_beside().then(detacher::pair).transpose()?.unzip();
        let enter = |channel| inside::enter(plan, channel, pivoted);
        let mut launch = Self::spawn(flags, cgroup, ending, enter)?
            .map_err(|errno| refusal::of_namespaces("clone3", plan.namespaces, errno))?;
        if let (Some(waiting), Some(child)) = (waiting, &launch.child) {
            let detacher = waiting.start(child, plan.namespaces.has_users());
            // If the process failed meanwhile, that is why there is nothing to enter.
            launch.detacher = Some(detacher.map_err(|error| launch.failure().unwrap_or(error))?);
        }
        if plan.enters_network() {
            launch.netns = Some(launch.hand_over_network()?);
        }
        Ok(launch)
    }

    /// Makes a process that enters a running container.
    ///
    /// # Errors
    /// What clone3(2) says.
    pub fn join(
        entry: &Entry<'_>,
        cgroup: Option<BorrowedFd<'_>>,
        ending: &'a Ending,
    ) -> Result<Self> {
        let failed = |errno| refusal::of_process("clone3 in the container's cgroup", errno);
        let enter = |channel| inside::enter_running(entry, channel);
        // Whoever executed this program may have had children, which are nobody's business.
        let others = procfs::children(getpid().as_raw_pid())?;
        let mut launch = Self::spawn(0, cgroup, ending, enter)?.map_err(failed)?;
        // Its child is in the container's pid namespace, which cannot end before somebody has waited
        // for that child: it is not left to whoever would inherit it.
        launch.patience = Timespec { tv_sec: 1, tv_nsec: 0 };
        launch.adopts_beside = Some(others);
        Ok(launch)
    }

    fn spawn(
        namespaces: i32,
        cgroup: Option<BorrowedFd<'_>>,
        ending: &'a Ending,
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
            ending,
            patience: Timespec::default(),
            adopts_beside: None,
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
        // A moment for a failure that is on its way: it may be the cause of what the caller saw.
        let soon = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        loop {
            let mut ready = [PollFd::new(&self.channel, PollFlags::IN)];
            poll(&mut ready, Some(&soon)).ok().filter(|count| *count > 0)?;
            match self.channel.report() {
                Ok(Report::Failed(error)) => return Some(error),
                Ok(Report::Ended) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Waits until all is made but what the runner does.
    ///
    /// # Errors
    /// What the process says went wrong, that it died, or that a signal ended the wait.
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

    fn next_report(&mut self) -> Result<Report> {
        // Whoever is not heard is not waited for either.
        self.await_report().inspect_err(|_| self.patience = Timespec::default())?;
        self.channel.report()
    }

    fn await_report(&self) -> Result<()> {
        let heard = match &self.detacher {
            Some(detacher) => detacher.watch_until(&self.channel, self.ending)?,
            None => Heard::Nothing,
        };
        match heard {
            Heard::Something => Ok(()),
            Heard::Nothing => self.ending.wait([self.channel.as_fd()], None).map(drop),
        }
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
    /// Why it does not, or that a signal ended the wait.
    pub fn wait_for_command(mut self) -> Result<Running> {
        // Nothing else is left to be done meanwhile.
        sealed::let_mount_go();
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

impl Drop for Launch<'_> {
    fn drop(&mut self) {
        let Some(child) = &self.child else { return };
        poll(&mut [PollFd::new(&child.pidfd, PollFlags::IN)], Some(&self.patience)).ok();
        if self.adopts_beside.is_some() {
            set_child_subreaper(Some(getpid())).ok();
        }
        // As PID 1 it takes all others of its namespace with it.
        pidfd_send_signal(&child.pidfd, Signal::KILL).ok();
        waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED).ok();
        if let Some(others) = &self.adopts_beside {
            end_orphans(others);
        }
    }
}

/// What the process that has just ended left to us, beside our other children. Nobody else waits for
/// them, so the numbers are theirs.
fn end_orphans(others: &[i32]) {
    let orphans = procfs::children(getpid().as_raw_pid()).unwrap_or_default();
    let orphans = orphans.into_iter().filter(|orphan| !others.contains(orphan));
    for orphan in orphans.filter_map(Pid::from_raw) {
        kill_process(orphan, Signal::KILL).ok();
        waitid(WaitId::Pid(orphan), WaitIdOptions::EXITED).ok();
    }
}

fn died() -> Error {
    Error::new(ErrorKind::Kernel, "the container's first process ended before the command was run")
        .hint("something killed it: look for the kernel's out-of-memory messages in dmesg")
}

fn without_network(errno: Errno) -> Error {
    refusal::of_namespaces("unshare", Namespaces::of(clone::CLONE_NEWNET), errno)
}

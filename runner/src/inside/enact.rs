//! One step, made.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::process::{PidfdFlags, Signal, getpid, pidfd_open, set_parent_process_death_signal};

use super::{become_command, devices, execute, identity, masks, mounts, place, root};
use crate::channel::Channel;
use crate::detacher::Ready;
use crate::error::{Error, Result};
use crate::plan::Step;
use crate::sys::{process, pty};
use crate::terminal;

/// What the container's first process holds while it makes the container.
#[derive(Debug)]
pub struct Inside<'a> {
    channel: &'a Channel,
    /// The directory that the new root is mounted over.
    pub(super) base: Option<OwnedFd>,
    /// What was taken up to become the new root.
    pub(super) tree: Option<OwnedFd>,
    pub(super) scratch: Option<OwnedFd>,
    /// The idmapped mounts that the runner has made.
    pub(super) idmapped: Vec<OwnedFd>,
    /// Whom to tell that the old root can be detached, if somebody else does it.
    pub(super) pivoted: Option<Ready>,
    /// The old root, until it is detached.
    pub(super) old_root: Option<OwnedFd>,
    /// The new `/dev`.
    pub(super) dev: Option<OwnedFd>,
    /// The new root, once it is mounted.
    pub(super) root: Option<OwnedFd>,
    /// The host's files and directories that are to be seen inside, in the order of the plan.
    pub(super) sources: Vec<mounts::Source>,
    pub(super) devices: Vec<(&'static str, OwnedFd)>,
    /// The slave side of the container's terminal.
    pub(super) terminal: Option<OwnedFd>,
    /// The home of the command's user.
    pub(super) home: Option<PathBuf>,
}

impl<'a> Inside<'a> {
    pub(super) fn new(channel: &'a Channel) -> Self {
        let (base, scratch, root, terminal) = (None, None, None, None);
        Self {
            channel,
            base,
            tree: None,
            scratch,
            idmapped: Vec::new(),
            pivoted: None,
            old_root: None,
            dev: None,
            root,
            sources: Vec::new(),
            devices: Vec::new(),
            terminal,
            home: None,
        }
    }

    /// Closes all that was needed to make the container.
    pub(super) fn let_go(&mut self) {
        (self.base, self.tree, self.scratch, self.root) = (None, None, None, None);
        (self.old_root, self.dev) = (None, None);
        self.idmapped.clear();
        self.sources.clear();
        self.devices.clear();
        self.terminal = None;
    }

    /// The way to the runner.
    pub(super) fn channel(&self) -> &Channel {
        self.channel
    }

    /// The new root.
    pub(super) fn root(&self) -> Result<&OwnedFd> {
        self.root.as_ref().ok_or_else(|| Error::invalid("the plan uses the root before it is made"))
    }

    fn open_terminal(&mut self) -> Result<()> {
        let pair = terminal::open(place::own_directory(self.root()?, Path::new("/dev"))?)?;
        self.channel.hand_over_terminal(pair.master.as_fd())?;
        self.terminal = Some(pair.slave);
        Ok(())
    }

    /// As [`open_terminal`](Self::open_terminal), where the console is another's already.
    pub(super) fn open_terminal_of_running(&mut self) -> Result<()> {
        let dev = place::own_directory(self.root()?, Path::new("/dev"))?;
        let pair = pty::open(dev).map_err(|errno| {
            Error::kernel("open a terminal at /dev/pts/ptmx of the container", errno)
        })?;
        self.channel.hand_over_terminal(pair.master.as_fd())?;
        self.terminal = Some(pair.slave);
        Ok(())
    }

    /// A runner that ended before this call will send no signal any more.
    fn die_with_parent(&self) -> Result<()> {
        set_parent_process_death_signal(Some(Signal::KILL))
            .map_err(|errno| Error::kernel("prctl(PR_SET_PDEATHSIG)", errno))?;
        self.channel.expect_runner()
    }

    /// The command's end is worth knowing before its container's, which takes the kernel longer than
    /// it takes to undo the network.
    fn await_network(&self) -> Result<()> {
        let failed = |errno| Error::kernel("open a pidfd of the command", errno);
        let own = pidfd_open(getpid(), PidfdFlags::empty()).map_err(failed)?;
        self.channel.hand_over_command(own.as_fd())?;
        self.channel.wait_to_go_on()
    }

    fn take_idmapped(&mut self, count: usize) -> Result<()> {
        self.idmapped = self.channel.wait_for_mounts(count)?;
        Ok(())
    }

    /// Makes a step.
    pub(super) fn make(&mut self, step: &Step) -> Result<()> {
        match step {
            Step::DieWithParent => self.die_with_parent(),
            Step::AwaitIds => self.channel.wait_to_go_on(),
            Step::BecomeRoot { drop_groups } => identity::become_root(*drop_groups),
            Step::SessionKeyring => session_keyring(),
            Step::JoinNetwork(path) => become_command::join_network(path),
            Step::EnterNetwork => become_command::enter_network(self),
            Step::LoopbackUp => loopback_up(),
            Step::PrivateMounts => mounts::make_private(),
            Step::OpenSources { binds, devices } => self.open_sources(binds, devices),
            Step::TakeIdmapped(paths) => self.take_idmapped(paths.len()),
            Step::Scratch { over, size, takes_up } => root::scratch(self, over, *size, *takes_up),
            Step::Root(plan) => root::make(self, plan),
            Step::Mount(fresh) => mounts::fresh(self.root()?, fresh),
            Step::MakeDevice(device) => devices::make(self, *device),
            Step::BindDevice(device) => devices::bind(self, *device),
            Step::Link { at, to } => devices::link(self, at, to),
            Step::Bind(number, bind) => mounts::bind(self, *number, bind),
            Step::Put(file) => mounts::put(self, file),
            Step::Pivot => root::pivot(self),
            Step::DetachOldRoot => root::detach_old(self),
            Step::ReadOnlyRoot => root::read_only(self.root()?),
            Step::Mask(path) => masks::mask(self, path),
            Step::ReadOnlyPath(path) => masks::read_only(self.root()?, path),
            Step::Hostname(name) => rustix::system::sethostname(name.as_bytes())
                .map_err(|errno| Error::kernel(format!("sethostname({name})"), errno)),
            Step::OpenTerminal => self.open_terminal(),
            Step::AwaitDetached => root::await_detached(),
            Step::AwaitRunner => self.channel.ready().and_then(|()| self.channel.wait_to_go_on()),
            Step::AwaitNetwork => self.await_network(),
            // Made by the caller, for it is where the two ways part.
            Step::Init => Ok(()),
            Step::Hide => super::hide(),
            Step::NewSession { terminal } => become_command::new_session(self, *terminal),
            Step::NoInput => become_command::no_input(),
            Step::Limit { resource, soft, hard } => become_command::limit(*resource, *soft, *hard),
            Step::NoNewPrivileges => become_command::no_new_privileges(),
            Step::Seccomp { nested_users } => become_command::load_filter(*nested_users),
            Step::Identity { user, of_root, of_others, set_groups } => {
                identity::become_user(self, user.as_deref(), of_root, of_others, *set_groups)
            }
            Step::WorkingDirectory(path) => {
                // Nothing of it is to be found below /proc/self/fd by the way that comes.
                self.let_go();
                become_command::working_directory(path)
            }
            Step::Execute { command, environment } => execute::execute(self, command, environment),
        }
    }
}

/// A keyring is a courtesy of the kernel: without it, and with the quota of a user's keys (200) used
/// up, the container has no session keyring, and the filter keeps it from all others.
fn session_keyring() -> Result<()> {
    use rustix::io::Errno;
    match process::new_session_keyring() {
        Ok(()) | Err(Errno::NOSYS | Errno::PERM | Errno::DQUOT) => Ok(()),
        Err(errno) => Err(Error::kernel("keyctl(KEYCTL_JOIN_SESSION_KEYRING)", errno)),
    }
}

fn loopback_up() -> Result<()> {
    crate::sys::link::loopback_up().map_err(|errno| Error::kernel("ip link set lo up", errno))
}

//! `netup-run exec`: one more command in a container that runs.
//!
//! Whoever enters a container shows it something of the host, so this is done in an order that leaves
//! nothing to be seen or taken (CVE-2016-9962, CVE-2019-5736):
//!
//! 1. the runner runs from where nobody can write ([`sealed`](crate::sealed));
//! 2. the container's first process is held by pidfd and proved to be the one of the record;
//! 3. a child starts in the container's cgroup, so that its limits hold from the first instruction;
//! 4. that child closes every file but three, cannot be looked into, and only then joins the
//!    namespaces, all by one setns(2). In the container's pid namespace it has no number: it stays
//!    outside, passes on signals, and waits;
//! 5. the process that it makes is the first that the container can see, and takes the same steps on
//!    the way to its command as the container's own did, from the record ([`Terms`]).

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, geteuid, pidfd_open};

use crate::cgroup;
use crate::error::{Error, ErrorKind, Result};
use crate::inside::Entry;
use crate::launch::{Launch, Running};
use crate::name::ContainerName;
use crate::observe::caller_env;
use crate::plan::Terms;
use crate::procfs;
use crate::request::ExecOrder;
use crate::signals::Signals;
use crate::state::{Init, Record, State};
use crate::supervise::supervise;
use crate::terminal::Terminal;

/// How long a container may take from its name to its first process.
const PATIENCE: Duration = Duration::from_secs(2);
const TICK: Duration = Duration::from_millis(1);

/// Runs a command in a running container, to its end, and gives its exit code.
///
/// # Errors
/// [`NotFound`](ErrorKind::NotFound) if no container of that name runs; otherwise why it cannot be
/// entered or the command not be run, [`Interrupted`](ErrorKind::Interrupted) if a signal ended that.
pub fn exec(order: &ExecOrder) -> Result<i32> {
    let record = started(&State::open()?, &order.name)?;
    let (Some(terms), Some(init)) = (&record.terms, &record.init) else {
        return Err(gone(&order.name).hint("it is just being started"));
    };
    refuse_paused(&order.name, record.cgroup.as_deref())?;
    let process = enterable(&order.name, init, terms)?;
    let signals = Signals::catch()?;
    let entry = Entry {
        process: &process,
        namespaces: terms.namespaces,
        may_set_groups: terms.may_set_groups,
        terminal: order.process.tty,
        command: &terms.steps(&order.process, &caller_env(&order.process)),
    };
    let cgroup = record.cgroup.as_deref().map(open_cgroup).transpose()?;
    let mut launch = Launch::join(&entry, cgroup.as_ref().map(AsFd::as_fd), &signals.ending)?;
    launch.wait_until_made()?;
    launch.go_on()?;
    let Running { child, terminal, .. } = launch.wait_for_command()?;
    let interactive = order.process.interactive;
    let terminal = terminal.map(|master| Terminal::new(master, interactive)).transpose()?;
    supervise(child.pidfd.as_fd(), &signals.passed_on, terminal, None).map(|ended| ended.code)
}

/// The record of a container whose command runs. That is written down a moment later, so that whoever
/// saw it at work can be here earlier.
fn started(state: &State, name: &ContainerName) -> Result<Record> {
    let since = Instant::now();
    loop {
        let record = state.record(name)?;
        if (record.init.is_some() && record.terms.is_some()) || since.elapsed() > PATIENCE {
            return Ok(record);
        }
        thread::sleep(TICK);
    }
}

/// A process that starts in a frozen cgroup does not get to its first instruction, and we would wait
/// for it until somebody lets the container go on.
fn refuse_paused(name: &ContainerName, cgroup: Option<&Path>) -> Result<()> {
    if !cgroup.is_some_and(cgroup::is_frozen) {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Conflict, format!("container {name} is paused"))
        .hint(format!("netup-run resume {name} lets it go on")))
}

/// A process in the container's namespaces that the caller may enter by.
///
/// Without root that is not the first one: it hides from everybody who has no right over the host's
/// first user namespace. Its child, the command, is in the same namespaces as long as the filter keeps
/// it from making others.
fn enterable(name: &ContainerName, init: &Init, terms: &Terms) -> Result<OwnedFd> {
    let first = hold(name, init.pid, init.seen)?;
    if terms.may_trace_the_hosts() {
        let message = format!("container {name} could take the rights of whoever enters it");
        return Err(Error::new(ErrorKind::NotPermitted, message)
            .hint("leave out --cap-add sys_ptrace, or use --users ranges as well"));
    }
    if geteuid().is_root() || !terms.init {
        return Ok(first);
    }
    if terms.nested_users {
        let message = format!("container {name} may have led its command into other namespaces");
        return Err(Error::new(ErrorKind::NotPermitted, message)
            .hint("with --nested-users only root can use exec"));
    }
    // The oldest is the command, as long as it runs, unless one is still to be reaped that helped to make
    // the container; the container ends with the command.
    for child in procfs::children(init.pid)? {
        let Ok(held) = hold(name, child, u64::MAX) else { continue };
        // The handle was there before this look, so both mean the same process.
        let parent = procfs::status(child)?.map(|status| status.parent);
        if parent == Some(init.pid) && !has_ended(&first) {
            return Ok(held);
        }
    }
    Err(gone(name))
}

/// The process of this number, if it was there at that moment.
fn hold(name: &ContainerName, pid: i32, seen: u64) -> Result<OwnedFd> {
    let process = Pid::from_raw(pid).ok_or_else(|| gone(name))?;
    let held = pidfd_open(process, PidfdFlags::empty()).map_err(|errno| match errno {
        Errno::SRCH => gone(name),
        errno => Error::kernel(format!("pidfd_open({pid})"), errno),
    })?;
    let started = procfs::start_time(pid)?.filter(|started| *started <= seen);
    if started.is_some() && !has_ended(&held) { Ok(held) } else { Err(gone(name)) }
}

fn has_ended(process: &OwnedFd) -> bool {
    let mut one = [PollFd::new(process, PollFlags::IN)];
    !poll(&mut one, Some(&Timespec::default())).is_ok_and(|ready| ready == 0)
}

fn open_cgroup(path: &Path) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, path, flags, Mode::empty())
        .map_err(|errno| Error::kernel(format!("open cgroup {}", path.display()), errno))
}

fn gone(name: &ContainerName) -> Error {
    Error::new(ErrorKind::NotFound, format!("container {name} is not running"))
}

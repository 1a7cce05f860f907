//! Undoing what runners left that died without coming to their end.

use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::cgroup;
use crate::error::{Error, ErrorKind, Result};
use crate::name::ContainerName;
use crate::network::{self, Attached};
use crate::procfs;
use crate::root;
use crate::state::{Init, Record, State};

/// How long a killed container may take to be gone.
const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

/// What was done.
#[derive(Debug, Default)]
pub struct Collected {
    /// What is gone.
    pub removed: Vec<Removed>,
    /// What could not be undone, and why.
    pub failed: Vec<(ContainerName, Error)>,
}

/// A container that is gone.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Removed {
    /// Which.
    pub name: ContainerName,
    /// What of it was undone.
    pub undone: Vec<&'static str>,
}

/// Undoes what dead runners left. It goes on past failures and reports them.
///
/// # Errors
/// If the records cannot be listed.
pub fn collect(state: &State) -> Result<Collected> {
    let mut collected = Collected::default();
    for name in state.dead()? {
        match collect_one(state, &name) {
            Ok(Some(undone)) => collected.removed.push(Removed { name, undone }),
            Ok(None) => {}
            Err(error) => collected.failed.push((name, error)),
        }
    }
    Ok(collected)
}

/// `None` if somebody was faster.
fn collect_one(state: &State, name: &ContainerName) -> Result<Option<Vec<&'static str>>> {
    let Some(mut claim) = state.take_over(name)? else { return Ok(None) };
    let undone = match claim.record()? {
        Some(record) => clear(&record)?,
        // Before it had written anything it had made nothing.
        None => Vec::new(),
    };
    claim.forget()?;
    Ok(Some(undone))
}

/// Undoes what one record tells of, in the reverse of the order in which it was made. What is gone
/// already is no error; what fails does not stop the rest.
///
/// # Errors
/// The first failure, with the others.
pub fn clear(record: &Record) -> Result<Vec<&'static str>> {
    let steps: [(&'static str, Option<Result<()>>); 4] = [
        ("processes", record.init.map(|init| kill(&init))),
        // Without a process there was nothing to connect.
        ("network", record.network.as_ref().zip(record.init).map(disconnect)),
        ("cgroup", record.cgroup.as_deref().map(|path| discard_cgroup(record, path))),
        ("root", record.root.as_ref().map(root::discard)),
    ];
    let (mut undone, mut failures) = (Vec::new(), Vec::new());
    for (what, done) in steps {
        match done {
            Some(Ok(())) => undone.push(what),
            Some(Err(error)) => failures.push(error.context(format!("undo its {what}"))),
            None => {}
        }
    }
    let mut failures = failures.into_iter();
    match failures.next() {
        Some(first) => Err(first.with_undo_failures(failures.collect())),
        None => Ok(undone),
    }
}

fn disconnect((attached, init): (&Attached, Init)) -> Result<()> {
    network::discard(attached, init.pid)
}

/// Where no process was recorded there may be none of ours, but somebody else's of the same name.
fn discard_cgroup(record: &Record, path: &Path) -> Result<()> {
    match record.init {
        Some(_) => cgroup::discard(path),
        None => cgroup::abandon(path),
    }
}

/// The container dies with its runner, but that takes its time. Nobody else's process is touched,
/// whatever has become of the process id.
fn kill(init: &Init) -> Result<()> {
    let failed = |errno| Error::kernel(format!("kill process {}", init.pid), errno);
    let Some(pid) = Pid::from_raw(init.pid) else { return Ok(()) };
    let held = match pidfd_open(pid, PidfdFlags::empty()) {
        Err(Errno::SRCH) => return Ok(()),
        held => held.map_err(failed)?,
    };
    // What started later than the container was seen is not it. The handle was there before this
    // look, so both mean the same process.
    match procfs::start_time(init.pid)? {
        Some(started) if started <= init.seen => {}
        _ => return Ok(()),
    }
    match pidfd_send_signal(&held, Signal::KILL) {
        Ok(()) | Err(Errno::SRCH) => {}
        Err(errno) => return Err(failed(errno)),
    }
    match poll(&mut [PollFd::new(&held, PollFlags::IN)], Some(&PATIENCE)).map_err(failed)? {
        0 => Err(Error::new(
            ErrorKind::Kernel,
            format!("process {} was killed and does not end", init.pid),
        )),
        _ => Ok(()),
    }
}

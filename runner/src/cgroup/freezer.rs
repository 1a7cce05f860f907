//! Stopping all processes of a cgroup, and letting them go on.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::cgroup::failed;
use crate::error::{Error, ErrorKind, Result};

/// A process stops when it next leaves the kernel, so one that waits for a dead file server never
/// does.
const PATIENCE: Duration = Duration::from_secs(5);

/// Stops every process, and returns when all have stopped.
///
/// # Errors
/// If they have not within five seconds; they then go on.
pub fn freeze(cgroup: &Path) -> Result<()> {
    let frozen = switch(cgroup, true);
    if frozen.as_ref().is_err_and(|e| e.kind() == ErrorKind::Kernel) {
        switch(cgroup, false).ok();
    }
    frozen
}

/// Lets them go on.
///
/// # Errors
/// If the kernel refuses.
pub fn thaw(cgroup: &Path) -> Result<()> {
    switch(cgroup, false)
}

/// Whether it is stopped, or about to be. A cgroup that is just vanishing is not.
#[must_use]
pub fn is_frozen(cgroup: &Path) -> bool {
    fs::read_to_string(cgroup.join("cgroup.freeze")).is_ok_and(|text| text.trim() == "1")
}

fn switch(cgroup: &Path, freeze: bool) -> Result<()> {
    let value = if freeze { "1" } else { "0" };
    let path = cgroup.join("cgroup.freeze");
    fs::write(&path, value).map_err(|e| failed(&format!("echo {value} >"), &path, &e))?;
    let path = cgroup.join("cgroup.events");
    let waited = wait(&path, &format!("frozen {value}")).map_err(|e| failed("watch", &path, &e))?;
    match waited {
        true => Ok(()),
        false => {
            let what = format!("{} was not frozen {value} within {PATIENCE:?}", cgroup.display());
            Err(Error::new(ErrorKind::Kernel, what).hint("a process of it hangs in the kernel"))
        }
    }
}

/// Whether the file came to hold this line in time. The kernel tells of each change by POLLPRI.
fn wait(path: &Path, line: &str) -> io::Result<bool> {
    let started = Instant::now();
    let mut events = File::open(path)?;
    loop {
        let mut text = String::new();
        events.rewind()?;
        events.read_to_string(&mut text)?;
        if text.lines().any(|found| found == line) {
            return Ok(true);
        }
        let Some(left) = PATIENCE.checked_sub(started.elapsed()) else { return Ok(false) };
        changed(&events, left)?;
    }
}

fn changed(events: &File, left: Duration) -> io::Result<()> {
    let left = Timespec::try_from(left).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(events, PollFlags::PRI)], Some(&left)) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

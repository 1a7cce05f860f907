//! Killing what is in a cgroup, and removing it. What is gone already is no error.

use std::fs;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::cgroup::failed;
use crate::cgroup::hierarchy::SHARED;
use crate::error::Result;

/// How long killed processes may take to be gone, most of which is giving their memory back.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a process may take that ends by itself when its container has: to kill it at once would
/// change the status of an `exec` whose own process is just about to tell it.
const ENDING: Duration = Duration::from_millis(100);
/// How long a process may take that dies with its runner.
const DYING: Duration = Duration::from_secs(1);
const FIRST_WAIT: Duration = Duration::from_micros(50);
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// Kills every process in a cgroup and below, at once (`cgroup.kill`, Linux 5.14).
fn kill(path: &Path) -> Result<()> {
    absent_ok(fs::write(path.join("cgroup.kill"), "1")).map_err(|e| failed("kill", path, &e))
}

/// Kills what is in a cgroup and removes it, by what a record says of it.
///
/// # Errors
/// If processes stay in it.
pub fn discard(path: &Path) -> Result<()> {
    kill(path)?;
    remove_within(path, PATIENCE)
}

/// Removes a cgroup in which there should never have been a process, unless somebody else's are.
///
/// # Errors
/// A refusal by the kernel other than that.
pub fn abandon(path: &Path) -> Result<()> {
    match remove_within(path, DYING) {
        Err(e) if e.errno() == Some(Errno::BUSY) => Ok(()),
        removed => removed,
    }
}

/// Removes the cgroup of a container that has ended. Who is still in it is none of the container's:
/// the process of an `exec` that stands outside, or somebody whom others put there.
pub fn remove(path: &Path) -> Result<()> {
    match remove_within(path, ENDING) {
        Err(e) if e.errno() == Some(Errno::BUSY) => discard(path),
        removed => removed,
    }
}

/// With what is below it, and the directory for all if this was the last.
fn remove_within(path: &Path, patience: Duration) -> Result<()> {
    let started = Instant::now();
    let mut wait = FIRST_WAIT;
    loop {
        match absent_ok(remove_tree(path)) {
            Ok(()) => break,
            Err(e) if e.kind() == io::ErrorKind::ResourceBusy && started.elapsed() < patience => {
                thread::sleep(wait);
                wait = LONGEST_WAIT.min(wait * 2);
            }
            Err(e) => return Err(failed("rmdir", path, &e)),
        }
    }
    match path.parent() {
        // This fails as long as others are in it, as it should.
        Some(shared) if shared.file_name().is_some_and(|name| name == SHARED) => {
            fs::remove_dir(shared).ok();
            Ok(())
        }
        _ => Ok(()),
    }
}

/// A cgroup is busy while it has processes, and while there are others below it.
fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir(path) {
        Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
            for entry in fs::read_dir(path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    absent_ok(remove_tree(&entry.path()))?;
                }
            }
            fs::remove_dir(path)
        }
        removed => removed,
    }
}

/// ENODEV is what a file of a cgroup says that is being removed.
fn absent_ok(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) if e.raw_os_error() == Some(libc::ENODEV) => Ok(()),
        other => other,
    }
}

//! What runs: the containers, and the processes of one of them with their ids on both sides.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use netup::addr::HostAddr;
use serde::Serialize;

use crate::cgroup;
use crate::error::{Error, Result};
use crate::name::ContainerName;
use crate::procfs::{self, Status};
use crate::state::{Record, State, UserNamespace};

/// A container that runs.
#[derive(Debug, Clone, Serialize)]
pub struct Container {
    /// What it is called.
    pub name: ContainerName,
    /// How it stands.
    pub status: Standing,
    /// The process id of its first process on the host, once there is one.
    pub pid: Option<i32>,
    /// The process id of its runner.
    pub runner: i32,
    /// The words of its command.
    pub command: Vec<String>,
    /// The image, or the directory.
    pub base: String,
    /// Whose ids its users have outside.
    pub users: UserNamespace,
    /// Its addresses.
    pub addresses: Vec<HostAddr>,
    /// How long it has run, in seconds.
    pub uptime: u64,
}

/// How a container stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// It has no process yet.
    Starting,
    /// It runs.
    Running,
    /// All its processes are stopped.
    Paused,
}

/// A process of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Its process id on the host.
    pub host_pid: i32,
    /// Its process id in the container.
    pub pid: i32,
    /// Its effective user id as the host sees it.
    pub host_uid: u32,
    /// Its command, or its name in brackets if it has none.
    pub command: String,
}

/// All containers that run, by name.
///
/// # Errors
/// If a record cannot be read.
pub fn containers(state: &State) -> Result<Vec<Container>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(state.running()?.into_iter().map(|record| container(record, now)).collect())
}

/// All processes of a container, by their process id in there.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) if none of that name runs.
pub fn processes(state: &State, name: &ContainerName) -> Result<Vec<Process>> {
    let record = state.record(name)?;
    let Some(init) = record.init else { return Ok(Vec::new()) };
    let found = match &record.cgroup {
        Some(cgroup) => members(cgroup)?,
        None => descendants(init.pid)?,
    };
    let depth = found.get(&init.pid).map_or(1, |init| init.pids.len() - 1);
    let mut processes = Vec::new();
    for (host_pid, status) in found {
        // One that has not entered the container's pid namespace has no id there.
        let Some(pid) = status.pids.get(depth).copied() else { continue };
        let command = shown(procfs::command(host_pid)?, &status.name);
        processes.push(Process { host_pid, pid, host_uid: status.uid, command });
    }
    processes.sort_by_key(|process| process.pid);
    Ok(processes)
}

fn container(record: Record, now: u64) -> Container {
    let paused = record.cgroup.as_deref().is_some_and(cgroup::is_frozen);
    Container {
        status: match record.init {
            None => Standing::Starting,
            Some(_) if paused => Standing::Paused,
            Some(_) => Standing::Running,
        },
        pid: record.init.map(|init| init.pid),
        uptime: now.saturating_sub(record.started),
        name: record.name,
        runner: record.runner,
        command: record.command,
        base: record.base,
        users: record.users,
        addresses: record.addresses,
    }
}

fn members(cgroup: &Path) -> Result<HashMap<i32, Status>> {
    let path = cgroup.join("cgroup.procs");
    let text =
        fs::read_to_string(&path).map_err(|e| Error::io(format!("read {}", path.display()), &e))?;
    let pids = text.lines().filter_map(|line| line.parse().ok());
    statuses(pids)
}

/// Without a cgroup, by who started whom. The kernel lists children only if it was built to
/// (`CONFIG_PROC_CHILDREN`), so everybody is asked for the parent.
fn descendants(init: i32) -> Result<HashMap<i32, Status>> {
    let mut all = statuses(procfs::all()?.into_iter())?;
    let mut found = HashMap::new();
    let mut waiting = vec![init];
    while let Some(pid) = waiting.pop() {
        waiting.extend(all.iter().filter(|(_, one)| one.parent == pid).map(|(pid, _)| *pid));
        found.extend(all.remove_entry(&pid));
    }
    Ok(found)
}

fn statuses(pids: impl Iterator<Item = i32>) -> Result<HashMap<i32, Status>> {
    let mut found = HashMap::new();
    for pid in pids {
        found.extend(procfs::status(pid)?.map(|status| (pid, status)));
    }
    Ok(found)
}

fn shown(words: Vec<String>, name: &str) -> String {
    if words.is_empty() { format!("[{name}]") } else { words.join(" ") }
}

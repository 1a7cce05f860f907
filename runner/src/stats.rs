//! What a container uses, by its cgroup. A figure that cannot be had is named, with the reason.

mod files;
mod pressure;

use std::path::Path;

use serde::Serialize;

use crate::error::Result;
use crate::name::ContainerName;
use crate::pause::cgroup_of;
use crate::state::State;

use files::Files;
pub use pressure::{Pressure, Share};

/// What a container uses.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Stats {
    /// Which container.
    pub name: ContainerName,
    /// Processor time.
    pub cpu: Option<Cpu>,
    /// The limit on processor time, and what it did.
    pub cpu_limit: Option<CpuLimit>,
    /// Memory.
    pub memory: Option<Memory>,
    /// Processes and threads.
    pub pids: Option<Pids>,
    /// Reads and writes of block devices.
    pub io: Option<Io>,
    /// How long processes waited for a processor.
    pub cpu_pressure: Option<Pressure>,
    /// How long processes waited for memory.
    pub memory_pressure: Option<Pressure>,
    /// How long processes waited for reads and writes.
    pub io_pressure: Option<Pressure>,
    /// What cannot be had here.
    pub missing: Vec<Missing>,
}

/// Processor time since the start, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Cpu {
    /// In all.
    pub usage_us: u64,
    /// Outside the kernel.
    pub user_us: u64,
    /// In the kernel.
    pub system_us: u64,
}

/// The limit on processor time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CpuLimit {
    /// Thousandths of a processor; `None` without a limit.
    pub millicpus: Option<u64>,
    /// How long processes were held back by it, in microseconds.
    pub throttled_us: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Now.
    pub current: u64,
    /// The most so far; `None` before Linux 5.19.
    pub peak: Option<u64>,
    /// The limit; `None` without one.
    pub max: Option<u64>,
    /// How many processes were killed at the limit.
    pub oom_kills: u64,
}

/// Processes and threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Pids {
    /// Now.
    pub current: u64,
    /// The limit; `None` without one.
    pub max: Option<u64>,
}

/// Reads and writes of all block devices.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Io {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// A figure that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Missing {
    /// The field of [`Stats`].
    pub figure: &'static str,
    /// Why.
    pub reason: String,
}

/// Reads the figures of a container.
///
/// # Errors
/// [`NotFound`](crate::ErrorKind::NotFound) if none of that name runs,
/// [`MissingFeature`](crate::ErrorKind::MissingFeature) if it has no cgroup.
pub fn stats(state: &State, name: &ContainerName) -> Result<Stats> {
    of(name, &cgroup_of(state, name)?)
}

fn of(name: &ContainerName, cgroup: &Path) -> Result<Stats> {
    let mut files = Files::of(cgroup);
    Ok(Stats {
        name: name.clone(),
        cpu: files.cpu()?,
        cpu_limit: files.cpu_limit()?,
        memory: files.memory()?,
        pids: files.pids()?,
        io: files.io()?,
        cpu_pressure: files.pressure("cpu_pressure", "cpu.pressure")?,
        memory_pressure: files.pressure("memory_pressure", "memory.pressure")?,
        io_pressure: files.pressure("io_pressure", "io.pressure")?,
        missing: files.missing(),
    })
}

//! Limits as files of a cgroup. Pure, but for the writing.

use std::fs;
use std::path::Path;

use crate::error::{Error, Result};
use crate::request::Limits;

/// The usual period of the CPU controller, in microseconds.
const PERIOD: u64 = 100_000;
/// The longest one; the least quota of 1 ms in it is a thousandth of a processor.
const LONGEST_PERIOD: u64 = 1_000_000;
/// The least quota, in microseconds (`min_cfs_quota_period`, kernel/sched/core.c).
const LEAST_QUOTA: u64 = 1000;

/// One file and what goes into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Which controller has the file.
    pub controller: &'static str,
    /// The option that asked for it.
    pub option: &'static str,
    file: &'static str,
    value: String,
    /// Whether some kernels are built without it.
    optional: bool,
}

impl Setting {
    fn new(controller: &'static str, file: &'static str, value: impl ToString) -> Self {
        let option = match controller {
            "memory" => "--memory",
            "cpu" => "--cpus",
            _ => "--pids",
        };
        Self { controller, option, file, value: value.to_string(), optional: false }
    }

    /// The write as a command.
    pub fn line(&self, cgroup: &Path) -> String {
        format!("echo {} > {}", self.value, cgroup.join(self.file).display())
    }

    /// Puts it in force.
    pub fn write(&self, cgroup: &Path) -> Result<()> {
        match fs::write(cgroup.join(self.file), &self.value) {
            Err(e) if self.optional && e.kind() == std::io::ErrorKind::NotFound => Ok(()),
            written => written.map_err(|e| {
                Error::io(self.line(cgroup), &e).hint(format!("give another {}", self.option))
            }),
        }
    }
}

/// What to write for these limits.
pub fn settings(limits: &Limits) -> Vec<Setting> {
    let memory = limits.memory.map(memory).into_iter().flatten();
    let cpu = limits.millicpus.map(cpu);
    let pids = limits.pids.map(|pids| Setting::new("pids", "pids.max", pids));
    memory.chain(cpu).chain(pids).collect()
}

/// Swap counts apart from memory and is refused altogether: otherwise a container over its limit
/// makes the host swap and never meets the limit. A kernel without swap has no file for it.
///
/// At the limit the container goes as a whole: one that lost some process or other is worth less
/// than one that has ended and says so.
fn memory(bytes: u64) -> [Setting; 3] {
    let swap = Setting { optional: true, ..Setting::new("memory", "memory.swap.max", 0) };
    [
        Setting::new("memory", "memory.max", bytes),
        swap,
        Setting::new("memory", "memory.oom.group", 1),
    ]
}

fn cpu(millicpus: u64) -> Setting {
    let quota = |period| millicpus.saturating_mul(period) / 1000;
    let period = if quota(PERIOD) < LEAST_QUOTA { LONGEST_PERIOD } else { PERIOD };
    Setting::new("cpu", "cpu.max", format!("{} {period}", quota(period)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(limits: Limits) -> Vec<String> {
        settings(&limits).iter().map(|setting| setting.line(Path::new("/c"))).collect()
    }

    #[test]
    fn no_limit_is_no_file() {
        assert_eq!(settings(&Limits::default()), []);
    }

    #[test]
    fn limits_are_in_the_kernels_units() {
        let limits = Limits { memory: Some(64 << 20), millicpus: Some(1500), pids: Some(32) };
        let expected = [
            "echo 67108864 > /c/memory.max",
            "echo 0 > /c/memory.swap.max",
            "echo 1 > /c/memory.oom.group",
            "echo 150000 100000 > /c/cpu.max",
            "echo 32 > /c/pids.max",
        ];
        assert_eq!(lines(limits), expected);
    }

    #[test]
    fn a_small_share_of_a_processor_gets_a_long_period() {
        let line = |millicpus| lines(Limits { millicpus: Some(millicpus), ..Limits::default() });
        assert_eq!(line(10), ["echo 1000 100000 > /c/cpu.max"]);
        assert_eq!(line(9), ["echo 9000 1000000 > /c/cpu.max"]);
        assert_eq!(line(1), ["echo 1000 1000000 > /c/cpu.max"]);
    }
}

//! The files of a cgroup that hold figures.

use std::fs;
use std::io;
use std::path::Path;

use crate::error::{Error, Result};
use crate::stats::{Cpu, CpuLimit, Io, Memory, Missing, Pids, Pressure, pressure};

/// The cgroup, and what was found missing in it.
pub struct Files<'a> {
    cgroup: &'a Path,
    missing: Vec<Missing>,
}

impl<'a> Files<'a> {
    pub fn of(cgroup: &'a Path) -> Self {
        Self { cgroup, missing: Vec::new() }
    }

    pub fn missing(self) -> Vec<Missing> {
        self.missing
    }

    /// Every cgroup has it, with or without the controller.
    pub fn cpu(&mut self) -> Result<Option<Cpu>> {
        let Some(stat) = self.read("cpu.stat")? else { return Ok(self.lack("cpu", "cpu.stat")) };
        Ok(Some(Cpu {
            usage_us: keyed(&stat, "usage_usec"),
            user_us: keyed(&stat, "user_usec"),
            system_us: keyed(&stat, "system_usec"),
        }))
    }

    pub fn cpu_limit(&mut self) -> Result<Option<CpuLimit>> {
        let Some(max) = self.read("cpu.max")? else {
            return Ok(self.lack_controller("cpu_limit", "cpu"));
        };
        let stat = self.read("cpu.stat")?.unwrap_or_default();
        Ok(Some(CpuLimit {
            millicpus: millicpus(&max),
            throttled_us: keyed(&stat, "throttled_usec"),
        }))
    }

    pub fn memory(&mut self) -> Result<Option<Memory>> {
        let Some(current) = self.read("memory.current")? else {
            return Ok(self.lack_controller("memory", "memory"));
        };
        let peak = self.read("memory.peak")?;
        if peak.is_none() {
            self.note("memory.peak", "Linux has it since 5.19".to_owned());
        }
        Ok(Some(Memory {
            current: number(&current).unwrap_or_default(),
            peak: peak.as_deref().and_then(number),
            max: self.read("memory.max")?.as_deref().and_then(number),
            oom_kills: keyed(&self.read("memory.events")?.unwrap_or_default(), "oom_kill"),
        }))
    }

    pub fn pids(&mut self) -> Result<Option<Pids>> {
        let Some(current) = self.read("pids.current")? else {
            return Ok(self.lack_controller("pids", "pids"));
        };
        let max = self.read("pids.max")?.as_deref().and_then(number);
        Ok(Some(Pids { current: number(&current).unwrap_or_default(), max }))
    }

    pub fn io(&mut self) -> Result<Option<Io>> {
        let Some(stat) = self.read("io.stat")? else { return Ok(self.lack_controller("io", "io")) };
        Ok(Some(io_total(&stat)))
    }

    pub fn pressure(&mut self, figure: &'static str, file: &str) -> Result<Option<Pressure>> {
        match self.read(file)? {
            Some(text) => Ok(Some(pressure::parse(&text))),
            None => {
                self.note(figure, "the kernel does not measure it; boot with psi=1".to_owned());
                Ok(None)
            }
        }
    }

    /// `None` where the kernel has no such file, or answers that it is switched off.
    fn read(&self, file: &str) -> Result<Option<String>> {
        let path = self.cgroup.join(file);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.cgroup.exists() => Ok(None),
            Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => Ok(None),
            Err(e) => Err(Error::io(format!("read {}", path.display()), &e)),
        }
    }

    fn lack_controller<T>(&mut self, figure: &'static str, controller: &str) -> Option<T> {
        let cgroup = self.cgroup.display();
        self.note(figure, format!("the cgroup v2 controller {controller} is not on for {cgroup}"));
        None
    }

    fn lack<T>(&mut self, figure: &'static str, file: &str) -> Option<T> {
        self.note(figure, format!("the kernel has no {file}"));
        None
    }

    fn note(&mut self, figure: &'static str, reason: String) {
        self.missing.push(Missing { figure, reason });
    }
}

/// A number, or `max` for none.
fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number after a key at the beginning of a line; kernels leave out what they do not count.
fn keyed(text: &str, key: &str) -> u64 {
    let value = |line: &str| {
        let (found, value) = line.split_once(' ')?;
        (found == key).then(|| number(value)).flatten()
    };
    text.lines().find_map(value).unwrap_or_default()
}

/// `QUOTA PERIOD`, with `max` for no quota.
fn millicpus(max: &str) -> Option<u64> {
    let (quota, period) = max.trim().split_once(' ')?;
    let (quota, period): (u64, u64) = (quota.parse().ok()?, period.parse().ok()?);
    quota.checked_mul(1000)?.checked_div(period)
}

/// One line a device: `8:0 rbytes=1 wbytes=2 rios=3 …`.
fn io_total(stat: &str) -> Io {
    let mut total = Io::default();
    for (key, value) in stat.split_whitespace().filter_map(|word| word.split_once('=')) {
        let sum = match key {
            "rbytes" => &mut total.read_bytes,
            "wbytes" => &mut total.written_bytes,
            "rios" => &mut total.reads,
            "wios" => &mut total.writes,
            _ => continue,
        };
        *sum += number(value).unwrap_or_default();
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_whole_words() {
        let stat = "usage_usec 30\nuser_usec 20\nsystem_usec 10\n";
        assert_eq!([keyed(stat, "usage_usec"), keyed(stat, "usec"), keyed(stat, "x")], [30, 0, 0]);
    }

    #[test]
    fn a_share_of_the_processors_is_in_thousandths() {
        assert_eq!(millicpus("50000 100000\n"), Some(500));
        assert_eq!(millicpus("max 100000\n"), None);
    }

    #[test]
    fn devices_are_summed_up() {
        let stat =
            "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=9 dios=9\n8:16 rbytes=10 wios=1\n7:0 \n";
        let expected = Io { read_bytes: 11, written_bytes: 2, reads: 3, writes: 5 };
        assert_eq!(io_total(stat), expected);
    }
}

//! What the verbs found, as text for people or JSON for machines.

mod table;

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::error::{Error, ErrorKind, Result};
use crate::gc::Collected;
use crate::image::{Imported, Listed};
use crate::ps::{Container, Process, Standing};
use crate::stats::{Pressure, Stats};

pub use table::printable;
use table::table;

/// One value, on a line.
///
/// # Errors
/// None that could be met: the values are ours.
pub fn json(value: &impl Serialize) -> Result<String> {
    let text = serde_json::to_string(value)
        .map_err(|e| Error::new(ErrorKind::State, format!("write JSON: {e}")))?;
    Ok(text + "\n")
}

/// A row each.
#[must_use]
pub fn containers(all: &[Container]) -> String {
    let rows = all.iter().map(|one| {
        [
            one.name.to_string(),
            one.pid.map_or("-".to_owned(), |pid| pid.to_string()),
            standing(one.status).to_owned(),
            duration(one.uptime),
            joined(one.addresses.iter().map(|address| address.ip().to_string())),
            one.base.clone(),
            one.command.join(" "),
        ]
    });
    table(["NAME", "PID", "STATUS", "UPTIME", "ADDRESSES", "BASE", "COMMAND"], rows)
}

/// A row each.
#[must_use]
pub fn processes(all: &[Process]) -> String {
    let rows = all.iter().map(|one| {
        let ids = [one.host_pid.to_string(), one.pid.to_string(), one.host_uid.to_string()];
        let [host_pid, pid, host_uid] = ids;
        [host_pid, pid, host_uid, one.command.clone()]
    });
    table(["HOST-PID", "PID", "HOST-UID", "COMMAND"], rows)
}

/// A row each.
#[must_use]
pub fn images(all: &[Listed]) -> String {
    let rows = all.iter().map(|one| {
        let size = one.size.map_or("-".to_owned(), bytes);
        [one.name.to_string(), size, since(one.created), one.layers.to_string()]
    });
    table(["NAME", "SIZE", "CREATED", "LAYERS"], rows)
}

/// One line.
#[must_use]
pub fn imported(imported: &Imported) -> String {
    let Imported { name, size, entries, layers, devices_left_out } = imported;
    let plural = if *layers == 1 { "" } else { "s" };
    let left_out = match devices_left_out {
        0 => String::new(),
        count => format!(", {count} device nodes left out"),
    };
    let size = bytes(*size);
    format!("{name}: {entries} entries, {size}, of {layers} layer{plural}{left_out}\n")
}

/// How long ago that was.
fn since(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    duration(now.as_secs().saturating_sub(seconds)) + " ago"
}

/// A line for each figure, and for each that is missing.
#[must_use]
pub fn stats(stats: &Stats) -> String {
    let mut rows: Vec<[String; 2]> = Vec::new();
    let mut row = |key: &str, value: String| rows.push([key.to_owned(), value]);
    if let Some(cpu) = &stats.cpu {
        let [usage, user, system] = [cpu.usage_us, cpu.user_us, cpu.system_us].map(seconds);
        row("cpu", format!("{usage} ({user} user, {system} system)"));
    }
    if let Some(limit) = &stats.cpu_limit {
        let most = limit.millicpus.map_or("none".to_owned(), thousandths);
        row("cpu limit", format!("{most}, held back for {}", seconds(limit.throttled_us)));
    }
    if let Some(memory) = &stats.memory {
        let peak = memory.peak.map_or(String::new(), |peak| format!(", peak {}", bytes(peak)));
        let max = memory.max.map_or("none".to_owned(), bytes);
        row("memory", format!("{}{peak}, limit {max}", bytes(memory.current)));
        row("killed at the limit", memory.oom_kills.to_string());
    }
    if let Some(pids) = &stats.pids {
        let max = pids.max.map_or("none".to_owned(), |max| max.to_string());
        row("pids", format!("{}, limit {max}", pids.current));
    }
    if let Some(io) = &stats.io {
        let (read, written) = (bytes(io.read_bytes), bytes(io.written_bytes));
        row("io", format!("{read} in {} reads, {written} in {} writes", io.reads, io.writes));
    }
    let waits = [
        ("cpu pressure", &stats.cpu_pressure),
        ("memory pressure", &stats.memory_pressure),
        ("io pressure", &stats.io_pressure),
    ];
    for (key, found) in waits {
        found.iter().for_each(|found| row(key, pressure(found)));
    }
    for missing in &stats.missing {
        row(&missing.figure.replace('_', " "), format!("not available: {}", missing.reason));
    }
    table(["FIGURE", "VALUE"], rows.into_iter())
}

/// A line for each container.
#[must_use]
pub fn collected(collected: &Collected) -> String {
    let removed = collected.removed.iter().map(|one| match one.undone.as_slice() {
        [] => format!("{}: nothing was left\n", one.name),
        undone => format!("{}: undid its {}\n", one.name, undone.join(", ")),
    });
    let failed = collected.failed.iter().map(|(name, error)| format!("{name}: {error}\n"));
    let text: String = removed.chain(failed).collect();
    if text.is_empty() { "nothing was left behind\n".to_owned() } else { text }
}

/// As [`collected`].
///
/// # Errors
/// As [`json`].
pub fn collected_json(collected: &Collected) -> Result<String> {
    let failed = collected
        .failed
        .iter()
        .map(|(name, error)| serde_json::json!({ "name": name, "error": error.to_string() }));
    json(&serde_json::json!({
        "removed": collected.removed,
        "failed": failed.collect::<Vec<_>>(),
    }))
}

fn standing(standing: Standing) -> &'static str {
    match standing {
        Standing::Starting => "starting",
        Standing::Running => "running",
        Standing::Paused => "paused",
    }
}

fn joined(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    if words.is_empty() { "-".to_owned() } else { words.join(",") }
}

/// The two largest units.
fn duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, _, _) => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

fn seconds(microseconds: u64) -> String {
    format!("{}.{:03} s", microseconds / 1_000_000, microseconds / 1000 % 1000)
}

fn thousandths(millicpus: u64) -> String {
    format!("{}.{:03}", millicpus / 1000, millicpus % 1000)
}

fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(count) * 10;
    while tenths >= 10240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{count} B"),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

fn pressure(pressure: &Pressure) -> String {
    let some = pressure.some;
    let full =
        pressure.full.map_or(String::new(), |full| format!(", all for {}", seconds(full.total_us)));
    let averages = format!("{:.2} % of 10 s, {:.2} % of 60 s", some.avg10, some.avg60);
    format!("some waited for {}{full}; {averages}", seconds(some.total_us))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_read_well() {
        assert_eq!([bytes(0), bytes(1023), bytes(1024)], ["0 B", "1023 B", "1.0 KiB"]);
        assert_eq!([bytes(64 << 20), bytes(u64::MAX)], ["64.0 MiB", "16777215.9 TiB"]);
        assert_eq!([duration(59), duration(61), duration(3600)], ["59s", "1m1s", "1h0m"]);
        assert_eq!([duration(90_000), seconds(1_234_567)], ["1d1h", "1.234 s"]);
        assert_eq!([thousandths(500), thousandths(1500)], ["0.500", "1.500"]);
    }

    #[test]
    fn an_empty_collection_says_so() {
        assert_eq!(collected(&Collected::default()), "nothing was left behind\n");
        let json = collected_json(&Collected::default()).unwrap();
        assert_eq!(json, "{\"removed\":[],\"failed\":[]}\n");
    }
}

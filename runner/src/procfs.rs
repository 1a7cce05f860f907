//! What `/proc` tells of other processes. Any of them may end at any moment, which is no error.

use std::fs;
use std::io;

use crate::error::{Error, Result};

/// One process, by `/proc/PID/status`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Its parent's process id.
    pub parent: i32,
    /// Its process ids, from this pid namespace's inwards.
    pub pids: Vec<i32>,
    /// Its effective user id, as seen here.
    pub uid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
}

/// A process; `None` if there is none, or it has ended and only waits to be waited for.
pub fn status(pid: i32) -> Result<Option<Status>> {
    read(&format!("/proc/{pid}/status")).map(|text| parse_status(&text?))
}

/// The words of a process's command. One that has none is the kernel's, or has ended.
pub fn command(pid: i32) -> Result<Vec<String>> {
    let text = read(&format!("/proc/{pid}/cmdline"))?.unwrap_or_default();
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}

/// When a process started, in nanoseconds since boot, rounded down to the kernel's tick.
pub fn start_time(pid: i32) -> Result<Option<u64>> {
    let per_second = rustix::param::clock_ticks_per_second();
    read(&format!("/proc/{pid}/stat"))
        .map(|text| start_tick(&text?).map(|t| t * (1_000_000_000 / per_second)))
}

/// The ids of all processes.
pub fn all() -> Result<Vec<i32>> {
    let failed = |e: &io::Error| Error::io("list /proc", e);
    let mut pids = Vec::new();
    for entry in fs::read_dir("/proc").map_err(|e| failed(&e))? {
        let name = entry.map_err(|e| failed(&e))?.file_name();
        pids.extend(name.to_str().and_then(|name| name.parse::<i32>().ok()));
    }
    Ok(pids)
}

fn read(path: &str) -> Result<Option<String>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        Err(e) => Err(Error::io(format!("read {path}"), &e)),
    }
}

fn parse_status(text: &str) -> Option<Status> {
    let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    if field("State:").is_none_or(|state| state.starts_with(['Z', 'X'])) {
        return None;
    }
    let pids = field("NSpid:")?.split_whitespace().map(|pid| pid.parse().ok());
    Some(Status {
        parent: field("PPid:")?.parse().ok()?,
        pids: pids.collect::<Option<_>>()?,
        uid: field("Uid:")?.split_whitespace().nth(1)?.parse().ok()?,
        name: field("Name:")?.to_owned(),
    })
}

/// Field 22. The name before it, in parentheses, may hold anything.
fn start_tick(stat: &str) -> Option<u64> {
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(19)?.parse().ok()
}

/// The children of a process, the oldest first.
///
/// # Errors
/// If it is gone, or the kernel keeps no such list (`CONFIG_PROC_CHILDREN`).
pub fn children(pid: i32) -> Result<Vec<i32>> {
    let path = format!("/proc/{pid}/task/{pid}/children");
    let children =
        fs::read_to_string(&path).map_err(|error| Error::io(format!("read {path}"), &error))?;
    Ok(children.split_whitespace().filter_map(|child| child.parse().ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read() {
        let text = "Name:\tsh\nState:\tS (sleeping)\nTgid:\t7\nPPid:\t5\nUid:\t0\t1000\t0\t0\nNSpid:\t7\t1\n";
        let expected = Status { parent: 5, pids: vec![7, 1], uid: 1000, name: "sh".to_owned() };
        assert_eq!(parse_status(text), Some(expected));
        assert_eq!(parse_status(&text.replace("S (s", "Z (z")), None);
        assert_eq!(parse_status("Name:\tsh\n"), None);
    }

    #[test]
    fn a_name_cannot_shift_the_fields() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(start_tick(&format!("7 (sh) {rest}")), Some(4711));
        assert_eq!(start_tick(&format!("7 (a) b) R 1 (x) {rest}")), Some(4711));
    }

    #[test]
    fn this_process_is_known() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let status = status(pid).unwrap().unwrap();
        assert_eq!(status.pids[0], pid);
        assert!(command(pid).unwrap()[0].contains("netup_run"));
        let started = start_time(pid).unwrap().unwrap();
        assert!(started <= crate::sys::clock::since_boot());
        assert!(all().unwrap().contains(&pid));
        assert_eq!(start_time(i32::MAX).unwrap(), None);
    }
}

//! What is remembered of one container.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use netup::addr::HostAddr;
use serde::{Deserialize, Serialize};

use crate::name::ContainerName;
use crate::network::Attached;
use crate::plan::Terms;
use crate::sys::clock;

/// Told apart so that a later version can read, or refuse, what an earlier one left.
const VERSION: u32 = 1;

/// Of a command's text, as much is kept as a listing can show.
const LONGEST_COMMAND: usize = 4096;

/// What is remembered of one container: to show it, and to undo what it left if its runner dies.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    version: u32,
    /// What it is called.
    pub name: ContainerName,
    /// The runner's process id on the host.
    pub runner: i32,
    /// Its first process, once there is one.
    pub init: Option<Init>,
    /// When it was started, in seconds since 1970.
    pub started: u64,
    /// The words of its command, as far as they can be shown.
    pub command: Vec<String>,
    /// The image, or the directory.
    pub base: String,
    /// Whose ids its users have outside.
    pub users: UserNamespace,
    /// Its addresses.
    pub addresses: Vec<HostAddr>,
    /// Its cgroup, below the host's v2 hierarchy.
    pub cgroup: Option<PathBuf>,
    /// What connects it and does not go with it by itself.
    pub network: Option<Attached>,
    /// What its root left on disk.
    pub root: Option<RootRecord>,
    /// On what terms further commands run in it.
    pub terms: Option<Terms>,
}

/// The first process of a container, in a way that outlives the reuse of process ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Init {
    /// Its process id on the host.
    pub pid: i32,
    /// A moment at which it was there, in nanoseconds of `CLOCK_BOOTTIME`. What has this process id
    /// and started later is another process.
    pub seen: u64,
}

/// Whose ids a container's users have outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserNamespace {
    /// The host's: root is root.
    Host,
    /// Ranges of their own.
    Ranges,
    /// The caller's alone.
    Single,
}

/// What a root file system left on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootRecord {
    /// The snapshot, or the folder of what was written.
    pub path: PathBuf,
}

impl Record {
    /// A container that is about to be started by this process.
    #[must_use]
    pub fn new(name: ContainerName, command: &[OsString], base: String) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            version: VERSION,
            name,
            runner: rustix::process::getpid().as_raw_nonzero().get(),
            init: None,
            started: now.as_secs(),
            command: shown(command),
            base,
            users: UserNamespace::Host,
            addresses: Vec::new(),
            cgroup: None,
            network: None,
            root: None,
            terms: None,
        }
    }
}

impl Init {
    /// A child of this process that has not been waited for.
    #[must_use]
    pub fn now(pid: i32) -> Self {
        // The process's own start time would take three system calls to read, and this none.
        Self { pid, seen: clock::since_boot() }
    }
}

fn shown(command: &[OsString]) -> Vec<String> {
    let mut room = LONGEST_COMMAND;
    let mut words = Vec::new();
    for word in command {
        let word = word.to_string_lossy();
        if word.len() > room {
            words.push(word.chars().take(room / 4).chain(['…']).collect());
            break;
        }
        room -= word.len();
        words.push(word.into_owned());
    }
    words
}

/// The record in a file's content: its last whole line that is one.
pub fn last(content: &[u8]) -> Option<Record> {
    let (whole, _torn) = content.split_at(content.iter().rposition(|b| *b == b'\n')? + 1);
    let lines = whole.split(|b| *b == b'\n').rev();
    lines
        .filter_map(|line| serde_json::from_slice(line).ok())
        .find(|r: &Record| r.version == VERSION)
}

/// The line that stands for a record.
pub fn line(record: &Record) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(record)?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(base: &str) -> Record {
        Record::new("web".parse().unwrap(), &["sh".into(), "-c".into()], base.to_owned())
    }

    #[test]
    fn the_last_whole_line_counts() {
        let (first, second) = (line(&record("one")).unwrap(), line(&record("two")).unwrap());
        let both = [first.clone(), second.clone()].concat();
        assert_eq!(last(&both), Some(record("two")));
        for torn in first.len()..both.len() {
            assert_eq!(last(&both[..torn]), Some(record("one")), "{torn}");
        }
        for torn in 0..first.len() {
            assert_eq!(last(&both[..torn]), None, "{torn}");
        }
    }

    #[test]
    fn rubbish_and_other_versions_are_passed_over() {
        let mut later = record("later");
        later.version = VERSION + 1;
        let content = [line(&record("one")).unwrap(), b"{}\n\n".to_vec(), line(&later).unwrap()];
        assert_eq!(last(&content.concat()), Some(record("one")));
    }

    #[test]
    fn a_long_command_is_cut() {
        let words = shown(&["x".repeat(4000).into(), "ä".repeat(4000).into(), "never".into()]);
        assert_eq!(words.len(), 2);
        assert!(words[1].ends_with('…') && words[1].len() < 200);
    }
}

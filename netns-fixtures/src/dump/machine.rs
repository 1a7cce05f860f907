//! What a run of a container could leave on a machine beside its network.

use super::{Dump, sorted_entries};
use crate::blame::Blame;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::{Path, PathBuf},
    process,
};

/// What the project makes is called so, somewhere in its path.
const OURS: &str = "netup";

impl Dump {
    /// Adds this process's mount table, byte by byte.
    pub fn with_mounts(mut self) -> io::Result<Self> {
        let table = fs::read_to_string("/proc/self/mountinfo").blame("read the mount table")?;
        self.set("mounts", table.lines().map(str::to_owned).collect());
        Ok(self)
    }

    /// Adds the control groups of version 2 that have `netup` in their path: those of the machine
    /// come and go.
    pub fn with_cgroups(mut self) -> io::Result<Self> {
        let mut lines = Vec::new();
        for root in cgroup_mounts()? {
            list_folders(&root, &mut lines)?;
        }
        lines.retain(|line| line.contains(OURS));
        self.set("cgroups", lines);
        Ok(self)
    }

    /// Adds the processes that descend from this one, without those that have ended and only wait
    /// for their parent. From now on orphans become this process's children, so that they are seen.
    pub fn with_processes(mut self) -> io::Result<Self> {
        nix::sys::prctl::set_child_subreaper(true).blame("become the reaper of orphans")?;
        let running = processes()?;
        let ours = descendants(process::id(), &running);
        let line = |pid: &u32| format!("{pid} {}", running[pid].name);
        self.set("processes", ours.iter().map(line).collect());
        Ok(self)
    }

    /// Adds the name, kind and permissions of every file below `folder`, without contents.
    pub fn with_names(mut self, folder: impl AsRef<Path>) -> io::Result<Self> {
        let mut lines = Vec::new();
        list_names(folder.as_ref(), &mut lines)?;
        self.set(&format!("names {}", folder.as_ref().display()), lines);
        Ok(self)
    }
}

fn cgroup_mounts() -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo").blame("read the mount table")?;
    let version2 = table.lines().filter(|line| line.contains(" - cgroup2 "));
    Ok(version2.filter_map(|line| line.split(' ').nth(4)).map(PathBuf::from).collect())
}

fn list_folders(folder: &Path, lines: &mut Vec<String>) -> io::Result<()> {
    for (path, kind) in sorted_entries(folder)? {
        if kind.is_dir() {
            lines.push(path.display().to_string());
            list_folders(&path, lines)?;
        }
    }
    Ok(())
}

fn list_names(folder: &Path, lines: &mut Vec<String>) -> io::Result<()> {
    for (path, kind) in sorted_entries(folder)? {
        lines.push(format!("{} {kind:?}", path.display()));
        if kind.is_dir() {
            list_names(&path, lines)?;
        }
    }
    Ok(())
}

struct Running {
    parent: u32,
    name: String,
}

fn processes() -> io::Result<BTreeMap<u32, Running>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir("/proc").blame("list /proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse() else { continue };
        // It may have ended meanwhile.
        let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { continue };
        found.extend(running(&stat).map(|running| (pid, running)));
    }
    Ok(found)
}

fn descendants(of: u32, running: &BTreeMap<u32, Running>) -> BTreeSet<u32> {
    let mut found = BTreeSet::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        let children = running.iter().filter(|(_, process)| process.parent == parent);
        parents.extend(children.map(|(pid, _)| *pid).filter(|pid| found.insert(*pid)));
    }
    found
}

/// `PID (NAME) STATE PPID …`; a name may have parentheses of its own.
fn running(stat: &str) -> Option<Running> {
    let (head, tail) = stat.rsplit_once(") ")?;
    let mut fields = tail.split(' ');
    let has_ended = matches!(fields.next()?, "Z" | "X");
    let parent = fields.next()?.parse().ok()?;
    (!has_ended)
        .then(|| Running { parent, name: head.split_once('(').map_or("", |h| h.1).to_owned() })
}

#[cfg(test)]
mod tests {
    use super::running;

    #[test]
    fn zombies_do_not_run() {
        assert!(running("7 (a) Z 1 7").is_none());
        let odd = running("7 (a) S) S 4 7").unwrap();
        assert_eq!((odd.parent, odd.name.as_str()), (4, "a) S"));
    }
}

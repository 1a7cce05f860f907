//! The state of a namespace as text that is equal exactly when the state is.
//!
//! Left out on purpose: what the kernel numbers or changes by itself (ifindex, statistics, carrier,
//! lifetimes, neighbours), since two dumps of an untouched namespace must be equal.

mod canon;
mod diff;
mod machine;

use crate::{Node, blame::Blame, wire};
use std::{
    collections::BTreeMap,
    fmt, fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The state of one namespace at one moment: links, addresses, routes, rules, nft and sysctls.
#[derive(Clone, PartialEq, Eq)]
pub struct Dump {
    sections: BTreeMap<String, Vec<String>>,
}

impl Dump {
    /// Reads the state of a node. Waits for duplicate address detection to end, if it is under way.
    pub fn of(node: &Node) -> io::Result<Self> {
        wire::wait_for_addresses(node)?;
        let mut dump = Self { sections: BTreeMap::new() };
        dump.set("links", canon::links(&node.ip(&["-j", "-d", "link"])?)?);
        dump.set("addresses", canon::addresses(&node.ip(&["-j", "addr"])?)?);
        for (family, flag) in [("IPv4", "-4"), ("IPv6", "-6")] {
            let routes = node.ip(&["-j", flag, "route", "show", "table", "all"])?;
            dump.set(&format!("routes {family}"), canon::entries(&routes)?);
            dump.set(&format!("rules {family}"), canon::entries(&node.ip(&["-j", flag, "rule"])?)?);
        }
        dump.set("nft", node.nft_list()?.lines().map(str::to_owned).collect());
        dump.set("sysctls", node.run(sysctls)??);
        Ok(dump)
    }

    /// Adds every file below `folder`, with mode and content. A folder that is not there has no lines.
    pub fn with_files(mut self, folder: impl AsRef<Path>) -> io::Result<Self> {
        let mut lines = Vec::new();
        list(folder.as_ref(), &mut lines)?;
        self.set(&format!("files {}", folder.as_ref().display()), lines);
        Ok(self)
    }

    /// Drops the lines that contain `pattern`, which a test expects to change.
    #[must_use]
    pub fn without(mut self, pattern: &str) -> Self {
        self.sections.values_mut().for_each(|lines| lines.retain(|line| !line.contains(pattern)));
        self
    }

    /// Drops a whole section, by its head: `nft`, `sysctls`, `routes IPv4` and so on.
    #[must_use]
    pub fn without_section(mut self, head: &str) -> Self {
        self.sections.remove(head);
        self
    }

    /// The lines that tell `self` from `later`, with `-` and `+` in front, under the heads of their
    /// sections. Empty when nothing differs.
    pub fn changes(&self, later: &Self) -> String {
        diff::between(&self.sections, &later.sections)
    }

    fn set(&mut self, section: &str, lines: Vec<String>) {
        self.sections.insert(section.to_owned(), lines);
    }
}

/// Panics with a line by line difference unless the two are equal.
#[track_caller]
pub fn assert_same(before: &Dump, after: &Dump) {
    assert!(before == after, "the state is not what it was:\n{}", before.changes(after));
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (section, lines) in &self.sections {
            writeln!(f, "== {section}")?;
            lines.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Of the calling thread's netns: /proc/sys/net is resolved by whoever looks.
fn sysctls() -> io::Result<Vec<String>> {
    let mut lines = Vec::new();
    for family in ["ipv4", "ipv6"] {
        read_sysctls(Path::new("/proc/sys/net").join(family).as_path(), &mut lines)?;
    }
    Ok(lines)
}

fn read_sysctls(folder: &Path, lines: &mut Vec<String>) -> io::Result<()> {
    for (path, kind) in sorted_entries(folder)? {
        if kind.is_dir() {
            read_sysctls(&path, lines)?;
        } else if let Ok(value) = fs::read_to_string(&path) {
            // Some are for writing only (route/flush) or have no value yet (stable_secret).
            let key = path.strip_prefix("/proc/sys").unwrap_or(&path).display();
            lines.push(format!("{key} = {}", value.trim_end().replace(['\t', '\n'], " ")));
        }
    }
    Ok(())
}

fn list(folder: &Path, lines: &mut Vec<String>) -> io::Result<()> {
    for (path, kind) in sorted_entries(folder)? {
        let Some(mode) =
            gone_is_fine(fs::symlink_metadata(&path))?.map(|meta| meta.permissions().mode())
        else {
            continue;
        };
        let content = match kind {
            kind if kind.is_dir() => "folder".to_owned(),
            kind if kind.is_symlink() => format!("-> {}", fs::read_link(&path)?.display()),
            kind if kind.is_socket() || kind.is_fifo() => "socket or pipe".to_owned(),
            _ => format!("{:?}", String::from_utf8_lossy(&fs::read(&path).blame(path.display())?)),
        };
        lines.push(format!("{} {mode:o} {content}", path.display()));
        if kind.is_dir() {
            list(&path, lines)?;
        }
    }
    Ok(())
}

fn sorted_entries(folder: &Path) -> io::Result<Vec<(PathBuf, fs::FileType)>> {
    let Some(entries) = gone_is_fine(fs::read_dir(folder)).blame(folder.display())? else {
        return Ok(Vec::new());
    };
    let pair = |entry: fs::DirEntry| Ok((entry.path(), entry.file_type()?));
    let mut pairs = entries.map(|entry| entry.and_then(pair)).collect::<io::Result<Vec<_>>>()?;
    pairs.sort_unstable_by(|(left, _), (right, _)| left.cmp(right));
    Ok(pairs)
}

fn gone_is_fine<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

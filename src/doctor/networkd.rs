//! systemd-networkd, which takes over a link if any of its `.network` files matches it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::doctor::{ok, warning};
use crate::outcome::Finding;

const SUBJECT: &str = "systemd-networkd";
const RUNNING: &str = "/run/systemd/netif/links";
/// In rising order of precedence, systemd.network(5).
const FOLDERS: [&str; 4] = [
    "/usr/lib/systemd/network",
    "/usr/local/lib/systemd/network",
    "/run/systemd/network",
    "/etc/systemd/network",
];
/// The name sorts before whatever usually comes first, such as `00-all.network`.
const REMEDY: &str = "printf '[Match]\\nName=nu*\\n[Link]\\nUnmanaged=yes\\n' \
     > /etc/systemd/network/0-netup.network && networkctl reload";
/// Stands for the links that we make.
const OURS: &str = "nu0123456789ab";

pub fn check() -> Option<Finding> {
    if !Path::new(RUNNING).exists() {
        return None;
    }
    let first =
        files().into_values().find_map(|file| Network::read(&file).filter(Network::takes_ours));
    Some(match first {
        Some(network) if !network.unmanaged => {
            warning(SUBJECT, format!("{} matches nu* links", network.file.display()), REMEDY)
        }
        _ => ok(SUBJECT, "leaves nu* links alone"),
    })
}

/// By name: the first file that matches a link decides, whichever folder it is in.
fn files() -> BTreeMap<std::ffi::OsString, PathBuf> {
    let listed = FOLDERS.iter().filter_map(|folder| fs::read_dir(folder).ok());
    let files = listed.flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let files = files.filter(|file| file.extension().is_some_and(|e| e == "network"));
    files.filter_map(|file| Some((file.file_name()?.to_owned(), file))).collect()
}

struct Network {
    file: PathBuf,
    matches: Vec<(String, String)>,
    unmanaged: bool,
}

impl Network {
    fn read(file: &Path) -> Option<Self> {
        Some(Self::parse(file, &fs::read_to_string(file).ok()?))
    }

    fn parse(file: &Path, text: &str) -> Self {
        let mut network = Self { file: file.to_owned(), matches: Vec::new(), unmanaged: false };
        let mut section = "";
        for line in text.lines().map(str::trim) {
            match (section, line.split_once('=')) {
                _ if line.starts_with('[') => section = line,
                ("[Match]", Some((key, value))) => {
                    network.matches.push((key.trim().into(), value.trim().into()));
                }
                ("[Link]", Some((key, value))) if key.trim() == "Unmanaged" => {
                    network.unmanaged = matches!(value.trim(), "yes" | "true" | "1" | "on");
                }
                _ => {}
            }
        }
        network
    }

    /// A key that we do not know may hold for other links only, so it counts as no match.
    fn takes_ours(&self) -> bool {
        !self.matches.is_empty() && self.matches.iter().all(|(key, value)| fits(key, value))
    }
}

fn fits(key: &str, value: &str) -> bool {
    let ours = match key {
        "Name" => OURS,
        "Type" => "ether",
        "Kind" | "Driver" => "veth",
        _ => return false,
    };
    let (negated, patterns) = value.strip_prefix('!').map_or((false, value), |rest| (true, rest));
    patterns.split_whitespace().any(|pattern| glob(pattern.as_bytes(), ours.as_bytes())) != negated
}

/// fnmatch(3) with `*` and `?`; sets in brackets are taken for no match.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (Some((b'*', rest)), _) => (0..=text.len()).any(|skipped| glob(rest, &text[skipped..])),
        (Some((p, pattern)), Some((t, text))) => (*p == b'?' || p == t) && glob(pattern, text),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(text: &str) -> bool {
        Network::parse(Path::new("x.network"), text).takes_ours()
    }

    #[test]
    fn the_files_that_match_our_links_are_found() {
        assert!(takes("[Match]\nName=*\n[Network]\nDHCP=yes\n"));
        assert!(takes("[Match]\nType=ether\n"));
        assert!(takes("[Match]\nName=!en*\n"));
        assert!(!takes("[Match]\nName=en* eth*\n"));
        // systemd's own 89-ethernet.network.example and 80-container-ve.network.
        assert!(!takes("[Match]\nType=ether\nKind=!*\n"));
        assert!(!takes("[Match]\nKind=veth\nName=ve-*\n"));
        assert!(!takes("[Match]\nMACAddress=02:00:00:00:00:01\nName=*\n"));
        assert!(!takes("[Network]\nDHCP=yes\n"));
    }

    #[test]
    fn unmanaged_is_read() {
        let network = Network::parse(Path::new("x"), "[Match]\nName=nu*\n[Link]\nUnmanaged=yes\n");
        assert!(network.takes_ours() && network.unmanaged);
    }
}

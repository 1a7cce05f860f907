//! NetworkManager, which takes care of every link it is not told to leave alone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::doctor::{ok, warning};
use crate::outcome::Finding;

const SUBJECT: &str = "NetworkManager";
const RUNNING: &str = "/run/NetworkManager/devices";
/// Where it reads its configuration, NetworkManager.conf(5).
const FOLDERS: [&str; 3] =
    ["/etc/NetworkManager/conf.d", "/run/NetworkManager/conf.d", "/usr/lib/NetworkManager/conf.d"];
const MAIN: &str = "/etc/NetworkManager/NetworkManager.conf";
/// A section of its own, since a second `unmanaged-devices=` would replace the first.
const REMEDY: &str = "printf '[device-netup]\\nmatch-device=interface-name:nu*\\nmanaged=0\\n' \
     > /etc/NetworkManager/conf.d/netup.conf && nmcli general reload";

pub fn check() -> Option<Finding> {
    if !Path::new(RUNNING).exists() {
        return None;
    }
    let told =
        files().iter().any(|file| fs::read_to_string(file).is_ok_and(|text| leaves_alone(&text)));
    Some(match told {
        true => ok(SUBJECT, "leaves nu* links alone"),
        false => warning(SUBJECT, "runs and may take over nu* links", REMEDY),
    })
}

fn files() -> Vec<PathBuf> {
    let listed = FOLDERS.iter().filter_map(|folder| fs::read_dir(folder).ok());
    let files = listed.flatten().filter_map(|entry| Some(entry.ok()?.path()));
    files
        .filter(|file| file.extension().is_some_and(|e| e == "conf"))
        .chain([MAIN.into()])
        .collect()
}

/// Whether a configuration has our links in `unmanaged-devices`, or in a section with `managed=0`.
fn leaves_alone(text: &str) -> bool {
    let lines = || text.lines().map(str::trim).filter(|line| !line.starts_with(['#', ';']));
    let named = |key: &str| {
        lines().any(|line| line.starts_with(key) && line.contains("interface-name:nu*"))
    };
    let unmanaged =
        lines().any(|line| matches!(line.replace(' ', "").as_str(), "managed=0" | "managed=false"));
    named("unmanaged-devices") || named("match-device") && unmanaged
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configurations_that_name_our_links_are_seen() {
        assert!(leaves_alone(
            "[keyfile]\nunmanaged-devices=interface-name:docker0;interface-name:nu*\n"
        ));
        assert!(leaves_alone("[device-netup]\nmatch-device=interface-name:nu*\nmanaged=0\n"));
        assert!(!leaves_alone("[device-netup]\nmatch-device=interface-name:nu*\nmanaged=1\n"));
        assert!(!leaves_alone("[keyfile]\n#unmanaged-devices=interface-name:nu*\n"));
        assert!(!leaves_alone("[keyfile]\nunmanaged-devices=interface-name:eth1\n"));
    }
}

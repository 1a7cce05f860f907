//! The kernel's version, and the one feature that the version is about.

use std::fs;

use crate::doctor::{failure, ok, warning};
use crate::error::ErrorKind;
use crate::kernel::netns;
use crate::outcome::Finding;

/// `SO_NETNS_COOKIE` came with 5.14 (commit e8b9eab99232).
const LEAST: (u32, u32) = (5, 14);
const SUBJECT: &str = "kernel";

pub fn check() -> Vec<Finding> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim();
    // Enterprise kernels carry features back, so what the kernel does decides, not its number.
    match netns::route_socket() {
        Ok(_) => vec![ok(SUBJECT, format!("Linux {release}, with network namespace cookies"))],
        Err(error) if error.kind() == ErrorKind::MissingFeature => vec![too_old(release)],
        Err(error) => vec![warning(
            SUBJECT,
            format!("Linux {release}; {}", error.message()),
            error.remedy().unwrap_or("run netup where netlink sockets are allowed"),
        )],
    }
}

fn too_old(release: &str) -> Finding {
    let (major, minor) = LEAST;
    let found = match version(release) {
        Some(version) if version >= LEAST => format!("Linux {release} hides SO_NETNS_COOKIE"),
        _ => format!("Linux {release} is older than {major}.{minor}"),
    };
    failure(SUBJECT, found, format!("boot Linux {major}.{minor} or newer"))
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version("5.14.0-427.el9.x86_64"), Some((5, 14)));
        assert_eq!(version("6.1-rc3"), Some((6, 1)));
        assert_eq!(version("x"), None);
        assert!(version("5.9.1").unwrap() < LEAST);
        assert!(too_old("5.10.0").found.contains("older than 5.14"));
    }
}

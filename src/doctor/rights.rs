//! What this process may do.

use std::fs;

use crate::doctor::{failure, ok, warning};
use crate::error::{Error, ErrorKind, Result};
use crate::outcome::Finding;

/// The capabilities that an attach needs, by their bit (capabilities(7)).
const NEEDED: [(u32, &str); 2] = [(12, "CAP_NET_ADMIN"), (21, "CAP_SYS_ADMIN")];
const STATUS: &str = "/proc/thread-self/status";

pub fn check() -> Vec<Finding> {
    vec![capabilities(), user_namespace()]
}

fn capabilities() -> Finding {
    let subject = "capabilities";
    let status = fs::read_to_string(STATUS).unwrap_or_default();
    let Some(effective) = effective_capabilities(&status) else {
        return warning(
            subject,
            format!("{STATUS} does not show them"),
            "mount -t proc proc /proc",
        );
    };
    let missing = missing(effective);
    match missing.is_empty() {
        true => ok(subject, "CAP_NET_ADMIN and CAP_SYS_ADMIN are there"),
        false => {
            failure(subject, format!("without {}", missing.join(" and ")), "sudo netup doctor")
        }
    }
}

/// Whether this process has the rights that an attach needs.
///
/// # Errors
/// [`NotPermitted`](ErrorKind::NotPermitted) that names the missing ones.
pub fn may_attach() -> Result<()> {
    let status = fs::read_to_string(STATUS).unwrap_or_default();
    let effective = effective_capabilities(&status).unwrap_or_default();
    match missing(effective).as_slice() {
        [] => Ok(()),
        missing => Err(Error::new(
            ErrorKind::NotPermitted,
            format!("this process lacks {}", missing.join(" and ")),
        )
        .hint("run as root")),
    }
}

fn missing(effective: u64) -> Vec<&'static str> {
    NEEDED.iter().filter(|(bit, _)| effective >> bit & 1 == 0).map(|(_, name)| *name).collect()
}

fn effective_capabilities(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(value.trim(), 16).ok()
}

/// Not a fault: rootless containers live so. But it explains a refusal by the kernel.
fn user_namespace() -> Finding {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let found = match is_initial(&map) {
        true => "the machine's own",
        false => "a nested one: only network namespaces that belong to it can be connected",
    };
    ok("user namespace", found)
}

/// The initial user namespace maps every user to itself (user_namespaces(7)).
fn is_initial(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn effective_capabilities_are_read() {
        let status =
            "CapPrm:\t000001ffffffffff\nCapEff:\t0000000000201000\nCapBnd:\t0000000000000000\n";
        assert_eq!(effective_capabilities(status), Some(1 << 12 | 1 << 21));
        assert_eq!(effective_capabilities("Name:\tnetup\n"), None);
    }

    #[test]
    fn user_namespaces_are_told_apart() {
        assert!(is_initial("         0          0 4294967295\n"));
        assert!(!is_initial("         0       1000          1\n"));
        assert!(!is_initial(""));
    }
}

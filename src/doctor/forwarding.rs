//! Forwarding, and what switching it on does to a host that learns its IPv6 routes.

use crate::doctor::uplinks::Uplinks;
use crate::doctor::{ok, sysctl, warning};
use crate::outcome::Finding;

const V4: &str = "net/ipv4/ip_forward";
const V6: &str = "net/ipv6/conf/all/forwarding";

pub fn check(uplinks: &Uplinks) -> Vec<Finding> {
    let mut findings = vec![forwarding("IPv4 forwarding", V4)];
    if sysctl::read(V6).is_some() {
        findings.push(forwarding("IPv6 forwarding", V6));
        findings.push(router_advertisements(uplinks));
    }
    findings
}

fn forwarding(subject: &str, key: &str) -> Finding {
    match sysctl::number(key) {
        Some(0) => ok(subject, "is off; netup switches it on when a container needs it"),
        Some(_) => ok(subject, "is on"),
        None => warning(subject, format!("{key} cannot be read"), "mount -t proc proc /proc"),
    }
}

/// A link that forwards ignores router advertisements unless its `accept_ra` is 2 (kernel
/// documentation, ip-sysctl).
fn router_advertisements(uplinks: &Uplinks) -> Finding {
    let subject = "router advertisements";
    let ignoring = |link: &&String| {
        sysctl::of_link("ipv6", link, "forwarding") == Some(1)
            && sysctl::of_link("ipv6", link, "accept_ra") == Some(1)
    };
    let losing: Vec<&str> = uplinks.learning.iter().filter(ignoring).map(String::as_str).collect();
    if losing.is_empty() {
        return ok(subject, "no uplink loses its IPv6 routes by forwarding");
    }
    let found = format!(
        "{} forwards and so ignores them: the IPv6 default route is lost",
        losing.join(", ")
    );
    warning(subject, found, sysctl::commands("ipv6", losing, "accept_ra", 2))
}

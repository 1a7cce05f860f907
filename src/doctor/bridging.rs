//! `br_netfilter`: frames between containers of one bridge are made to pass the host's firewall.

use crate::doctor::firewall::Firewall;
use crate::doctor::{ok, sysctl, warning};
use crate::outcome::Finding;

const KEY: &str = "net/bridge/bridge-nf-call-iptables";
const SUBJECT: &str = "bridged frames";

pub fn check(firewall: &Firewall) -> Finding {
    if sysctl::number(KEY) != Some(1) {
        return ok(SUBJECT, "do not pass the host's firewall");
    }
    if !firewall.has_bridges() {
        return ok(
            SUBJECT,
            "pass the host's firewall (br_netfilter), but no bridge leads to containers",
        );
    }
    match firewall.drops_within_a_bridge() {
        None => {
            ok(SUBJECT, "pass the host's firewall (br_netfilter), which is not seen to drop them")
        }
        // Switching br_netfilter off is no remedy: Kubernetes and Docker need it and switch it on.
        Some((place, remedy)) => warning(
            SUBJECT,
            format!("pass the host's firewall (br_netfilter), where {place} drops them"),
            remedy,
        ),
    }
}

//! `route_localnet` on an uplink: the neighbours then reach what listens on 127.0.0.1 only.

use crate::doctor::program::Program;
use crate::doctor::uplinks::Uplinks;
use crate::doctor::{ok, sysctl, warning};
use crate::outcome::Finding;
use crate::ruleset::TABLE;

const SUBJECT: &str = "loopback";

pub fn check(uplinks: &Uplinks, nft: Option<&Program>) -> Finding {
    let is_open = |link: &&str| sysctl::of_link("ipv4", link, "route_localnet") == Some(1);
    let open: Vec<&str> = uplinks.all().chain(["all", "default"]).filter(is_open).collect();
    if open.is_empty() {
        return ok(SUBJECT, "127.0.0.1 cannot be reached from outside");
    }
    let names = open.join(", ");
    if nft.is_some_and(is_guarded) {
        return ok(
            SUBJECT,
            format!("{names} has route_localnet=1, and netup's guard protects 127.0.0.1"),
        );
    }
    let found =
        format!("{names} has route_localnet=1: neighbours can reach what listens on 127.0.0.1");
    warning(SUBJECT, found, sysctl::commands("ipv4", open, "route_localnet", 0))
}

/// The guard drops 127.0.0.0/8 from whichever link but `lo`.
fn is_guarded(nft: &Program) -> bool {
    nft.run(&["list", "chain", "inet", TABLE, "guard"], "")
        .is_ok_and(|text| text.contains("127.0.0.0/8 drop"))
}

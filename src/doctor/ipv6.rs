//! Whether containers can have IPv6 addresses.

use std::path::Path;

use crate::doctor::{ok, sysctl, warning};
use crate::outcome::Finding;

const SUBJECT: &str = "IPv6";

pub fn check() -> Finding {
    if !Path::new("/proc/sys/net/ipv6").exists() {
        let remedy = "boot without ipv6.disable=1, or give containers IPv4 addresses only";
        return warning(SUBJECT, "this kernel has none", remedy);
    }
    let is_off = |link: &str| sysctl::of_link("ipv6", link, "disable_ipv6") == Some(1);
    // New links take the value of `default`; a write to `all` is copied to it.
    match is_off("all") || is_off("default") {
        true => warning(
            SUBJECT,
            "new links have it switched off",
            sysctl::commands("ipv6", ["all", "default"], "disable_ipv6", 0),
        ),
        false => ok(SUBJECT, "is available"),
    }
}

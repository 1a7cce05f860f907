//! Strict reverse-path filtering, which drops what comes in by another link than the answer would
//! leave by.

use crate::doctor::uplinks::Uplinks;
use crate::doctor::{ok, sysctl, warning};
use crate::outcome::Finding;

const SUBJECT: &str = "reverse path";
const STRICT: u64 = 1;

/// With one uplink, strict filtering never hurts: a container's address is routed to its own link.
pub fn check(uplinks: &Uplinks) -> Finding {
    let strict: Vec<&str> =
        uplinks.v4.iter().map(String::as_str).filter(|link| mode(link) == STRICT).collect();
    if strict.is_empty() {
        return ok(SUBJECT, "no uplink is filtered strictly");
    }
    if uplinks.v4.len() == 1 {
        return ok(
            SUBJECT,
            format!("{} is filtered strictly, which does not hurt a single uplink", strict[0]),
        );
    }
    let found = format!(
        "{} is filtered strictly among {} uplinks: what reaches a published port by the one that answers do not leave by is dropped",
        strict.join(", "),
        uplinks.v4.len()
    );
    // The larger of `all` and the link's own holds (ip-sysctl), so 2 on the link is enough.
    warning(SUBJECT, found, sysctl::commands("ipv4", strict, "rp_filter", 2))
}

fn mode(link: &str) -> u64 {
    let of = |link| sysctl::of_link("ipv4", link, "rp_filter").unwrap_or(0);
    of("all").max(of(link))
}

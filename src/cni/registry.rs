//! The plugin types by name.

use crate::cni::types::Type;
use crate::cni::types::bandwidth::Bandwidth;
use crate::cni::types::bridge::Bridge;
use crate::cni::types::firewall::Firewall;
use crate::cni::types::host_local::HostLocal;
use crate::cni::types::loopback::Loopback;
use crate::cni::types::netup::Netup;
use crate::cni::types::portmap::Portmap;
use crate::cni::types::ptp::Ptp;
use crate::cni::types::static_::Static;
use crate::cni::types::tuning::Tuning;

/// The type that does all in one process.
pub const OWN_NAME: &str = "netup";

/// The names of the reference plugins that this one stands in for.
pub const STANDARD_NAMES: [&str; 9] = [
    "bridge",
    "ptp",
    "host-local",
    "static",
    "loopback",
    "portmap",
    "firewall",
    "bandwidth",
    "tuning",
];

/// The name, if it is one of a reference plugin.
pub fn standard_name(name: &str) -> Option<&'static str> {
    STANDARD_NAMES.into_iter().find(|standard| *standard == name)
}

/// The type of this name.
pub fn of(name: &str) -> Option<&'static dyn Type> {
    match name {
        OWN_NAME => Some(&Netup),
        "bridge" => Some(&Bridge),
        "ptp" => Some(&Ptp),
        "host-local" => Some(&HostLocal),
        "static" => Some(&Static),
        "loopback" => Some(&Loopback),
        "portmap" => Some(&Portmap),
        "firewall" => Some(&Firewall),
        "bandwidth" => Some(&Bandwidth),
        "tuning" => Some(&Tuning),
        _ => None,
    }
}

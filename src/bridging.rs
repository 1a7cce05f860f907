//! What a bridge and the container's port on it are told beyond their being there.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Settings of the bridge topology. The default is what `netup --bridge` does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bridging {
    /// Whether the host has the gateways' addresses on the bridge.
    pub host_gateway: bool,
    /// Whether addresses may be put on a bridge that somebody else made.
    pub adopt: bool,
    /// Whether the host's addresses on the bridge that conflict with the gateway are removed.
    pub force_address: bool,
    /// Whether the bridge takes in frames for everybody.
    pub promiscuous: bool,
    /// Whether the port sends a frame back where it came from.
    pub hairpin: bool,
    /// Whether the port reaches only ports that are not isolated, and the host.
    pub isolated_port: bool,
    /// The VLAN that the container is in.
    pub vlan: Option<u16>,
    /// VLANs that the container gets tagged.
    pub trunk: Vec<VlanRange>,
    /// Whether the port keeps the bridge's default VLAN beside those above.
    pub keep_default_vlan: bool,
    /// Whether frames from the container must bear its hardware address.
    pub guard_mac: bool,
    /// Whether the container looks for duplicates of its IPv6 addresses.
    pub detect_duplicates: bool,
    /// Whether the container's interface is left down.
    pub leave_down: bool,
}

/// VLAN numbers, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VlanRange {
    /// The first.
    pub first: u16,
    /// The last.
    pub last: u16,
}

impl fmt::Display for VlanRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.first == self.last {
            true => write!(f, "{}", self.first),
            false => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

impl Default for Bridging {
    fn default() -> Self {
        Self {
            host_gateway: true,
            adopt: false,
            force_address: false,
            promiscuous: false,
            hairpin: false,
            isolated_port: false,
            vlan: None,
            trunk: Vec::new(),
            keep_default_vlan: false,
            guard_mac: false,
            detect_duplicates: false,
            leave_down: false,
        }
    }
}

impl Bridging {
    /// Whether the port is put into VLANs, for which the bridge must filter by them.
    #[must_use]
    pub fn has_vlans(&self) -> bool {
        self.vlan.is_some() || !self.trunk.is_empty()
    }

    /// Whether the static rules for bridged frames are needed.
    #[must_use]
    pub fn needs_frame_rules(&self) -> bool {
        self.guard_mac || self.vlan.is_some()
    }

    /// Checks the VLANs and what excludes each other.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument).
    pub fn validate(&self) -> Result<()> {
        if self.hairpin && self.promiscuous {
            return Err(Error::invalid("a bridge cannot be promiscuous with hairpin ports"));
        }
        let outside = |id: &u16| !(1..=4094).contains(id);
        let ids = self.trunk.iter().flat_map(|range| [range.first, range.last]).chain(self.vlan);
        if let Some(id) = ids.into_iter().find(outside) {
            return Err(Error::invalid(format!("VLAN {id} is not between 1 and 4094")));
        }
        match self.trunk.iter().find(|range| range.last < range.first) {
            Some(range) => Err(Error::invalid(format!("VLAN range {range} is reversed"))),
            None => Ok(()),
        }
    }
}

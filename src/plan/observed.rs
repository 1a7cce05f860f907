//! What the planner may know of the world: plain data, gathered by `observe`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::addr::{Family, HostAddr, Prefix};
use crate::ident::{IfName, Mac};
use crate::outcome::Attachment;
use crate::plan::nat::published;
use crate::request::{Sysctl, SysctlKey};
use crate::ruleset::PublishedPort;

/// A snapshot, as far as one request needs it. Gathering it costs the same however many
/// attachments exist.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Observed {
    /// Whether the static rules are loaded, and are those of this release.
    pub ruleset: bool,
    /// Whether the static rules for bridged frames are loaded. Only looked at if they are needed.
    pub bridge_ruleset: bool,
    /// Whether the host's kernel speaks IPv6 at all.
    pub ipv6: bool,
    /// For each family in which the host does not forward yet: what to put back on failure.
    pub forwarding_off: BTreeMap<Family, ForwardingOff>,
    /// The MTU of the host's default route.
    pub uplink_mtu: Option<u32>,
    /// Whether a link has the name that the host's end is to get.
    pub host_link_exists: bool,
    /// Whether a link has the name that the container's end is to get.
    pub container_link_exists: bool,
    /// Whether the container's loopback is up.
    pub loopback_up: bool,
    /// Whether IPv6 is switched off for new links in the container.
    pub container_ipv6_disabled: bool,
    /// Routes that the container has already.
    pub container_routes: Vec<ContainerRoute>,
    /// Whether frames that are bridged pass the host's rules (`br_netfilter`).
    pub bridged_frames_filtered: bool,
    /// Whether those of both families do. Only looked at if containers are to be isolated.
    pub bridged_frames_all_filtered: bool,
    /// The link that has the bridge's name.
    pub bridge: Option<ObservedBridge>,
    /// The link that has the name of the host's own on the container's VLAN, if it is to have one.
    pub vlan_gateway: Option<ObservedBridge>,
    /// How the host reaches each address and gateway of the request.
    pub reached: Vec<Reached>,
    /// Ports of the request that are taken, and by whom.
    pub taken_ports: Vec<TakenPort>,
    /// The present values of the kernel parameters of the request, in the container.
    pub container_sysctls: BTreeMap<SysctlKey, String>,
}

impl Observed {
    /// The world as it would be without this attachment, so far as it was observed: what will be
    /// there once the attachment that is to be replaced is gone.
    #[must_use]
    pub fn without(mut self, former: &Attachment) -> Self {
        let name = |observed: &str| observed == former.host_ifname.as_str();
        self.host_link_exists = false;
        self.container_link_exists = false;
        self.container_routes.clear();
        self.reached.retain(|reached| !reached.link.as_deref().is_some_and(name));
        let ports = published(&former.publish, &former.addresses);
        let key = |port: &PublishedPort| (port.host_ip, port.protocol, port.host_port);
        self.taken_ports.retain(|taken| !ports.iter().any(|port| key(port) == key(&taken.port)));
        self
    }
}

/// What switching forwarding on changes besides, and what must be seen to first.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ForwardingOff {
    /// Values to write back after forwarding is switched off again: the switch overwrites them.
    pub restore: Vec<Sysctl>,
    /// Links that learn routes from router advertisements, which a forwarding host ignores unless
    /// `accept_ra` is 2.
    pub advertised_links: Vec<IfName>,
}

/// What the kernel tells routes of one container apart by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerRoute {
    /// Where to.
    pub destination: Prefix,
    /// The metric; 0 is IPv4's default, 1024 IPv6's.
    pub metric: u32,
    /// The table.
    #[serde(default = "main_table")]
    pub table: u32,
}

/// The routing table that is looked at without further ado (`RT_TABLE_MAIN`).
pub const MAIN_TABLE: u32 = 254;

fn main_table() -> u32 {
    MAIN_TABLE
}

impl Observed {
    /// The host's link on the segment: its own on the container's VLAN, or the bridge itself.
    #[must_use]
    pub fn segment(&self, on_vlan: bool) -> Option<&ObservedBridge> {
        if on_vlan { self.vlan_gateway.as_ref() } else { self.bridge.as_ref() }
    }
}

/// A link that has the name of the wanted bridge, or of the host's own link on a VLAN of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObservedBridge {
    /// Whether it is a bridge.
    pub is_bridge: bool,
    /// Whether netup made it.
    pub ours: bool,
    /// Whether it is up.
    pub up: bool,
    /// Its hardware address.
    pub mac: Mac,
    /// Whether any of its ports is in use. Without one, the next port decides its address.
    pub carrier: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its addresses.
    pub addresses: Vec<HostAddr>,
    /// Whether a default route of the host leads over it, so that not only containers are behind it.
    /// Only looked at if netup did not make it.
    #[serde(default)]
    pub uplink: bool,
    /// Whether it takes in frames for everybody.
    #[serde(default)]
    pub promiscuous: bool,
    /// Whether the tables know it already.
    pub in_ruleset: bool,
    /// Whether the tables keep other containers from it. Only looked at if they are to.
    #[serde(default)]
    pub confined: bool,
    /// `route_localnet`, as it stands.
    pub route_localnet: bool,
    /// Whether it tells VLANs apart; `None` if the kernel cannot.
    #[serde(default)]
    pub vlan_filtering: Option<bool>,
    /// The VLAN that a new port of it is in.
    #[serde(default)]
    pub default_vlan: Option<u16>,
}

/// The host's routing entry for an address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reached {
    /// The address asked about.
    pub ip: IpAddr,
    /// The entry's destination.
    pub destination: Prefix,
    /// The outgoing link.
    pub link: Option<String>,
    /// Whether the address is the host's own.
    pub local: bool,
    /// Whether packets go by a next hop.
    pub via: Option<IpAddr>,
}

impl Reached {
    /// Whether the host talks to the address directly on a link, as opposed to by a gateway.
    #[must_use]
    pub fn on_link(&self) -> bool {
        !self.local && self.via.is_none() && !self.destination.is_default()
    }
}

/// A port that cannot be published, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TakenPort {
    /// The port as it was to be.
    pub port: PublishedPort,
    /// Who has it, as a phrase.
    pub by: String,
}

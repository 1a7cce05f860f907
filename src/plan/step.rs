//! The steps a plan is made of. Each can be printed, applied, probed and serialised; none does
//! anything by itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::addr::{Family, HostAddr, Prefix};
use crate::bandwidth::Rate;
use crate::bridging::VlanRange;
use crate::ident::{IfName, Mac};
use crate::iptables::IptablesAdmission;
use crate::publish::Protocol;
use crate::request::Sysctl;
use crate::ruleset::{Element, Rules};

/// Which side of the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// The caller's network namespace.
    Host,
    /// The target's network namespace.
    Container,
}

/// One change, or the undoing of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Load the static nftables rules.
    InstallRuleset,
    /// Remove the table with everything in it.
    RemoveRuleset,
    /// Load the static rules for frames that are bridged. Only who guards a port needs them.
    InstallBridgeRuleset,
    /// Remove their table with everything in it.
    RemoveBridgeRuleset,
    /// Write kernel parameters. Several at once, since each visit to the container's side costs
    /// the start of a thread.
    WriteSysctls {
        /// Where.
        side: Side,
        /// Which, and what.
        sysctls: Vec<Sysctl>,
    },
    /// Create a bridge.
    AddBridge {
        /// Its name.
        name: IfName,
        /// Its hardware address, fixed so that it does not change as ports come and go.
        mac: Mac,
        /// Its MTU in bytes; `None` is the kernel's default.
        mtu: Option<u32>,
    },
    /// Create the veth pair, with the far end directly in the container.
    AddVeth(Veth),
    /// Create a veth pair of the host's own, one end a port of a bridge.
    AddPair(Pair),
    /// Create an intermediate functional block: what is redirected to it passes its queue and goes on
    /// as if nothing had been. So what a container sends can be shaped, as it arrives at the host.
    AddIfb {
        /// Its name.
        name: IfName,
        /// Its hardware address, by which it is told to be ours before it has its label.
        mac: Mac,
        /// Its MTU in bytes; `None` is the kernel's default.
        mtu: Option<u32>,
    },
    /// Remove a link of the host: an end of a veth pair, and the other end with it, or an
    /// intermediate functional block.
    DeleteLink(Label),
    /// Remove a bridge, unless links that are not ours have been put on it.
    DeleteBridge(Label),
    /// Set a link up, and label it.
    SetUp {
        /// Where.
        side: Side,
        /// The link.
        name: IfName,
        /// The label that `ip link` shows.
        alias: Option<String>,
    },
    /// Change what a link is like.
    SetLink {
        /// Where.
        side: Side,
        /// The link.
        name: IfName,
        /// What to change; the rest stays.
        attributes: LinkAttributes,
    },
    /// Fix a bridge's hardware address to what it is, so that it does not follow its ports.
    PinMac {
        /// The bridge.
        name: IfName,
        /// Its address.
        mac: Mac,
    },
    /// Let a port of a bridge send a frame back where it came from.
    Reflect {
        /// The port.
        name: IfName,
    },
    /// Undo that.
    Unreflect {
        /// The port.
        name: IfName,
    },
    /// Keep a port of a bridge from the other ports of which the same is true.
    Isolate {
        /// The port.
        name: IfName,
    },
    /// Undo that.
    Unisolate {
        /// The port.
        name: IfName,
    },
    /// Let a bridge tell VLANs apart, and keep them apart.
    FilterVlans {
        /// The bridge.
        name: IfName,
    },
    /// Undo that.
    UnfilterVlans {
        /// The bridge.
        name: IfName,
    },
    /// Put a port of a bridge into its VLANs.
    SetVlans(PortVlans),
    /// Limit what leaves by a link of the host: a token bucket as its root queue.
    Shape {
        /// The link.
        name: IfName,
        /// How fast.
        rate: Rate,
    },
    /// Take the root queue away.
    Unshape {
        /// The link.
        name: IfName,
    },
    /// Lead all that arrives by a link of the host through another's queue.
    Redirect {
        /// Where it arrives.
        from: IfName,
        /// Through whose queue.
        to: IfName,
    },
    /// Undo that.
    Unredirect {
        /// Where it arrives.
        from: IfName,
    },
    /// Set a link down.
    SetDown {
        /// Where.
        side: Side,
        /// The link.
        name: IfName,
    },
    /// Assign an address.
    AddAddress {
        /// Where.
        side: Side,
        /// The link.
        name: IfName,
        /// The address with its prefix.
        address: HostAddr,
        /// Whether the kernel makes the route to the prefix.
        connected: bool,
        /// Whether the kernel asks the neighbours first if one of them has it; until they had time
        /// to answer it cannot be used. Only IPv6 knows that.
        #[serde(default)]
        detect_duplicates: bool,
    },
    /// Take an address away.
    DeleteAddress {
        /// Where.
        side: Side,
        /// The link.
        name: IfName,
        /// The address with its prefix.
        address: HostAddr,
    },
    /// Take an address away from a bridge, unless other links are on it by now: they may rely on it.
    WithdrawAddress {
        /// The bridge.
        name: IfName,
        /// The address with its prefix.
        address: HostAddr,
    },
    /// Add a route.
    AddRoute(Route),
    /// Add elements to the table's sets and maps, in one transaction.
    AddElements(Vec<Element>),
    /// Remove them, in one transaction.
    DeleteElements(Vec<Element>),
    /// Forget the flows that went to these UDP ports before the rules changed.
    FlushFlows(Vec<FlowKey>),
    /// Add the rules of iptables that let a container through.
    AdmitByIptables(IptablesAdmission),
    /// Remove those of its addresses.
    UnadmitByIptables(IptablesAdmission),
    /// Make addresses sources of a zone of firewalld.
    TrustByFirewalld {
        /// The zone.
        zone: String,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
    /// Take addresses out of a zone of firewalld.
    DistrustByFirewalld {
        /// The zone.
        zone: String,
        /// The addresses.
        addresses: Vec<IpAddr>,
    },
}

impl Step {
    /// Whether the step needs the static rules for bridged frames.
    #[must_use]
    pub fn needs_bridge_rules(&self) -> bool {
        match self {
            Self::AddElements(elements) => elements.iter().any(|e| e.rules() == Rules::Bridge),
            _ => false,
        }
    }
}

/// What a link can be told at any time; `None` leaves it as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LinkAttributes {
    /// Its hardware address.
    pub mac: Option<Mac>,
    /// Its MTU in bytes.
    pub mtu: Option<u32>,
    /// Whether it takes in frames for everybody.
    pub promiscuous: Option<bool>,
    /// Whether it takes in all multicast frames.
    pub all_multicast: Option<bool>,
    /// How many frames its queue holds.
    pub tx_queue_length: Option<u32>,
}

/// What tells that a link of the host is the one that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Label {
    /// Its name.
    pub name: IfName,
    /// Its alias, set when the link is set up.
    pub alias: String,
    /// Its derived hardware address, set when the link is created.
    pub mac: Mac,
}

/// A veth pair.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Veth {
    /// The host's end.
    pub host: IfName,
    /// The host end's index, fixed beforehand: so the record knows it before the link exists, and it
    /// never equals the far end's. For a pair with equal indexes the kernel does not see that the
    /// change of carrier is urgent (`linkwatch_urgent_event`, net/core/link_watch.c) and reports it
    /// up to a second late.
    pub host_index: u32,
    /// The host end's hardware address.
    pub host_mac: Mac,
    /// The container's end.
    pub container: IfName,
    /// The container end's hardware address.
    pub container_mac: Mac,
    /// The MTU of both ends, in bytes; `None` is the kernel's default.
    pub mtu: Option<u32>,
    /// The bridge that the host's end is a port of.
    pub bridge: Option<IfName>,
}

/// A veth pair with both ends on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pair {
    /// The end that the host has its addresses on.
    pub host: IfName,
    /// Its hardware address.
    pub host_mac: Mac,
    /// The end that is a port of the bridge.
    pub port: IfName,
    /// Its hardware address.
    pub port_mac: Mac,
    /// The MTU of both ends, in bytes; `None` is the kernel's default.
    pub mtu: Option<u32>,
    /// The bridge.
    pub bridge: IfName,
}

/// The VLANs of a bridge's port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortVlans {
    /// The port.
    pub name: IfName,
    /// The VLAN that a new port is in by default and that this one leaves.
    pub without: Option<u16>,
    /// Those whose frames bear their number on the wire to the port.
    pub tagged: Vec<VlanRange>,
    /// The one whose frames bear none.
    pub native: u16,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// Where.
    pub side: Side,
    /// The link.
    pub name: IfName,
    /// Where to.
    pub destination: Prefix,
    /// The next hop; without one the destination is on the link.
    pub via: Option<IpAddr>,
    /// The source address that the host prefers on this route.
    pub source: Option<IpAddr>,
    /// The metric; `None` is the kernel's default.
    pub metric: Option<u32>,
    /// The MTU of the path, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The largest TCP segment to announce, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub advmss: Option<u32>,
    /// The routing table; `None` is the main one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<u32>,
    /// The scope by the kernel's number; `None` is the link for what is on it, else the universe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<u8>,
    /// Whether it may stand beside one to the same destination that is there already. IPv4 then
    /// prefers this one, IPv6 uses both.
    #[serde(default)]
    pub beside: bool,
}

impl Route {
    /// A route to what is on the link.
    #[must_use]
    pub fn on(side: Side, link: &IfName, destination: Prefix) -> Self {
        Self {
            side,
            name: link.clone(),
            destination,
            via: None,
            source: None,
            metric: None,
            mtu: None,
            advmss: None,
            table: None,
            scope: None,
            beside: false,
        }
    }
}

/// What identifies the flows to a published UDP port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FlowKey {
    /// The protocol; only UDP flows outlive their endpoints unnoticed.
    pub protocol: Protocol,
    /// The host's port.
    pub host_port: u16,
    /// The host's address, if the port is published on one only.
    pub host_ip: Option<IpAddr>,
    /// The container's address.
    pub ip: IpAddr,
}

/// When a step is undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UndoScope {
    /// With the attachment: on failure, on `down`, after a crash.
    Attachment,
    /// Only when the attachment fails to come about: it is the container's, and `down` leaves it.
    Failure,
    /// Only when the attachment fails to come about, and nobody else relies on it by then.
    FailureIfUnused(Shared),
}

impl Shared {
    /// All of it.
    pub const ALL: [Self; 4] = [
        Self::Rules,
        Self::BridgeRules,
        Self::Forwarding(Family::V4),
        Self::Forwarding(Family::V6),
    ];
}

/// What attachments have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shared {
    /// The static rules.
    Rules,
    /// The static rules for frames that are bridged.
    BridgeRules,
    /// Forwarding in one family.
    Forwarding(Family),
}

/// A step with its inverse, fixed at plan time, when it is known what was there before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Planned {
    /// The change.
    pub step: Step,
    /// What takes it back, in the order to run; empty where another step's inverse takes this one
    /// along, as a link takes its addresses and routes.
    pub undo: Vec<Step>,
    /// When to take it back.
    pub scope: UndoScope,
}

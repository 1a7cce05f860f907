//! The steps a plan is made of. Each can be printed, applied, probed and serialised; none does
//! anything by itself.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::addr::{Family, HostAddr, Prefix};
use crate::ident::{IfName, Mac};
use crate::publish::Protocol;
use crate::request::Sysctl;
use crate::ruleset::Element;

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
    /// Remove the host's end of a veth pair, and the other end with it.
    DeleteVeth(Label),
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
    /// Add a route.
    AddRoute(Route),
    /// Add elements to the table's sets and maps, in one transaction.
    AddElements(Vec<Element>),
    /// Remove them, in one transaction.
    DeleteElements(Vec<Element>),
    /// Forget the flows that went to these UDP ports before the rules changed.
    FlushFlows(Vec<FlowKey>),
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
    pub const ALL: [Self; 3] =
        [Self::Rules, Self::Forwarding(Family::V4), Self::Forwarding(Family::V6)];
}

/// What attachments have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shared {
    /// The static rules.
    Rules,
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

//! Links: veth pairs, bridges, and what they are now.

use std::fmt::Display;
use std::os::fd::{AsRawFd, BorrowedFd};

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::link::{
    InfoBridge, InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth,
    LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage, State,
};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth};

use crate::error::Result;
use crate::ident::{IfName, Mac};
use crate::kernel::rtnl::Rtnl;
use crate::plan::step::{LinkAttributes, Pair, Veth};

/// What a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its index, by which it is addressed from here on.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `veth`, `bridge`, …; physical devices have none.
    pub kind: Option<String>,
    /// Whether it is administratively up.
    pub up: bool,
    /// Whether it has carrier.
    pub carrier: bool,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Its hardware address.
    pub mac: Vec<u8>,
    /// The index, in its own namespace, of a veth's other end.
    pub peer: Option<u32>,
    /// The bridge that it is a port of.
    pub master: Option<u32>,
    /// The label.
    pub alias: Option<String>,
    /// Whether it was told to take in frames for everybody.
    pub promiscuous: bool,
    /// Whether it was told to take in all multicast frames.
    pub all_multicast: bool,
    /// How many frames its queue holds.
    pub tx_queue_length: u32,
    /// What it is as a port of a bridge.
    pub port: Port,
    /// Whether it is a bridge that tells VLANs apart; `None` if it is none, or if the kernel cannot.
    pub vlan_filtering: Option<bool>,
    /// The VLAN that a new port of this bridge is in.
    pub default_vlan: Option<u16>,
}

/// What a port of a bridge was told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Port {
    /// Whether it sends a frame back where it came from.
    pub hairpin: bool,
    /// Whether it is kept from other isolated ports.
    pub isolated: bool,
}

/// The link of this name; `None` if there is none.
pub fn by_name(rtnl: &Rtnl, name: &IfName) -> Result<Option<Link>> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_string()));
    get(rtnl, message, format!("ip link show {name}"))
}

/// The link of this index; `None` if there is none.
pub fn by_index(rtnl: &Rtnl, index: u32) -> Result<Option<Link>> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    get(rtnl, message, format!("ip link show index {index}"))
}

fn get(rtnl: &Rtnl, mut message: LinkMessage, operation: String) -> Result<Option<Link>> {
    // Without the counters the answer is a third as long.
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    match rtnl.get(RouteNetlinkMessage::GetLink(message), operation) {
        Ok(Some(RouteNetlinkMessage::NewLink(link))) => Ok(Some(facts(link))),
        Ok(_) => Ok(None),
        Err(e) if e.is_gone() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Every link of the namespace.
pub fn all(rtnl: &Rtnl) -> Result<Vec<Link>> {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
    let link = |message| match message {
        RouteNetlinkMessage::NewLink(link) => Some(facts(link)),
        _ => None,
    };
    rtnl.dump(RouteNetlinkMessage::GetLink(message), "ip link show", link)
}

fn facts(message: LinkMessage) -> Link {
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        kind: None,
        up: message.header.flags.contains(LinkFlags::Up),
        carrier: false,
        mtu: 0,
        mac: Vec::new(),
        peer: None,
        master: None,
        alias: None,
        promiscuous: message.header.flags.contains(LinkFlags::Promisc),
        all_multicast: message.header.flags.contains(LinkFlags::Allmulti),
        tx_queue_length: 0,
        port: Port::default(),
        vlan_filtering: None,
        default_vlan: None,
    };
    for attribute in message.attributes {
        match attribute {
            // Not LowerUp: a bridge that never had a port has that too.
            LinkAttribute::OperState(state) => link.carrier = state == State::Up,
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::Link(index) => link.peer = Some(index),
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::IfAlias(alias) => link.alias = Some(alias),
            LinkAttribute::TxQueueLen(length) => link.tx_queue_length = length,
            LinkAttribute::LinkInfo(infos) => infos.into_iter().for_each(|i| inform(&mut link, i)),
            _ => {}
        }
    }
    link
}

fn inform(link: &mut Link, info: LinkInfo) {
    match info {
        LinkInfo::Kind(kind) => link.kind = Some(kind.to_string()),
        LinkInfo::Data(InfoData::Bridge(facts)) => inform_of_vlans(link, &facts),
        LinkInfo::PortData(InfoPortData::BridgePort(facts)) => {
            for fact in facts {
                match fact {
                    InfoBridgePort::HairpinMode(on) => link.port.hairpin = on,
                    InfoBridgePort::Isolated(on) => link.port.isolated = on,
                    _ => {}
                }
            }
        }
        _ => {}
    }
}

/// A kernel without CONFIG_BRIDGE_VLAN_FILTERING too says that a bridge does not filter, but it does
/// not speak of a default VLAN (`br_fill_info`, net/bridge/br_netlink.c).
fn inform_of_vlans(link: &mut Link, facts: &[InfoBridge]) {
    let default = facts.iter().find_map(|fact| match fact {
        InfoBridge::VlanDefaultPvid(id) => Some(*id),
        _ => None,
    });
    if let Some(id) = default {
        link.default_vlan = (id != 0).then_some(id);
        link.vlan_filtering = Some(facts.contains(&InfoBridge::VlanFiltering(true)));
    }
}

/// Creates a veth pair with its far end directly in the other namespace: a link that is moved
/// there afterwards costs 12 to 24 ms, since the move waits for RCU.
///
/// Both ends stay down. `IFF_UP` on the far end fails with ENOTCONN, as it is not linked yet; and
/// the near end must not be up before it has been told to ignore router advertisements.
pub fn add_veth(
    rtnl: &Rtnl,
    veth: &Veth,
    netns: BorrowedFd<'_>,
    master: Option<u32>,
    operation: &impl Display,
) -> Result<()> {
    let far = LinkUnspec::new_with_name(veth.container.as_str()).setns_by_fd(netns.as_raw_fd());
    let far = one_queue(end(far, veth.container_mac, veth.mtu)).build();
    let near = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(veth.host.as_str())
        .index(veth.host_index)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far)));
    let near = one_queue(end(near, veth.host_mac, veth.mtu));
    let near = match master {
        Some(index) => near.controller(index),
        None => near,
    };
    create(rtnl, near.build(), operation)
}

/// Creates a veth pair of the calling thread's namespace, one end a port of a bridge. Both ends
/// stay down.
pub fn add_pair(rtnl: &Rtnl, pair: &Pair, master: u32, operation: &impl Display) -> Result<()> {
    let far = LinkUnspec::new_with_name(pair.host.as_str());
    let far = one_queue(end(far, pair.host_mac, pair.mtu)).build();
    let near = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
        .name(pair.port.as_str())
        .controller(master)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(far)));
    create(rtnl, one_queue(end(near, pair.port_mac, pair.mtu)).build(), operation)
}

/// A veth that is not told makes a queue per processor and then uses one of each kind
/// (`veth_init_queues`, since 5.13): the others are registered in sysfs for nothing.
fn one_queue<T>(builder: LinkMessageBuilder<T>) -> LinkMessageBuilder<T> {
    builder
        .append_extra_attribute(LinkAttribute::NumTxQueues(1))
        .append_extra_attribute(LinkAttribute::NumRxQueues(1))
}

fn end<T>(builder: LinkMessageBuilder<T>, mac: Mac, mtu: Option<u32>) -> LinkMessageBuilder<T> {
    let builder = builder.address(mac.octets().to_vec());
    match mtu {
        Some(mtu) => builder.mtu(mtu),
        None => builder,
    }
}

/// Creates a bridge, down.
pub fn add_bridge(
    rtnl: &Rtnl,
    name: &IfName,
    mac: Mac,
    mtu: Option<u32>,
    operation: &impl Display,
) -> Result<()> {
    create(rtnl, end(LinkBridge::new(name.as_str()), mac, mtu).build(), operation)
}

fn create(rtnl: &Rtnl, message: LinkMessage, operation: &impl Display) -> Result<()> {
    rtnl.change(RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL, operation)
}

/// Sets a link up, and labels it if asked.
pub fn set_up(
    rtnl: &Rtnl,
    index: u32,
    alias: Option<&str>,
    operation: &impl Display,
) -> Result<()> {
    let builder = LinkUnspec::new_with_index(index).up();
    let builder = match alias {
        Some(alias) => builder.alias(alias),
        None => builder,
    };
    rtnl.change(RouteNetlinkMessage::SetLink(builder.build()), 0, operation)
}

/// Sets a link's hardware address.
pub fn set_mac(rtnl: &Rtnl, index: u32, mac: Mac, operation: &impl Display) -> Result<()> {
    let message = LinkUnspec::new_with_index(index).address(mac.octets().to_vec()).build();
    rtnl.change(RouteNetlinkMessage::SetLink(message), 0, operation)
}

/// Changes what a link is like, all at once.
pub fn set_attributes(
    rtnl: &Rtnl,
    index: u32,
    attributes: &LinkAttributes,
    operation: &impl Display,
) -> Result<()> {
    let LinkAttributes { mac, mtu, promiscuous, all_multicast, tx_queue_length } = attributes;
    let mut message = LinkUnspec::new_with_index(index).build();
    let flags = [(LinkFlags::Promisc, promiscuous), (LinkFlags::Allmulti, all_multicast)];
    for (flag, wanted) in flags {
        if let Some(on) = wanted {
            message.header.change_mask |= flag;
            message.header.flags.set(flag, *on);
        }
    }
    let attributes = &mut message.attributes;
    attributes.extend(mac.map(|mac| LinkAttribute::Address(mac.octets().to_vec())));
    attributes.extend(mtu.map(LinkAttribute::Mtu));
    attributes.extend(tx_queue_length.map(LinkAttribute::TxQueueLen));
    rtnl.change(RouteNetlinkMessage::SetLink(message), 0, operation)
}

/// Creates an intermediate functional block, down and without a queue of its own.
pub fn add_ifb(
    rtnl: &Rtnl,
    name: &IfName,
    mac: Mac,
    mtu: Option<u32>,
    operation: &impl Display,
) -> Result<()> {
    let builder = LinkMessageBuilder::<LinkUnspec>::new_with_info_kind(InfoKind::Ifb)
        .name(name.as_str())
        .append_extra_attribute(LinkAttribute::TxQueueLen(0));
    create(rtnl, end(builder, mac, mtu).build(), operation)
}

/// Tells a bridge's port to send a frame back where it came from, or not to.
pub fn set_hairpin(rtnl: &Rtnl, index: u32, on: bool, operation: &impl Display) -> Result<()> {
    set_port(rtnl, index, InfoBridgePort::HairpinMode(on), operation)
}

/// Keeps a bridge's port from other ports of which the same is true, or lets it reach them.
pub fn set_isolated(rtnl: &Rtnl, index: u32, on: bool, operation: &impl Display) -> Result<()> {
    set_port(rtnl, index, InfoBridgePort::Isolated(on), operation)
}

/// The kernel takes a port's data in RTM_NEWLINK only; RTM_SETLINK acknowledges it and does nothing.
fn set_port(rtnl: &Rtnl, index: u32, fact: InfoBridgePort, operation: &impl Display) -> Result<()> {
    let message = LinkUnspec::new_with_index(index)
        .set_port_kind(InfoPortKind::Bridge)
        .set_port_data(InfoPortData::BridgePort(vec![fact]))
        .build();
    rtnl.change(RouteNetlinkMessage::NewLink(message), 0, operation)
}

/// Whether the calling thread's namespace still lists this link. Unlike the other questions here it
/// does not wait for the lock that the kernel holds while it takes a link down (`dev_ioctl` reads
/// under RCU, net/core/dev_ioctl.c).
pub fn is_listed(name: &IfName, index: u32) -> bool {
    nix::net::if_::if_nametoindex(name.as_str()) == Ok(index)
}

/// Removes a link, and waits until the kernel has freed it. Where that matters, see
/// [`reclaim`](crate::kernel::reclaim).
pub fn delete(rtnl: &Rtnl, index: u32, operation: &impl Display) -> Result<()> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    rtnl.change(RouteNetlinkMessage::DelLink(message), 0, operation)
}

/// Sets a link down.
pub fn set_down(rtnl: &Rtnl, index: u32, operation: &impl Display) -> Result<()> {
    let message = LinkUnspec::new_with_index(index).down().build();
    rtnl.change(RouteNetlinkMessage::SetLink(message), 0, operation)
}

//! Addresses of links.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr};

use ipnetwork::Ipv4Network;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::addr::{Family, HostAddr};
use crate::error::Result;
use crate::kernel::rtnl::Rtnl;

/// How an address is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Given {
    /// Whether the kernel makes the route to the prefix. If not, that is `IFA_F_NOPREFIXROUTE` (IPv6
    /// since 3.14, IPv4 since 4.4).
    pub connected: bool,
    /// Whether IPv6 skips the detection of duplicates, which would leave the address tentative for
    /// 1 to 2 seconds.
    pub nodad: bool,
}

/// Assigns an address.
pub fn add(
    rtnl: &Rtnl,
    index: u32,
    address: HostAddr,
    given: Given,
    operation: &impl Display,
) -> Result<()> {
    let mut message = message(index, address);
    let mut flags = AddressFlags::empty();
    flags.set(AddressFlags::Noprefixroute, !given.connected);
    if given.nodad && address.family() == Family::V6 {
        flags |= AddressFlags::Nodad;
        message.header.flags |= AddressHeaderFlags::Nodad;
    }
    message.attributes.push(AddressAttribute::Flags(flags));
    if let Some(broadcast) = broadcast(address) {
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    rtnl.change(RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL, operation)
}

/// Takes an address away.
pub fn delete(rtnl: &Rtnl, index: u32, address: HostAddr, operation: &impl Display) -> Result<()> {
    rtnl.change(RouteNetlinkMessage::DelAddress(message(index, address)), 0, operation)
}

/// The addresses of one link.
pub fn of_link(rtnl: &Rtnl, index: u32) -> Result<Vec<HostAddr>> {
    let mut message = AddressMessage::default();
    // With NETLINK_GET_STRICT_CHK the kernel filters by index, so that this costs the same
    // however many links there are (Linux 4.20, commit d7e38611b81e).
    message.header.index = index;
    let operation = format!("ip address show index {index}");
    rtnl.dump(RouteNetlinkMessage::GetAddress(message), operation, host_addr)
}

fn host_addr(message: RouteNetlinkMessage) -> Option<HostAddr> {
    let RouteNetlinkMessage::NewAddress(message) = message else {
        return None;
    };
    let length = message.header.prefix_len;
    let address = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    };
    let fallback = |attribute: &AddressAttribute| match attribute {
        AddressAttribute::Address(ip) => Some(*ip),
        _ => None,
    };
    // IPv4 says the own address in Local (Address is the peer's); IPv6 often has Address alone.
    let mut attributes = message.attributes.iter();
    let ip = attributes.clone().find_map(address).or_else(|| attributes.find_map(fallback))?;
    HostAddr::observed(ip, length)
}

fn message(index: u32, address: HostAddr) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.index = index;
    message.header.prefix_len = address.prefix().length();
    message.header.family = match address.family() {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    message.attributes.push(AddressAttribute::Local(address.ip()));
    message.attributes.push(AddressAttribute::Address(address.ip()));
    message
}

/// The broadcast address of an IPv4 network that has one.
fn broadcast(address: HostAddr) -> Option<Ipv4Addr> {
    match (address.ip(), address.prefix().length()) {
        (IpAddr::V4(ip), length @ ..=30) => Some(Ipv4Network::new(ip, length).ok()?.broadcast()),
        _ => None,
    }
}

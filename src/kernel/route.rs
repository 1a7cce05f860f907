//! Routes: adding them, and asking which entry an address falls under.

use std::fmt::Display;
use std::net::IpAddr;

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteNextHop,
    RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::addr::{Family, Prefix};
use crate::error::Result;
use crate::kernel::rtnl::Rtnl;
use crate::plan::MAIN_TABLE;
use crate::plan::step::Route;

/// An entry of the routing table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where to.
    pub destination: Prefix,
    /// The next hop.
    pub via: Option<IpAddr>,
    /// The outgoing link's index.
    pub link: Option<u32>,
    /// Whether it is one of the host's own addresses.
    pub local: bool,
    /// Whether it was learnt from a router advertisement.
    pub advertised: bool,
    /// The source address that is preferred.
    pub source: Option<IpAddr>,
    /// The metric.
    pub metric: Option<u32>,
    /// The MTU that the route itself sets, in bytes.
    pub mtu: Option<u32>,
    /// The largest TCP segment that it has announced, in bytes.
    pub advmss: Option<u32>,
    /// The table that it is in.
    pub table: u32,
    /// Its scope, by the kernel's number; IPv6 has none.
    pub scope: u8,
}

/// Adds a route.
pub fn add(rtnl: &Rtnl, index: u32, route: &Route, operation: &impl Display) -> Result<()> {
    let message = RouteNetlinkMessage::NewRoute(message(index, route));
    let flags = if route.beside { NLM_F_CREATE } else { NLM_F_CREATE | NLM_F_EXCL };
    rtnl.change(message, flags, operation)
}

/// Adds a route, or puts it in the place of one to the same destination.
pub fn replace(rtnl: &Rtnl, index: u32, route: &Route, operation: &impl Display) -> Result<()> {
    let message = RouteNetlinkMessage::NewRoute(message(index, route));
    rtnl.change(message, NLM_F_CREATE | NLM_F_REPLACE, operation)
}

fn message(index: u32, route: &Route) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(route.destination.family());
    message.header.destination_prefix_length = route.destination.length();
    in_table(&mut message, route.table.unwrap_or(MAIN_TABLE));
    message.header.protocol = RouteProtocol::Static;
    message.header.kind = RouteType::Unicast;
    // IPv6 ignores the scope. IPv4 wants to know that a next hop is on the link itself.
    message.header.scope = match (route.scope, route.via) {
        (Some(scope), _) => RouteScope::from(scope),
        (None, Some(_)) => RouteScope::Universe,
        (None, None) => RouteScope::Link,
    };
    let attributes = &mut message.attributes;
    if !route.destination.is_default() {
        attributes.push(RouteAttribute::Destination(route.destination.network().into()));
    }
    attributes.push(RouteAttribute::Oif(index));
    attributes.extend(route.via.map(|ip| RouteAttribute::Gateway(ip.into())));
    attributes.extend(route.source.map(|ip| RouteAttribute::PrefSource(ip.into())));
    attributes.extend(route.metric.map(RouteAttribute::Priority));
    let metrics = [route.mtu.map(RouteMetric::Mtu), route.advmss.map(RouteMetric::Advmss)];
    let metrics: Vec<RouteMetric> = metrics.into_iter().flatten().collect();
    attributes.extend((!metrics.is_empty()).then_some(RouteAttribute::Metrics(metrics)));
    message
}

/// The header has but 8 bits for the table.
fn in_table(message: &mut RouteMessage, table: u32) {
    message.header.table = u8::try_from(table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    if message.header.table == RouteHeader::RT_TABLE_UNSPEC {
        message.attributes.push(RouteAttribute::Table(table));
    }
}

/// The entry that decides where packets to `ip` go; `None` if they go nowhere.
///
/// This is one look-up, whatever the table holds. `RTM_F_FIB_MATCH` gives the entry itself instead
/// of the resolved route (IPv4 since 4.13, IPv6 since 4.14).
pub fn lookup(rtnl: &Rtnl, ip: IpAddr) -> Result<Option<Entry>> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(Family::of(ip));
    message.header.destination_prefix_length = Family::of(ip).bits();
    message.header.flags = RouteFlags::FibMatch;
    message.attributes.push(RouteAttribute::Destination(ip.into()));
    let request = RouteNetlinkMessage::GetRoute(message);
    match rtnl.get(request, format!("ip route get fibmatch {ip}")) {
        Ok(Some(RouteNetlinkMessage::NewRoute(route))) => Ok(entry(route)),
        Ok(_) => Ok(None),
        Err(e) if unreachable(e.errno()) => Ok(None),
        Err(e) => Err(e),
    }
}

/// No route, or a route that says so (unreachable, prohibit, blackhole), or no such family.
fn unreachable(errno: Option<i32>) -> bool {
    matches!(
        errno,
        Some(
            libc::ENETUNREACH
                | libc::EHOSTUNREACH
                | libc::EACCES
                | libc::EINVAL
                | libc::EOPNOTSUPP
                | libc::EAFNOSUPPORT
        )
    )
}

/// Every route of the main table in one family.
pub fn all(rtnl: &Rtnl, of: Family) -> Result<Vec<Entry>> {
    of_table(rtnl, of, MAIN_TABLE)
}

/// Every route of one table in one family; none if there is no such table.
pub fn of_table(rtnl: &Rtnl, of: Family, table: u32) -> Result<Vec<Entry>> {
    let mut message = RouteMessage::default();
    message.header.address_family = family(of);
    in_table(&mut message, table);
    let request = RouteNetlinkMessage::GetRoute(message);
    let found =
        rtnl.dump(
            request,
            format!("ip route show table {table} ({of})"),
            |message| match message {
                RouteNetlinkMessage::NewRoute(route) => Some(entries(route)),
                _ => None,
            },
        );
    match found {
        Err(e) if e.errno() == Some(libc::ENOENT) => Ok(Vec::new()),
        found => Ok(found?.into_iter().flatten().collect()),
    }
}

/// A route as one entry, or as one for each of its ways, if it has several.
fn entries(message: RouteMessage) -> Vec<Entry> {
    let hops: Vec<RouteNextHop> = message.attributes.iter().flat_map(hops).collect();
    let Some(entry) = entry(message) else { return Vec::new() };
    let of_hop = |hop: &RouteNextHop| Entry {
        link: Some(hop.interface_index),
        via: hop.attributes.iter().find_map(gateway),
        ..entry.clone()
    };
    match hops.is_empty() {
        true => vec![entry],
        false => hops.iter().map(of_hop).collect(),
    }
}

fn hops(attribute: &RouteAttribute) -> Vec<RouteNextHop> {
    match attribute {
        RouteAttribute::MultiPath(hops) => hops.clone(),
        _ => Vec::new(),
    }
}

fn gateway(attribute: &RouteAttribute) -> Option<IpAddr> {
    match attribute {
        RouteAttribute::Gateway(ip) => ip_of(ip),
        _ => None,
    }
}

fn entry(message: RouteMessage) -> Option<Entry> {
    let of = match message.header.address_family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    let mut entry = Entry {
        destination: of.default_prefix(),
        via: None,
        link: None,
        local: message.header.kind == RouteType::Local,
        advertised: message.header.protocol == RouteProtocol::Ra,
        source: None,
        metric: None,
        mtu: None,
        advmss: None,
        table: u32::from(message.header.table),
        scope: message.header.scope.into(),
    };
    for attribute in message.attributes {
        match attribute {
            RouteAttribute::Destination(ip) => {
                entry.destination =
                    Prefix::observed(ip_of(&ip)?, message.header.destination_prefix_length)?;
            }
            RouteAttribute::Gateway(ip) => entry.via = ip_of(&ip),
            RouteAttribute::PrefSource(ip) => entry.source = ip_of(&ip),
            RouteAttribute::Oif(index) => entry.link = Some(index),
            RouteAttribute::Priority(metric) => entry.metric = Some(metric),
            RouteAttribute::Table(table) => entry.table = table,
            RouteAttribute::Metrics(metrics) => {
                entry.mtu = metrics.iter().find_map(mtu_of);
                entry.advmss = metrics.iter().find_map(advmss_of);
            }
            _ => {}
        }
    }
    Some(entry)
}

fn mtu_of(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Mtu(mtu) => Some(*mtu),
        _ => None,
    }
}

fn advmss_of(metric: &RouteMetric) -> Option<u32> {
    match metric {
        RouteMetric::Advmss(advmss) => Some(*advmss),
        _ => None,
    }
}

fn ip_of(address: &netlink_packet_route::route::RouteAddress) -> Option<IpAddr> {
    use netlink_packet_route::route::RouteAddress;
    match address {
        RouteAddress::Inet(ip) => Some((*ip).into()),
        RouteAddress::Inet6(ip) => Some((*ip).into()),
        _ => None,
    }
}

fn family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

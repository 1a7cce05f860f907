//! The links by which the host reaches the outside: those its default routes lead to.

use std::collections::{BTreeMap, BTreeSet};

use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::doctor::warning;
use crate::error::{Error, Result};
use crate::kernel::link;
use crate::kernel::rtnl::Rtnl;
use crate::outcome::Finding;

/// Names of links, each in its role.
#[derive(Debug, Default)]
pub struct Uplinks {
    /// They have an IPv4 default route.
    pub v4: BTreeSet<String>,
    /// They have an IPv6 default route.
    pub v6: BTreeSet<String>,
    /// The kernel learns addresses or routes on them from router advertisements.
    pub learning: BTreeSet<String>,
}

impl Uplinks {
    /// Reads them from the calling thread's network namespace.
    pub fn observe() -> Result<Self> {
        let (rtnl, _) = Rtnl::here()?;
        Ok(Found::ask(&rtnl)?.uplinks())
    }

    /// Every link with a default route, of whichever family.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.v4.union(&self.v6).map(String::as_str)
    }
}

/// The finding when they cannot be read.
pub fn unseen(error: &Error) -> Finding {
    warning("uplinks", error.message(), error.remedy().unwrap_or("ip route show default"))
}

struct Found {
    names: BTreeMap<u32, String>,
    v4: Vec<RouteMessage>,
    v6: Vec<RouteMessage>,
    addresses: Vec<AddressMessage>,
}

impl Found {
    fn ask(rtnl: &Rtnl) -> Result<Self> {
        let names = link::all(rtnl)?.into_iter().map(|link| (link.index, link.name)).collect();
        let addresses = RouteNetlinkMessage::GetAddress(AddressMessage::default());
        let address = |message| match message {
            RouteNetlinkMessage::NewAddress(address) => Some(address),
            _ => None,
        };
        Ok(Self {
            names,
            v4: defaults(rtnl, AddressFamily::Inet)?,
            v6: defaults(rtnl, AddressFamily::Inet6)?,
            addresses: rtnl.dump(addresses, "ip address show", address)?,
        })
    }

    fn uplinks(&self) -> Uplinks {
        let advertised = self.v6.iter().filter(|route| route.header.protocol == RouteProtocol::Ra);
        let leased =
            self.addresses.iter().filter(|address| is_leased(address)).map(|a| a.header.index);
        Uplinks {
            v4: self.name(self.v4.iter().flat_map(oifs)),
            v6: self.name(self.v6.iter().flat_map(oifs)),
            learning: self.name(advertised.flat_map(oifs).chain(leased)),
        }
    }

    fn name(&self, indices: impl Iterator<Item = u32>) -> BTreeSet<String> {
        indices.filter_map(|index| self.names.get(&index).cloned()).collect()
    }
}

/// A full routing table may hold a million routes: only the defaults are kept.
fn defaults(rtnl: &Rtnl, family: AddressFamily) -> Result<Vec<RouteMessage>> {
    let mut request = RouteMessage::default();
    request.header.address_family = family;
    request.header.table = RouteHeader::RT_TABLE_MAIN;
    let default = |message| match message {
        RouteNetlinkMessage::NewRoute(route) => {
            (route.header.destination_prefix_length == 0).then_some(route)
        }
        _ => None,
    };
    rtnl.dump(RouteNetlinkMessage::GetRoute(request), "ip route show default", default)
}

fn oifs(route: &RouteMessage) -> Vec<u32> {
    let each = route.attributes.iter().flat_map(|attribute| match attribute {
        RouteAttribute::Oif(index) => vec![*index],
        RouteAttribute::MultiPath(hops) => hops.iter().map(|hop| hop.interface_index).collect(),
        _ => Vec::new(),
    });
    each.collect()
}

/// An address with a lifetime. The kernel drops the default routes it learned as soon as forwarding
/// goes on (`rt6_purge_dflt_routers`), but such an address stays for a while and tells the tale.
fn is_leased(address: &AddressMessage) -> bool {
    let v6 = address
        .attributes
        .iter()
        .any(|a| matches!(a, AddressAttribute::Address(ip) if ip.is_ipv6()));
    v6 && address.header.scope == AddressScope::Universe
        && !address.header.flags.contains(AddressHeaderFlags::Permanent)
}

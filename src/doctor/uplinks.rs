//! The links by which the host reaches the outside: those its default routes lead to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use futures_util::TryStreamExt;
use netlink_packet_route::address::{
    AddressAttribute, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::LinkAttribute;
use netlink_packet_route::route::{RouteAttribute, RouteHeader, RouteMessage, RouteProtocol};
use rtnetlink::{Handle, RouteMessageBuilder};

use crate::doctor::warning;
use crate::error::{Error, ErrorKind, Result};
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
    pub async fn observe() -> Result<Self> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|e| Error::io("open a NETLINK_ROUTE socket", &e))?;
        tokio::spawn(connection);
        let failed = |e: rtnetlink::Error| {
            Error::new(ErrorKind::Kernel, format!("list routes and links: {e}"))
        };
        let found = Found::ask(&handle).await.map_err(failed)?;
        Ok(found.uplinks())
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
    async fn ask(handle: &Handle) -> std::result::Result<Self, rtnetlink::Error> {
        let v4 = RouteMessageBuilder::<Ipv4Addr>::new().build();
        let v6 = RouteMessageBuilder::<Ipv6Addr>::new().build();
        let name = |link: netlink_packet_route::link::LinkMessage| {
            let name = link.attributes.into_iter().find_map(|a| match a {
                LinkAttribute::IfName(name) => Some(name),
                _ => None,
            });
            (link.header.index, name.unwrap_or_default())
        };
        Ok(Self {
            names: handle.link().get().execute().map_ok(name).try_collect().await?,
            // A full routing table may hold a million routes: only the defaults are kept.
            v4: handle.route().get(v4).execute().try_filter(is_default).try_collect().await?,
            v6: handle.route().get(v6).execute().try_filter(is_default).try_collect().await?,
            addresses: handle.address().get().execute().try_collect().await?,
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

fn is_default(route: &RouteMessage) -> std::future::Ready<bool> {
    let main = route.header.table == RouteHeader::RT_TABLE_MAIN;
    std::future::ready(main && route.header.destination_prefix_length == 0)
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

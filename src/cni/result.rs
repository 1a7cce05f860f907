//! The result of an ADD, in the shape of specification 1.1.0. The other versions' shapes are
//! conversions to and from it.

mod read;
mod write;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::cni::ip;

/// What an ADD has made, or what the chain has made so far (`prevResult`).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Made {
    /// Links, of the host and of the container.
    pub interfaces: Vec<Interface>,
    /// Addresses.
    pub ips: Vec<Ip>,
    /// Routes in the container.
    pub routes: Vec<Route>,
    /// What the runtime may write into `resolv.conf`.
    pub dns: Dns,
}

/// A link.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its hardware address, as text; empty if it has none.
    pub mac: String,
    /// Its MTU, if told.
    pub mtu: Option<u32>,
    /// The container's namespace as the runtime calls it; empty for a link of the host.
    pub sandbox: String,
    /// Keys that are passed on as they came.
    pub rest: Map<String, Value>,
}

/// An address.
#[derive(Debug, Clone, PartialEq)]
pub struct Ip {
    /// Which of the interfaces has it, by index.
    pub interface: Option<usize>,
    /// The address with its prefix length.
    pub address: IpNetwork,
    /// The gateway of its network.
    pub gateway: Option<IpAddr>,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Route {
    /// Where to.
    #[serde(deserialize_with = "ip::cidr")]
    pub dst: IpNetwork,
    /// By which next hop.
    #[serde(default, deserialize_with = "ip::address_or_none")]
    pub gw: Option<IpAddr>,
    /// The path MTU in bytes.
    pub mtu: Option<u32>,
    /// The TCP segment size to advertise, in bytes.
    pub advmss: Option<u32>,
    /// The metric.
    pub priority: Option<u32>,
    /// The table's number.
    pub table: Option<u32>,
    /// The scope's number.
    pub scope: Option<u8>,
}

/// DNS settings.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Dns {
    /// Name servers.
    pub nameservers: Vec<String>,
    /// The local domain.
    pub domain: String,
    /// Domains to search.
    pub search: Vec<String>,
    /// Resolver options.
    pub options: Vec<String>,
}

impl Dns {
    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Route {
    /// A default route by this gateway.
    pub fn default_by(gateway: IpAddr) -> Option<Self> {
        let unspecified = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let dst = IpNetwork::new(unspecified, 0).ok()?;
        Some(Self {
            dst,
            gw: Some(gateway),
            mtu: None,
            advmss: None,
            priority: None,
            table: None,
            scope: None,
        })
    }
}
#[cfg(test)]
mod tests;

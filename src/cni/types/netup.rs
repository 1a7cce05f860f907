//! Type `netup`: one entry of a configuration list, one process, for all that a container's network
//! needs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netup::addr::{Family, Prefix};
use netup::ident::IfName;
use netup::request::{AddressRequest, LeaseRange, RouteRequest, Sysctl};
use netup::{Attachment, Isolation, Network, Topology};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::cni::capabilities::{self, BandwidthKeys, PortMapping, RuntimeConfig};
use crate::cni::failure::Failure;
use crate::cni::ipam::per_family;
use crate::cni::result::{Dns, Ip, Made, Route};
use crate::cni::types::connection::{self, Connecting};
use crate::cni::{Call, any_case, args, ip, ipam};
use crate::wait;

/// The type.
#[derive(Debug)]
pub struct Netup;

/// The type's keys.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Keys {
    topology: String,
    bridge: String,
    vlan: Option<u16>,
    subnets: Vec<Subnet>,
    gateway: Option<bool>,
    default_route: Option<bool>,
    routes: Vec<Route>,
    masquerade: bool,
    ip_masq: bool,
    port_mappings: Vec<PortMapping>,
    bandwidth: Option<BandwidthKeys>,
    isolation: String,
    ips: Vec<String>,
    mac: String,
    mtu: Option<u32>,
    sysctls: BTreeMap<String, String>,
    dns: Dns,
    runtime_config: RuntimeConfig,
    args: Args,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Args {
    cni: CniArgs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CniArgs {
    mac: String,
    ips: Vec<String>,
}

/// A network to lease an address of: as text, or with the part of it that may be leased.
#[derive(Debug, Clone)]
enum Subnet {
    Whole(Prefix),
    Part(SubnetPart),
}

impl<'de> Deserialize<'de> for Subnet {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let whole = |text: &str| text.parse().map(Self::Whole).map_err(D::Error::custom);
        match Value::deserialize(from)? {
            Value::String(text) => whole(&text),
            part => any_case::decode(&part).map(Self::Part).map_err(D::Error::custom),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SubnetPart {
    subnet: Prefix,
    range_start: Option<IpAddr>,
    range_end: Option<IpAddr>,
    gateway: Option<IpAddr>,
}

impl Connecting for Netup {
    fn connect(&self, call: &Call) -> Result<Made, Failure> {
        let keys: Keys = call.conf.decode()?;
        if !ipam::configured(call) {
            let attachment = connection::connect(call, keys.network(call, None)?)?;
            return connection::told(call, keys.made(call, &attachment, Dns::default()));
        }
        let (attachment, given) =
            connection::connect_with_ipam(call, |given| keys.network(call, Some(given)))?;
        connection::told(call, keys.made(call, &attachment, given.dns))
    }

    fn addresses_available(&self, call: &Call) -> Result<(), Failure> {
        let keys: Keys = call.conf.decode()?;
        let leases = Network {
            topology: keys.topology()?,
            addresses: keys.subnets.iter().map(Subnet::request).collect::<Result<_, _>>()?,
            gateways: keys.subnets.iter().filter_map(Subnet::gateway).collect(),
            ..Network::new()
        };
        wait(netup::leases_available(&leases)).map_err(|e| {
            let failure = Failure::from(e);
            Failure { code: Failure::UNAVAILABLE, ..failure }
        })
    }
}

impl Subnet {
    fn prefix(&self) -> Prefix {
        match self {
            Self::Whole(prefix) => *prefix,
            Self::Part(part) => part.subnet,
        }
    }

    fn gateway(&self) -> Option<IpAddr> {
        match self {
            Self::Whole(_) => None,
            Self::Part(part) => part.gateway,
        }
    }

    fn request(&self) -> Result<AddressRequest, Failure> {
        match self {
            Self::Whole(prefix) => Ok(AddressRequest::Lease(*prefix)),
            Self::Part(SubnetPart { subnet, range_start: None, range_end: None, .. }) => {
                Ok(AddressRequest::Lease(*subnet))
            }
            Self::Part(part) => {
                let range = part.range()?;
                Ok(AddressRequest::LeaseWithin(range))
            }
        }
    }
}

impl SubnetPart {
    fn range(&self) -> Result<LeaseRange, Failure> {
        let (first, last) = self.subnet.host_offsets();
        let end = |asked: Option<IpAddr>, offset| {
            let ip = asked.or_else(|| self.subnet.nth(offset));
            ip.ok_or_else(|| Failure::config(format!("{} has no addresses to lease", self.subnet)))
        };
        Ok(LeaseRange::new(self.subnet, end(self.range_start, first)?, end(self.range_end, last)?)?)
    }
}

impl Keys {
    fn network(&self, call: &Call, given: Option<&Made>) -> Result<Network, Failure> {
        let mut network = Network {
            topology: self.topology()?,
            default_route: self.default_route.unwrap_or(true),
            nat: self.masquerade || self.ip_masq,
            publish: self.publish()?,
            bandwidth: self.limits()?.bandwidth()?,
            isolation: self.isolation()?,
            mac: self.mac(call)?,
            mtu: self.mtu.filter(|mtu| *mtu > 0),
            sysctls: self.sysctls()?,
            routes_beside: true,
            ..Network::new()
        };
        network.bridging.host_gateway = self.gateway.unwrap_or(true);
        network.bridging.vlan = self.vlan;
        let mut routes = self.routes.clone();
        match given {
            Some(given) => {
                self.nothing_beside_ipam()?;
                network.addresses = connection::exact(given)?;
                network.gateways = connection::gateways(given);
                routes.extend(given.routes.iter().cloned());
            }
            None => {
                network.addresses = self.addresses(call)?;
                network.gateways = self.subnets.iter().filter_map(Subnet::gateway).collect();
            }
        }
        per_family::validate(call.conf.version, network.addresses.iter().map(is_ipv4))?;
        network.routes = connection::routes(&routes, &network.addresses)?;
        default_routes(&mut network);
        let (v4, v6) = (network.has(Family::V4), network.has(Family::V6));
        let has = |family| if family == Family::V4 { v4 } else { v6 };
        network.publish.retain(|publish| publish.serves_any(has));
        Ok(network)
    }

    /// Two sources of addresses would be one too many.
    fn nothing_beside_ipam(&self) -> Result<(), Failure> {
        match self.subnets.is_empty() && self.ips.is_empty() {
            true => Ok(()),
            false => Err(Failure::config("subnets and ips contradict the ipam section")
                .details("leave out the one or the other")),
        }
    }

    fn topology(&self) -> Result<Topology, Failure> {
        let bridge = || -> Result<IfName, Failure> {
            let name = if self.bridge.is_empty() { "nubr0" } else { &self.bridge };
            Ok(name.parse()?)
        };
        match self.topology.as_str() {
            "" if self.bridge.is_empty() => Ok(Topology::Routed),
            "routed" if self.bridge.is_empty() => Ok(Topology::Routed),
            "routed" => Err(Failure::config("bridge contradicts topology \"routed\"")
                .details("leave bridge out, or set topology to \"bridge\"")),
            "" | "bridge" => Ok(Topology::Bridge(bridge()?)),
            other => Err(Failure::config(format!("topology {other:?} is unknown"))
                .details("use \"routed\" or \"bridge\"")),
        }
    }

    fn publish(&self) -> Result<Vec<netup::Publish>, Failure> {
        let mut mappings = self.port_mappings.clone();
        mappings.extend(self.runtime_config.port_mappings.iter().cloned());
        capabilities::publish(&mappings)
    }

    /// What the runtime asks for, else what the configuration says.
    fn limits(&self) -> Result<BandwidthKeys, Failure> {
        let of_runtime = self.runtime_config.bandwidth.filter(|keys| !keys.is_empty());
        Ok(of_runtime.or(self.bandwidth).unwrap_or_default())
    }

    fn isolation(&self) -> Result<Isolation, Failure> {
        match self.isolation.as_str() {
            "" => Ok(Isolation::Open),
            text => Ok(text.parse()?),
        }
    }

    fn mac(&self, call: &Call) -> Result<Option<netup::ident::Mac>, Failure> {
        let of_args = from_args(call, "MAC")?;
        let sources = [&self.runtime_config.mac, &self.args.cni.mac, &of_args, &self.mac];
        let mac = sources.into_iter().find(|mac| !mac.is_empty());
        Ok(mac.map(|mac| mac.parse()).transpose()?)
    }

    fn sysctls(&self) -> Result<Vec<Sysctl>, Failure> {
        let sysctl = |(key, value): (&String, &String)| Ok(format!("{key}={value}").parse()?);
        self.sysctls.iter().map(sysctl).collect()
    }

    /// One address of each subnet: the one that was asked for, or a lease. An address that is asked
    /// for with a prefix length needs no subnet.
    fn addresses(&self, call: &Call) -> Result<Vec<AddressRequest>, Failure> {
        let mut asked = self.asked(call)?;
        let mut addresses = Vec::new();
        for subnet in &self.subnets {
            let prefix = subnet.prefix();
            match asked.iter().position(|ip| prefix.contains(ip.ip())) {
                Some(at) => addresses.push(exact(asked.remove(at).ip(), prefix.length())?),
                None => addresses.push(subnet.request()?),
            }
        }
        for ip in asked {
            let single = ip.prefix() == if ip.is_ipv4() { 32 } else { 128 };
            if single && !self.subnets.is_empty() {
                return Err(Failure::config(format!(
                    "address {} lies in no subnet that is left for it",
                    ip.ip()
                )));
            }
            addresses.push(exact(ip.ip(), ip.prefix())?);
        }
        match addresses.is_empty() {
            true => Err(Failure::config("no subnet is given")
                .details("set subnets, such as [\"10.88.0.0/16\"], or an ipam section")),
            false => Ok(addresses),
        }
    }

    /// Addresses that the runtime or the configuration names.
    fn asked(&self, call: &Call) -> Result<Vec<IpNetwork>, Failure> {
        let of_args = from_args(call, "IP")?;
        let of_args = of_args.split(',').filter(|text| !text.is_empty());
        let sources = [&self.runtime_config.ips, &self.args.cni.ips, &self.ips];
        let texts = sources.into_iter().flatten().map(String::as_str).chain(of_args);
        let mut asked: Vec<IpNetwork> = Vec::new();
        for text in texts {
            let ip = ip::parse_cidr(text)
                .or_else(|| ip::parse(text).map(IpNetwork::from))
                .ok_or_else(|| Failure::config(format!("ips: {text:?} is not an address")))?;
            if !asked.contains(&ip) {
                asked.push(ip);
            }
        }
        Ok(asked)
    }

    fn made(&self, call: &Call, attachment: &Attachment, of_ipam: Dns) -> Result<Made, Failure> {
        let interfaces = connection::interfaces(call, attachment)?;
        let interface = connection::of_container(&interfaces);
        let ip = |address: &netup::addr::HostAddr| {
            Ok(Ip {
                interface,
                address: IpNetwork::new(address.ip(), address.prefix().length())
                    .map_err(|e| Failure::config(e.to_string()))?,
                gateway: gateway_of(attachment, *address),
            })
        };
        let ips = attachment.addresses.iter().map(ip).collect::<Result<_, Failure>>()?;
        let dns = if self.dns.is_empty() { of_ipam } else { self.dns.clone() };
        Ok(Made { interfaces, ips, routes: all_routes(attachment), dns })
    }
}

fn is_ipv4(address: &AddressRequest) -> bool {
    address.prefix().family() == Family::V4
}

/// A default route that is given for one family leaves the other's as it was to be.
fn default_routes(network: &mut Network) {
    let given = |family: Family| {
        network.routes.iter().any(|route| route.destination == family.default_prefix())
    };
    let (missing, some): (Vec<Family>, Vec<Family>) =
        [Family::V4, Family::V6].into_iter().filter(|f| network.has(*f)).partition(|f| !given(*f));
    if network.default_route && !some.is_empty() {
        network.default_route = false;
        network.routes.extend(missing.iter().map(|f| RouteRequest::to(f.default_prefix())));
    }
}

fn exact(ip: IpAddr, length: u8) -> Result<AddressRequest, Failure> {
    Ok(AddressRequest::Exact(format!("{ip}/{length}").parse()?))
}

fn from_args(call: &Call, key: &str) -> Result<String, Failure> {
    Ok(args::parse(&call.env.args, &["IP", "MAC"])?.remove(key).unwrap_or_default())
}

fn gateway_of(attachment: &Attachment, address: netup::addr::HostAddr) -> Option<IpAddr> {
    let family = address.family();
    let mut of_family = attachment.gateways.iter().filter(|ip| Family::of(**ip) == family);
    let inside = of_family.clone().find(|ip| address.prefix().contains(**ip));
    inside.or_else(|| of_family.next()).copied()
}

/// The gateway by which a route goes that names none.
fn gateway_for(attachment: &Attachment, destination: Prefix) -> Option<IpAddr> {
    let mut gateways = attachment.gateways.iter().copied();
    gateways.find(|ip| Family::of(*ip) == destination.family())
}

/// The default routes, then the further ones.
fn all_routes(attachment: &Attachment) -> Vec<Route> {
    let mut routes = Vec::new();
    for family in [Family::V4, Family::V6].into_iter().filter(|_| attachment.default_route) {
        let gateway = gateway_for(attachment, family.default_prefix());
        routes.extend(gateway.and_then(Route::default_by));
    }
    let further = |route: &netup::request::RouteRequest| {
        let (network, length) = (route.destination.network(), route.destination.length());
        Some(Route {
            dst: IpNetwork::new(network, length).ok()?,
            gw: route.via.or_else(|| gateway_for(attachment, route.destination)),
            mtu: route.mtu,
            advmss: route.advmss,
            priority: route.metric,
            table: route.table,
            scope: route.scope,
        })
    };
    routes.extend(attachment.routes.iter().filter_map(further));
    routes
}

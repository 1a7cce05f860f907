//! What the caller wants, validated. The planner's only other input is what was observed.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::addr::{Family, HostAddr, Prefix, senseless};
use crate::bandwidth::Bandwidth;
use crate::bridging::Bridging;
use crate::error::{Error, Result};
use crate::ident::{AttachmentId, ContainerId, IfName, Mac, NetworkName, text_conversions};
use crate::isolation::Isolation;
use crate::plan::MAIN_TABLE;
use crate::publish::Publish;
use crate::target::Target;

/// A container that is to be connected, and how.
///
/// ```no_run
/// # async fn example() -> netup::Result<()> {
/// use netup::{Network, Request, Target};
///
/// let network = Network::new()
///     .address("10.0.0.2/24".parse()?)
///     .nat(true)
///     .publish("8080:80".parse()?);
/// let request = Request::new(Target::open("4711")?, network)?;
/// let outcome = netup::attach(&request).await?;
/// println!("{}", outcome.attachment.host_ifname);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Request {
    /// The container's network namespace, held open.
    pub target: Target,
    /// The identity under which the attachment is remembered.
    pub id: AttachmentId,
    /// What to set up.
    pub network: Network,
    /// Whether an attachment of the same identity that differs is taken down first.
    pub replace: bool,
    /// Whether an attachment of the same identity that stands is a conflict even if it is the same.
    pub fresh: bool,
    /// The network that the attachment belongs to, if it has a name.
    pub network_name: Option<NetworkName>,
}

impl Request {
    /// A request under the identity that follows from the namespace, with interface `eth0`.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the parts of the network
    /// contradict each other, see [`Network::validate`].
    pub fn new(target: Target, network: Network) -> Result<Self> {
        network.validate()?;
        let id = AttachmentId {
            container: ContainerId::of_netns(target.cookie()),
            ifname: "eth0".parse()?,
        };
        Ok(Self { target, id, network, replace: false, fresh: false, network_name: None })
    }

    /// The same request under a container id of the caller's choice.
    #[must_use]
    pub fn with_id(mut self, container: ContainerId) -> Self {
        self.id.container = container;
        self
    }

    /// The same request for another interface name inside the container.
    #[must_use]
    pub fn with_ifname(mut self, ifname: IfName) -> Self {
        self.id.ifname = ifname;
        self
    }

    /// The same request on behalf of a named network, see
    /// [`detach_member`](crate::detach_member).
    #[must_use]
    pub fn of_network(mut self, name: NetworkName) -> Self {
        self.network_name = Some(name);
        self
    }

    /// The same request, to which an attachment that stands is a conflict even if it is the same.
    #[must_use]
    pub fn fresh(mut self, fresh: bool) -> Self {
        self.fresh = fresh;
        self
    }

    /// The same request, which takes an existing attachment of this identity down if it differs.
    #[must_use]
    pub fn replacing(mut self, replace: bool) -> Self {
        self.replace = replace;
        self
    }
}

/// How containers of a network reach each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Topology {
    /// Each container behind its own link; the host routes to each address.
    #[default]
    Routed,
    /// Containers share the layer-2 segment of this bridge.
    Bridge(IfName),
}

/// An address to give to the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AddressRequest {
    /// Exactly this one.
    Exact(HostAddr),
    /// A free one of this network, by lease.
    Lease(Prefix),
    /// A free one of this range, by lease.
    #[serde(rename = "lease_within")]
    LeaseWithin(LeaseRange),
}

/// A part of a network to lease from, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseRange {
    /// The network that the addresses lie in.
    pub prefix: Prefix,
    /// The first address that may be leased.
    pub first: IpAddr,
    /// The last one.
    pub last: IpAddr,
}

impl LeaseRange {
    /// A range, checked.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if an end lies outside the network or
    /// the ends are reversed.
    pub fn new(prefix: Prefix, first: IpAddr, last: IpAddr) -> Result<Self> {
        let range = Self { prefix, first, last };
        range.validate().map(|()| range)
    }

    /// Whether the address may be leased from it.
    #[must_use]
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.prefix.contains(ip) && (self.first..=self.last).contains(&ip)
    }

    fn validate(&self) -> Result<()> {
        let Self { prefix, first, last } = self;
        if let Some(end) = [first, last].into_iter().find(|end| !prefix.contains(**end)) {
            return Err(Error::invalid(format!("{end} of range {self} is not in {prefix}")));
        }
        if first > last {
            return Err(Error::invalid(format!("range {self} is reversed")));
        }
        // Leases are counted from the network's address.
        match prefix.offset_of(*last) {
            Some(_) => Ok(()),
            None => Err(Error::invalid(format!("range {self} is too far into {prefix}"))
                .hint("name a smaller network that holds it")),
        }
    }
}

impl fmt::Display for LeaseRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl AddressRequest {
    /// The network that the address lies in.
    #[must_use]
    pub fn prefix(self) -> Prefix {
        match self {
            Self::Exact(address) => address.prefix(),
            Self::Lease(prefix) => prefix,
            Self::LeaseWithin(range) => range.prefix,
        }
    }

    /// Whether this address would do.
    #[must_use]
    pub fn allows(self, address: HostAddr) -> bool {
        match self {
            Self::Exact(exact) => exact == address,
            Self::Lease(prefix) => address.prefix() == prefix,
            Self::LeaseWithin(range) => {
                address.prefix() == range.prefix && range.contains(address.ip())
            }
        }
    }
}

/// What is wanted for one container interface. Two requests for one attachment are the same if
/// these are equal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Network {
    /// Routed, or on a bridge.
    pub topology: Topology,
    /// The container's addresses, of either family.
    pub addresses: Vec<AddressRequest>,
    /// Gateways in place of the default ones, at most one per address's network.
    pub gateways: Vec<IpAddr>,
    /// Whether the container gets a default route in each family it has.
    pub default_route: bool,
    /// Further routes inside the container.
    pub routes: Vec<RouteRequest>,
    /// Whether traffic to the outside is masqueraded.
    pub nat: bool,
    /// Published ports.
    pub publish: Vec<Publish>,
    /// The host link's name, if not the derived one.
    pub host_ifname: Option<IfName>,
    /// The container interface's hardware address, if not the derived one.
    pub mac: Option<Mac>,
    /// The MTU, in bytes, if not that of the bridge or of the host's default route.
    pub mtu: Option<u32>,
    /// Kernel parameters to set inside the container.
    pub sysctls: Vec<Sysctl>,
    /// Settings of the bridge and the port, with the bridge topology.
    pub bridging: Bridging,
    /// Limits on the traffic.
    pub bandwidth: Bandwidth,
    /// Which other containers may open connections to this one.
    pub isolation: Isolation,
    /// Whether the container is only put on the bridge: without addresses, routes and NAT.
    #[serde(default)]
    pub layer2_only: bool,
    /// Whether the routes may stand beside such as the container has already to the same
    /// destination, by another interface. Otherwise that is a conflict.
    #[serde(default)]
    pub routes_beside: bool,
}

impl Default for Network {
    fn default() -> Self {
        Self {
            topology: Topology::Routed,
            addresses: Vec::new(),
            gateways: Vec::new(),
            default_route: true,
            routes: Vec::new(),
            nat: false,
            publish: Vec::new(),
            host_ifname: None,
            mac: None,
            mtu: None,
            sysctls: Vec::new(),
            bridging: Bridging::default(),
            bandwidth: Bandwidth::default(),
            isolation: Isolation::Open,
            layer2_only: false,
            routes_beside: false,
        }
    }
}

impl Network {
    /// A routed network with a default route and nothing else yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an address.
    #[must_use]
    pub fn address(mut self, address: HostAddr) -> Self {
        self.addresses.push(AddressRequest::Exact(address));
        self
    }

    /// Adds a lease of a free address of this network.
    #[must_use]
    pub fn subnet(mut self, prefix: Prefix) -> Self {
        self.addresses.push(AddressRequest::Lease(prefix));
        self
    }

    /// Sets whether traffic to the outside is masqueraded.
    #[must_use]
    pub fn nat(mut self, nat: bool) -> Self {
        self.nat = nat;
        self
    }

    /// Publishes ports.
    #[must_use]
    pub fn publish(mut self, publish: Publish) -> Self {
        self.publish.push(publish);
        self
    }

    /// Puts the container on a bridge.
    #[must_use]
    pub fn bridge(mut self, name: IfName) -> Self {
        self.topology = Topology::Bridge(name);
        self
    }

    /// Checks that the parts do not contradict each other.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument): no address, an address or port
    /// twice, a gateway outside every network, a route without a way, an MTU out of range.
    pub fn validate(&self) -> Result<()> {
        self.validate_addresses()?;
        self.validate_gateways()?;
        self.validate_routes()?;
        self.validate_publish()?;
        self.validate_sysctls()?;
        self.validate_link()?;
        self.bandwidth.validate()?;
        self.bridging.validate()?;
        match self.topology {
            Topology::Routed => self.validate_routed(),
            Topology::Bridge(_) => self.validate_segment(),
        }
    }

    /// Whether any address is of this family.
    #[must_use]
    pub fn has(&self, family: Family) -> bool {
        self.addresses.iter().any(|a| a.prefix().family() == family)
    }

    fn validate_addresses(&self) -> Result<()> {
        if self.layer2_only {
            return self.validate_layer2();
        }
        if self.addresses.is_empty() {
            return Err(Error::invalid("no address is given")
                .hint("give one such as 10.0.0.2/24, or --subnet 10.0.0.0/24 for a free one"));
        }
        let exact: Vec<HostAddr> = self.addresses.iter().filter_map(exact).collect();
        for (i, address) in exact.iter().enumerate() {
            if exact[..i].iter().any(|other| other.ip() == address.ip()) {
                return Err(Error::invalid(format!("address {} is given twice", address.ip())));
            }
        }
        self.addresses.iter().try_for_each(|a| lease_has_room(*a))?;
        self.validate_bridge()
    }

    /// Without an address there is nothing to route, to translate or to publish to.
    fn validate_layer2(&self) -> Result<()> {
        let contradictions = [
            (self.topology == Topology::Routed, "needs a bridge"),
            (!self.addresses.is_empty(), "leaves no room for addresses"),
            (!self.gateways.is_empty(), "leaves no room for gateways"),
            (!self.routes.is_empty(), "leaves no room for routes"),
            (self.nat, "leaves nothing to masquerade"),
            (!self.publish.is_empty(), "leaves nothing to publish ports to"),
        ];
        match contradictions.into_iter().find(|(holds, _)| *holds) {
            Some((_, why)) => Err(Error::invalid(format!("a container without addresses {why}"))),
            None => Ok(()),
        }
    }

    /// Each container is on a link of its own: there is no bridge to be told anything.
    fn validate_routed(&self) -> Result<()> {
        if self.isolation == Isolation::SameBridge {
            return Err(Error::invalid("isolation same-bridge needs a bridge")
                .hint("add --bridge NAME, or use isolated"));
        }
        match self.bridging == Bridging::default() {
            true => Ok(()),
            false => Err(Error::invalid("settings of a bridge and its ports need a bridge")
                .hint("put the container on one, or leave them out")),
        }
    }

    fn validate_segment(&self) -> Result<()> {
        let bridging = &self.bridging;
        if bridging.leave_down && !self.layer2_only {
            return Err(Error::invalid("an interface that is left down cannot have addresses"));
        }
        if let (Some(gateway), Some(port)) = (self.gateway_ifname()?, &self.host_ifname)
            && gateway == *port
        {
            return Err(Error::invalid(format!("{port} is the host's own link on the VLAN"))
                .hint("choose another --host-ifname"));
        }
        let reached = |family| self.gateways.iter().any(|gateway| Family::of(*gateway) == family);
        let mut families = [Family::V4, Family::V6].into_iter().filter(|f| self.has(*f));
        let lost = families.find(|family| !reached(*family)).filter(|_| !bridging.host_gateway);
        match lost.filter(|_| self.default_route) {
            Some(family) => Err(Error::invalid(format!(
                "the {family} default route needs a gateway, as the host is to be none"
            ))
            .hint("name the gateway, or leave the default route out")),
            None => Ok(()),
        }
    }

    /// The host's link on the container's VLAN, on which it has the gateways' addresses; `None` if
    /// it has them on the bridge itself, or none at all.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the bridge's name leaves no room for the
    /// VLAN.
    pub fn gateway_ifname(&self) -> Result<Option<IfName>> {
        let Bridging { host_gateway, vlan, .. } = self.bridging;
        match (&self.topology, vlan) {
            (Topology::Bridge(name), Some(id)) if host_gateway && !self.layer2_only => {
                let link = format!("{name}.{id}").parse();
                link.map(Some).map_err(|e: Error| e.context(format!("VLAN {id} of bridge {name}")))
            }
            _ => Ok(None),
        }
    }

    /// The host's link on the containers' segment: its own on their VLAN, or the bridge itself.
    pub(crate) fn segment(&self) -> Result<Option<IfName>> {
        Ok(match (self.gateway_ifname()?, &self.topology) {
            (Some(link), _) => Some(link),
            (None, Topology::Bridge(name)) => Some(name.clone()),
            (None, Topology::Routed) => None,
        })
    }

    /// On a segment, the neighbours are those of the prefix.
    fn validate_bridge(&self) -> Result<()> {
        let Topology::Bridge(name) = &self.topology else {
            return Ok(());
        };
        if self.host_ifname.as_ref() == Some(name) {
            return Err(Error::invalid(format!("{name} cannot be both the bridge and its port"))
                .hint("choose another --host-ifname"));
        }
        let single = |prefix: &Prefix| prefix.length() == prefix.family().bits();
        match self.addresses.iter().map(|address| address.prefix()).find(single) {
            Some(prefix) => {
                Err(Error::invalid(format!("{prefix} has no network to share on bridge {name}"))
                    .hint("give the length of the bridge's network, such as /24"))
            }
            None => Ok(()),
        }
    }

    fn validate_gateways(&self) -> Result<()> {
        for (i, gateway) in self.gateways.iter().enumerate() {
            let known = |a: &&AddressRequest| a.prefix().contains(*gateway);
            if !self.addresses.iter().any(|a| known(&a) || routed_single(self, *a, *gateway)) {
                return Err(Error::invalid(format!(
                    "gateway {gateway} lies in no network of the container's addresses"
                )));
            }
            if let Some(why) = unfit_gateway(self, *gateway) {
                return Err(Error::invalid(format!("gateway {gateway} is {why}")));
            }
            if self.gateways[..i].contains(gateway) {
                return Err(Error::invalid(format!("gateway {gateway} is given twice")));
            }
            if self.addresses.iter().filter_map(exact).any(|a| a.ip() == *gateway) {
                return Err(Error::invalid(format!(
                    "{gateway} cannot be both the container's address and its gateway"
                )));
            }
        }
        Ok(())
    }

    fn validate_routes(&self) -> Result<()> {
        for (i, route) in self.routes.iter().enumerate() {
            let family = route.destination.family();
            if !self.has(family) {
                return Err(Error::invalid(format!(
                    "route {route} needs an {family} address in the container"
                )));
            }
            if self.routes[..i].iter().any(|other| other.same_place(route)) {
                return Err(Error::invalid(format!("route {route} is given twice")));
            }
            if route.table.is_some_and(|table| table != MAIN_TABLE) {
                continue;
            }
            if self.addresses.iter().any(|address| address.prefix() == route.destination) {
                return Err(Error::invalid(format!(
                    "route {route} leads to the container's own network"
                ))
                .hint("leave it out: the container has it by its address"));
            }
            if route.destination.is_default() && self.default_route && route.metric.is_none() {
                return Err(Error::invalid(format!("route {route} contradicts the default route"))
                    .hint("add --no-default-route, or a metric"));
            }
        }
        Ok(())
    }

    fn validate_publish(&self) -> Result<()> {
        for (i, publish) in self.publish.iter().enumerate() {
            if let Some(other) = self.publish[..i].iter().find(|other| other.overlaps(publish)) {
                return Err(Error::invalid(format!(
                    "publish {publish} and {other} claim the same host port"
                )));
            }
            let family = publish.host_ip.map(Family::of);
            if let Some(family) = family.filter(|family| !self.has(*family)) {
                return Err(Error::invalid(format!(
                    "publish {publish} needs an {family} address in the container"
                )));
            }
        }
        Ok(())
    }

    fn validate_sysctls(&self) -> Result<()> {
        for (i, sysctl) in self.sysctls.iter().enumerate() {
            if self.sysctls[..i].iter().any(|other| other.key == sysctl.key) {
                return Err(Error::invalid(format!("sysctl {} is given twice", sysctl.key)));
            }
        }
        Ok(())
    }

    fn validate_link(&self) -> Result<()> {
        // 68 is IPv4's minimum (RFC 791), 1280 IPv6's (RFC 8200); veth takes up to ETH_MAX_MTU.
        let least = if self.has(Family::V6) { 1280 } else { 68 };
        match self.mtu {
            Some(mtu) if !(least..=65535).contains(&mtu) => {
                Err(Error::invalid(format!("MTU {mtu} is not between {least} and 65535")))
            }
            _ => Ok(()),
        }
    }
}

fn exact(address: &AddressRequest) -> Option<HostAddr> {
    match address {
        AddressRequest::Exact(address) => Some(*address),
        AddressRequest::Lease(_) | AddressRequest::LeaseWithin(_) => None,
    }
}

/// Why no host can answer for this gateway, if that is so.
fn unfit_gateway(network: &Network, gateway: IpAddr) -> Option<&'static str> {
    // A link-local gateway is usual where the address has no network of its own.
    let link_local = |ip: IpAddr| matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    if let Some(why) = senseless(gateway).filter(|_| !link_local(gateway)) {
        return Some(why);
    }
    let prefixes = network.addresses.iter().map(|address| address.prefix());
    let edge = |prefix: Prefix| {
        let (first, last) = prefix.host_offsets();
        prefix.offset_of(gateway).is_some_and(|offset| offset < first || offset > last)
    };
    prefixes.into_iter().any(edge).then_some("its network's own or broadcast address")
}

/// A single address (/32, /128) has no network to hold its gateway; routed, any will do.
fn routed_single(network: &Network, address: AddressRequest, gateway: IpAddr) -> bool {
    let prefix = address.prefix();
    network.topology == Topology::Routed
        && prefix.length() == prefix.family().bits()
        && prefix.family() == Family::of(gateway)
}

fn lease_has_room(address: AddressRequest) -> Result<()> {
    let prefix = match address {
        AddressRequest::Exact(_) => return Ok(()),
        AddressRequest::Lease(prefix) => prefix,
        AddressRequest::LeaseWithin(range) => range.validate().map(|()| range.prefix)?,
    };
    let most = prefix.family().bits() - 1;
    if prefix.length() == 0 || prefix.length() > most {
        return Err(Error::invalid(format!("subnet {prefix} cannot be leased from"))
            .hint(format!("use a prefix length from 1 to {most}")));
    }
    match senseless(prefix.nth(1).unwrap_or(prefix.network())) {
        Some(why) => Err(Error::invalid(format!("subnet {prefix} is {why}"))),
        None => Ok(()),
    }
}

/// A route inside the container: `DST[,via=GW][,metric=N][,mtu=N][,advmss=N][,table=N][,scope=N]`,
/// where `default` may stand for the destination. Without `via` it goes by the family's gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RouteRequest {
    /// Where to.
    pub destination: Prefix,
    /// By which next hop.
    pub via: Option<IpAddr>,
    /// The route's metric.
    pub metric: Option<u32>,
    /// The MTU of the path, in bytes.
    pub mtu: Option<u32>,
    /// The largest TCP segment to announce, in bytes.
    pub advmss: Option<u32>,
    /// The routing table, if not the main one.
    pub table: Option<u32>,
    /// The scope, by the kernel's number.
    pub scope: Option<u8>,
}

impl RouteRequest {
    /// A route by the family's gateway with nothing special about it.
    #[must_use]
    pub fn to(destination: Prefix) -> Self {
        Self {
            destination,
            via: None,
            metric: None,
            mtu: None,
            advmss: None,
            table: None,
            scope: None,
        }
    }
}

impl RouteRequest {
    /// Whether the kernel could not hold both.
    fn same_place(&self, other: &Self) -> bool {
        let place =
            |route: &Self| (route.destination, route.metric, route.table.unwrap_or(MAIN_TABLE));
        place(self) == place(other)
    }
}

impl FromStr for RouteRequest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let within = |e: Error| e.context(format!("route {text:?}"));
        let mut parts = text.split(',');
        let destination = parts.next().unwrap_or_default();
        let options: Vec<&str> = parts.collect();
        let via = option(&options, "via").map_err(within)?;
        let number = |key| option(&options, key).map_err(within);
        only(&options, &["via", "metric", "mtu", "advmss", "table", "scope"]).map_err(within)?;
        let destination = destination_of(destination, via).map_err(within)?;
        let route = Self {
            destination,
            via,
            metric: number("metric")?,
            mtu: number("mtu")?,
            advmss: number("advmss")?,
            table: number("table")?,
            scope: option(&options, "scope").map_err(within)?,
        };
        match via {
            Some(via) if Family::of(via) != destination.family() => Err(Error::invalid(format!(
                "route {text:?}: destination and next hop are of different families"
            ))),
            _ => Ok(route),
        }
    }
}

fn destination_of(text: &str, via: Option<IpAddr>) -> Result<Prefix> {
    match text {
        "default" => Ok(via.map_or(Family::V4, Family::of).default_prefix()),
        _ => text.parse(),
    }
}

fn option<T: FromStr<Err: fmt::Display>>(options: &[&str], key: &str) -> Result<Option<T>> {
    let mut values = options.iter().filter_map(|o| o.strip_prefix(key)?.strip_prefix('='));
    let value = values.next().map(|value| {
        value.parse().map_err(|e| Error::invalid(format!("{key}={value} is not valid ({e})")))
    });
    match values.next() {
        Some(_) => Err(Error::invalid(format!("{key} is given twice"))),
        None => value.transpose(),
    }
}

fn only(options: &[&str], keys: &[&str]) -> Result<()> {
    let known = |o: &&&str| keys.iter().any(|key| o.starts_with(&format!("{key}=")));
    match options.iter().find(|o| !known(o)) {
        Some(unknown) => Err(Error::invalid(format!("{unknown:?} is unknown"))
            .hint("write DST[,via=GATEWAY][,metric=NUMBER][,mtu=BYTES][,advmss=BYTES][,table=NUMBER][,scope=NUMBER]")),
        None => Ok(()),
    }
}

impl fmt::Display for RouteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.destination)?;
        self.via.map_or(Ok(()), |via| write!(f, ",via={via}"))?;
        let numbers = [
            ("metric", self.metric),
            ("mtu", self.mtu),
            ("advmss", self.advmss),
            ("table", self.table),
            ("scope", self.scope.map(u32::from)),
        ];
        numbers.into_iter().try_for_each(|(key, value)| match value {
            Some(value) => write!(f, ",{key}={value}"),
            None => Ok(()),
        })
    }
}

/// A kernel parameter below `net`, as `net.ipv4.tcp_syncookies=1` or with slashes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Sysctl {
    /// The parameter.
    pub key: SysctlKey,
    /// Its value.
    pub value: String,
}

impl FromStr for Sysctl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Error::invalid(format!("sysctl {text:?} has no value"))
                .hint("write it as net.ipv4.tcp_syncookies=1")
        })?;
        let value = value.trim();
        if value.is_empty() || value.contains(['\n', '\0']) {
            return Err(Error::invalid(format!("sysctl {text:?} has no valid value")));
        }
        Ok(Self { key: key.trim().parse()?, value: value.to_owned() })
    }
}

impl fmt::Display for Sysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.key, self.value)
    }
}

/// A path below `/proc/sys`, by its components, so that a dot in an interface name (`eth0.100`)
/// is not taken for a separator.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SysctlKey(String);

impl SysctlKey {
    /// `net/FAMILY/conf/LINK/NAME`.
    #[must_use]
    pub fn of_link(family: Family, link: &str, name: &str) -> Self {
        let family = match family {
            Family::V4 => "ipv4",
            Family::V6 => "ipv6",
        };
        Self(format!("net/{family}/conf/{link}/{name}"))
    }

    /// Whether the parameter is one of this link, and exists only with it.
    #[must_use]
    pub fn is_of_link(&self, link: &IfName) -> bool {
        let parts: Vec<&str> = self.0.split('/').collect();
        matches!(parts.as_slice(), ["net", _, "conf" | "neigh", name, ..] if *name == link.as_str())
    }

    /// A key that is known to be right.
    pub(crate) fn known(path: &str) -> Self {
        Self(path.to_owned())
    }

    /// The path below `/proc/sys`.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.0
    }
}

impl FromStr for SysctlKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        // As sysctl(8) does: the first separator tells which kind is used throughout.
        let slashes = text.find(['.', '/']).is_some_and(|at| text.as_bytes()[at] == b'/');
        let path = if slashes { text.to_owned() } else { text.replace('.', "/") };
        let bad = |why: &str| Error::invalid(format!("sysctl {text:?} {why}"));
        if !path.starts_with("net/") {
            return Err(
                bad("is not below net").hint("only net.* parameters belong to a network namespace")
            );
        }
        let wrong = |part: &str| {
            matches!(part, "" | "." | "..")
                || part.contains(char::is_whitespace)
                || part.contains('\0')
        };
        match path.split('/').find(|part| wrong(part)) {
            Some(_) => Err(bad("is not a parameter's name")),
            None => Ok(Self(path)),
        }
    }
}

impl fmt::Display for SysctlKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // sysctl(8) reads both forms; slashes only where a component holds a dot itself.
        match self.0.contains('.') {
            true => f.write_str(&self.0),
            false => f.write_str(&self.0.replace('/', ".")),
        }
    }
}

text_conversions!(RouteRequest, Sysctl, SysctlKey);

#[cfg(test)]
mod tests {
    use super::*;

    fn network(addresses: &[&str]) -> Network {
        addresses.iter().fold(Network::new(), |n, a| n.address(a.parse().unwrap()))
    }

    #[test]
    fn contradictions_are_refused() {
        let ok = network(&["10.0.0.2/24", "fd00::2/64"]);
        assert!(ok.validate().is_ok());
        let with = |change: fn(&mut Network)| {
            let mut network = ok.clone();
            change(&mut network);
            network.validate().unwrap_err()
        };
        with(|n| n.addresses.clear());
        with(|n| n.addresses.push(AddressRequest::Exact("10.0.0.2/16".parse().unwrap())));
        with(|n| n.addresses.push(AddressRequest::Lease("10.1.0.1/32".parse().unwrap())));
        with(|n| n.gateways.push("10.1.0.1".parse().unwrap()));
        with(|n| n.gateways.push("10.0.0.2".parse().unwrap()));
        with(|n| n.mtu = Some(1279));
        with(|n| n.mtu = Some(65536));
        with(|n| n.publish = vec!["80:80".parse().unwrap(), "80:81".parse().unwrap()]);
        with(|n| n.routes.push("default,via=10.0.0.9".parse().unwrap()));
        with(|n| n.isolation = Isolation::SameBridge);
        with(|n| n.bridging.hairpin = true);
        with(|n| n.layer2_only = true);
        with(|n| {
            n.bandwidth.egress = Some(crate::bandwidth::Rate { bits_per_second: 7, burst_bits: 8 });
        });
        let bridged = |change: fn(&mut Network)| {
            let mut network = ok.clone().bridge("br0".parse().unwrap());
            change(&mut network);
            network.validate()
        };
        assert!(bridged(|n| n.isolation = Isolation::SameBridge).is_ok());
        assert!(bridged(|n| n.bridging.leave_down = true).is_err());
        assert!(bridged(|n| n.bridging.host_gateway = false).is_err());
        assert!(bridged(|n| n.bridging.vlan = Some(5)).is_ok());
        let taken = |n: &mut Network| {
            n.bridging.vlan = Some(5);
            n.host_ifname = Some("br0.5".parse().unwrap());
        };
        assert!(bridged(taken).is_err());
        let mut long = ok.clone().bridge("bridge-of-15-ch".parse().unwrap());
        long.bridging.vlan = Some(5);
        assert!(long.validate().is_err());
        long.bridging.host_gateway = false;
        long.default_route = false;
        assert!(long.validate().is_ok());
        with(|n| n.routes = vec!["10.2.0.0/16".parse().unwrap(), "10.2.0.0/16".parse().unwrap()]);
    }

    #[test]
    fn a_range_lies_in_its_network() {
        let range = |prefix: &str, first: &str, last: &str| {
            LeaseRange::new(prefix.parse().unwrap(), first.parse().unwrap(), last.parse().unwrap())
        };
        assert!(range("10.0.0.0/24", "10.0.0.10", "10.0.0.10").is_ok());
        assert!(range("fd00::/64", "fd00::10", "fd00::ffff:0:0:1").is_ok());
        for (prefix, first, last) in [
            ("10.0.0.0/24", "10.0.0.10", "10.0.0.9"),
            ("10.0.0.0/24", "10.0.1.10", "10.0.1.11"),
            ("10.0.0.0/24", "fd00::1", "fd00::2"),
            ("fd00::/16", "fd00::1", "fd00:1::1"),
        ] {
            assert!(range(prefix, first, last).is_err(), "{prefix} {first} {last}");
        }
        let mut network = Network::new();
        let [first, last] = ["10.0.0.9", "10.0.0.8"].map(|ip| ip.parse().unwrap());
        let prefix = "10.0.0.0/24".parse().unwrap();
        network.addresses = vec![AddressRequest::LeaseWithin(LeaseRange { prefix, first, last })];
        assert!(network.validate().is_err());
    }

    #[test]
    fn routes_and_sysctls_round_trip() {
        for text in [
            "10.2.0.0/16,metric=5,mtu=1400,advmss=1360,table=100,scope=253",
            "10.2.0.0/16",
            "10.2.0.0/16,via=10.0.0.9",
            "fd01::/48,via=fd00::9,metric=5",
        ] {
            assert_eq!(text.parse::<RouteRequest>().unwrap().to_string(), text);
        }
        for bad in [
            "10.2.0.1/16",
            "10.2.0.0/16,via=fd00::1",
            "10.2.0.0/16,dev=x",
            "10.2.0.0/16,via=1.1.1.1,via=1.1.1.2",
            "x",
        ] {
            assert!(bad.parse::<RouteRequest>().is_err(), "{bad}");
        }
        let key: SysctlKey = "net/ipv4/conf/eth0.100/forwarding".parse().unwrap();
        assert_eq!(key.to_string(), "net/ipv4/conf/eth0.100/forwarding");
        assert_eq!(
            "net.ipv4.ip_forward=1".parse::<Sysctl>().unwrap().to_string(),
            "net.ipv4.ip_forward=1"
        );
        for bad in [
            "kernel.hostname=x",
            "net..ipv4=1",
            "net/../kernel/x=1",
            "net.ipv4.x",
            "net.ipv4.x=",
            "=1",
        ] {
            assert!(bad.parse::<Sysctl>().is_err(), "{bad}");
        }
    }
}

//! Looks at the kernel, as far as one request needs it, and changes nothing. Only single look-ups:
//! the cost is the same however many attachments exist.

pub mod surroundings;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::addr::{Family, HostAddr};
use crate::apply::is_labelled;
use crate::error::Result;
use crate::host::Host;
use crate::ident::{IfName, Mac};
use crate::isolation::Isolation;
use crate::kernel::link::Link;
use crate::kernel::route::Entry;
use crate::kernel::rtnl::Rtnl;
use crate::kernel::{address, link, netns, nftables, route, sockets, sysctl};
use crate::plan::{
    self, ContainerRoute, ForwardingOff, MAIN_TABLE, Observed, ObservedBridge, Reached, TakenPort,
    Wanted,
};
use crate::publish::Protocol;
use crate::request::{Sysctl, SysctlKey, Topology};
use crate::ruleset::{Element, PublishedPort, Rules, address_of_data};
use crate::target::Target;

/// The snapshot for one request.
pub fn observe(
    host: &Host,
    container: &Rtnl,
    target: &Target,
    wanted: &Wanted<'_>,
) -> Result<Observed> {
    let network = wanted.network;
    let ipv6 = sockets::has_ipv6();
    let (bridge, bridged_frames_filtered) = match &network.topology {
        Topology::Routed => (None, false),
        Topology::Bridge(name) => {
            (bridge(host, name, network.isolation)?, bridged_frames_filtered()?)
        }
    };
    let vlan_gateway = match network.gateway_ifname()? {
        Some(name) => vlan_gateway(host, &name, network.isolation)?,
        None => None,
    };
    let mut observed = Observed {
        ruleset: nftables::is_current(host.nft()?, Rules::Inet)?,
        bridge_ruleset: network.bridging.needs_frame_rules()
            && nftables::is_current(host.nft()?, Rules::Bridge)?,
        ipv6,
        host_link_exists: link::by_name(&host.rtnl, &host_ifname(wanted))?.is_some(),
        bridge,
        vlan_gateway,
        bridged_frames_filtered,
        bridged_frames_all_filtered: bridged_frames_filtered
            && network.isolation == Isolation::Isolated
            && bridged_frames_all_filtered()?,
        ..Observed::default()
    };
    if network.mtu.is_none() && observed.bridge.is_none() {
        observed.uplink_mtu = uplink_mtu(&host.rtnl, network.has(Family::V4))?;
    }
    forwarding(&host.rtnl, &mut observed, wanted)?;
    observe_container(container, target, wanted, &mut observed)?;
    observed.reached = reached(host, wanted)?;
    observed.taken_ports = taken_ports(host, wanted)?;
    Ok(observed)
}

fn host_ifname(wanted: &Wanted<'_>) -> IfName {
    wanted.network.host_ifname.clone().unwrap_or_else(|| wanted.id.host_ifname())
}

fn observe_container(
    rtnl: &Rtnl,
    target: &Target,
    wanted: &Wanted<'_>,
    observed: &mut Observed,
) -> Result<()> {
    // A container has few links: one listing tells more than a question for each.
    let links = link::all(rtnl)?;
    let named = |name: &IfName| links.iter().find(|link| link.name == name.as_str());
    observed.container_link_exists = named(&wanted.id.ifname).is_some();
    observed.loopback_up = named(&IfName::loopback()).is_some_and(|lo| lo.up);
    let network = wanted.network;
    if links.len() > 1 {
        // Loopback's own routes are in another table.
        observed.container_routes = container_routes(rtnl, wanted)?;
    }
    if !network.has(Family::V6) && network.sysctls.is_empty() {
        return Ok(());
    }
    let disabled =
        ["all", "default"].map(|link| SysctlKey::of_link(Family::V6, link, "disable_ipv6"));
    let read = || {
        let off = |key| Ok(sysctl::read(key)?.as_deref() == Some("1"));
        let disabled = disabled.iter().map(off).collect::<Result<Vec<bool>>>()?.contains(&true);
        let present = |s: &Sysctl| Ok(sysctl::read(&s.key)?.map(|value| (s.key.clone(), value)));
        let values =
            network.sysctls.iter().filter_map(|s| present(s).transpose()).collect::<Result<_>>()?;
        Ok((disabled, values))
    };
    (observed.container_ipv6_disabled, observed.container_sysctls) =
        netns::visit(target.netns(), read).flatten()?;
    Ok(())
}

/// The container's routes, in the families of the request: there are but a few.
fn container_routes(rtnl: &Rtnl, wanted: &Wanted<'_>) -> Result<Vec<ContainerRoute>> {
    let mut found = Vec::new();
    let mut tables = vec![MAIN_TABLE];
    tables.extend(wanted.network.routes.iter().filter_map(|route| route.table));
    tables.sort_unstable();
    tables.dedup();
    let families = [Family::V4, Family::V6].into_iter().filter(|f| wanted.network.has(*f));
    for (family, table) in families.flat_map(|f| tables.iter().map(move |table| (f, *table))) {
        let route = |entry: Entry| ContainerRoute {
            destination: entry.destination,
            metric: entry.metric.unwrap_or(0),
            table: entry.table,
        };
        found.extend(route::of_table(rtnl, family, table)?.into_iter().map(route));
    }
    Ok(found)
}

/// The MTU of the link of the host's default route.
fn uplink_mtu(rtnl: &Rtnl, v4: bool) -> Result<Option<u32>> {
    let families = if v4 { [Family::V4, Family::V6] } else { [Family::V6, Family::V4] };
    for family in families {
        if let Some(entry) = default_route(rtnl, family)? {
            return mtu_of(rtnl, &entry);
        }
    }
    Ok(None)
}

/// The host's default route in one family.
///
/// The look-ups are for addresses that RFC 5737 and RFC 3849 reserve for documentation: nobody has
/// a route to them but the default one. On a machine that does use one of them another is tried.
fn default_route(rtnl: &Rtnl, family: Family) -> Result<Option<Entry>> {
    let probes: Vec<IpAddr> = match family {
        Family::V4 => [[203, 0, 113, 1], [198, 51, 100, 1], [192, 0, 2, 1]]
            .map(|octets| IpAddr::V4(Ipv4Addr::from(octets)))
            .to_vec(),
        Family::V6 => vec![Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 1).into()],
    };
    for probe in probes {
        let entry = route::lookup(rtnl, probe)?;
        if let Some(entry) = entry.filter(|entry| entry.destination.is_default()) {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

fn mtu_of(rtnl: &Rtnl, entry: &Entry) -> Result<Option<u32>> {
    let link = match entry.link {
        Some(index) => link::by_index(rtnl, index)?.map(|link| link.mtu),
        None => None,
    };
    Ok(entry.mtu.or(link))
}

fn forwarding(rtnl: &Rtnl, observed: &mut Observed, wanted: &Wanted<'_>) -> Result<()> {
    if wanted.network.has(Family::V4) {
        let v4 = sysctl::read(&SysctlKey::known("net/ipv4/ip_forward"))?;
        if v4.as_deref() == Some("0") {
            observed.forwarding_off.insert(Family::V4, forwarding_off_v4()?);
        }
    }
    if wanted.network.has(Family::V6) {
        let v6 = sysctl::read(&SysctlKey::known("net/ipv6/conf/all/forwarding"))?;
        if v6.as_deref() == Some("0") {
            observed.forwarding_off.insert(Family::V6, forwarding_off_v6(rtnl)?);
        }
    }
    Ok(())
}

/// Switching forwarding overwrites the switch of each link, and `accept_redirects`
/// (`inet_forward_change`, net/ipv4/devinet.c).
fn forwarding_off_v4() -> Result<ForwardingOff> {
    let mut restore = forwarding_links(Family::V4)?;
    let key = SysctlKey::of_link(Family::V4, "all", "accept_redirects");
    restore.extend(sysctl::read(&key)?.map(|value| Sysctl { key, value }));
    Ok(ForwardingOff { restore, advertised_links: Vec::new() })
}

fn forwarding_off_v6(rtnl: &Rtnl) -> Result<ForwardingOff> {
    let mut advertised_links = Vec::new();
    for index in advertised(rtnl)? {
        let Some(link) = link::by_index(rtnl, index)? else { continue };
        let accepts = sysctl::read(&SysctlKey::of_link(Family::V6, &link.name, "accept_ra"))?;
        if accepts.as_deref() == Some("1") {
            advertised_links.push(link.name.parse()?);
        }
    }
    Ok(ForwardingOff { restore: forwarding_links(Family::V6)?, advertised_links })
}

/// The links by which routes were learnt from router advertisements.
fn advertised(rtnl: &Rtnl) -> Result<Vec<u32>> {
    let routes = route::all(rtnl, Family::V6)?;
    let mut links: Vec<u32> =
        routes.iter().filter(|entry| entry.advertised).filter_map(|entry| entry.link).collect();
    links.sort_unstable();
    links.dedup();
    Ok(links)
}

/// The links that forward although the family as a whole does not.
fn forwarding_links(family: Family) -> Result<Vec<Sysctl>> {
    let folder = if family == Family::V4 { "net/ipv4/conf" } else { "net/ipv6/conf" };
    let mut found = Vec::new();
    for link in sysctl::children(folder)?.into_iter().filter(|link| link != "all") {
        let key = SysctlKey::of_link(family, &link, "forwarding");
        if sysctl::read(&key)?.as_deref() == Some("1") {
            found.push(Sysctl { key, value: "1".to_owned() });
        }
    }
    Ok(found)
}

fn bridge(host: &Host, name: &IfName, isolation: Isolation) -> Result<Option<ObservedBridge>> {
    let Some(link) = link::by_name(&host.rtnl, name)? else {
        return Ok(None);
    };
    let record = host.state.bridge(name)?;
    let ours = record.is_some_and(|record| record.ours);
    let uplink = !ours && is_uplink(&host.rtnl, link.index)?;
    let known = plan::of_bridge(name, uplink, bridged_frames_filtered()?);
    segment(host, name, link, (ours, uplink), (&known, isolation)).map(Some)
}

/// The link that has the name of the host's own on a VLAN. That netup made it is told by its label,
/// for it is there for all that are on the VLAN.
fn vlan_gateway(
    host: &Host,
    name: &IfName,
    isolation: Isolation,
) -> Result<Option<ObservedBridge>> {
    let Some(link) = link::by_name(&host.rtnl, name)? else {
        return Ok(None);
    };
    let ours = is_labelled(&link, &plan::gateway_label(name));
    let known = plan::of_gateway(name);
    segment(host, name, link, (ours, false), (&known, isolation)).map(Some)
}

fn segment(
    host: &Host,
    name: &IfName,
    link: Link,
    (ours, uplink): (bool, bool),
    (known, isolation): (&[Element], Isolation),
) -> Result<ObservedBridge> {
    let localnet = sysctl::read(&SysctlKey::of_link(Family::V4, name.as_str(), "route_localnet"))?;
    let confined = plan::confinement(name, isolation);
    Ok(ObservedBridge {
        is_bridge: link.kind.as_deref() == Some("bridge"),
        ours,
        up: link.up,
        mac: Mac::observed(&link.mac),
        carrier: link.carrier,
        mtu: link.mtu,
        addresses: address::of_link(&host.rtnl, link.index)?,
        uplink,
        promiscuous: link.promiscuous,
        in_ruleset: all_stored(host, known)?,
        confined: !confined.is_empty() && all_stored(host, &confined)?,
        route_localnet: localnet.as_deref() == Some("1"),
        vlan_filtering: link.vlan_filtering,
        default_vlan: link.default_vlan,
    })
}

fn is_uplink(rtnl: &Rtnl, index: u32) -> Result<bool> {
    let over =
        |family| Ok(default_route(rtnl, family)?.and_then(|entry| entry.link) == Some(index));
    Ok(over(Family::V4)? || over(Family::V6)?)
}

fn all_stored(host: &Host, elements: &[Element]) -> Result<bool> {
    let stored = |element| Ok(nftables::stored(host.nft()?, element)?.is_some());
    elements.iter().try_fold(true, |all, element| Ok(all && stored(element)?))
}

/// Whether br_netfilter is at work in this namespace, in either family.
pub fn bridged_frames_filtered() -> Result<bool> {
    let mut switches = plan::bridge_filter_switches().into_iter();
    switches.try_fold(false, |any, key| Ok(any || is_on(&key)?))
}

/// Whether it is in both.
pub fn bridged_frames_all_filtered() -> Result<bool> {
    let mut switches = plan::bridge_filter_switches().into_iter();
    switches.try_fold(true, |all, key| Ok(all && is_on(&key)?))
}

fn is_on(key: &SysctlKey) -> Result<bool> {
    Ok(sysctl::read(key)?.is_some_and(|value| value != "0"))
}

/// The routing entry for each address, and for each gateway that it may get.
fn reached(host: &Host, wanted: &Wanted<'_>) -> Result<Vec<Reached>> {
    let defaults = wanted.addresses.iter().map(|address| address.default_gateway());
    let mut ips: Vec<IpAddr> =
        wanted.addresses.iter().map(|address: &HostAddr| address.ip()).collect();
    ips.extend(wanted.network.gateways.iter().copied().chain(defaults));
    ips.sort_unstable();
    ips.dedup();
    let mut found = Vec::new();
    for ip in ips {
        if let Some(entry) = route::lookup(&host.rtnl, ip)? {
            found.push(reached_by(host, ip, entry)?);
        }
    }
    Ok(found)
}

fn reached_by(host: &Host, ip: IpAddr, entry: Entry) -> Result<Reached> {
    let link = match entry.link {
        // Only where it matters: a route by a next hop is nobody's segment.
        Some(index) if entry.via.is_none() => {
            link::by_index(&host.rtnl, index)?.map(|link| link.name)
        }
        _ => None,
    };
    let local = entry.local || is_about_to_be_local(host, ip, &entry)?;
    Ok(Reached { ip, destination: entry.destination, link, local, via: entry.via })
}

/// IPv6 routes to a new address of the host's own as to a neighbour's for the moment until its
/// workqueue has come round to it (`addrconf_dad_work`, net/ipv6/addrconf.c).
fn is_about_to_be_local(host: &Host, ip: IpAddr, entry: &Entry) -> Result<bool> {
    let single = entry.destination.length() == Family::V6.bits() && entry.via.is_none();
    match entry.link {
        Some(index) if single && ip.is_ipv6() => {
            let own = address::of_link(&host.rtnl, index)?;
            Ok(own.iter().any(|address| address.ip() == ip))
        }
        _ => Ok(false),
    }
}

/// Ports that another attachment has, or that a process of the host listens on.
fn taken_ports(host: &Host, wanted: &Wanted<'_>) -> Result<Vec<TakenPort>> {
    occupied(host, &plan::published(&wanted.network.publish, wanted.addresses))
}

/// Those of the ports that another attachment has, or that a process of the host listens on.
pub fn occupied(host: &Host, ports: &[PublishedPort]) -> Result<Vec<TakenPort>> {
    let mut taken = Vec::new();
    for port in ports {
        // One that is published on every address leaves none for anybody else.
        let on_any = PublishedPort { host_ip: None, ..*port };
        for key in [Some(*port), port.host_ip.map(|_| on_any)].into_iter().flatten() {
            taken.extend(published_by(host, key)?.map(|by| TakenPort { port: *port, by }));
        }
    }
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        let of_protocol: Vec<&PublishedPort> =
            ports.iter().filter(|port| port.protocol == protocol).collect();
        if !of_protocol.is_empty() {
            taken.extend(listened_on(protocol, &of_protocol)?);
        }
    }
    Ok(taken)
}

/// Who has a port's key in the maps.
pub fn published_by(host: &Host, port: PublishedPort) -> Result<Option<String>> {
    let Some(data) = nftables::stored(host.nft()?, &Element::Publish(port))? else {
        return Ok(None);
    };
    let Some(ip) = address_of_data(&data) else {
        return Ok(Some("an element of table netup that netup did not write".to_owned()));
    };
    let owner = host.state.owner(ip)?;
    Ok(Some(owner.map_or_else(|| format!("{ip}"), |owner| format!("{owner} ({ip})"))))
}

fn listened_on(protocol: Protocol, ports: &[&PublishedPort]) -> Result<Vec<TakenPort>> {
    let listeners = sockets::listeners(protocol)?;
    let mut taken = Vec::new();
    for port in ports {
        let family = Family::of(port.ip);
        let holder =
            listeners.iter().find(|l| l.port == port.host_port && l.takes(family, port.host_ip));
        taken.extend(holder.map(|listener| TakenPort { port: **port, by: described(listener) }));
    }
    Ok(taken)
}

fn described(listener: &sockets::Listener) -> String {
    let process = sockets::holder(listener.inode).unwrap_or_else(|| "a process".to_owned());
    format!("{process}, which listens on {}", std::net::SocketAddr::new(listener.ip, listener.port))
}

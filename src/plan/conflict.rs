//! What stands in the way. Everything is found before anything is changed.

use std::net::IpAddr;

use crate::addr::Family;
use crate::bridging::Bridging;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::IfName;
use crate::outcome::Attachment;
use crate::plan::observed::{
    ContainerRoute, MAIN_TABLE, Observed, ObservedBridge, Reached, TakenPort,
};
use crate::plan::step::{Planned, Side, Step};
use crate::plan::{bridge, vlan};
use crate::request::{RouteRequest, Topology};

/// Refuses an attachment that cannot come about beside what exists.
pub fn check(attachment: &Attachment, bridging: &Bridging, observed: &Observed) -> Result<()> {
    links(attachment, observed)?;
    bridge(attachment, bridging, observed)?;
    gateways_apart(attachment)?;
    next_hops(attachment)?;
    let addresses = attachment.addresses.iter().map(|address| address.ip());
    match bridging.host_gateway {
        true => {
            addresses.into_iter().try_for_each(|ip| address_free(ip, attachment, observed))?;
            let mut gateways = attachment.gateways.iter();
            gateways.try_for_each(|gateway| gateway_free(*gateway, attachment, observed))?;
        }
        // The segment is somebody else's to route, and the host may well be beside it.
        false => addresses.into_iter().try_for_each(|ip| not_the_hosts(ip, observed))?,
    }
    sysctls(attachment, observed)?;
    ports(observed)
}

fn links(attachment: &Attachment, observed: &Observed) -> Result<()> {
    let exists = |side: &str, name| {
        Error::new(ErrorKind::InterfaceExists, format!("{side} already has an interface {name}"))
    };
    if observed.container_link_exists {
        let name = &attachment.id.ifname;
        return Err(exists("the container", name)
            .hint("choose another name with --ifname, or remove that interface"));
    }
    if observed.host_link_exists {
        return Err(exists("the host", &attachment.host_ifname)
            .hint("choose another name with --host-ifname, or remove that link"));
    }
    Ok(())
}

fn bridge(attachment: &Attachment, bridging: &Bridging, observed: &Observed) -> Result<()> {
    let (Topology::Bridge(name), Some(bridge)) = (&attachment.topology, &observed.bridge) else {
        return Ok(());
    };
    if !bridge.is_bridge {
        return Err(Error::new(
            ErrorKind::NotABridge,
            format!("{name} exists and is not a bridge"),
        )
        .hint("choose another name with --bridge"));
    }
    if !bridge.up && !bridge.ours && !bridging.adopt {
        return Err(Error::new(ErrorKind::BridgeUnsuitable, format!("bridge {name} is down"))
            .hint(format!("run ip link set {name} up")));
    }
    vlans(name, bridge, bridging)?;
    let segment = observed.segment(attachment.gateway_ifname.is_some());
    match segment {
        Some(segment) => gateways_in_the_way(attachment, bridging, segment),
        None => Ok(()),
    }
}

fn vlans(name: &IfName, bridge: &ObservedBridge, bridging: &Bridging) -> Result<()> {
    match bridge.vlan_filtering {
        _ if !bridging.has_vlans() => Ok(()),
        None => Err(vlan::unsupported(name)),
        Some(false) if !bridge.ours && !bridging.adopt => Err(Error::new(
            ErrorKind::BridgeUnsuitable,
            format!("bridge {name} does not keep VLANs apart, and is not netup's to change"),
        )
        .hint(format!("run ip link set {name} type bridge vlan_filtering 1"))),
        Some(_) => Ok(()),
    }
}

fn gateways_in_the_way(
    attachment: &Attachment,
    bridging: &Bridging,
    segment: &ObservedBridge,
) -> Result<()> {
    if !bridging.adopt || !bridging.host_gateway || bridging.force_address {
        return Ok(());
    }
    let name = attachment.segment().map_or("", IfName::as_str);
    match bridge::in_the_way(attachment, segment).first() {
        Some((own, gateway)) => Err(Error::new(
            ErrorKind::BridgeUnsuitable,
            format!("bridge {name} already has an IP address different from {gateway}: {own}"),
        )
        .hint("use that network, another bridge, or let conflicting addresses be removed")),
        None => Ok(()),
    }
}

/// A leased or exact address may turn out to be the gateway that was derived.
fn gateways_apart(attachment: &Attachment) -> Result<()> {
    match attachment.addresses.iter().find(|address| attachment.gateways.contains(&address.ip())) {
        Some(address) => Err(Error::invalid(format!(
            "address {} is the gateway of {}",
            address.ip(),
            address.prefix()
        ))
        .hint("choose another address, or another gateway with --gateway")),
        None => Ok(()),
    }
}

/// A next hop must be a neighbour: on a bridge whoever is in the container's networks, routed
/// only the gateways, since everybody else is behind the host.
fn next_hops(attachment: &Attachment) -> Result<()> {
    let own = |ip: IpAddr| attachment.addresses.iter().any(|address| address.ip() == ip);
    let on_segment = |ip: IpAddr| attachment.addresses.iter().any(|a| a.prefix().contains(ip));
    let neighbour = |ip: IpAddr| match &attachment.topology {
        Topology::Routed => attachment.gateways.contains(&ip),
        Topology::Bridge(_) => (on_segment(ip) || attachment.gateways.contains(&ip)) && !own(ip),
    };
    let via =
        |route: &RouteRequest| route.via.filter(|via| !neighbour(*via)).map(|via| (*route, via));
    match attachment.routes.iter().find_map(via) {
        Some((route, via)) => Err(Error::invalid(format!("route {route}: {via} is no neighbour of the container"))
            .hint("use a gateway of the container; another next hop needs --bridge and an address of the same network")),
        None => Ok(()),
    }
}

fn reached(ip: IpAddr, observed: &Observed) -> Option<&Reached> {
    observed.reached.iter().find(|reached| reached.ip == ip)
}

fn is_bridge(link: Option<&str>, attachment: &Attachment) -> bool {
    link.is_some() && link == attachment.segment().map(IfName::as_str)
}

fn taken(ip: IpAddr, why: String) -> Error {
    Error::new(ErrorKind::AddressInUse, format!("address {ip} {why}"))
}

fn not_the_hosts(ip: IpAddr, observed: &Observed) -> Result<()> {
    match reached(ip, observed).filter(|reached| reached.local) {
        Some(reached) => {
            let on = reached.link.as_deref().unwrap_or("another link");
            Err(taken(ip, format!("is the host's own, on {on}")).hint("choose another address"))
        }
        None => Ok(()),
    }
}

fn address_free(ip: IpAddr, attachment: &Attachment, observed: &Observed) -> Result<()> {
    not_the_hosts(ip, observed)?;
    let Some(reached) = reached(ip, observed) else {
        return Ok(());
    };
    let link = reached.link.as_deref();
    let on = link.unwrap_or("another link");
    if !reached.on_link() || is_bridge(link, attachment) {
        return Ok(());
    }
    if reached.destination.length() == reached.destination.family().bits() {
        return Err(taken(ip, format!("is already routed to {on}"))
            .hint("choose another address; netup ls shows who has which"));
    }
    Err(taken(ip, format!("lies in {}, which the host reaches on {on}", reached.destination))
        .hint(format!("choose a network that the host does not use, or put the container on that segment with --bridge {on} if it is a bridge")))
}

/// The host is to answer for the gateway. It must not hide a router that the host itself uses.
fn gateway_free(gateway: IpAddr, attachment: &Attachment, observed: &Observed) -> Result<()> {
    let Some(reached) = reached(gateway, observed) else {
        return Ok(());
    };
    let link = reached.link.as_deref();
    // A link-local address means another neighbour on each link.
    if !reached.on_link() || is_bridge(link, attachment) || is_link_local(gateway) {
        return Ok(());
    }
    let on = link.unwrap_or("another link");
    Err(Error::new(
        ErrorKind::AddressInUse,
        format!("gateway {gateway} is a neighbour of the host on {on}"),
    )
    .hint("choose another gateway with --gateway, or a network that the host does not use"))
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// Refuses routes that the container has already, for example by another interface, and two of
/// the request that the kernel could not tell apart.
pub fn routes(steps: &[Planned], observed: &Observed) -> Result<()> {
    let mut made = Vec::new();
    for (route, beside) in steps.iter().filter_map(container_route) {
        if !beside && observed.container_routes.contains(&route) {
            return Err(route_taken(route));
        }
        if made.contains(&route) {
            return Err(Error::invalid(format!(
                "a route to {} would be made twice",
                route.destination
            ))
            .hint("leave one out, or give it another metric"));
        }
        made.push(route);
    }
    Ok(())
}

fn container_route(planned: &Planned) -> Option<(ContainerRoute, bool)> {
    match &planned.step {
        Step::AddRoute(route) if route.side == Side::Container => {
            let known = ContainerRoute {
                destination: route.destination,
                metric: metric(route.destination.family(), route.metric),
                table: route.table.unwrap_or(MAIN_TABLE),
            };
            Some((known, route.beside))
        }
        _ => None,
    }
}

/// The metric that the kernel gives: IPv6 takes 0 for "none said".
fn metric(family: Family, asked: Option<u32>) -> u32 {
    match (family, asked) {
        (Family::V6, None | Some(0)) => 1024,
        (_, asked) => asked.unwrap_or(0),
    }
}

fn route_taken(route: ContainerRoute) -> Error {
    let ContainerRoute { destination, .. } = route;
    let error = |what: String| Error::new(ErrorKind::RouteExists, what);
    match destination.is_default() {
        true => {
            error(format!("the container already has an {} default route", destination.family()))
                .hint("add --no-default-route")
        }
        false => error(format!("the container already has a route to {destination}"))
            .hint("choose another network, or give the route another metric"),
    }
}

fn sysctls(attachment: &Attachment, observed: &Observed) -> Result<()> {
    let missing = attachment.sysctls.iter().find(|s| {
        !s.key.is_of_link(&attachment.id.ifname) && !observed.container_sysctls.contains_key(&s.key)
    });
    match missing {
        Some(sysctl) => {
            Err(Error::invalid(format!("sysctl {} does not exist in the container", sysctl.key))
                .hint("check the name; one of a link exists only while the link does"))
        }
        None => Ok(()),
    }
}

fn ports(observed: &Observed) -> Result<()> {
    ports_free(&observed.taken_ports)
}

/// Refuses ports that somebody has.
pub fn ports_free(ports: &[TakenPort]) -> Result<()> {
    ports.first().map_or(Ok(()), |taken| Err(port_taken(taken)))
}

/// The refusal of a port that somebody has.
pub fn port_taken(taken: &TakenPort) -> Error {
    let address = taken.port.host_ip.map_or(String::new(), |ip| format!("{ip} "));
    let port = format!("{address}port {}/{}", taken.port.host_port, taken.port.protocol);
    Error::new(ErrorKind::PortInUse, format!("{port} of the host is taken by {}", taken.by))
        .hint("publish on another port of the host")
}

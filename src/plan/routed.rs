//! The routed topology: each container behind a link of its own.
//!
//! In the container, with gateway G and address A/24:
//! ```text
//! G dev eth0 scope link
//! NET/24 via G src A
//! default via G
//! ```
//! and on the host G/32 on each link, and `A/32 dev LINK`. So any number of containers share one
//! prefix without a bridge, and the host sees every packet between them.

use crate::addr::{Family, HostAddr, Prefix};
use crate::outcome::Attachment;
use crate::plan::observed::Observed;
use crate::plan::step::{Planned, Route, Side, Step};
use crate::plan::{container_link, container_routes, link_sysctl, with_link, write};
use crate::request::Network;

/// The steps from the veth pair to the container's routes.
pub fn steps(attachment: &Attachment, network: &Network, observed: &Observed) -> Vec<Planned> {
    let mut steps = vec![attachment.veth(None)];
    steps.extend(host_sysctls(attachment, observed));
    steps.push(attachment.host_up());
    steps.extend(attachment.limits(observed));
    steps.extend(host_addresses(attachment));
    steps.extend(attachment.addresses.iter().map(|address| host_route(attachment, *address)));
    steps.extend(container_link(attachment, network, observed));
    steps.extend(prefix_routes(attachment));
    steps.extend(container_routes(attachment, network));
    steps
}

/// Before the link is up: a container must not be able to advertise itself as the host's router
/// (CVE-2020-10749), which `accept_ra` would let it.
fn host_sysctls(attachment: &Attachment, observed: &Observed) -> Vec<Planned> {
    let link = &attachment.host_ifname;
    let set =
        |family, name, value| with_link(write(Side::Host, link_sysctl(family, link, name, value)));
    let mut steps = Vec::new();
    match (observed.ipv6, attachment.has(Family::V6)) {
        (false, _) => {}
        (true, false) => steps.push(set(Family::V6, "disable_ipv6", "1")),
        (true, true) => {
            steps.push(set(Family::V6, "accept_ra", "0"));
            steps.push(set(Family::V6, "accept_dad", "0"));
        }
    }
    if attachment.publishes(Family::V4) {
        // 127.0.0.1:PORT of the host; the guard chain keeps everybody else out.
        steps.push(set(Family::V4, "route_localnet", "1"));
    }
    steps
}

fn host_addresses(attachment: &Attachment) -> Vec<Planned> {
    let add = |gateway| {
        with_link(Step::AddAddress {
            side: Side::Host,
            name: attachment.host_ifname.clone(),
            address: HostAddr::single(gateway),
            // A /32 and a /128 have no prefix to route to.
            connected: true,
            detect_duplicates: false,
        })
    };
    attachment.gateways.iter().copied().map(add).collect()
}

fn host_route(attachment: &Attachment, address: HostAddr) -> Planned {
    let destination = Prefix::host(address.ip());
    with_link(Step::AddRoute(Route::on(Side::Host, &attachment.host_ifname, destination)))
}

/// The gateways on the link, then the containers' networks by them, each once.
fn prefix_routes(attachment: &Attachment) -> Vec<Planned> {
    let route = |destination, via, source| Route {
        via,
        source,
        ..Route::on(Side::Container, &attachment.id.ifname, destination)
    };
    let mut routes: Vec<Route> = attachment
        .gateways
        .iter()
        .map(|gateway| route(Prefix::host(*gateway), None, None))
        .collect();
    for address in &attachment.addresses {
        let (prefix, source) = (address.prefix(), address.ip());
        let single = prefix.length() == prefix.family().bits();
        if !single && !routes.iter().any(|known| known.destination == prefix) {
            routes.push(route(prefix, attachment.gateway_of(*address), Some(source)));
        }
    }
    routes.into_iter().map(|route| with_link(Step::AddRoute(route))).collect()
}

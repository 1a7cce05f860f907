//! The bridge topology: containers share a layer-2 segment, on which the host has the gateway's
//! address. A bridge that is not ours keeps its addresses: it is only used.

use std::net::IpAddr;

use crate::addr::{Family, HostAddr};
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{AttachmentId, ContainerId, IfName};
use crate::outcome::Attachment;
use crate::plan::observed::{Observed, ObservedBridge};
use crate::plan::step::{Label, Planned, Side, Step, UndoScope};
use crate::plan::{container_link, container_routes, link_sysctl, with_link, write};
use crate::request::Network;
use crate::ruleset::Element;

/// The label of a bridge that netup made.
pub fn alias(name: &IfName) -> String {
    format!("netup bridge {name}")
}

/// What tells that a bridge of this name is one that netup made.
pub fn label(name: &IfName) -> Label {
    let identity = AttachmentId { container: ContainerId::of_bridge(), ifname: name.clone() };
    Label { name: name.clone(), alias: alias(name), mac: identity.host_mac() }
}

/// The gateway on this bridge for an address, when the caller names none.
pub fn gateway(
    name: &IfName,
    network: &Network,
    address: HostAddr,
    observed: &Observed,
) -> Result<Option<IpAddr>> {
    let foreign = observed.bridge.as_ref().filter(|bridge| bridge.is_bridge && !bridge.ours);
    let Some(bridge) = foreign else {
        return Ok(Some(address.default_gateway()));
    };
    let own = bridge.addresses.iter().map(|own| own.ip()).find(|ip| address.prefix().contains(*ip));
    let needed = network.default_route || network.nat || !network.publish.is_empty();
    match own {
        None if needed => Err(Error::new(
            ErrorKind::BridgeUnsuitable,
            format!("bridge {name} has no address in {} to be the gateway, and is not netup's to change", address.prefix()),
        )
        .hint(format!("run ip address add {}/{} dev {name}, or give --gateway, or --no-default-route without --nat and -p",
            address.default_gateway(), address.prefix().length()))),
        own => Ok(own),
    }
}

/// What the bridge lacks. It is undone when the bridge's last attachment goes.
pub fn shared(name: &IfName, attachment: &Attachment, observed: &Observed) -> Vec<Planned> {
    let known = observed.bridge.as_ref();
    let mut steps = Vec::new();
    if known.is_none() {
        steps.extend(create(name, attachment, observed));
    }
    if known.is_none_or(|bridge| bridge.ours) {
        steps.extend(missing_gateways(name, attachment, known));
    }
    steps.extend(known.and_then(|bridge| settle(name, bridge)));
    steps.extend(localnet(name, attachment, known));
    if known.is_none_or(|bridge| !bridge.in_ruleset) {
        steps.push(elements(name, observed.bridged_frames_filtered));
    }
    steps
}

/// What an existing bridge needs before a port joins: ours to be up, and one without ports to keep
/// its hardware address, since neighbours know it by that. Neither is taken back: the first is as
/// netup left it, and the second changes nothing that can be seen.
fn settle(name: &IfName, bridge: &ObservedBridge) -> Option<Planned> {
    match (bridge.ours, bridge.up, bridge.carrier) {
        (true, false, _) => Some(up(name)),
        (false, _, false) => Some(with_link(Step::PinMac { name: name.clone(), mac: bridge.mac })),
        _ => None,
    }
}

fn up(name: &IfName) -> Planned {
    with_link(Step::SetUp { side: Side::Host, name: name.clone(), alias: Some(alias(name)) })
}

fn create(name: &IfName, attachment: &Attachment, observed: &Observed) -> Vec<Planned> {
    let label = label(name);
    let mac = label.mac;
    let bridge = Step::AddBridge { name: name.clone(), mac, mtu: attachment.mtu };
    let delete = Step::DeleteBridge(label);
    let mut steps =
        vec![Planned { step: bridge, undo: vec![delete], scope: UndoScope::Attachment }];
    if observed.ipv6 {
        steps.push(with_link(host_sysctl(Family::V6, name, "accept_ra", "0")));
        steps.push(with_link(host_sysctl(Family::V6, name, "accept_dad", "0")));
    }
    steps.push(up(name));
    steps
}

fn missing_gateways(
    name: &IfName,
    attachment: &Attachment,
    known: Option<&ObservedBridge>,
) -> Vec<Planned> {
    let has = |gateway: IpAddr| {
        known.is_some_and(|bridge| bridge.addresses.iter().any(|own| own.ip() == gateway))
    };
    let mut steps: Vec<Planned> = Vec::new();
    for address in &attachment.addresses {
        let gateway = attachment.gateway_of(*address).filter(|gateway| !has(*gateway));
        let Some(address) = gateway.and_then(|gateway| HostAddr::new(gateway, address.prefix()))
        else {
            continue;
        };
        let step =
            Step::AddAddress { side: Side::Host, name: name.clone(), address, connected: true };
        let undo = vec![Step::DeleteAddress { side: Side::Host, name: name.clone(), address }];
        if !steps.iter().any(|planned| planned.step == step) {
            steps.push(Planned { step, undo, scope: UndoScope::Attachment });
        }
    }
    steps
}

fn localnet(
    name: &IfName,
    attachment: &Attachment,
    known: Option<&ObservedBridge>,
) -> Option<Planned> {
    let set = known.is_some_and(|bridge| bridge.route_localnet);
    let value = |value| host_sysctl(Family::V4, name, "route_localnet", value);
    (attachment.publishes(Family::V4) && !set).then(|| Planned {
        step: value("1"),
        undo: vec![value("0")],
        scope: UndoScope::Attachment,
    })
}

fn elements(name: &IfName, filtered: bool) -> Planned {
    let mut elements = vec![Element::Link(name.clone()), Element::Hairpin(name.clone())];
    elements.extend(filtered.then(|| Element::Reflected(name.clone())));
    Planned {
        step: Step::AddElements(elements.clone()),
        undo: vec![Step::DeleteElements(elements)],
        scope: UndoScope::Attachment,
    }
}

/// The steps from the veth pair to the container's routes.
pub fn steps(bridge: &IfName, attachment: &Attachment, observed: &Observed) -> Vec<Planned> {
    let mut steps = vec![attachment.veth(Some(bridge.clone()))];
    if observed.ipv6 {
        // A port of a bridge needs no address of its own, and must not learn routes.
        steps.push(with_link(host_sysctl(
            Family::V6,
            &attachment.host_ifname,
            "disable_ipv6",
            "1",
        )));
    }
    steps.push(attachment.host_up());
    if observed.bridged_frames_filtered && !attachment.publish.is_empty() {
        // A container's packet to its own published port is redirected while it is still a frame
        // on the bridge (br_nf_pre_routing_finish, net/bridge/br_netfilter_hooks.c), so it must
        // leave by the port that it came from.
        steps.push(with_link(Step::Reflect { name: attachment.host_ifname.clone() }));
    }
    steps.extend(container_link(attachment, observed, true));
    steps.extend(container_routes(attachment));
    steps
}

fn host_sysctl(family: Family, link: &IfName, name: &str, value: &str) -> Step {
    write(Side::Host, link_sysctl(family, link, name, value))
}

//! The bridge topology: containers share a layer-2 segment, on which the host has the gateway's
//! address. A bridge that is not ours keeps its addresses: it is only used.

use std::net::IpAddr;

use crate::addr::{Family, HostAddr};
use crate::bridging::Bridging;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::{AttachmentId, ContainerId, IfName};
use crate::isolation::Isolation;
use crate::outcome::Attachment;
use crate::plan::observed::{Observed, ObservedBridge};
use crate::plan::step::{Label, LinkAttributes, Planned, Side, Step, UndoScope};
use crate::plan::{container_link, container_routes, link_sysctl, vlan, with_link, write};
use crate::request::{Network, Sysctl, SysctlKey};
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

/// The host's link on the segment, and what was observed of it.
struct Segment<'a> {
    name: &'a IfName,
    known: Option<&'a ObservedBridge>,
}

impl<'a> Segment<'a> {
    /// The bridge itself, or the host's own link on the containers' VLAN.
    fn of(bridge: &'a IfName, attachment: &'a Attachment, observed: &'a Observed) -> Self {
        let own = attachment.gateway_ifname.as_ref();
        Self { name: own.unwrap_or(bridge), known: observed.segment(own.is_some()) }
    }
}

/// The gateway on the segment for an address, when the caller names none.
pub fn gateway(
    bridge: &IfName,
    network: &Network,
    address: HostAddr,
    observed: &Observed,
) -> Result<Option<IpAddr>> {
    if !network.bridging.host_gateway {
        return Ok(None);
    }
    let link = network.gateway_ifname()?;
    let name = link.as_ref().unwrap_or(bridge);
    let known = observed.segment(link.is_some());
    let foreign = known.filter(|known| (known.is_bridge || link.is_some()) && !known.ours);
    let foreign = foreign.filter(|_| !network.bridging.adopt);
    let Some(bridge) = foreign else {
        return Ok(Some(address.default_gateway()));
    };
    let own = bridge.addresses.iter().map(|own| own.ip()).find(|ip| address.prefix().contains(*ip));
    let needed = network.default_route || network.nat || !network.publish.is_empty();
    match own {
        None if needed => Err(gateway_missing(network, name, address)),
        own => Ok(own),
    }
}

fn gateway_missing(network: &Network, name: &IfName, address: HostAddr) -> Error {
    let what = if network.bridging.vlan.is_some() { "link" } else { "bridge" };
    Error::new(
        ErrorKind::BridgeUnsuitable,
        format!("{what} {name} has no address in {} to be the gateway, and is not netup's to change", address.prefix()),
    )
    .hint(format!("run ip address add {}/{} dev {name}, or give --gateway, or --no-default-route without --nat and -p",
        address.default_gateway(), address.prefix().length()))
}

/// What the bridge lacks. It is undone when the bridge's last attachment goes.
pub fn shared(
    name: &IfName,
    attachment: &Attachment,
    bridging: &Bridging,
    observed: &Observed,
) -> Vec<Planned> {
    let known = observed.bridge.as_ref();
    let segment = Segment::of(name, attachment, observed);
    let own_link = attachment.gateway_ifname.is_some();
    let mut steps = Vec::new();
    if known.is_none() {
        steps.extend(create(name, attachment, observed));
    }
    if !own_link {
        steps.extend(gateways(&segment, attachment, bridging));
    }
    steps.extend(known.into_iter().flat_map(|bridge| settle(name, bridge)));
    if bridging.promiscuous && !known.is_some_and(|bridge| bridge.promiscuous) {
        steps.push(promiscuous(name, known));
    }
    if bridging.has_vlans() {
        steps.extend(vlan::filter(name, known));
    }
    if let (true, Some(id)) = (own_link, bridging.vlan) {
        steps.extend(vlan_gateway(name, id, &segment, attachment, observed).steps());
        steps.extend(gateways(&segment, attachment, bridging));
    }
    steps.extend(localnet(&segment, attachment));
    let lacking = lacking_elements(name, &segment, attachment, observed);
    steps.extend((!lacking.is_empty()).then(|| elements(lacking)));
    steps
}

fn vlan_gateway<'a>(
    bridge: &'a IfName,
    id: u16,
    segment: &Segment<'a>,
    attachment: &Attachment,
    observed: &'a Observed,
) -> vlan::Gateway<'a> {
    let Segment { name, known } = *segment;
    // What is too long for the link is lost on the way, without a word to the sender.
    let mtu = observed.bridge.as_ref().map(|bridge| bridge.mtu).or(attachment.mtu);
    let ipv6 = observed.ipv6;
    vlan::Gateway { name, known, bridge, observed: observed.bridge.as_ref(), id, mtu, ipv6 }
}

/// The host's addresses on the segment, where it is to be the gateway and may be given them.
fn gateways(segment: &Segment<'_>, attachment: &Attachment, bridging: &Bridging) -> Vec<Planned> {
    let Segment { name, known } = *segment;
    if !bridging.host_gateway || !known.is_none_or(|known| known.ours || bridging.adopt) {
        return Vec::new();
    }
    let displaced =
        known.into_iter().flat_map(|known| displaced(name, attachment, bridging, known));
    let missing = missing_gateways(name, attachment, bridging, known);
    displaced.chain(missing).collect()
}

/// What an existing bridge needs before a port joins: ours to be up, and one without ports to keep
/// its hardware address, since neighbours know it by that. Neither is taken back later: the first is
/// as netup left it, and the second changes nothing that can be seen.
fn settle(name: &IfName, bridge: &ObservedBridge) -> Vec<Planned> {
    let pinned = || with_link(Step::PinMac { name: name.clone(), mac: bridge.mac });
    match (bridge.ours, bridge.up, bridge.carrier) {
        (true, false, _) => vec![up(name)],
        (false, false, _) => vec![pinned(), adopted_up(name)],
        (false, true, false) => vec![pinned()],
        _ => Vec::new(),
    }
}

fn adopted_up(name: &IfName) -> Planned {
    let (side, name) = (Side::Host, name.clone());
    let undo = vec![Step::SetDown { side, name: name.clone() }];
    let step = Step::SetUp { side, name, alias: None };
    Planned { step, undo, scope: UndoScope::Failure }
}

/// What is done to one of ours goes with it; while it stays, others may rely on it.
fn lasting(known: Option<&ObservedBridge>) -> UndoScope {
    match known {
        Some(bridge) if !bridge.ours => UndoScope::Attachment,
        _ => UndoScope::Failure,
    }
}

fn promiscuous(name: &IfName, known: Option<&ObservedBridge>) -> Planned {
    let set = |on| Step::SetLink {
        side: Side::Host,
        name: name.clone(),
        attributes: LinkAttributes { promiscuous: Some(on), ..LinkAttributes::default() },
    };
    Planned { step: set(true), undo: vec![set(false)], scope: lasting(known) }
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

/// The addresses that the host is to have on the bridge, each once.
fn wanted_gateways(attachment: &Attachment) -> Vec<HostAddr> {
    let mut wanted = Vec::new();
    for address in &attachment.addresses {
        let gateway = attachment.gateway_of(*address);
        let gateway = gateway.and_then(|gateway| HostAddr::new(gateway, address.prefix()));
        wanted.extend(gateway.filter(|gateway| !wanted.contains(gateway)));
    }
    wanted
}

/// The host's addresses on the bridge beside which an adopted one is not to get the gateways: any
/// other of IPv4, and of IPv6 those whose network overlaps. Each with the gateway it is in the way of.
pub fn in_the_way(attachment: &Attachment, known: &ObservedBridge) -> Vec<(HostAddr, HostAddr)> {
    let wanted = wanted_gateways(attachment);
    let against = |own: &HostAddr| {
        let overlaps = |gateway: &&HostAddr| {
            let (ours, theirs) = (gateway.prefix(), own.prefix());
            gateway.family() == own.family()
                && (own.family() == Family::V4
                    || ours.contains(own.ip())
                    || theirs.contains(gateway.ip()))
        };
        wanted.iter().find(overlaps).map(|gateway| (*own, *gateway))
    };
    known.addresses.iter().filter(|own| !wanted.contains(own)).filter_map(against).collect()
}

/// They come back only if the attachment fails: whoever forces addresses means them to be gone.
fn displaced(
    name: &IfName,
    attachment: &Attachment,
    bridging: &Bridging,
    known: &ObservedBridge,
) -> Vec<Planned> {
    if !(bridging.adopt && bridging.force_address) {
        return Vec::new();
    }
    let delete = |(address, _)| Planned {
        step: Step::DeleteAddress { side: Side::Host, name: name.clone(), address },
        undo: vec![add_address(name, address)],
        scope: UndoScope::Failure,
    };
    in_the_way(attachment, known).into_iter().map(delete).collect()
}

fn missing_gateways(
    name: &IfName,
    attachment: &Attachment,
    bridging: &Bridging,
    known: Option<&ObservedBridge>,
) -> Vec<Planned> {
    let has = |gateway: &HostAddr| {
        let same = |own: &HostAddr| match bridging.adopt {
            true => own == gateway,
            false => own.ip() == gateway.ip(),
        };
        known.is_some_and(|bridge| bridge.addresses.iter().any(same))
    };
    let add = |address: HostAddr| Planned {
        step: add_address(name, address),
        undo: vec![Step::DeleteAddress { side: Side::Host, name: name.clone(), address }],
        scope: lasting(known),
    };
    wanted_gateways(attachment).into_iter().filter(|gateway| !has(gateway)).map(add).collect()
}

fn add_address(name: &IfName, address: HostAddr) -> Step {
    let (side, name) = (Side::Host, name.clone());
    Step::AddAddress { side, name, address, connected: true, detect_duplicates: false }
}

fn localnet(segment: &Segment<'_>, attachment: &Attachment) -> Option<Planned> {
    let Segment { name, known } = *segment;
    let set = known.is_some_and(|bridge| bridge.route_localnet);
    let value = |value| host_sysctl(Family::V4, name, "route_localnet", value);
    (attachment.publishes(Family::V4) && !set).then(|| Planned {
        step: value("1"),
        undo: vec![value("0")],
        scope: UndoScope::Attachment,
    })
}

/// The bridge's elements that the tables do not hold yet, and those of the host's link on the VLAN.
fn lacking_elements(
    name: &IfName,
    segment: &Segment<'_>,
    attachment: &Attachment,
    observed: &Observed,
) -> Vec<Element> {
    let known = observed.bridge.as_ref();
    let mut elements = Vec::new();
    if !known.is_some_and(|bridge| bridge.in_ruleset) {
        let uplink = known.is_some_and(|bridge| bridge.uplink);
        elements.extend(of_bridge(name, uplink, observed.bridged_frames_filtered));
    }
    if let Some(link) = &attachment.gateway_ifname
        && !segment.known.is_some_and(|link| link.in_ruleset)
    {
        elements.extend(vlan::elements(link));
    }
    if !segment.known.is_some_and(|link| link.confined) {
        elements.extend(confinement(segment.name, attachment.isolation));
    }
    elements
}

/// What keeps other containers away from those on a bridge. Where they are kept from each other too,
/// that is the business of its ports; but they could also ask the host to forward from one to the
/// other.
pub fn confinement(name: &IfName, isolation: Isolation) -> Vec<Element> {
    match isolation {
        Isolation::Open => Vec::new(),
        Isolation::SameBridge => vec![Element::Confined(name.clone())],
        Isolation::Isolated => {
            vec![Element::Confined(name.clone()), Element::Parted(name.clone())]
        }
    }
}

/// What the tables know of a bridge. Behind one that the host's default route leads over there is
/// the world: what leaves by it for there is to be masqueraded, as by any other uplink.
pub fn of_bridge(name: &IfName, uplink: bool, filtered: bool) -> Vec<Element> {
    let mut elements: Vec<Element> = Vec::new();
    elements.extend((!uplink).then(|| Element::Link(name.clone())));
    elements.push(Element::Hairpin(name.clone()));
    elements.extend(filtered.then(|| Element::Reflected(name.clone())));
    elements
}

fn elements(elements: Vec<Element>) -> Planned {
    Planned {
        step: Step::AddElements(elements.clone()),
        undo: vec![Step::DeleteElements(elements)],
        scope: UndoScope::Attachment,
    }
}

/// The steps from the veth pair to the container's routes.
pub fn steps(
    bridge: &IfName,
    attachment: &Attachment,
    network: &Network,
    observed: &Observed,
) -> Vec<Planned> {
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
    steps.extend(port(attachment, &network.bridging, observed));
    steps.push(attachment.host_up());
    steps.extend(attachment.limits(observed));
    steps.extend(container_link(attachment, network, observed));
    steps.extend(container_routes(attachment, network));
    steps
}

/// What the port is told before it takes part.
fn port(attachment: &Attachment, bridging: &Bridging, observed: &Observed) -> Vec<Planned> {
    let name = || attachment.host_ifname.clone();
    // On a VLAN it is the host's own link that sees packets, not frames on their way to it.
    let (filtered, all_filtered) = match bridging.vlan {
        Some(_) => (false, false),
        None => (observed.bridged_frames_filtered, observed.bridged_frames_all_filtered),
    };
    // A container's packet to its own published port is redirected while it is still a frame
    // on the bridge (br_nf_pre_routing_finish, net/bridge/br_netfilter_hooks.c), so it must
    // leave by the port that it came from.
    let redirected = filtered && !attachment.publish.is_empty();
    let reflect = (bridging.hairpin || redirected).then(|| Step::Reflect { name: name() });
    let isolate = || Step::Isolate { name: name() };
    let separate = match attachment.isolation {
        // Likewise one to a neighbour's published port, which isolated ports would keep from each
        // other. The rules tell them apart, as long as they see the frames.
        Isolation::Isolated if all_filtered => Some(filter_frames()),
        Isolation::Isolated => Some(isolate()),
        _ => None,
    };
    let asked = bridging.isolated_port && separate != Some(isolate());
    let asked = asked.then(isolate);
    let vlans = vlan::port(&attachment.host_ifname, bridging, observed.bridge.as_ref());
    let told = reflect.into_iter().chain(separate).chain(asked).map(with_link);
    told.chain(vlans).collect()
}

/// The switches of br_netfilter, for each family.
pub fn bridge_filter_switches() -> [SysctlKey; 2] {
    ["net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"]
        .map(SysctlKey::known)
}

/// They are on already; as a step it is remembered, and missed if somebody switches them off.
fn filter_frames() -> Step {
    let on = |key| Sysctl { key, value: "1".to_owned() };
    Step::WriteSysctls { side: Side::Host, sysctls: bridge_filter_switches().map(on).to_vec() }
}

fn host_sysctl(family: Family, link: &IfName, name: &str, value: &str) -> Step {
    write(Side::Host, link_sysctl(family, link, name, value))
}

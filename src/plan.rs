//! From what is wanted and what was observed to ordered steps, each with its inverse. Pure: no
//! kernel, no files, no clock, no environment, here or below.

mod bandwidth;
mod bridge;
mod conflict;
pub(crate) mod extension;
mod nat;
mod observed;
mod render;
mod routed;
pub(crate) mod step;
mod vlan;

use std::net::IpAddr;

use crate::addr::{Family, HostAddr};
use crate::error::Result;
use crate::ident::{AttachmentId, IfName};
use crate::outcome::Attachment;
use crate::plan::bandwidth::Limited;
use crate::request::{Network, RouteRequest, Sysctl, SysctlKey, Topology};
use crate::target::TargetName;

pub(crate) use bridge::{bridge_filter_switches, confinement, label as bridge_label, of_bridge};
pub(crate) use conflict::port_taken;
pub use nat::published;
pub use observed::{
    ContainerRoute, ForwardingOff, MAIN_TABLE, Observed, ObservedBridge, Reached, TakenPort,
};
pub use render::lines;
pub use step::{
    FlowKey, Label, LinkAttributes, Pair, Planned, PortVlans, Route, Shared, Side, Step, UndoScope,
    Veth,
};
pub(crate) use vlan::{elements as of_gateway, gateway_label, unsupported as vlans_unsupported};

/// All that the planner goes by, next to what was observed.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The identity.
    pub id: &'a AttachmentId,
    /// What the caller called the container.
    pub target: &'a TargetName,
    /// The namespace's cookie.
    pub netns_cookie: u64,
    /// What was asked for.
    pub network: &'a Network,
    /// The addresses, leases resolved, in the order of the request.
    pub addresses: &'a [HostAddr],
}

/// What will be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Steps that make what all attachments share: the static rules and forwarding. They stay when
    /// an attachment goes.
    pub foundation: Vec<Planned>,
    /// Steps that make or complete the bridge. They are undone when its last attachment goes.
    pub bridge: Vec<Planned>,
    /// Steps of the attachment itself.
    pub steps: Vec<Planned>,
    /// What will then exist.
    pub attachment: Attachment,
}

impl Plan {
    /// Every step, in order.
    pub fn all(&self) -> impl Iterator<Item = &Planned> {
        self.foundation.iter().chain(&self.bridge).chain(&self.steps)
    }

    /// What takes the attachment back, in the order to run.
    #[must_use]
    pub fn undo(&self) -> Vec<Step> {
        lasting_undo(&self.steps)
    }

    /// What takes the bridge's part back, in the order to run, when its last attachment goes.
    #[must_use]
    pub fn bridge_undo(&self) -> Vec<Step> {
        bridge_undo(&self.bridge)
    }
}

/// What takes steps on a bridge back, in the order to run, when nobody relies on them any more. By
/// then others may have come to rely on an address that was put on a bridge which existed.
#[must_use]
pub fn bridge_undo(steps: &[Planned]) -> Vec<Step> {
    let later = |step| match step {
        Step::DeleteAddress { side: Side::Host, name, address } => {
            Step::WithdrawAddress { name, address }
        }
        step => step,
    };
    lasting_undo(steps).into_iter().map(later).collect()
}

/// What takes steps back that last as long as what they belong to, in the order to run.
#[must_use]
pub fn lasting_undo(steps: &[Planned]) -> Vec<Step> {
    let lasting = steps.iter().rev().filter(|planned| planned.scope == UndoScope::Attachment);
    lasting.flat_map(|planned| planned.undo.iter().cloned()).collect()
}

/// Plans an attachment.
///
/// # Errors
/// A conflict with what was observed: an interface, address, network or port that is taken, or a
/// bridge that does not serve.
pub fn plan(wanted: &Wanted<'_>, observed: &Observed) -> Result<Plan> {
    let network = wanted.network;
    let bridging = &network.bridging;
    let attachment = attachment(wanted, observed)?;
    conflict::check(&attachment, bridging, observed)?;
    let foundation = nat::foundation(&attachment, bridging, observed);
    let mut plan = Plan { foundation, bridge: Vec::new(), steps: Vec::new(), attachment };
    let attachment = &plan.attachment;
    let mut steps = nat::barriers(attachment, bridging);
    match &attachment.topology {
        Topology::Routed => steps.extend(routed::steps(attachment, network, observed)),
        Topology::Bridge(name) => {
            plan.bridge = bridge::shared(name, attachment, bridging, observed);
            steps.extend(bridge::steps(name, attachment, network, observed));
        }
    }
    steps.extend(sysctls(attachment, observed));
    steps.extend(nat::elements(attachment));
    if network.routes_beside {
        steps.iter_mut().for_each(beside);
    }
    plan.steps = steps;
    conflict::routes(&plan.steps, observed)?;
    Ok(plan)
}

fn beside(planned: &mut Planned) {
    if let Step::AddRoute(route) = &mut planned.step
        && route.side == Side::Container
    {
        route.beside = true;
    }
}

/// Everything about the attachment that follows from the request and the observation.
fn attachment(wanted: &Wanted<'_>, observed: &Observed) -> Result<Attachment> {
    let Wanted { id, network, addresses, .. } = *wanted;
    let bridge_mtu = observed.bridge.as_ref().map(|bridge| bridge.mtu);
    Ok(Attachment {
        id: id.clone(),
        target: wanted.target.clone(),
        netns_cookie: wanted.netns_cookie,
        topology: network.topology.clone(),
        gateway_ifname: network.gateway_ifname()?,
        host_ifname: network.host_ifname.clone().unwrap_or_else(|| id.host_ifname()),
        host_ifindex: id.host_index(),
        host_mac: match network.topology {
            Topology::Routed => id.host_mac(),
            Topology::Bridge(_) => id.port_mac(),
        },
        mac: network.mac.unwrap_or_else(|| id.container_mac()),
        mtu: network.mtu.or(bridge_mtu).or(observed.uplink_mtu),
        addresses: addresses.to_vec(),
        gateways: gateways(network, addresses, observed)?,
        default_route: network.default_route,
        routes: network.routes.clone(),
        nat: network.nat,
        publish: network.publish.clone(),
        sysctls: network.sysctls.clone(),
        bandwidth: network.bandwidth,
        isolation: network.isolation,
    })
}

/// One gateway per network, in the order of the addresses.
fn gateways(network: &Network, addresses: &[HostAddr], observed: &Observed) -> Result<Vec<IpAddr>> {
    let mut gateways: Vec<IpAddr> = Vec::new();
    for address in addresses {
        let gateway = match asked_gateway(network, *address) {
            Some(gateway) => Some(gateway),
            None => match &network.topology {
                Topology::Routed => Some(address.default_gateway()),
                Topology::Bridge(name) => bridge::gateway(name, network, *address, observed)?,
            },
        };
        gateways.extend(gateway.filter(|gateway| !gateways.contains(gateway)));
    }
    Ok(gateways)
}

fn asked_gateway(network: &Network, address: HostAddr) -> Option<IpAddr> {
    let single = address.prefix().length() == address.family().bits();
    let serves = |gateway: &&IpAddr| {
        address.prefix().contains(**gateway)
            || (single && Family::of(**gateway) == address.family())
    };
    network.gateways.iter().find(serves).copied()
}

impl Attachment {
    /// The link of the host that is on the containers' segment, by which they are reached.
    fn segment(&self) -> Option<&IfName> {
        match &self.topology {
            Topology::Routed => None,
            Topology::Bridge(name) => Some(self.gateway_ifname.as_ref().unwrap_or(name)),
        }
    }

    /// The gateway by which this address's network is reached.
    fn gateway_of(&self, address: HostAddr) -> Option<IpAddr> {
        let inside = self.gateways.iter().find(|gateway| address.prefix().contains(**gateway));
        inside
            .or_else(|| self.gateways.iter().find(|g| Family::of(**g) == address.family()))
            .copied()
    }

    /// The address that stands for a container with several of a family: ports are published to
    /// it. Without being told, the kernel may answer a datagram from another one.
    fn main_address(&self, family: Family) -> Option<IpAddr> {
        let mut of_family = self.addresses.iter().filter(|address| address.family() == family);
        let first = of_family.next()?;
        of_family.next().map(|_| first.ip())
    }

    /// The first gateway of a family, by which its default route goes.
    fn default_gateway(&self, family: Family) -> Option<IpAddr> {
        self.gateways.iter().copied().find(|gateway| Family::of(*gateway) == family)
    }

    /// Whether the container has an address of this family.
    fn has(&self, family: Family) -> bool {
        self.addresses.iter().any(|address| address.family() == family)
    }

    /// Whether a port is published to an address of this family.
    fn publishes(&self, family: Family) -> bool {
        self.has(family) && self.publish.iter().any(|publish| publish.serves(family))
    }

    fn veth(&self, bridge: Option<IfName>) -> Planned {
        let veth = Veth {
            host: self.host_ifname.clone(),
            host_index: self.host_ifindex,
            host_mac: self.host_mac,
            container: self.id.ifname.clone(),
            container_mac: self.mac,
            mtu: self.mtu,
            bridge,
        };
        let undo = Step::DeleteLink(Label {
            name: self.host_ifname.clone(),
            alias: self.id.alias(),
            mac: self.host_mac,
        });
        Planned { step: Step::AddVeth(veth), undo: vec![undo], scope: UndoScope::Attachment }
    }

    fn limits(&self, observed: &Observed) -> Vec<Planned> {
        let (id, host, mtu) = (&self.id, &self.host_ifname, self.mtu);
        bandwidth::steps(&Limited { id, host, mtu, ipv6: observed.ipv6 }, self.bandwidth)
    }

    fn host_up(&self) -> Planned {
        with_link(Step::SetUp {
            side: Side::Host,
            name: self.host_ifname.clone(),
            alias: Some(self.id.alias()),
        })
    }
}

/// A step on the veth pair or inside a link that another step's inverse removes: nothing of it
/// outlives the link.
fn with_link(step: Step) -> Planned {
    Planned { step, undo: Vec::new(), scope: UndoScope::Attachment }
}

fn link_sysctl(family: Family, link: &IfName, name: &str, value: &str) -> Sysctl {
    Sysctl { key: SysctlKey::of_link(family, link.as_str(), name), value: value.to_owned() }
}

fn write(side: Side, sysctl: Sysctl) -> Step {
    Step::WriteSysctls { side, sysctls: vec![sysctl] }
}

/// The container's interface: up, addressed, with its loopback. On a segment the kernel makes the
/// routes to the prefixes.
fn container_link(attachment: &Attachment, network: &Network, observed: &Observed) -> Vec<Planned> {
    let name = &attachment.id.ifname;
    let side = Side::Container;
    let detect_duplicates = network.bridging.detect_duplicates;
    let connected = attachment.topology != Topology::Routed;
    let mut steps = Vec::new();
    let sysctls = container_link_sysctls(attachment, detect_duplicates, observed);
    if !sysctls.is_empty() {
        steps.push(with_link(Step::WriteSysctls { side, sysctls }));
    }
    if !network.bridging.leave_down {
        steps.push(with_link(Step::SetUp { side, name: name.clone(), alias: None }));
    }
    for address in &attachment.addresses {
        let (name, address) = (name.clone(), *address);
        let step = Step::AddAddress { side, name, address, connected, detect_duplicates };
        steps.push(with_link(step));
    }
    if !observed.loopback_up {
        // Undone only on failure: by the time of `down`, processes may talk over localhost.
        let lo = IfName::loopback();
        let step = Step::SetUp { side, name: lo.clone(), alias: None };
        let undo = vec![Step::SetDown { side, name: lo }];
        steps.push(Planned { step, undo, scope: UndoScope::Failure });
    }
    steps
}

/// What an IPv6 interface must be told before it is set up.
fn container_link_sysctls(
    attachment: &Attachment,
    detect_duplicates: bool,
    observed: &Observed,
) -> Vec<Sysctl> {
    let mut sysctls = Vec::new();
    if !attachment.has(Family::V6) {
        return sysctls;
    }
    let set = |name, value| link_sysctl(Family::V6, &attachment.id.ifname, name, value);
    if observed.container_ipv6_disabled {
        sysctls.push(set("disable_ipv6", "0"));
    }
    // Its routes are known; another container on the segment must not add to them.
    if observed.bridge.as_ref().is_none_or(|bridge| bridge.ours) {
        sysctls.push(set("accept_ra", "0"));
    }
    if detect_duplicates {
        // A probe that comes back to its sender is not taken for a neighbour's (RFC 7527).
        sysctls.extend([set("enhanced_dad", "1"), set("accept_dad", "1")]);
    } else {
        // The link-local address too is usable at once.
        sysctls.push(set("accept_dad", "0"));
    }
    sysctls
}

/// Default routes and the further routes of the request.
fn container_routes(attachment: &Attachment, network: &Network) -> Vec<Planned> {
    let families = [Family::V4, Family::V6].into_iter().filter(|family| attachment.has(*family));
    let defaults = families
        .filter(|_| attachment.default_route)
        .map(|family| RouteRequest::to(family.default_prefix()));
    defaults
        .chain(attachment.routes.iter().copied())
        .map(|route| container_route(attachment, network, route))
        .collect()
}

fn container_route(attachment: &Attachment, network: &Network, route: RouteRequest) -> Planned {
    let family = route.destination.family();
    let via = route.via.or_else(|| attachment.default_gateway(family));
    // The kernel takes no address as a source while it looks for duplicates of it.
    let tentative = network.bridging.detect_duplicates && family == Family::V6;
    with_link(Step::AddRoute(Route {
        side: Side::Container,
        name: attachment.id.ifname.clone(),
        destination: route.destination,
        via,
        source: attachment.main_address(family).filter(|_| !tentative),
        metric: route.metric,
        mtu: route.mtu,
        advmss: route.advmss,
        table: route.table,
        scope: route.scope,
        beside: false,
    }))
}

/// The requested kernel parameters. They belong to the namespace, so the former value is written
/// back, except those of the link itself, which go with it.
fn sysctls(attachment: &Attachment, observed: &Observed) -> Vec<Planned> {
    let write = |sysctl| write(Side::Container, sysctl);
    let planned = |sysctl: &Sysctl| {
        if sysctl.key.is_of_link(&attachment.id.ifname) {
            return with_link(write(sysctl.clone()));
        }
        let former = observed.container_sysctls.get(&sysctl.key);
        let undo =
            former.map(|value| write(Sysctl { key: sysctl.key.clone(), value: value.clone() }));
        Planned {
            step: write(sysctl.clone()),
            undo: undo.into_iter().collect(),
            scope: UndoScope::Attachment,
        }
    };
    attachment.sysctls.iter().map(planned).collect()
}

//! What every topology shares: forwarding, the static rules, and the attachment's elements.

use crate::addr::{Family, HostAddr};
use crate::bridging::Bridging;
use crate::isolation::Isolation;
use crate::outcome::Attachment;
use crate::plan::observed::{ForwardingOff, Observed};
use crate::plan::step::{FlowKey, Planned, Shared, Side, Step, UndoScope};
use crate::plan::{link_sysctl, write};
use crate::publish::{Protocol, Publish};
use crate::request::{Sysctl, SysctlKey, Topology};
use crate::ruleset::{Element, PublishedPort};

/// The static rules and the forwarding switches, where they are missing. They are shared by all
/// attachments, so they stay when one goes; only a failed first attachment takes them back.
pub fn foundation(
    attachment: &Attachment,
    bridging: &Bridging,
    observed: &Observed,
) -> Vec<Planned> {
    let mut steps = shared_rules(observed.ruleset);
    if bridging.needs_frame_rules() && !observed.bridge_ruleset {
        let remove = vec![Step::RemoveBridgeRuleset];
        steps.push(shared(Shared::BridgeRules, Step::InstallBridgeRuleset, remove));
    }
    for (family, off) in &observed.forwarding_off {
        if attachment.has(*family) {
            steps.extend(forwarding(*family, off));
        }
    }
    steps
}

/// The static rules, where they are missing.
pub fn shared_rules(present: bool) -> Vec<Planned> {
    let install = || shared(Shared::Rules, Step::InstallRuleset, vec![Step::RemoveRuleset]);
    (!present).then(install).into_iter().collect()
}

fn shared(what: Shared, step: Step, undo: Vec<Step>) -> Planned {
    Planned { step, undo, scope: UndoScope::FailureIfUnused(what) }
}

fn forwarding(family: Family, off: &ForwardingOff) -> Vec<Planned> {
    // First the links that would stop listening to their router (ip-sysctl: accept_ra).
    let mut steps: Vec<Planned> = off
        .advertised_links
        .iter()
        .map(|link| {
            let accept =
                |value| write(Side::Host, link_sysctl(Family::V6, link, "accept_ra", value));
            shared(Shared::Forwarding(family), accept("2"), vec![accept("1")])
        })
        .collect();
    let key = match family {
        Family::V4 => "net/ipv4/ip_forward",
        Family::V6 => "net/ipv6/conf/all/forwarding",
    };
    let mut undo = vec![host(SysctlKey::known(key), "0")];
    undo.extend(off.restore.iter().map(|sysctl| host(sysctl.key.clone(), &sysctl.value)));
    steps.push(shared(Shared::Forwarding(family), host(SysctlKey::known(key), "1"), undo));
    steps
}

fn host(key: SysctlKey, value: &str) -> Step {
    write(Side::Host, Sysctl { key, value: value.to_owned() })
}

/// What must hold from the container's first packet on: its elements are there before its link is,
/// and until after it.
pub fn barriers(attachment: &Attachment, bridging: &Bridging) -> Vec<Planned> {
    let link = || attachment.host_ifname.clone();
    let mut elements = Vec::new();
    if attachment.topology == Topology::Routed && attachment.isolation == Isolation::Isolated {
        elements.push(Element::Confined(link()));
    }
    elements.extend(bridging.vlan.map(|_| Element::Untracked(link())));
    if bridging.guard_mac {
        elements.push(Element::GuardedPort(link()));
        elements.push(Element::GenuineMac(link(), attachment.mac));
    }
    transaction(elements, Vec::new())
}

/// The attachment's own elements, in one transaction, and the flows that must be forgotten.
pub fn elements(attachment: &Attachment) -> Vec<Planned> {
    let mut elements = Vec::new();
    if attachment.topology == Topology::Routed {
        elements.push(Element::Link(attachment.host_ifname.clone()));
        elements.push(Element::Hairpin(attachment.host_ifname.clone()));
    }
    if attachment.nat {
        elements.extend(attachment.addresses.iter().map(|a| Element::Masquerade(a.ip())));
    }
    let ports = published(&attachment.publish, &attachment.addresses);
    elements.extend(ports.iter().copied().map(Element::Publish));
    transaction_of(elements, &ports)
}

/// Elements in one transaction, and the flows to these ports that must be forgotten.
pub fn transaction_of(elements: Vec<Element>, ports: &[PublishedPort]) -> Vec<Planned> {
    transaction(elements, flows(ports))
}

fn transaction(elements: Vec<Element>, flows: Vec<FlowKey>) -> Vec<Planned> {
    if elements.is_empty() {
        return Vec::new();
    }
    let mut undo = vec![Step::DeleteElements(elements.clone())];
    undo.extend((!flows.is_empty()).then(|| Step::FlushFlows(flows.clone())));
    let add = Planned { step: Step::AddElements(elements), undo, scope: UndoScope::Attachment };
    let flush = (!flows.is_empty()).then(|| Planned {
        step: Step::FlushFlows(flows),
        undo: Vec::new(),
        scope: UndoScope::Attachment,
    });
    std::iter::once(add).chain(flush).collect()
}

/// Each published port, to the first address of each family that it serves.
pub fn published(publish: &[Publish], addresses: &[HostAddr]) -> Vec<PublishedPort> {
    let mut ports = Vec::new();
    for family in [Family::V4, Family::V6] {
        let address = addresses.iter().find(|address| address.family() == family);
        let Some(ip) = address.map(|address| address.ip()) else { continue };
        for publish in publish.iter().filter(|publish| publish.serves(family)) {
            ports.extend(publish.pairs().map(|(host_port, port)| PublishedPort {
                host_ip: publish.host_ip.filter(|ip| !ip.is_unspecified()),
                protocol: publish.protocol,
                host_port,
                ip,
                port,
            }));
        }
    }
    ports
}

fn flows(ports: &[PublishedPort]) -> Vec<FlowKey> {
    let key = |port: &PublishedPort| {
        let PublishedPort { protocol, host_port, host_ip, ip, .. } = *port;
        FlowKey { protocol, host_port, host_ip, ip }
    };
    ports.iter().filter(|port| port.protocol == Protocol::Udp).map(key).collect()
}

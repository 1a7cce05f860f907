//! From what is to be added to an existing interface, and what was observed around it, to ordered
//! steps, each with its inverse. As pure as the rest of the planner.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::addr::{Family, HostAddr};
use crate::error::{Error, ErrorKind, Result};
use crate::extension::{Admission, Backend, Extension, Limit, Part, Publishing, Tuning};
use crate::ident::{AttachmentId, IfName};
use crate::iptables::IptablesAdmission;
use crate::isolation::Isolation;
use crate::plan::bandwidth::{self, Limited};
use crate::plan::nat::{published, shared_rules, transaction_of};
use crate::plan::observed::TakenPort;
use crate::plan::step::{LinkAttributes, Planned, Side, Step, UndoScope};
use crate::plan::{bridge, conflict, link_sysctl, with_link, write};
use crate::request::{Sysctl, SysctlKey};
use crate::ruleset::Element;

/// A snapshot of what surrounds an interface, as far as one part needs it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Surroundings {
    /// Whether the static rules are loaded, and are those of this release.
    pub ruleset: bool,
    /// Whether the host's kernel speaks IPv6 at all.
    pub ipv6: bool,
    /// How the host reaches the container, in each family.
    pub ways: Vec<Way>,
    /// Whether frames that are bridged pass the host's rules (`br_netfilter`).
    pub bridged_frames_filtered: bool,
    /// Ports that are taken, and by whom.
    pub taken_ports: Vec<TakenPort>,
    /// The link that the isolation applies to.
    pub confined: Option<ConfinedLink>,
    /// The MTU of the host's end of the veth pair.
    pub host_mtu: Option<u32>,
    /// The present values of the kernel parameters, in the container.
    pub container_sysctls: BTreeMap<SysctlKey, String>,
    /// The interface's present attributes; `None` if it is not there.
    pub attributes: Option<LinkAttributes>,
}

/// The link by which the host reaches a container directly.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The container's address.
    pub ip: IpAddr,
    /// The link.
    pub link: IfName,
    /// Whether it is a bridge, which others use too, or a veth of this container's own.
    pub is_bridge: bool,
    /// Whether its hairpin element is there already.
    pub hairpin: bool,
    /// `route_localnet`, as it stands.
    pub route_localnet: bool,
}

/// The link by which a container is reached whose neighbours are to be kept out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfinedLink {
    /// Its name.
    pub name: IfName,
    /// Whether it is a bridge, which others use too.
    pub is_bridge: bool,
    /// Whether its element is there already.
    pub present: bool,
}

/// What will be done for one part.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExtensionPlan {
    /// Steps that make what everybody shares. They stay.
    pub foundation: Vec<Planned>,
    /// The bridge that others rely on as well, and the steps on it.
    pub bridge: Option<(IfName, Vec<Planned>)>,
    /// Steps of this part.
    pub steps: Vec<Planned>,
}

impl ExtensionPlan {
    /// Every step, in order.
    pub fn all(&self) -> impl Iterator<Item = &Planned> {
        let bridge = self.bridge.iter().flat_map(|(_, steps)| steps);
        self.foundation.iter().chain(bridge).chain(&self.steps)
    }
}

/// Plans one part.
///
/// # Errors
/// A port that is taken, an interface that is not there, or what does not fit the interface.
pub fn extension(wanted: &Extension, around: &Surroundings) -> Result<ExtensionPlan> {
    match &wanted.part {
        Part::Publish(publishing) => publish(publishing, around),
        Part::Admit(admission) => Ok(admit(admission, around)),
        Part::Limit(limit) => Ok(restrict(&wanted.id, limit, around)),
        Part::Tune(tuning) => tune(&wanted.id, tuning, around),
    }
}

fn publish(publishing: &Publishing, around: &Surroundings) -> Result<ExtensionPlan> {
    conflict::ports_free(&around.taken_ports)?;
    let addresses: Vec<HostAddr> =
        publishing.addresses.iter().copied().map(HostAddr::single).collect();
    let mut plan =
        ExtensionPlan { foundation: shared_rules(around.ruleset), ..ExtensionPlan::default() };
    let mut elements = Vec::new();
    if publishing.local {
        open_ways(publishing, around, &mut plan, &mut elements);
    }
    if publishing.masquerade_all {
        elements.extend(publishing.addresses.iter().copied().map(Element::MasqueradeAll));
    }
    let ports = published(&publishing.publish, &addresses);
    elements.extend(ports.iter().copied().map(Element::Publish));
    plan.steps.extend(transaction_of(elements, &ports));
    Ok(plan)
}

/// For the host's own `127.0.0.1` and for the container itself: by the bridge, which is shared, or
/// by the container's own link.
fn open_ways(
    publishing: &Publishing,
    around: &Surroundings,
    plan: &mut ExtensionPlan,
    elements: &mut Vec<Element>,
) {
    for way in &around.ways {
        let family = if way.ip.is_ipv4() { Family::V4 } else { Family::V6 };
        let localnet = !way.route_localnet
            && family == Family::V4
            && publishing.publish.iter().any(|publish| publish.serves(family));
        if way.is_bridge {
            let steps = bridge_ways(way, localnet, around.bridged_frames_filtered);
            let (_, shared) = plan.bridge.get_or_insert_with(|| (way.link.clone(), Vec::new()));
            let missing: Vec<Planned> =
                steps.into_iter().filter(|step| !shared.contains(step)).collect();
            shared.extend(missing);
        } else {
            plan.steps.extend(localnet.then(|| with_link(localnet_step(way, "1"))));
            let hairpin = Element::Hairpin(way.link.clone());
            if !way.hairpin && !elements.contains(&hairpin) {
                elements.push(hairpin);
            }
        }
    }
    if let (true, Some(port)) = (around.bridged_frames_filtered, &publishing.host_ifname)
        && around.ways.iter().any(|way| way.is_bridge)
    {
        plan.steps.push(with_link(Step::Reflect { name: port.clone() }));
    }
}

fn bridge_ways(way: &Way, localnet: bool, filtered: bool) -> Vec<Planned> {
    let localnet = localnet.then(|| Planned {
        step: localnet_step(way, "1"),
        undo: vec![localnet_step(way, "0")],
        scope: UndoScope::Attachment,
    });
    let hairpin = (!way.hairpin).then(|| {
        let mut elements = vec![Element::Hairpin(way.link.clone())];
        elements.extend(filtered.then(|| Element::Reflected(way.link.clone())));
        added(elements)
    });
    localnet.into_iter().chain(hairpin).collect()
}

fn localnet_step(way: &Way, value: &str) -> Step {
    write(Side::Host, link_sysctl(Family::V4, &way.link, "route_localnet", value))
}

fn added(elements: Vec<Element>) -> Planned {
    Planned {
        step: Step::AddElements(elements.clone()),
        undo: vec![Step::DeleteElements(elements)],
        scope: UndoScope::Attachment,
    }
}

fn admit(admission: &Admission, around: &Surroundings) -> ExtensionPlan {
    let mut plan = ExtensionPlan::default();
    if let Some(link) = &around.confined {
        plan.foundation = shared_rules(around.ruleset);
        let elements = match link.is_bridge {
            true => bridge::confinement(&link.name, admission.isolation),
            false => vec![Element::Confined(link.name.clone())],
        };
        let element = added(elements);
        let missing: Vec<Planned> = (!link.present).then_some(element).into_iter().collect();
        match link.is_bridge {
            true => {
                plan.bridge = Some((link.name.clone(), missing));
                plan.steps.extend(isolated_port(admission, around));
            }
            false => plan.steps.extend(missing),
        }
    }
    plan.steps.extend(passage(admission));
    plan
}

/// Between ports of one bridge the rules have a say only where they see bridged frames.
fn isolated_port(admission: &Admission, around: &Surroundings) -> Option<Planned> {
    let apart = admission.isolation == Isolation::Isolated && !around.bridged_frames_filtered;
    let port = admission.port.as_ref().filter(|_| apart)?;
    Some(with_link(Step::Isolate { name: port.clone() }))
}

/// What lets the container's packets through rules that are not ours.
fn passage(admission: &Admission) -> Option<Planned> {
    let Admission { addresses, backend, .. } = admission;
    let (step, undo) = match backend {
        Backend::Nftables => return None,
        Backend::Iptables { admin_chain } => {
            let rules = IptablesAdmission {
                addresses: addresses.clone(),
                admin_chain: admin_chain.clone(),
                ingress: None,
            };
            (Step::AdmitByIptables(rules.clone()), Step::UnadmitByIptables(rules))
        }
        Backend::Firewalld { zone } => {
            let (zone, addresses) = (zone.clone(), addresses.clone());
            (
                Step::TrustByFirewalld { zone: zone.clone(), addresses: addresses.clone() },
                Step::DistrustByFirewalld { zone, addresses },
            )
        }
    };
    Some(Planned { step, undo: vec![undo], scope: UndoScope::Attachment })
}

fn restrict(id: &AttachmentId, limit: &Limit, around: &Surroundings) -> ExtensionPlan {
    let host = &limit.host_ifname;
    let limited = Limited { id, host, mtu: around.host_mtu, ipv6: around.ipv6 };
    let steps = bandwidth::steps(&limited, limit.bandwidth);
    let steps = steps.into_iter().map(|planned| unhung_on_failure(planned, host)).collect();
    ExtensionPlan { steps, ..ExtensionPlan::default() }
}

/// What hangs on the host's end goes with it, at no cost, for that goes next; taken away by itself,
/// the kernel would be waited for. After a failure the link may stay.
fn unhung_on_failure(planned: Planned, host: &IfName) -> Planned {
    let undo = match &planned.step {
        Step::Shape { name, .. } if name == host => Step::Unshape { name: name.clone() },
        Step::Redirect { from, .. } => Step::Unredirect { from: from.clone() },
        _ => return planned,
    };
    Planned { undo: vec![undo], scope: UndoScope::Failure, ..planned }
}

/// The settings, with what was there before as their inverse. What belongs to the interface alone
/// goes with it.
fn tune(id: &AttachmentId, tuning: &Tuning, around: &Surroundings) -> Result<ExtensionPlan> {
    let Some(present) = &around.attributes else {
        return Err(Error::new(
            ErrorKind::Kernel,
            format!("the container has no interface {}", id.ifname),
        )
        .hint("settings are for an interface that an earlier plugin has made"));
    };
    let mut steps: Vec<Planned> =
        tuning.sysctls.iter().map(|sysctl| set(id, sysctl, around)).collect();
    if tuning.attributes != LinkAttributes::default() {
        let (side, name) = (Side::Container, id.ifname.clone());
        let former = former(present, &tuning.attributes);
        let undo = Step::SetLink { side, name: name.clone(), attributes: former };
        steps.push(Planned {
            step: Step::SetLink { side, name, attributes: tuning.attributes.clone() },
            undo: vec![undo],
            scope: UndoScope::Attachment,
        });
    }
    Ok(ExtensionPlan { steps, ..ExtensionPlan::default() })
}

fn set(id: &AttachmentId, sysctl: &Sysctl, around: &Surroundings) -> Planned {
    let step = write(Side::Container, sysctl.clone());
    if sysctl.key.is_of_link(&id.ifname) {
        return with_link(step);
    }
    let former = around.container_sysctls.get(&sysctl.key);
    let undo = former.map(|value| {
        write(Side::Container, Sysctl { key: sysctl.key.clone(), value: value.clone() })
    });
    Planned { step, undo: undo.into_iter().collect(), scope: UndoScope::Attachment }
}

/// What the changed attributes were.
fn former(present: &LinkAttributes, changed: &LinkAttributes) -> LinkAttributes {
    LinkAttributes {
        mac: changed.mac.and(present.mac),
        mtu: changed.mtu.and(present.mtu),
        promiscuous: changed.promiscuous.and(present.promiscuous),
        all_multicast: changed.all_multicast.and(present.all_multicast),
        tx_queue_length: changed.tx_queue_length.and(present.tx_queue_length),
    }
}

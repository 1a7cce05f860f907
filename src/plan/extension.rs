//! From what is to be added to an existing interface, and what was observed around it, to ordered
//! steps, each with its inverse. As pure as the rest of the planner.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::addr::Family;
use crate::error::{Error, ErrorKind, Result};
use crate::extension::{Admission, Backend, Extension, Limit, Part, Publishing, Tuning};
use crate::ident::{AttachmentId, IfName};
use crate::iptables::IptablesAdmission;
use crate::isolation::Isolation;
use crate::plan::bandwidth::{self, Limited};
use crate::plan::nat::{shared_rules, transaction_of};
use crate::plan::observed::TakenPort;
use crate::plan::step::{LinkAttributes, Planned, Side, Step, UndoScope};
use crate::plan::{bridge, conflict, link_sysctl, with_link, write};
use crate::request::{Sysctl, SysctlKey};
use crate::ruleset::{Element, PublishedPort};

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
    /// Whether the container's port of the bridge sends frames back where they came from.
    pub reflecting: bool,
    /// Whether that port is kept from other isolated ports.
    pub isolated: bool,
    /// The MTU of the host's end of the veth pair.
    pub host_mtu: Option<u32>,
    /// Whether the attachment has limits of its own.
    pub limited: bool,
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
        Part::Admit(admission) => admit(admission, around),
        Part::Limit(limit) => restrict(&wanted.id, limit, around),
        Part::Tune(tuning) => tune(&wanted.id, tuning, around),
    }
}

fn publish(publishing: &Publishing, around: &Surroundings) -> Result<ExtensionPlan> {
    conflict::ports_free(&around.taken_ports)?;
    let ports = distinct(publishing.ports())?;
    let mut plan =
        ExtensionPlan { foundation: shared_rules(around.ruleset), ..ExtensionPlan::default() };
    let mut elements = Vec::new();
    if publishing.local {
        open_ways(publishing, around, &mut plan, &mut elements);
    }
    if publishing.masquerade_all {
        elements.extend(publishing.addresses.iter().copied().map(Element::MasqueradeAll));
    }
    elements.extend(ports.iter().copied().map(Element::Publish));
    plan.steps.extend(transaction_of(elements, &ports));
    Ok(plan)
}

/// Each port once. Two that differ only in where they lead contradict each other.
fn distinct(ports: Vec<PublishedPort>) -> Result<Vec<PublishedPort>> {
    let mut known = BTreeMap::new();
    let mut distinct = Vec::new();
    for port in ports {
        let PublishedPort { host_ip, protocol, host_port, ip, port: of_container } = port;
        let key = (Family::of(ip), host_ip, protocol, host_port);
        match known.insert(key, (ip, of_container)) {
            None => distinct.push(port),
            Some(same) if same == (ip, of_container) => {}
            Some((_, other)) => {
                return Err(Error::invalid(format!(
                    "port {host_port}/{protocol} of the host cannot lead to both {other} and {of_container}"
                )));
            }
        }
    }
    Ok(distinct)
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
        && !around.reflecting
    {
        plan.steps.push(hung(Step::Reflect { name: port.clone() }));
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

fn admit(admission: &Admission, around: &Surroundings) -> Result<ExtensionPlan> {
    let mut plan = ExtensionPlan::default();
    if admission.isolation != Isolation::Open {
        confine(admission, around, &mut plan)?;
    }
    plan.steps.extend(passage(admission));
    Ok(plan)
}

/// What was asked to be kept out and could come in all the same would be worse than a refusal.
fn confine(admission: &Admission, around: &Surroundings, plan: &mut ExtensionPlan) -> Result<()> {
    let Some(link) = &around.confined else {
        return Err(unconfinable("there is no link on the host by which it is reached"));
    };
    plan.foundation = shared_rules(around.ruleset);
    let elements = match link.is_bridge {
        true => bridge::confinement(&link.name, admission.isolation),
        false => vec![Element::Confined(link.name.clone())],
    };
    let missing: Vec<Planned> = (!link.present).then(|| added(elements)).into_iter().collect();
    match link.is_bridge {
        true => {
            plan.bridge = Some((link.name.clone(), missing));
            plan.steps.extend(isolated_port(admission, around)?);
        }
        false => plan.steps.extend(missing),
    }
    Ok(())
}

fn unconfinable(why: &str) -> Error {
    Error::invalid(format!("the container cannot be isolated: {why}"))
        .hint("isolation is for containers behind a bridge or a veth pair of the host")
}

/// Between ports of one bridge the rules have a say only where they see bridged frames.
fn isolated_port(admission: &Admission, around: &Surroundings) -> Result<Option<Planned>> {
    let apart = admission.isolation == Isolation::Isolated && !around.bridged_frames_filtered;
    if !apart || around.isolated {
        return Ok(None);
    }
    match &admission.port {
        Some(port) => Ok(Some(hung(Step::Isolate { name: port.clone() }))),
        None => Err(unconfinable("its port of the bridge is not known")),
    }
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

fn restrict(id: &AttachmentId, limit: &Limit, around: &Surroundings) -> Result<ExtensionPlan> {
    let host = &limit.host_ifname;
    // Taking ours back after a failure must not lift somebody else's.
    if around.limited {
        return Err(Error::new(
            ErrorKind::AttachmentExists,
            format!("the traffic of {id} is limited already"),
        )
        .hint("limit it in one place: by one plugin of the chain"));
    }
    let limited = Limited { id, host, mtu: around.host_mtu, ipv6: around.ipv6 };
    let steps = bandwidth::steps(&limited, limit.bandwidth);
    let of_host = |planned: Planned| match unhung(&planned.step) {
        // What is done to the block goes with it.
        Some(_) if !concerns(&planned.step, host) => planned,
        _ => hung_planned(planned),
    };
    let steps = steps.into_iter().map(of_host).collect();
    Ok(ExtensionPlan { steps, ..ExtensionPlan::default() })
}

fn concerns(step: &Step, host: &IfName) -> bool {
    matches!(step, Step::Shape { name, .. } | Step::Redirect { from: name, .. } if name == host)
}

/// What hangs on the host's end goes with it, at no cost, for that goes next; taken away by itself,
/// the kernel would be waited for. After a failure the link may stay.
fn hung(step: Step) -> Planned {
    hung_planned(with_link(step))
}

fn hung_planned(planned: Planned) -> Planned {
    match unhung(&planned.step) {
        Some(undo) => Planned { undo: vec![undo], scope: UndoScope::Failure, ..planned },
        None => planned,
    }
}

/// What takes away what hangs on a link that stays.
pub fn unhung(step: &Step) -> Option<Step> {
    match step {
        Step::Shape { name, .. } => Some(Step::Unshape { name: name.clone() }),
        Step::Redirect { from, .. } => Some(Step::Unredirect { from: from.clone() }),
        Step::Reflect { name } => Some(Step::Unreflect { name: name.clone() }),
        Step::Isolate { name } => Some(Step::Unisolate { name: name.clone() }),
        _ => None,
    }
}

/// The settings, with what was there before as their inverse: the interface may live on.
fn tune(id: &AttachmentId, tuning: &Tuning, around: &Surroundings) -> Result<ExtensionPlan> {
    let Some(present) = &around.attributes else {
        return Err(Error::new(
            ErrorKind::Kernel,
            format!("the container has no interface {}", id.ifname),
        )
        .hint("settings are for an interface that an earlier plugin has made"));
    };
    let mut steps: Vec<Planned> = tuning.sysctls.iter().map(|sysctl| set(sysctl, around)).collect();
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

fn set(sysctl: &Sysctl, around: &Surroundings) -> Planned {
    let step = write(Side::Container, sysctl.clone());
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

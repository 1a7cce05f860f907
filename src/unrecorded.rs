//! Taking down what has no record, because somebody removed the state folder. The host link says
//! whose it is: its alias holds the attachment's identity. The rest follows from the link and the
//! container.

use std::collections::BTreeSet;
use std::net::IpAddr;

use crate::addr::{Family, HostAddr};
use crate::apply::{Container, Executor, is_labelled, is_stored};
use crate::error::Result;
use crate::host::Host;
use crate::ident::{AttachmentId, IfName};
use crate::isolation::Isolation;
use crate::kernel::link::Link;
use crate::kernel::nftables::Item;
use crate::kernel::{address, link, nftables, route};
use crate::plan::{self, Label, Step, bridge_label};
use crate::ruleset::{Element, Rules, address_of_data};
use crate::target::{Target, TargetName};

/// The maps of published ports.
const PUBLISHED: [&str; 4] = ["publish4", "publish4_at", "publish6", "publish6_at"];

/// An attachment that only the kernel remembers.
pub struct Unrecorded {
    /// Its identity, as the host link's alias says.
    pub id: AttachmentId,
    link: Link,
}

/// Every attachment of a container whose id is `name`, or whose far ends are in `target`.
pub fn find(host: &Host, name: &str, target: Option<&Target>) -> Result<Vec<Unrecorded>> {
    let inside = match target {
        Some(target) => link::all(&Container::open(target)?.rtnl)?,
        None => Vec::new(),
    };
    let is_far_end = |near: &Link| {
        inside.iter().any(|far| far.peer == Some(near.index) && near.peer == Some(far.index))
    };
    let mut found = Vec::new();
    for link in link::all(&host.rtnl)? {
        let Some(id) = identity(&link) else { continue };
        let ours = [id.host_mac(), id.port_mac()].iter().any(|mac| link.mac == mac.octets());
        if ours && (id.container.as_str() == name || is_far_end(&link)) {
            found.push(Unrecorded { id, link });
        }
    }
    Ok(found)
}

/// The attachment of this identity, by its host link's derived name.
pub fn of(host: &Host, id: &AttachmentId) -> Result<Option<Unrecorded>> {
    let link = link::by_name(&host.rtnl, &id.host_ifname())?;
    Ok(link
        .filter(|link| identity(link).as_ref() == Some(id))
        .map(|link| Unrecorded { id: id.clone(), link }))
}

fn identity(link: &Link) -> Option<AttachmentId> {
    let (container, ifname) = link.alias.as_deref()?.strip_prefix("netup ")?.split_once('@')?;
    Some(AttachmentId { container: container.parse().ok()?, ifname: ifname.parse().ok()? })
}

/// Takes one of them down: its elements, its link, and the bridge if it was the last on it.
pub fn take_down(host: &Host, target: Option<&Target>, lost: &Unrecorded) -> Result<()> {
    let container = target.map(Container::open).transpose()?;
    let ips = addresses(host, container.as_ref(), lost)?;
    let name = target.map_or(TargetName::Named(String::new()), |target| target.name().clone());
    let near: IfName = lost.link.name.parse()?;
    let mut executor = Executor::new(host, container, &name);
    remove_published(host, &ips)?;
    let mut elements = stored(host, elements(&near, &ips))?;
    elements.extend(genuine(host, &near)?);
    executor.undo(&Step::DeleteElements(elements))?;
    let label = Label { name: near, alias: lost.id.alias(), mac: lost.id.host_mac() };
    executor.undo(&Step::DeleteLink(label))?;
    executor.undo(&Step::DeleteLink(Label {
        name: lost.id.ifb_ifname(),
        alias: lost.id.ifb_alias(),
        mac: lost.id.ifb_mac(),
    }))?;
    if let Some(master) = lost.link.master {
        leave_bridge(host, &mut executor, master)?;
    }
    ips.into_iter().try_for_each(|ip| host.state.release(HostAddr::single(ip), &lost.id))
}

/// The container's addresses, as it has them and as the host routes to them.
fn addresses(
    host: &Host,
    container: Option<&Container<'_>>,
    lost: &Unrecorded,
) -> Result<BTreeSet<IpAddr>> {
    let mut ips = BTreeSet::new();
    if let Some(container) = container
        && let Some(link) = link::by_name(&container.rtnl, &lost.id.ifname)?
    {
        let own = address::of_link(&container.rtnl, link.index)?;
        ips.extend(own.into_iter().map(HostAddr::ip));
    }
    for family in [Family::V4, Family::V6] {
        let routes = route::all(&host.rtnl, family)?.into_iter();
        let single = routes.filter(|entry| {
            entry.link == Some(lost.link.index) && entry.destination.length() == family.bits()
        });
        ips.extend(single.map(|entry| entry.destination.network()));
    }
    Ok(ips)
}

fn elements(near: &IfName, ips: &BTreeSet<IpAddr>) -> Vec<Element> {
    let of_link = [
        Element::Link(near.clone()),
        Element::Hairpin(near.clone()),
        Element::Confined(near.clone()),
        Element::GuardedPort(near.clone()),
        Element::Untracked(near.clone()),
    ];
    of_link.into_iter().chain(ips.iter().copied().map(Element::Masquerade)).collect()
}

/// Only the set itself tells which hardware addresses are genuine at a port, so it is read whole.
fn genuine(host: &Host, near: &IfName) -> Result<Vec<Element>> {
    let items = nftables::all(host.nft()?, Rules::Bridge, "genuine")?;
    let of_port = |item: &Item| Element::genuine_of(&item.key).filter(|(name, _)| name == near);
    let macs = items.iter().filter_map(of_port);
    Ok(macs.map(|(name, mac)| Element::GenuineMac(name, mac)).collect())
}

fn stored(host: &Host, elements: Vec<Element>) -> Result<Vec<Element>> {
    let mut stored = Vec::new();
    for element in elements {
        if is_stored(host.nft()?, &element)? {
            stored.push(element);
        }
    }
    Ok(stored)
}

/// Nothing but the maps themselves tells which ports lead here, so they are read whole.
fn remove_published(host: &Host, ips: &BTreeSet<IpAddr>) -> Result<()> {
    for map in PUBLISHED {
        let mut items = nftables::all(host.nft()?, Rules::Inet, map)?;
        items.retain(|item| address_of_data(&item.data).is_some_and(|ip| ips.contains(&ip)));
        nftables::delete_items(host.nft()?, map, &items)?;
    }
    Ok(())
}

/// A bridge that netup made goes with the last link on it.
fn leave_bridge(host: &Host, executor: &mut Executor<'_>, index: u32) -> Result<()> {
    let Some(bridge) = link::by_index(&host.rtnl, index)? else { return Ok(()) };
    let name: IfName = bridge.name.parse()?;
    let label = bridge_label(&name);
    let links = link::all(&host.rtnl)?;
    let gateways: Vec<&Link> = links.iter().filter(|link| is_gateway_on(link, &name)).collect();
    let own = |link: &&Link| gateways.iter().any(|gateway| gateway.peer == Some(link.index));
    let empty = links.iter().filter(|link| link.master == Some(index)).all(|link| own(&link));
    let ours = bridge.alias.as_deref() == Some(&label.alias) && host.state.bridge(&name)?.is_none();
    if !(empty && ours) {
        return Ok(());
    }
    for gateway in gateways {
        leave_vlan(host, executor, &gateway.name.parse()?)?;
    }
    let of_bridge = plan::of_bridge(&name, false, true)
        .into_iter()
        .chain(plan::confinement(&name, Isolation::Isolated))
        .collect();
    executor.undo(&Step::DeleteElements(stored(host, of_bridge)?))?;
    executor.undo(&Step::DeleteBridge(label))
}

/// Whether it is the host's own link on a VLAN of the bridge, and netup made it.
fn is_gateway_on(link: &Link, bridge: &IfName) -> bool {
    let id = link.name.strip_prefix(bridge.as_str()).and_then(|rest| rest.strip_prefix('.'));
    let name = id.filter(|id| id.parse::<u16>().is_ok()).and_then(|_| link.name.parse().ok());
    name.is_some_and(|name| is_labelled(link, &plan::gateway_label(&name)))
}

fn leave_vlan(host: &Host, executor: &mut Executor<'_>, name: &IfName) -> Result<()> {
    let elements = plan::of_gateway(name)
        .into_iter()
        .chain(plan::confinement(name, Isolation::Isolated))
        .collect();
    executor.undo(&Step::DeleteElements(stored(host, elements)?))?;
    executor.undo(&Step::DeleteLink(plan::gateway_label(name)))
}

/// Clears a published port that leads to an address which nobody remembers and which the host
/// cannot reach by a link of its own: nobody is there. True if it is cleared.
pub fn clear_port(host: &Host, element: &Element, ip: IpAddr) -> Result<bool> {
    match route::lookup(&host.rtnl, ip)? {
        Some(entry) if entry.via.is_none() && !entry.destination.is_default() => Ok(false),
        _ => {
            let operation = "nft delete element inet netup";
            match nftables::delete(host.nft()?, std::slice::from_ref(element), &operation) {
                // It was of one that was just being taken down.
                Err(e) if e.is_gone() => Ok(true),
                done => done.map(|()| true),
            }
        }
    }
}

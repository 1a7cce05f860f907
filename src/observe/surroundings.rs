//! Looks at what surrounds an interface that something is to be added to. Single look-ups only, as
//! for an attachment.

use std::net::IpAddr;

use crate::addr::Family;
use crate::apply::is_stored;
use crate::error::{Error, Result};
use crate::extension::{Admission, Extension, Limit, Part, Publishing, Tuning};
use crate::host::Host;
use crate::ident::{AttachmentId, IfName, Mac};
use crate::isolation::Isolation;
use crate::kernel::link::{self, Link, Port};
use crate::kernel::{netns, nftables, route, sockets, sysctl};
use crate::observe::{bridged_frames_all_filtered, bridged_frames_filtered, occupied};
use crate::plan::extension::{ConfinedLink, Surroundings, Way};
use crate::plan::{self, LinkAttributes};
use crate::request::{Sysctl, SysctlKey};
use crate::ruleset::{Element, Rules};
use crate::target::Target;

/// The bridge that a part relies on together with others, if there is one. To be locked before the
/// rest is looked at.
pub fn bridge_of(host: &Host, extension: &Extension) -> Result<Option<IfName>> {
    match &extension.part {
        Part::Publish(publishing) if publishing.local => {
            for ip in &publishing.addresses {
                if let Some(link) = way_to(host, *ip)?.filter(is_bridge) {
                    return link.name.parse().map(Some);
                }
            }
            Ok(None)
        }
        Part::Admit(Admission { link: Some(name), isolation, .. })
            if *isolation != Isolation::Open =>
        {
            let link = link::by_name(&host.rtnl, name)?;
            Ok(link.filter(is_bridge).map(|_| name.clone()))
        }
        _ => Ok(None),
    }
}

/// The snapshot for one part.
pub fn surroundings(host: &Host, extension: &Extension, target: &Target) -> Result<Surroundings> {
    match &extension.part {
        Part::Publish(publishing) => around_ports(host, publishing),
        Part::Admit(admission) => around_admission(host, admission),
        Part::Limit(limit) => around_limit(host, &extension.id, limit),
        Part::Tune(tuning) => around_settings(target, &extension.id.ifname, tuning),
    }
}

fn around_ports(host: &Host, publishing: &Publishing) -> Result<Surroundings> {
    let mut around = Surroundings {
        ruleset: nftables::is_current(host.nft()?, Rules::Inet)?,
        taken_ports: occupied(host, &publishing.ports())?,
        ..Surroundings::default()
    };
    if publishing.local {
        around.bridged_frames_filtered = bridged_frames_filtered()?;
        around.reflecting = port(host, publishing.host_ifname.as_ref())?.hairpin;
        for ip in &publishing.addresses {
            around.ways.extend(way(host, *ip)?);
        }
    }
    Ok(around)
}

/// How a port of a bridge is set, if there is one.
fn port(host: &Host, name: Option<&IfName>) -> Result<Port> {
    let link = name.map(|name| link::by_name(&host.rtnl, name)).transpose()?.flatten();
    Ok(link.map(|link| link.port).unwrap_or_default())
}

/// The link that leads to an address without a next hop.
fn way_to(host: &Host, ip: IpAddr) -> Result<Option<Link>> {
    let Some(entry) = route::lookup(&host.rtnl, ip)? else { return Ok(None) };
    match entry.link {
        Some(index) if entry.via.is_none() && !entry.local => link::by_index(&host.rtnl, index),
        _ => Ok(None),
    }
}

fn is_bridge(link: &Link) -> bool {
    link.kind.as_deref() == Some("bridge")
}

/// Only bridges and veths: another link, such as a physical one, is not the containers' alone.
fn way(host: &Host, ip: IpAddr) -> Result<Option<Way>> {
    let Some(link) = way_to(host, ip)? else { return Ok(None) };
    let is_bridge = is_bridge(&link);
    if !is_bridge && link.kind.as_deref() != Some("veth") {
        return Ok(None);
    }
    let name: IfName = link.name.parse()?;
    let hairpin = is_stored(host.nft()?, &Element::Hairpin(name.clone())).or_else(|e| {
        // Without the table there are no elements.
        if e.is_gone() { Ok(false) } else { Err(e) }
    })?;
    let localnet = sysctl::read(&SysctlKey::of_link(Family::V4, name.as_str(), "route_localnet"))?;
    Ok(Some(Way {
        ip,
        link: name,
        is_bridge,
        hairpin,
        route_localnet: localnet.as_deref() == Some("1"),
    }))
}

fn around_admission(host: &Host, admission: &Admission) -> Result<Surroundings> {
    let (Some(name), true) = (&admission.link, admission.isolation != Isolation::Open) else {
        return Ok(Surroundings::default());
    };
    let link = link::by_name(&host.rtnl, name)?;
    let ruleset = nftables::is_current(host.nft()?, Rules::Inet)?;
    let confined = link.map(|link| -> Result<ConfinedLink> {
        let wanted = plan::confinement(name, admission.isolation);
        let stored = |element| is_stored(host.nft()?, element);
        let present = ruleset
            && wanted
                .iter()
                .try_fold(true, |all, element| Ok::<_, Error>(all && stored(element)?))?;
        Ok(ConfinedLink { name: name.clone(), is_bridge: is_bridge(&link), present })
    });
    let bridged_frames_filtered = bridged_frames_all_filtered()?;
    let confined = confined.transpose()?;
    let isolated = port(host, admission.port.as_ref())?.isolated;
    Ok(Surroundings {
        ruleset,
        confined,
        bridged_frames_filtered,
        isolated,
        ..Surroundings::default()
    })
}

fn around_limit(host: &Host, id: &AttachmentId, limit: &Limit) -> Result<Surroundings> {
    let link = link::by_name(&host.rtnl, &limit.host_ifname)?;
    let attachment = host.state.record(id)?.map(|record| record.attachment);
    Ok(Surroundings {
        host_mtu: link.map(|link| link.mtu),
        limited: attachment.is_some_and(|attachment| !attachment.bandwidth.is_unlimited()),
        ipv6: sockets::has_ipv6(),
        ..Surroundings::default()
    })
}

fn around_settings(target: &Target, ifname: &IfName, tuning: &Tuning) -> Result<Surroundings> {
    let container = crate::apply::Container::open(target)?;
    let link = link::by_name(&container.rtnl, ifname)?;
    let mut around =
        Surroundings { attributes: link.as_ref().map(attributes), ..Surroundings::default() };
    if !tuning.sysctls.is_empty() {
        // One that cannot be read, such as a secret that was never set, cannot be put back either.
        let present = |s: &Sysctl| Some((s.key.clone(), sysctl::read(&s.key).ok().flatten()?));
        let read = || tuning.sysctls.iter().filter_map(present).collect();
        around.container_sysctls = netns::visit(target.netns(), read)?;
    }
    Ok(around)
}

fn attributes(link: &Link) -> LinkAttributes {
    LinkAttributes {
        mac: Some(Mac::observed(&link.mac)),
        mtu: Some(link.mtu),
        promiscuous: Some(link.promiscuous),
        all_multicast: Some(link.all_multicast),
        tx_queue_length: Some(link.tx_queue_length),
    }
}

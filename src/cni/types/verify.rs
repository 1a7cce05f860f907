//! CHECK by the result that the runtime remembers: the kernel is asked, whoever made the interface.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netup::addr::Family;
use netup::{Interface, KnownRoute, Target};

use crate::cni::Call;
use crate::cni::failure::Failure;
use crate::cni::result::{Ip, Made, Route};
use crate::cni::types::connection::drifted;

/// The result that the runtime remembers, without which nothing can be checked.
pub fn prev_result(call: &Call) -> Result<&Made, Failure> {
    call.conf.prev_result.as_ref().ok_or_else(|| Failure::config("required prevResult missing"))
}

/// Whether the container's interface, its addresses and its routes are as remembered, and whether
/// the host's links are there.
pub fn interface(call: &Call, target: &Target) -> Result<(), Failure> {
    let made = prev_result(call)?;
    let id = call.id()?;
    let Some(link) = netup::interface(target, &id.ifname)? else {
        return Err(missing(format!("interface {} in the container", id.ifname)));
    };
    hardware_address(made, &link)?;
    made.ips.iter().filter(|ip| is_on(ip, made, &link)).try_for_each(|ip| address(ip, &link))?;
    host_links(made)?;
    routes(made, target, &link)
}

fn missing(what: String) -> Failure {
    drifted(&[format!("{what} is missing")])
}

/// A later plugin of the chain may have changed it, and then the remembered one is the changed one.
fn hardware_address(made: &Made, link: &Interface) -> Result<(), Failure> {
    let told = made.interfaces.iter().find(|one| !one.sandbox.is_empty() && one.name == link.name);
    match told {
        Some(told) if !told.mac.is_empty() && !told.mac.eq_ignore_ascii_case(&link.mac) => {
            Err(drifted(&[format!("{} has address {}, not {}", link.name, link.mac, told.mac)]))
        }
        _ => Ok(()),
    }
}

/// Whether an address of the result is this interface's; one that names no interface is.
fn is_on(ip: &Ip, made: &Made, link: &Interface) -> bool {
    match ip.interface.and_then(|index| made.interfaces.get(index)) {
        Some(interface) => !interface.sandbox.is_empty() && interface.name == link.name,
        None => true,
    }
}

fn address(ip: &Ip, link: &Interface) -> Result<(), Failure> {
    let there = link
        .addresses
        .iter()
        .any(|own| own.ip() == ip.address.ip() && own.prefix().length() == ip.address.prefix());
    match there {
        true => Ok(()),
        false => Err(missing(format!("address {} on {}", ip.address, link.name))),
    }
}

fn host_links(made: &Made) -> Result<(), Failure> {
    for told in made.interfaces.iter().filter(|one| one.sandbox.is_empty()) {
        // A name that is none of the kernel's cannot be there either.
        let link = told.name.parse().ok().map(|name| netup::host_interface(&name)).transpose()?;
        if link.flatten().is_none() {
            return Err(missing(format!("link {} on the host", told.name)));
        }
    }
    Ok(())
}

fn routes(made: &Made, target: &Target, link: &Interface) -> Result<(), Failure> {
    for family in [Family::V4, Family::V6] {
        let wanted: Vec<&Route> =
            effective(made, &made.routes).filter(|route| is_of(route.dst, family)).collect();
        if wanted.is_empty() {
            continue;
        }
        let known = netup::routes(target, family)?;
        for route in wanted {
            // One of another table is not in this list.
            if route.table.is_none() && !known.iter().any(|one| leads(one, route, link)) {
                return Err(missing(format!("route to {}", route.dst)));
            }
        }
    }
    Ok(())
}

fn is_of(dst: IpNetwork, family: Family) -> bool {
    dst.is_ipv4() == (family == Family::V4)
}

fn leads(known: &KnownRoute, wanted: &Route, link: &Interface) -> bool {
    let same = known.destination.network() == wanted.dst.network()
        && known.destination.length() == wanted.dst.prefix();
    let by = |gw: IpAddr| known.via == Some(gw);
    same && (wanted.dst.prefix() == 0
        || (known.interface == Some(link.index) && wanted.gw.is_none_or(by)))
}

/// Those of the routes that something is to be done for: not those of a family in which no address
/// was given, nor to a network that the container has by its address.
fn effective<'a>(given: &'a Made, routes: &'a [Route]) -> impl Iterator<Item = &'a Route> {
    let served =
        |route: &Route| given.ips.iter().any(|ip| ip.address.is_ipv4() == route.dst.is_ipv4());
    let connected = |route: &Route| {
        let of = |ip: &Ip| (ip.address.network(), ip.address.prefix());
        let to = (route.dst.network(), route.dst.prefix());
        route.table.is_none() && given.ips.iter().any(|ip| of(ip) == to)
    };
    routes.iter().filter(move |route| served(route) && !connected(route))
}

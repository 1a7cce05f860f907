//! What an interface is now, for callers that compare it with what they were told.

use std::net::IpAddr;

use crate::addr::{Family, HostAddr, Prefix};
use crate::apply::Container;
use crate::error::{Error, Result};
use crate::ident::IfName;
use crate::kernel::link::{self, Link};
use crate::kernel::rtnl::Rtnl;
use crate::kernel::{address, route};
use crate::plan::LinkAttributes;
use crate::target::Target;

/// An interface, as the kernel has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Its index in its namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `veth`, `bridge`, …; physical devices have none.
    pub kind: Option<String>,
    /// Its hardware address, in hexadecimal with colons; empty if it has none.
    pub mac: String,
    /// Its MTU in bytes.
    pub mtu: u32,
    /// Whether it is administratively up.
    pub up: bool,
    /// The index of a veth's other end, in that end's namespace.
    pub peer: Option<u32>,
    /// The bridge that it is a port of, by index.
    pub master: Option<u32>,
    /// Its addresses.
    pub addresses: Vec<HostAddr>,
}

/// A route by an interface: where to, and by which next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownRoute {
    /// Where to.
    pub destination: Prefix,
    /// The next hop.
    pub via: Option<IpAddr>,
    /// The index of the outgoing interface.
    pub interface: Option<u32>,
}

/// The interface of this name in the caller's namespace; `None` if there is none.
///
/// # Errors
/// A refusal by the kernel.
pub fn host_interface(name: &IfName) -> Result<Option<Interface>> {
    let (rtnl, _) = Rtnl::here()?;
    described(&rtnl, link::by_name(&rtnl, name)?)
}

/// The name of the other end of a container's veth interface, in the caller's namespace; `None` if
/// the interface is not there or of another kind, or its other end elsewhere.
///
/// # Errors
/// A refusal by the kernel.
pub fn host_end(target: &Target, name: &IfName) -> Result<Option<IfName>> {
    let inside = link::by_name(&Container::open(target)?.rtnl, name)?;
    let Some(inside) = inside.filter(|link| link.kind.as_deref() == Some("veth")) else {
        return Ok(None);
    };
    let (rtnl, _) = Rtnl::here()?;
    let outside = match inside.peer {
        Some(peer) => link::by_index(&rtnl, peer)?,
        None => None,
    };
    let pair = outside.filter(|link| link.peer == Some(inside.index));
    pair.map(|link| link.name.parse()).transpose()
}

/// The interface of this name in a container; `None` if there is none.
///
/// # Errors
/// A refusal by the kernel.
pub fn interface(target: &Target, name: &IfName) -> Result<Option<Interface>> {
    let container = Container::open(target)?;
    described(&container.rtnl, link::by_name(&container.rtnl, name)?)
}

/// The routes of a container, in one family.
///
/// # Errors
/// A refusal by the kernel.
pub fn routes(target: &Target, family: Family) -> Result<Vec<KnownRoute>> {
    let container = Container::open(target)?;
    let known = |entry: route::Entry| KnownRoute {
        destination: entry.destination,
        via: entry.via,
        interface: entry.link,
    };
    Ok(route::all(&container.rtnl, family)?.into_iter().map(known).collect())
}

/// Removes a veth interface from a container, and its other end with it; returns the addresses that
/// it had. For interfaces that netup did not make: those go by
/// [`detach_member`](crate::detach_member).
///
/// # Errors
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the interface is of another kind; a
/// refusal by the kernel.
pub fn remove_interface(target: &Target, name: &IfName) -> Result<Vec<HostAddr>> {
    let container = Container::open(target)?;
    let Some(link) = link::by_name(&container.rtnl, name)? else { return Ok(Vec::new()) };
    if link.kind.as_deref() != Some("veth") {
        return Err(Error::invalid(format!("{name} in {} is no veth", target.name()))
            .hint("remove it with the tool that made it"));
    }
    let addresses = address::of_link(&container.rtnl, link.index)?;
    match link::delete(&container.rtnl, link.index, &format!("ip link delete {name}")) {
        Err(e) if !e.is_gone() => Err(e),
        _ => Ok(addresses),
    }
}

/// Sets attributes of a container's interface.
///
/// # Errors
/// A refusal by the kernel. That the interface is gone is no error.
pub fn set_attributes(target: &Target, name: &IfName, attributes: &LinkAttributes) -> Result<()> {
    let container = Container::open(target)?;
    let Some(link) = link::by_name(&container.rtnl, name)? else { return Ok(()) };
    link::set_attributes(&container.rtnl, link.index, attributes, &format!("ip link set {name}"))
}

fn described(rtnl: &Rtnl, link: Option<Link>) -> Result<Option<Interface>> {
    let Some(link) = link else { return Ok(None) };
    let addresses = address::of_link(rtnl, link.index)?;
    let mac: Vec<String> = link.mac.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Some(Interface {
        index: link.index,
        mac: mac.join(":"),
        mtu: link.mtu,
        up: link.up,
        peer: link.peer,
        master: link.master,
        kind: link.kind,
        name: link.name,
        addresses,
    }))
}

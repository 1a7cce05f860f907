//! A namespace's loopback interface: set up or down by itself, where nothing else is to be
//! connected. It belongs to no attachment.

use crate::addr::HostAddr;
use crate::apply::Container;
use crate::error::{Error, ErrorKind, Result};
use crate::ident::IfName;
use crate::kernel::{address, link};
use crate::target::Target;

/// What a loopback interface is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loopback {
    /// Whether it is up.
    pub up: bool,
    /// Its addresses. The kernel gives it 127.0.0.1 and, where there is IPv6, ::1 as it comes up.
    pub addresses: Vec<HostAddr>,
}

/// The namespace's loopback interface as it is.
///
/// # Errors
/// The kernel's refusals.
pub fn loopback(target: &Target) -> Result<Loopback> {
    let container = Container::open(target)?;
    Ok(look(&container)?.1)
}

/// Sets the namespace's loopback interface up or down. That it is so already is success.
///
/// # Errors
/// [`AddressInUse`](ErrorKind::AddressInUse) if it is to come up and has an address that is not a
/// loopback's, which would be reachable from then on; and the kernel's refusals.
pub fn set_loopback(target: &Target, up: bool) -> Result<Loopback> {
    let container = Container::open(target)?;
    let (index, now) = look(&container)?;
    if up {
        only_loopback_addresses(&now)?;
    }
    let name = target.name();
    match (now.up, up) {
        (false, true) => {
            link::set_up(&container.rtnl, index, None, &format!("ip link set lo up in {name}"))?;
        }
        (true, false) => {
            link::set_down(&container.rtnl, index, &format!("ip link set lo down in {name}"))?;
        }
        _ => return Ok(now),
    }
    Ok(look(&container)?.1)
}

fn look(container: &Container<'_>) -> Result<(u32, Loopback)> {
    let link = link::by_name(&container.rtnl, &IfName::loopback())?.ok_or_else(|| {
        let name = container.target.name();
        Error::new(ErrorKind::Kernel, format!("{name} has no loopback interface"))
            .hint("it was renamed; call it lo again")
    })?;
    let addresses = address::of_link(&container.rtnl, link.index)?;
    Ok((link.index, Loopback { up: link.up, addresses }))
}

fn only_loopback_addresses(now: &Loopback) -> Result<()> {
    match now.addresses.iter().find(|address| !address.ip().is_loopback()) {
        None => Ok(()),
        Some(other) => Err(Error::new(
            ErrorKind::AddressInUse,
            format!("lo has {other}, which is not a loopback address"),
        )
        .hint("take the address away, or give it to another interface")),
    }
}

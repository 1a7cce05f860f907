//! Addresses are reserved before anything else: they must be known to plan, and nobody else may
//! have them meanwhile.

use std::net::IpAddr;

use crate::addr::HostAddr;
use crate::detach;
use crate::error::{Error, ErrorKind, Result};
use crate::extend;
use crate::gc;
use crate::host::Host;
use crate::ident::AttachmentId;
use crate::kernel::{address, link, nftables};
use crate::outcome::State as Standing;
use crate::request::{AddressRequest, Network};
use crate::ruleset::{Element, PublishedPort, address_of_data};
use crate::state::{Claim, Span};
use crate::unrecorded;

/// Addresses that are given back when this is dropped, unless the attachment has come about.
#[must_use = "the addresses are given back when this is dropped"]
pub struct Reservation<'a> {
    host: &'a Host,
    id: &'a AttachmentId,
    addresses: Vec<HostAddr>,
    taken: Vec<HostAddr>,
}

impl Reservation<'_> {
    /// The addresses, in the order of the request.
    #[must_use]
    pub fn addresses(&self) -> &[HostAddr] {
        &self.addresses
    }

    fn take(&mut self, leased: HostAddr) -> HostAddr {
        self.taken.push(leased);
        leased
    }

    /// Leaves the addresses to the attachment's record.
    pub fn commit(mut self) {
        self.taken.clear();
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        for address in &self.taken {
            // What cannot be given back now has no record, so the next one who wants it takes it.
            drop(self.host.state.release(*address, self.id));
        }
    }
}

/// Reserves the request's addresses. `kept` are those that the attachment had before, which a
/// lease takes again.
pub fn reserve<'a>(
    host: &'a Host,
    id: &'a AttachmentId,
    network: &Network,
    kept: &[HostAddr],
) -> Result<Reservation<'a>> {
    let mut reservation = Reservation { host, id, addresses: Vec::new(), taken: Vec::new() };
    for request in &network.addresses {
        let serves = |a: &&HostAddr| request.allows(**a) && !reservation.addresses.contains(a);
        let former = kept.iter().copied().find(|a| serves(&a));
        let address = match (request, former) {
            (AddressRequest::Exact(address), _) => *address,
            (_, Some(former)) if claim(host, id, former.ip()).is_ok() => former,
            (AddressRequest::Lease(prefix), _) => {
                reservation.take(lease(host, id, *prefix, &not_for_lease(host, network)?)?)
            }
            (AddressRequest::LeaseWithin(range), _) => {
                reservation.take(lease(host, id, *range, &not_for_lease(host, network)?)?)
            }
        };
        if matches!(request, AddressRequest::Exact(_)) && claim(host, id, address.ip())? {
            reservation.taken.push(address);
        }
        reservation.addresses.push(address);
    }
    Ok(reservation)
}

/// Clears away what is left of containers that are gone and still have one of these ports; true if
/// there was anything.
pub fn clear_dead_ports(host: &Host, ports: &[PublishedPort]) -> Result<bool> {
    let mut cleared = false;
    for port in ports {
        let element = Element::Publish(*port);
        let data = nftables::stored(host.nft()?, &element)?;
        let Some(ip) = data.as_deref().and_then(address_of_data) else { continue };
        cleared |= extend::clear_dead_publisher(host, &element)?
            || match host.state.owner(ip)? {
                Some(owner) => detach::clear_dead_owner(host, &owner, ip)?,
                None => unrecorded::clear_port(host, &element, ip)?,
            };
    }
    Ok(cleared)
}

/// The addresses that the request would get, with nothing taken.
pub fn preview(host: &Host, id: &AttachmentId, network: &Network) -> Result<Vec<HostAddr>> {
    let mut addresses: Vec<HostAddr> = Vec::new();
    let mut reserved = not_for_lease(host, network)?;
    for request in &network.addresses {
        let address = match request {
            AddressRequest::Exact(address) => free(host, id, *address)?,
            AddressRequest::Lease(prefix) => host.state.preview_lease(*prefix, &reserved)?,
            AddressRequest::LeaseWithin(range) => host.state.preview_lease(*range, &reserved)?,
        };
        reserved.push(address.ip());
        addresses.push(address);
    }
    Ok(addresses)
}

/// Whether the network's leases would be given now.
///
/// # Errors
/// [`PoolExhausted`](ErrorKind::PoolExhausted) if there is one of which no address is free.
pub async fn leases_available(network: &Network) -> Result<()> {
    let host = Host::open()?;
    let reserved = not_for_lease(&host, network)?;
    let lease = |request: &AddressRequest| match request {
        AddressRequest::Exact(_) => Ok(()),
        AddressRequest::Lease(prefix) => host.state.preview_lease(*prefix, &reserved).map(drop),
        AddressRequest::LeaseWithin(range) => host.state.preview_lease(*range, &reserved).map(drop),
    };
    network.addresses.iter().try_for_each(lease)
}

fn free(host: &Host, id: &AttachmentId, address: HostAddr) -> Result<HostAddr> {
    match host.state.owner(address.ip())? {
        Some(owner) if owner != *id && is_alive(host, &owner)? => Err(taken(address.ip(), &owner)),
        _ => Ok(address),
    }
}

fn is_alive(host: &Host, id: &AttachmentId) -> Result<bool> {
    match host.state.record(id)? {
        Some(record) => Ok(host.standing(&record)? == Standing::Up),
        None => Ok(false),
    }
}

/// Claims an address; true if it was not ours before. An owner whose container is gone, or who
/// never came to be, is cleared away first.
fn claim(host: &Host, id: &AttachmentId, ip: IpAddr) -> Result<bool> {
    loop {
        match host.state.claim(ip, id)? {
            Claim::Taken => return Ok(true),
            Claim::Ours => return Ok(false),
            Claim::Owned(owner) if detach::clear_dead_owner(host, &owner, ip)? => {}
            Claim::Owned(owner) => return Err(taken(ip, &owner)),
        }
    }
}

fn taken(ip: IpAddr, owner: &AttachmentId) -> Error {
    Error::new(ErrorKind::AddressInUse, format!("address {ip} belongs to {owner}"))
        .hint(format!("choose another address, or run netup down {}", owner.container))
}

/// A pool that has run dry may be full of containers that ended without `down`.
fn lease(
    host: &Host,
    id: &AttachmentId,
    span: impl Into<Span>,
    reserved: &[IpAddr],
) -> Result<HostAddr> {
    let span = span.into();
    match host.state.lease(span, id, reserved) {
        Err(e) if e.kind() == ErrorKind::PoolExhausted => {
            gc::collect(host)?;
            host.state.lease(span, id, reserved)
        }
        other => other,
    }
}

/// Gateways, the request's own addresses, and those that the host has on the bridge.
fn not_for_lease(host: &Host, network: &Network) -> Result<Vec<IpAddr>> {
    let mut reserved = network.gateways.clone();
    for request in &network.addresses {
        let first = request.prefix().nth(request.prefix().host_offsets().0);
        let of_first = first.and_then(|first| HostAddr::new(first, request.prefix()));
        match request {
            AddressRequest::Exact(address) => {
                reserved.extend([address.ip(), address.default_gateway()]);
            }
            // A pool's first address is the gateway, also in a network of two, so that all of a
            // pool's containers have the same.
            AddressRequest::Lease(_) => reserved.extend(of_first.map(HostAddr::ip)),
            // A range is what somebody chose, who may have named another gateway.
            AddressRequest::LeaseWithin(range) => {
                let named = network.gateways.iter().any(|gateway| range.prefix.contains(*gateway));
                reserved.extend(of_first.map(HostAddr::ip).filter(|_| !named));
            }
        }
    }
    if let Some(name) = &network.segment()?
        && let Some(link) = link::by_name(&host.rtnl, name)?
    {
        reserved.extend(address::of_link(&host.rtnl, link.index)?.into_iter().map(HostAddr::ip));
    }
    Ok(reserved)
}

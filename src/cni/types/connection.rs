//! What the types have in common that make a container's interface: `netup`, `bridge` and `ptp`.
//! They differ in how a configuration becomes a [`Network`]; from there on they are one.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use netup::ident::{AttachmentId, IfName, NetworkName};
use netup::request::{AddressRequest, RouteRequest};
use netup::{Attachment, Checked, Error, ErrorKind, Network, Request, Topology, reference};

use crate::cni::failure::Failure;
use crate::cni::result::{Interface, Ip, Made, Route};
use crate::cni::types::{Type, verify};
use crate::cni::{Call, ipam};
use crate::wait;

/// The network's name.
pub fn network_name(call: &Call) -> Result<NetworkName, Failure> {
    Ok(call.conf.name.parse()?)
}

/// A type that makes a container's interface. All its verbs but ADD are the same.
pub trait Connecting: Sync {
    /// Connects, and tells what there is now.
    fn connect(&self, call: &Call) -> Result<Made, Failure>;

    /// Whether the type's own addresses, if it has any, are to be had.
    fn addresses_available(&self, call: &Call) -> Result<(), Failure> {
        let _ = call;
        Ok(())
    }
}

impl<T: Connecting> Type for T {
    fn add(&self, call: &Call) -> Result<Made, Failure> {
        self.connect(call)
    }

    fn del(&self, call: &Call) -> Result<(), Failure> {
        disconnect(call)
    }

    fn check(&self, call: &Call) -> Result<(), Failure> {
        check(call)
    }

    fn status(&self, call: &Call) -> Result<(), Failure> {
        status(call)?;
        self.addresses_available(call)
    }

    fn gc(&self, call: &Call) -> Result<(), Failure> {
        gc(call)
    }
}

/// Connects the container. If that fails, the addresses go back to whoever gave them.
pub fn connect(call: &Call, network: Network) -> Result<Attachment, Failure> {
    let id = call.id()?;
    let request = Request::new(call.target()?, network)?
        .with_id(id.container)
        .with_ifname(id.ifname)
        .of_network(network_name(call)?)
        .fresh(true);
    Ok(wait(netup::attach(&request))?.attachment)
}

/// As [`connect`], with addresses that the configuration's `ipam` gives. `network` makes the
/// network out of them.
pub fn connect_with_ipam(
    call: &Call,
    network: impl FnOnce(&Made) -> Result<Network, Failure>,
) -> Result<(Attachment, Made), Failure> {
    // Bad input changes nothing: the container is looked for before an address is taken.
    call.target()?;
    let given = ipam::add(call)?;
    match network(&given).and_then(|network| connect(call, network)) {
        Ok(attachment) => Ok((attachment, given)),
        Err(mut failure) => {
            if let Err(undo) = ipam::del(call) {
                failure.msg += &format!("; undo also failed: {}", undo.msg);
            }
            Err(failure)
        }
    }
}

/// The result of an ADD, or if there cannot be one, everything taken back: the caller would not know
/// what to take down.
pub fn told(call: &Call, made: Result<Made, Failure>) -> Result<Made, Failure> {
    made.map_err(|mut failure| {
        if let Err(undo) = disconnect(call) {
            failure.msg += &format!("; undo also failed: {}", undo.msg);
        }
        failure
    })
}

/// Takes the interface down with all that belongs to it, and gives its addresses back.
fn disconnect(call: &Call) -> Result<(), Failure> {
    let (id, name) = (call.id()?, network_name(call)?);
    if !wait(netup::detach_member(&id, &name))? {
        disconnect_foreign(call, &id)?;
    }
    if ipam::configured(call) { ipam::del(call) } else { Ok(()) }
}

/// The interface of a container that a reference plugin connected, and its rules; and nothing of a
/// container that belongs to another network.
fn disconnect_foreign(call: &Call, id: &AttachmentId) -> Result<(), Failure> {
    let owned = wait(netup::is_attached(id))?;
    let mut addresses: Vec<IpAddr> = Vec::new();
    if let (Some(target), false) = (call.living_target()?, owned) {
        let own = netup::remove_interface(&target, &id.ifname)?;
        addresses.extend(own.into_iter().map(netup::addr::HostAddr::ip));
    }
    let (container, ifname) = (id.container.as_str(), id.ifname.as_str());
    reference::remove_masquerade(&call.conf.name, container, ifname, &addresses)?;
    reference::remove_spoof_guard(container, ifname)?;
    Ok(())
}

/// Asks the kernel whether all still holds, by our record if there is one, and by the result that
/// the runtime remembers.
fn check(call: &Call) -> Result<(), Failure> {
    let (id, name) = (call.id()?, network_name(call)?);
    let target = call.target()?;
    if ipam::configured(call) {
        ipam::check(call)?;
    }
    if let Some(checked) = wait(netup::check_member(&id, &name, &target))? {
        no_drift(&checked)?;
    }
    verify::interface(call, &target)
}

fn no_drift(checked: &Checked) -> Result<(), Failure> {
    match checked.drift.is_empty() {
        true => Ok(()),
        false => Err(drifted(&checked.drift)),
    }
}

/// The failure of a CHECK: what would mend it.
pub fn drifted(lines: &[String]) -> Failure {
    let error = Error::new(ErrorKind::Drifted, "the kernel does not hold what was set up");
    Failure::from(error).details(lines.join("; "))
}

/// Whether an ADD could be served.
fn status(call: &Call) -> Result<(), Failure> {
    netup::may_attach().map_err(|e| {
        let failure = Failure::from(e);
        Failure { code: Failure::UNAVAILABLE, ..failure }
    })?;
    if ipam::configured(call) { ipam::status(call) } else { Ok(()) }
}

/// Takes down what is not valid any more, of this network only, and goes on past failures.
fn gc(call: &Call) -> Result<(), Failure> {
    let name = network_name(call)?;
    let valid = call.conf.valid_attachments()?.unwrap_or_default();
    let keep =
        |id: &AttachmentId| valid.iter().any(|(container, ifname)| is(id, container, ifname));
    let mut failures: Vec<Failure> = Vec::new();
    match wait(netup::detach_members(&name, &keep)) {
        Ok(collected) => {
            failures.extend(collected.failed.into_iter().map(|(_, error)| Failure::from(error)));
        }
        Err(e) => failures.push(e.into()),
    }
    failures
        .extend(reference::collect_masquerade(&call.conf.name, &valid).err().map(Failure::from));
    if ipam::configured(call) {
        failures.extend(ipam::gc(call).err());
    }
    first_of(failures)
}

/// Whether this is the attachment that the runtime names so.
pub fn is(id: &AttachmentId, container: &str, ifname: &str) -> bool {
    id.container.as_str() == container && id.ifname.as_str() == ifname
}

/// The first failure, with the others' messages.
pub fn first_of(failures: Vec<Failure>) -> Result<(), Failure> {
    let mut failures = failures.into_iter();
    let Some(mut first) = failures.next() else { return Ok(()) };
    for other in failures {
        first.msg += &format!("; {}", other.msg);
    }
    Err(first)
}

/// Addresses that somebody gave, as a request for exactly those.
pub fn exact(given: &Made) -> Result<Vec<AddressRequest>, Failure> {
    let address = |ip: &Ip| Ok(AddressRequest::Exact(ip.address.to_string().parse()?));
    given.ips.iter().map(address).collect()
}

/// The gateways that somebody gave, each once.
pub fn gateways(given: &Made) -> Vec<IpAddr> {
    let mut gateways: Vec<IpAddr> = Vec::new();
    for gateway in given.ips.iter().filter_map(|ip| ip.gateway) {
        if !gateways.contains(&gateway) {
            gateways.push(gateway);
        }
    }
    gateways
}

/// Routes of a configuration or of an IPAM, as requests. One of a family that the container lacks
/// leads nowhere, and the one to its own network it has by its address. Of two
/// for one destination the first counts.
pub fn routes(
    routes: &[Route],
    addresses: &[AddressRequest],
) -> Result<Vec<RouteRequest>, Failure> {
    let mut requests: Vec<RouteRequest> = Vec::new();
    for route in routes {
        let destination = network_of(route.dst)?;
        let of_family = |a: &AddressRequest| a.prefix().family() == destination.family();
        let connected = |a: &AddressRequest| route.table.is_none() && a.prefix() == destination;
        if !addresses.iter().any(of_family) || addresses.iter().any(connected) {
            continue;
        }
        let request = RouteRequest {
            destination,
            via: route.gw,
            metric: route.priority,
            mtu: route.mtu,
            advmss: route.advmss,
            table: route.table,
            scope: route.scope,
        };
        let place = |one: &RouteRequest| (one.destination, one.metric, one.table);
        if !requests.iter().any(|known| place(known) == place(&request)) {
            requests.push(request);
        }
    }
    Ok(requests)
}

/// A destination may be written with host bits; the route is to its network.
fn network_of(dst: IpNetwork) -> Result<netup::addr::Prefix, Failure> {
    Ok(format!("{}/{}", dst.network(), dst.prefix()).parse()?)
}

/// The interfaces of an attachment: the bridge, the host's end, the container's, and the host's link
/// on the container's VLAN; those that there are.
pub fn interfaces(call: &Call, attachment: &Attachment) -> Result<Vec<Interface>, Failure> {
    let mut interfaces = Vec::new();
    if let Topology::Bridge(name) = &attachment.topology {
        interfaces.push(of_host(name)?);
    }
    interfaces.push(Interface {
        name: attachment.host_ifname.to_string(),
        mac: attachment.host_mac.to_string(),
        ..Interface::default()
    });
    interfaces.push(Interface {
        name: attachment.id.ifname.to_string(),
        mac: attachment.mac.to_string(),
        sandbox: call.env.netns.clone(),
        ..Interface::default()
    });
    if let Some(name) = &attachment.gateway_ifname {
        interfaces.push(of_host(name)?);
    }
    Ok(interfaces)
}

/// Where the container's is among them.
pub fn of_container(interfaces: &[Interface]) -> Option<usize> {
    interfaces.iter().position(|interface| !interface.sandbox.is_empty())
}

fn of_host(name: &IfName) -> Result<Interface, Failure> {
    let mac = netup::host_interface(name)?.map(|link| link.mac).unwrap_or_default();
    Ok(Interface { name: name.to_string(), mac, ..Interface::default() })
}

//! What the types have in common that add to an interface which the chain has made: `portmap`,
//! `firewall`, `bandwidth` and `tuning`.

use netup::ident::{AttachmentId, IfName};
use netup::{Extension, ExtensionId, Part, PartKind};

use crate::cni::Call;
use crate::cni::failure::Failure;
use crate::cni::result::{Ip, Made};
use crate::cni::types::connection::{drifted, first_of, is, network_name};
use crate::wait;

/// What the chain has made so far, without which there is nothing to add to.
pub fn required(call: &Call) -> Result<&Made, Failure> {
    call.conf.prev_result.as_ref().ok_or_else(|| {
        Failure::config(format!(
            "{} must be called as chained plugin: prevResult is missing",
            call.plugin
        ))
        .details("put it behind a plugin that makes the interface, in a .conflist")
    })
}

/// Adds a part.
pub fn extend(call: &Call, part: Part) -> Result<(), Failure> {
    let extension = Extension { id: call.id()?, network_name: network_name(call)?, part };
    Ok(wait(netup::extend(&extension, &call.target()?))?)
}

/// Takes a part back; false if we have added none.
pub fn retract(call: &Call, part: PartKind) -> Result<bool, Failure> {
    let id = ExtensionId { attachment: call.id()?, part };
    Ok(wait(netup::retract(&id, &network_name(call)?))?)
}

/// Asks the kernel whether a part still holds that was added, if one was wanted.
pub fn check(call: &Call, part: PartKind, wanted: bool) -> Result<(), Failure> {
    let id = ExtensionId { attachment: call.id()?, part };
    let target = call.target()?;
    match wait(netup::drift_of_extension(&id, &network_name(call)?, &target))? {
        Some(drift) if drift.is_empty() => Ok(()),
        Some(drift) => Err(drifted(&drift)),
        None if wanted => Err(drifted(&[format!("{id} was never added, or is gone")])),
        None => Ok(()),
    }
}

/// Takes back a kind of part from attachments of this network that are not valid any more.
pub fn gc(call: &Call, part: PartKind) -> Result<(), Failure> {
    let valid = call.conf.valid_attachments()?.unwrap_or_default();
    let keep =
        |id: &AttachmentId| valid.iter().any(|(container, ifname)| is(id, container, ifname));
    let collected = wait(netup::retract_members(&network_name(call)?, part, &keep))?;
    first_of(collected.failed.into_iter().map(|(_, error)| Failure::from(error)).collect())
}

/// Whether an address of the result is the container's: it names this interface, or none.
pub fn is_of_container(call: &Call, made: &Made, ip: &Ip) -> bool {
    match ip.interface.and_then(|index| made.interfaces.get(index)) {
        Some(interface) => !interface.sandbox.is_empty() && interface.name == call.env.ifname,
        None => true,
    }
}

/// The host's end of the container's veth pair, among the links of the result; `None` if the
/// container's interface is of another kind.
pub fn host_end(call: &Call, made: &Made) -> Result<Option<IfName>, Failure> {
    let end = netup::host_end(&call.target()?, &call.id()?.ifname)?;
    let told = |name: &IfName| {
        let of_host = made.interfaces.iter().filter(|interface| interface.sandbox.is_empty());
        of_host.into_iter().any(|interface| interface.name == name.as_str())
    };
    Ok(end.filter(told))
}

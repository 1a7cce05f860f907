//! Attaching: what is there under the request's identity decides whether anything is to be done;
//! `establish` does it.

mod establish;

use std::time::Instant;

use crate::apply::{Container, Executor};
use crate::detach;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::outcome::{Attachment, Change, Outcome, State as Standing};
use crate::plan::{self, Step};
use crate::request::Request;
use crate::state::Record;
use crate::target::{Target, TargetName};

use establish::establish;

/// A step that has just been made.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    step: &'a Step,
    target: &'a TargetName,
}

impl Progress<'_> {
    /// The step in `ip`, `nft` and `sysctl` words.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        plan::lines(self.step, self.target)
    }
}

/// Is told of every step that was made; an error from it stops and undoes the attach.
pub type Watch<'a> = &'a mut dyn FnMut(&Progress<'_>) -> Result<()>;

/// Connects a container as the request says.
///
/// It either comes about whole or leaves everything as it was. Asking for what already holds
/// changes nothing. Works in the calling thread's network
/// namespace. If the future is dropped half-way, the next call for this
/// attachment, or [`collect_garbage`](crate::collect_garbage), takes back what was made.
///
/// ```no_run
/// # async fn example() -> netup::Result<()> {
/// use netup::{Network, Request, Target};
/// let network = Network::new().address("10.0.0.2/24".parse()?).nat(true);
/// let outcome = netup::attach(&Request::new(Target::open("4711")?, network)?).await?;
/// assert_eq!(outcome.attachment.addresses[0].to_string(), "10.0.0.2/24");
/// # Ok(()) }
/// ```
///
/// # Errors
/// A conflict ([`AttachmentExists`](ErrorKind::AttachmentExists),
/// [`InterfaceExists`](ErrorKind::InterfaceExists), [`AddressInUse`](ErrorKind::AddressInUse),
/// [`PortInUse`](ErrorKind::PortInUse), …) is found before anything is changed. A refusal by the
/// kernel undoes what was done; if the undo fails as well, both are reported.
pub async fn attach(request: &Request) -> Result<Outcome> {
    attach_watched(request, &mut |_| Ok(())).await
}

/// As [`attach`], and tells `watch` of every step that was made.
///
/// # Errors
/// As [`attach`]; also the error that `watch` returns.
pub async fn attach_watched(request: &Request, watch: Watch<'_>) -> Result<Outcome> {
    let started = Instant::now();
    request.network.validate()?;
    let host = Host::enter()?;
    let made = attach_locked(&host, request, watch);
    let (result, attachment) = host.leave(made)?;
    Ok(Outcome { result, attachment, elapsed: started.elapsed() })
}

fn attach_locked(host: &Host, request: &Request, watch: Watch<'_>) -> Result<(Change, Attachment)> {
    let _lock = host.state.lock_attachment(&request.id)?;
    Ok(match existing(host, request)? {
        Existing::Same(attachment) => (Change::Unchanged, *attachment),
        Existing::None => (Change::Created, establish(host, request, &[], watch)?),
        Existing::Other(former) => (Change::Replaced, replace(host, request, &former, watch)?),
    })
}

/// The plan of a request as commands that can be pasted into a shell; changes nothing. Empty if
/// all that was asked for holds already.
///
/// # Errors
/// As [`attach`], as far as that is found before the first change.
pub async fn dry_run(request: &Request) -> Result<Vec<String>> {
    request.network.validate()?;
    let host = Host::open()?;
    let former = match host.state.record(&request.id)? {
        Some(record) if host.standing(&record)? == Standing::Up => {
            match compare(&host, request, record)? {
                Existing::Same(_) => return Ok(Vec::new()),
                Existing::Other(former) => Some(*former),
                Existing::None => None,
            }
        }
        remains => remains,
    };
    let mut lines = former.as_ref().map_or(Vec::new(), |former| shown(&former.undo, request));
    let plan = establish::preview(&host, request, former.as_ref())?;
    lines.extend(plan.all().flat_map(|planned| plan::lines(&planned.step, request.target.name())));
    Ok(lines)
}

fn shown(steps: &[Step], request: &Request) -> Vec<String> {
    steps.iter().flat_map(|step| plan::lines(step, request.target.name())).collect()
}

/// What is there under the request's identity.
enum Existing {
    /// Nothing, or nothing any more.
    None,
    /// Exactly what was asked for.
    Same(Box<Attachment>),
    /// Something that is to be replaced.
    Other(Box<Record>),
}

/// What is there; remains of an attachment whose container is gone are cleared first.
fn existing(host: &Host, request: &Request) -> Result<Existing> {
    let Some(record) = host.state.record(&request.id)? else {
        return Ok(Existing::None);
    };
    let same_netns = record.attachment.netns_cookie == request.target.cookie();
    let standing = match same_netns {
        true => host.standing(&record)?,
        // Most likely the container was started anew, and the kernel is still busy with the old one.
        false => host.settled(&record)?,
    };
    match standing {
        Standing::Up if request.fresh || record.network_name != request.network_name => {
            Err(occupied(&record))
        }
        Standing::Up => compare(host, request, record),
        Standing::Dead | Standing::Incomplete => {
            detach::take_down_whole(host, &record)?;
            Ok(Existing::None)
        }
    }
}

/// Somebody else's, or for somebody who wants it new.
fn occupied(record: &Record) -> Error {
    let owner = record.network_name.as_ref();
    let owner = owner.map_or("by hand".to_owned(), |name| format!("by network {name}"));
    let id = record.id();
    Error::new(ErrorKind::AttachmentExists, format!("{id} is attached already, {owner}")).hint(
        format!("take it down first (netup down {}), or choose another interface", id.container),
    )
}

fn compare(host: &Host, request: &Request, record: Record) -> Result<Existing> {
    let same_netns = record.attachment.netns_cookie == request.target.cookie();
    if !same_netns || record.network != request.network {
        return match request.replace {
            true => Ok(Existing::Other(Box::new(record))),
            false => Err(differs(&record, request, same_netns)),
        };
    }
    match drifted(host, &request.target, &record)? {
        false => Ok(Existing::Same(Box::new(record.attachment))),
        // The same request for something broken mends it.
        true => Ok(Existing::Other(Box::new(record))),
    }
}

fn drifted(host: &Host, target: &Target, record: &Record) -> Result<bool> {
    let executor = Executor::new(host, Some(Container::open(target)?), target.name());
    Ok(!executor.drift(&record.steps)?.is_empty())
}

fn differs(record: &Record, request: &Request, same_netns: bool) -> Error {
    let (had, wants) = (&record.network, &request.network);
    let parts = [
        (!same_netns, "container"),
        (had.topology != wants.topology, "topology"),
        (had.addresses != wants.addresses, "addresses"),
        (had.gateways != wants.gateways || had.default_route != wants.default_route, "gateway"),
        (had.routes != wants.routes, "routes"),
        (had.nat != wants.nat, "NAT"),
        (had.publish != wants.publish, "published ports"),
        (
            had.mac != wants.mac || had.mtu != wants.mtu || had.host_ifname != wants.host_ifname,
            "link",
        ),
        (had.sysctls != wants.sysctls, "sysctls"),
        (had.bandwidth != wants.bandwidth, "bandwidth"),
        (had.isolation != wants.isolation, "isolation"),
        (
            had.bridging != wants.bridging
                || had.layer2_only != wants.layer2_only
                || had.routes_beside != wants.routes_beside,
            "bridging",
        ),
    ];
    let different: Vec<&str> =
        parts.iter().filter(|(differs, _)| *differs).map(|(_, part)| *part).collect();
    Error::new(
        ErrorKind::AttachmentExists,
        format!("{} exists already, with different {}", request.id, different.join(", ")),
    )
    .hint(format!("add --replace, or run netup down {} first", request.id.container))
}

/// Takes the former attachment down and makes the new one; if that fails, the former comes back.
fn replace(
    host: &Host,
    request: &Request,
    former: &Record,
    watch: Watch<'_>,
) -> Result<Attachment> {
    detach::take_down(host, former)?;
    let cause = match establish(host, request, &former.attachment.addresses, watch) {
        Ok(attachment) => return Ok(attachment),
        Err(cause) => cause,
    };
    match restore(host, former) {
        Ok(()) => Err(cause),
        Err(undo) => Err(cause.with_undo_failures(vec![undo])),
    }
}

fn restore(host: &Host, former: &Record) -> Result<()> {
    let Attachment { id, target, netns_cookie, addresses, .. } = &former.attachment;
    let target = Target::open_name(target.clone(), true)?;
    if target.cookie() != *netns_cookie {
        return Ok(());
    }
    let request = Request {
        target,
        id: id.clone(),
        network: former.network.clone(),
        replace: false,
        fresh: false,
        network_name: former.network_name.clone(),
    };
    establish(host, &request, addresses, &mut |_| Ok(())).map(drop)
}

/// Makes an attachment anew from its record, with the addresses it has. Its lock must be held.
pub fn reattach(host: &Host, record: &Record) -> Result<()> {
    detach::take_down(host, record)?;
    restore(host, record)
}

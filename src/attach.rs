//! Attaching: request → reserve → observe → plan → apply (undo armed) → verify → outcome.

use std::time::Instant;

use crate::addr::HostAddr;
use crate::apply::journal::Journal;
use crate::apply::{Container, Executor};
use crate::detach;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::ident::{AttachmentId, IfName};
use crate::kernel::rtnl::Rtnl;
use crate::observe::observe;
use crate::outcome::{Attachment, Change, Outcome, State as Standing};
use crate::plan::{self, Plan, Planned, Step, UndoScope, Wanted};
use crate::request::{Request, Topology};
use crate::reserve::{self, reserve};
use crate::state::{Lock, Phase, Record};
use crate::target::Target;

/// A step that has just been made.
#[derive(Debug, Clone)]
pub struct Progress {
    /// The step in `ip`, `nft` and `sysctl` words.
    pub lines: Vec<String>,
}

/// Is told of every step that was made; an error from it stops and undoes the attach.
pub type Watch<'a> = &'a mut dyn FnMut(&Progress) -> Result<()>;

/// Connects a container as the request says.
///
/// It either comes about whole or leaves everything as it was. Asking for what already holds
/// changes nothing. Needs a tokio runtime with IO and time enabled, and works in the calling
/// thread's network namespace. If the future is dropped half-way, the next call for this
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
    let made = attach_locked(&host, request, watch).await;
    let (result, attachment) = host.leave(made)?;
    Ok(Outcome { result, attachment, elapsed: started.elapsed() })
}

async fn attach_locked(
    host: &Host,
    request: &Request,
    watch: Watch<'_>,
) -> Result<(Change, Attachment)> {
    let _lock = host.state.lock_attachment(&request.id)?;
    Ok(match existing(host, request).await? {
        Existing::Same(attachment) => (Change::Unchanged, *attachment),
        Existing::None => (Change::Created, establish(host, request, &[], watch).await?),
        Existing::Other(former) => {
            (Change::Replaced, replace(host, request, &former, watch).await?)
        }
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
    let mut lines = Vec::new();
    match existing_unlocked(&host, request).await? {
        Existing::Same(_) => return Ok(lines),
        Existing::None => {}
        Existing::Other(former) => {
            lines.extend(former.undo.iter().flat_map(|step| shown(step, request)));
        }
    }
    let addresses = reserve::preview(&host, &request.id, &request.network).await?;
    let container = Container::open(&request.target)?;
    let plan = planned(&host, &container.rtnl, request, &addresses).await?;
    lines.extend(plan.all().flat_map(|planned| shown(&planned.step, request)));
    Ok(lines)
}

fn shown(step: &Step, request: &Request) -> Vec<String> {
    plan::lines(step, request.target.name())
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
async fn existing(host: &Host, request: &Request) -> Result<Existing> {
    if let Some(record) = host.state.record(&request.id)?
        && host.standing(&record).await? != Standing::Up
    {
        detach::take_down(host, &record).await?;
        return Ok(Existing::None);
    }
    existing_unlocked(host, request).await
}

async fn existing_unlocked(host: &Host, request: &Request) -> Result<Existing> {
    let Some(record) = host.state.record(&request.id)? else {
        return Ok(Existing::None);
    };
    if host.standing(&record).await? != Standing::Up {
        return Ok(Existing::None);
    }
    let same_netns = record.attachment.netns_cookie == request.target.cookie();
    if !same_netns || record.network != request.network {
        return match request.replace {
            true => Ok(Existing::Other(Box::new(record))),
            false => Err(differs(&record, request, same_netns)),
        };
    }
    match drifted(host, &request.target, &record).await? {
        false => Ok(Existing::Same(Box::new(record.attachment))),
        // The same request for something broken mends it.
        true => Ok(Existing::Other(Box::new(record))),
    }
}

async fn drifted(host: &Host, target: &Target, record: &Record) -> Result<bool> {
    let executor = Executor::new(host, Some(Container::open(target)?), target.name());
    Ok(!executor.drift(&record.steps).await?.is_empty())
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
async fn replace(
    host: &Host,
    request: &Request,
    former: &Record,
    watch: Watch<'_>,
) -> Result<Attachment> {
    detach::take_down(host, former).await?;
    let cause = match establish(host, request, &former.attachment.addresses, watch).await {
        Ok(attachment) => return Ok(attachment),
        Err(cause) => cause,
    };
    match restore(host, former).await {
        Ok(()) => Err(cause),
        Err(undo) => Err(cause.with_undo_failures(vec![undo])),
    }
}

async fn restore(host: &Host, former: &Record) -> Result<()> {
    let Attachment { id, target, netns_cookie, addresses, .. } = &former.attachment;
    let target = Target::open_name(target.clone(), true)?;
    if target.cookie() != *netns_cookie {
        return Ok(());
    }
    let request =
        Request { target, id: id.clone(), network: former.network.clone(), replace: false };
    establish(host, &request, addresses, &mut |_| Ok(())).await.map(drop)
}

/// Makes an attachment anew from its record, with the addresses it has. Its lock must be held.
pub async fn reattach(host: &Host, record: &Record) -> Result<()> {
    detach::take_down(host, record).await?;
    restore(host, record).await
}

async fn establish(
    host: &Host,
    request: &Request,
    kept: &[HostAddr],
    watch: Watch<'_>,
) -> Result<Attachment> {
    let _bridge = lock_bridge(host, &request.network.topology)?;
    let reservation = reserve(host, &request.id, &request.network, kept).await?;
    let container = Container::open(&request.target)?;
    let plan = planned(host, &container.rtnl, request, reservation.addresses()).await?;
    let mut record = intent(request, &plan, reservation.addresses());
    let mut executor = Executor::new(host, Some(container), request.target.name());
    host.state.save(&record)?;
    match carry_out(&mut executor, &plan, &mut record, watch).await {
        Ok(()) => {
            reservation.commit();
            Ok(plan.attachment)
        }
        Err((cause, journal)) => Err(roll_back(executor, journal, &plan, cause).await),
    }
}

fn lock_bridge(host: &Host, topology: &Topology) -> Result<Option<Lock>> {
    match topology {
        Topology::Routed => Ok(None),
        Topology::Bridge(name) => host.state.lock_bridge(name).map(Some),
    }
}

async fn planned(
    host: &Host,
    container: &Rtnl,
    request: &Request,
    addresses: &[HostAddr],
) -> Result<Plan> {
    let wanted = Wanted {
        id: &request.id,
        target: request.target.name(),
        netns_cookie: request.target.cookie(),
        network: &request.network,
        addresses,
    };
    let observed = observe(host, container, &request.target, &wanted).await?;
    plan::plan(&wanted, &observed)
}

fn intent(request: &Request, plan: &Plan, addresses: &[HostAddr]) -> Record {
    debug_assert_eq!(plan.attachment.addresses, addresses);
    let own = plan.steps.iter().filter(|planned| planned.scope == UndoScope::Attachment);
    let steps = own.map(|planned| planned.step.clone()).collect();
    Record::intent(request.network.clone(), plan.attachment.clone(), steps, plan.undo())
}

/// Applies the plan and verifies it. On failure the journal holds what is to be taken back.
async fn carry_out(
    executor: &mut Executor<'_>,
    plan: &Plan,
    record: &mut Record,
    watch: Watch<'_>,
) -> Result<(), (Error, Journal)> {
    let mut journal = Journal::default();
    match apply_all(executor, plan, &mut journal, watch).await {
        Ok(()) => {}
        Err(cause) => return Err((cause, journal)),
    }
    let finished = async {
        let drift = executor.drift(plan.all().map(|planned| &planned.step)).await?;
        if let Some(step) = drift.first() {
            let lines = plan::lines(step, &plan.attachment.target).join("; ");
            return Err(Error::new(
                ErrorKind::Drifted,
                format!("the kernel took this and does not show it: {lines}"),
            )
            .hint("something else changes the same links or tables; netup doctor may tell what"));
        }
        record.phase = Phase::Complete;
        executor.host.state.save(record)
    };
    finished.await.map_err(|cause| (cause, journal))
}

async fn apply_all(
    executor: &mut Executor<'_>,
    plan: &Plan,
    journal: &mut Journal,
    watch: Watch<'_>,
) -> Result<()> {
    let (id, target) = (&plan.attachment.id, &plan.attachment.target);
    if let Topology::Bridge(name) = &plan.attachment.topology {
        join_bridge(executor.host, name, id, plan)?;
    }
    for planned in foundation_first(plan) {
        journal.arm(planned);
        executor.apply(&planned.step).await.map_err(|e| e.context(format!("attach {id}")))?;
        watch(&Progress { lines: plan::lines(&planned.step, target) })?;
    }
    Ok(())
}

/// The bridge's elements need the table, which stands among the attachment's steps.
fn foundation_first(plan: &Plan) -> impl Iterator<Item = &Planned> {
    let is_shared = |planned: &&Planned| planned.scope == UndoScope::FailureOnly;
    let foundation = plan.steps.iter().take_while(is_shared);
    let rest = plan.steps.iter().skip_while(is_shared);
    foundation.chain(&plan.bridge).chain(rest)
}

/// Notes what will be done to the bridge before it is done.
fn join_bridge(host: &Host, name: &IfName, id: &AttachmentId, plan: &Plan) -> Result<()> {
    let mut record = host.state.bridge(name)?.unwrap_or_default();
    record.ours |= plan.bridge.iter().any(|planned| matches!(planned.step, Step::AddBridge { .. }));
    record.steps.extend(plan.bridge.iter().map(|planned| planned.step.clone()));
    // What was done last is taken back first.
    record.undo.splice(0..0, plan.bridge_undo());
    host.state.save_bridge(name, Some(&record))?;
    host.state.join_bridge(name, id)
}

/// Takes everything back, the state last. The cause comes first in the error, then what the undo
/// could not do.
async fn roll_back(
    mut executor: Executor<'_>,
    journal: Journal,
    plan: &Plan,
    cause: Error,
) -> Error {
    let host = executor.host;
    let alone = host.is_alone(&plan.attachment.id).unwrap_or(false);
    let mut failures = journal.unwind(&mut executor, alone).await;
    if let Topology::Bridge(name) = &plan.attachment.topology {
        failures.extend(leave_bridge(host, name, plan).err());
    }
    if failures.is_empty() {
        failures.extend(host.state.forget(&plan.attachment.id).err());
    }
    cause.with_undo_failures(failures)
}

/// Strikes what this plan did to the bridge out of the bridge's record.
fn leave_bridge(host: &Host, name: &IfName, plan: &Plan) -> Result<()> {
    let last = host.state.leave_bridge(name, &plan.attachment.id)?;
    let mut record = host.state.bridge(name)?.unwrap_or_default();
    let done = plan.bridge.len().min(record.steps.len());
    record.steps.truncate(record.steps.len() - done);
    record.undo.drain(..plan.bridge_undo().len().min(record.undo.len()));
    let left = (!last || !record.undo.is_empty()).then_some(&record);
    host.state.save_bridge(name, left)
}

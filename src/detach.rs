//! Taking attachments down, by their records. What is gone already is no error; what fails is
//! reported and does not stop the rest.

use std::net::IpAddr;
use std::time::Instant;

use crate::addr::HostAddr;
use crate::apply::{Container, Executor};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::ident::{AttachmentId, ContainerId, IfName};
use crate::outcome::{Detached, State as Standing};
use crate::plan::{Side, Step};
use crate::request::Topology;
use crate::state::Record;
use crate::target::{Target, TargetName};
use crate::unrecorded;

/// Which attachments are meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    /// A container's id, or what a container is called: a PID, a path, a name, `fd:N`.
    pub name: String,
    /// Only the one with this interface.
    pub ifname: Option<IfName>,
}

/// Takes attachments down.
///
/// On return the links with their addresses and routes, the rules' elements, the leases and the
/// records are gone; only the kernel's freeing of memory may still be under way.
///
/// ```no_run
/// # async fn example() -> netup::Result<()> {
/// let selector = netup::Selector { name: "4711".into(), ifname: None };
/// for gone in netup::detach(&selector).await? {
///     println!("{} in {:?}", gone.id, gone.elapsed);
/// }
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`AttachmentNotFound`](ErrorKind::AttachmentNotFound) if nothing answers to the name; a refusal
/// by the kernel, after everything else has been taken down.
pub async fn detach(selector: &Selector) -> Result<Vec<Detached>> {
    let host = Host::enter()?;
    let gone = detach_all(&host, selector);
    host.leave_less(gone)
}

fn detach_all(host: &Host, selector: &Selector) -> Result<Vec<Detached>> {
    let mut gone = Vec::new();
    let mut failures = Vec::new();
    let ids = match select(host, selector) {
        Err(e) if e.kind() == ErrorKind::AttachmentNotFound => {
            return detach_unrecorded(host, selector)?.ok_or(e);
        }
        found => found?,
    };
    for id in ids {
        let started = Instant::now();
        match detach_one(host, &id) {
            Ok(()) => gone.push(Detached { id, elapsed: started.elapsed() }),
            Err(e) => failures.push(e),
        }
    }
    let mut failures = failures.into_iter();
    match failures.next() {
        Some(first) => Err(first.with_undo_failures(failures.collect())),
        None => Ok(gone),
    }
}

fn detach_one(host: &Host, id: &AttachmentId) -> Result<()> {
    let _lock = host.state.lock_attachment(id)?;
    match host.state.record(id)? {
        Some(record) => take_down(host, &record),
        // Somebody was faster.
        None => Ok(()),
    }
}

/// What only the kernel remembers; `None` if it does not either.
fn detach_unrecorded(host: &Host, selector: &Selector) -> Result<Option<Vec<Detached>>> {
    let target = Target::open(&selector.name).ok();
    let mut gone = Vec::new();
    for lost in unrecorded::find(host, &selector.name, target.as_ref())? {
        if selector.ifname.as_ref().is_some_and(|name| *name != lost.id.ifname) {
            continue;
        }
        let started = Instant::now();
        let _lock = host.state.lock_attachment(&lost.id)?;
        unrecorded::take_down(host, target.as_ref(), &lost)?;
        gone.push(Detached { id: lost.id, elapsed: started.elapsed() });
    }
    Ok((!gone.is_empty()).then_some(gone))
}

/// The attachments that a selector means: by id, by the namespace that the target is now, or by
/// the name under which a target that is gone was attached.
pub fn select(host: &Host, selector: &Selector) -> Result<Vec<AttachmentId>> {
    let wanted = |id: &AttachmentId| selector.ifname.as_ref().is_none_or(|name| *name == id.ifname);
    if let Ok(container) = selector.name.parse::<ContainerId>() {
        let ids: Vec<_> =
            host.state.attachments_of(&container)?.into_iter().filter(wanted).collect();
        if !ids.is_empty() {
            return Ok(ids);
        }
    }
    let target: TargetName = selector.name.parse()?;
    let ids: Vec<_> = of_target(host, &target)?.into_iter().filter(wanted).collect();
    match ids.is_empty() {
        true => Err(not_found(selector)),
        false => Ok(ids),
    }
}

fn not_found(selector: &Selector) -> Error {
    let interface =
        selector.ifname.as_ref().map_or(String::new(), |name| format!(" with interface {name}"));
    Error::new(
        ErrorKind::AttachmentNotFound,
        format!("{:?} has no attachment{interface}", selector.name),
    )
    .hint("see netup ls")
}

fn of_target(host: &Host, name: &TargetName) -> Result<Vec<AttachmentId>> {
    let target = match Target::open_name(name.clone(), true) {
        Ok(target) => Some(target),
        Err(e) if e.kind() == ErrorKind::NotPermitted => return Err(e),
        Err(_) => None,
    };
    let cookie = target.as_ref().map(Target::cookie);
    if let Some(cookie) = cookie {
        let ids = host.state.attachments_of(&ContainerId::of_netns(cookie))?;
        if !ids.is_empty() {
            return Ok(ids);
        }
    }
    recorded(host, name, cookie)
}

/// Reads every record, for containers that were attached under an id of the caller's choice.
fn recorded(host: &Host, name: &TargetName, cookie: Option<u64>) -> Result<Vec<AttachmentId>> {
    let mut found = Vec::new();
    for id in host.state.attachment_ids()? {
        let Some(record) = host.state.record(&id)? else { continue };
        let attachment = &record.attachment;
        let meant = match cookie {
            Some(cookie) => attachment.netns_cookie == cookie,
            // The name means nothing now; it may have meant one whose container has ended.
            None => attachment.target == *name && host.standing(&record)? != Standing::Up,
        };
        found.extend(meant.then_some(id));
    }
    Ok(found)
}

/// Takes one attachment down. Its lock must be held. The record goes last, and stays if anything
/// failed, so that a later call can finish.
pub fn take_down(host: &Host, record: &Record) -> Result<()> {
    let attachment = &record.attachment;
    let target = container_of(record);
    let container = target.as_ref().map(Container::open).transpose()?;
    let mut executor = Executor::new(host, container, &attachment.target);
    let mut failures = undo_all(&mut executor, &record.undo);
    if let Topology::Bridge(name) = &attachment.topology {
        failures.extend(leave_bridge(&mut executor, name, &attachment.id));
    }
    if failures.is_empty() {
        failures.extend(forget(host, record).err());
    }
    let mut failures = failures.into_iter();
    match failures.next() {
        Some(first) => Err(first
            .context(format!("detach {}", attachment.id))
            .with_undo_failures(failures.collect())),
        None => Ok(()),
    }
}

/// The container's namespace, where something must be put back inside it and it still exists.
fn container_of(record: &Record) -> Option<Target> {
    let inside = |step: &Step| matches!(step, Step::WriteSysctls { side: Side::Container, .. });
    if !record.undo.iter().any(inside) {
        return None;
    }
    let target = Target::open_name(record.attachment.target.clone(), true).ok()?;
    // The PID or name may have come to mean another one.
    (target.cookie() == record.attachment.netns_cookie).then_some(target)
}

fn undo_all(executor: &mut Executor<'_>, steps: &[Step]) -> Vec<Error> {
    let mut failures = Vec::new();
    for step in steps {
        failures.extend(executor.undo(step).err());
    }
    failures
}

/// The last one out takes back what netup did to the bridge.
fn leave_bridge(executor: &mut Executor<'_>, name: &IfName, id: &AttachmentId) -> Vec<Error> {
    let state = &executor.host.state;
    let left = || -> Result<_> {
        let lock = state.lock_bridge(name)?;
        let record = match state.leave_bridge(name, id)? {
            true => state.bridge(name)?,
            false => None,
        };
        Ok((lock, record))
    };
    let (_lock, record) = match left() {
        Ok((lock, Some(record))) => (lock, record),
        Ok((_, None)) => return Vec::new(),
        Err(e) => return vec![e],
    };
    let mut failures = undo_all(executor, &record.undo);
    match failures.is_empty() {
        true => failures.extend(state.save_bridge(name, None).err()),
        // Somebody must finish it: the next attachment on this bridge, or its going.
        false => failures.extend(state.join_bridge(name, id).err()),
    }
    failures
}

fn forget(host: &Host, record: &Record) -> Result<()> {
    let attachment = &record.attachment;
    for address in &attachment.addresses {
        host.state.release(*address, &attachment.id)?;
    }
    host.state.forget(&attachment.id)
}

/// Clears an attachment away if its link is gone or it never came about; true if it is cleared.
///
/// Somebody else's lock is only tried, never waited for: the caller may hold one already.
pub fn clear_if_dead(host: &Host, id: &AttachmentId) -> Result<bool> {
    let Some(_lock) = host.state.try_lock_attachment(id)? else {
        return Ok(false);
    };
    match host.state.record(id)? {
        Some(record) if host.standing(&record)? != Standing::Up => {
            take_down(host, &record).map(|()| true)
        }
        _ => Ok(false),
    }
}

/// As [`clear_if_dead`], for the owner of an address that somebody wants. A container that is
/// just ending is waited for, and a claim without a record is released.
pub fn clear_dead_owner(host: &Host, id: &AttachmentId, ip: IpAddr) -> Result<bool> {
    let Some(_lock) = host.state.try_lock_attachment(id)? else {
        return Ok(false);
    };
    match host.state.record(id)? {
        Some(record) if host.settled(&record)? == Standing::Up => Ok(false),
        Some(record) => take_down(host, &record).map(|()| true),
        None => host.state.release(HostAddr::single(ip), id).map(|()| true),
    }
}

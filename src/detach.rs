//! Taking attachments down, by their records. What is gone already is no error; what fails is
//! reported and does not stop the rest.

use std::net::IpAddr;
use std::time::Instant;

use crate::addr::HostAddr;
use crate::apply::{Container, Executor};
use crate::error::{Error, ErrorKind, Result};
use crate::extend;
use crate::host::Host;
use crate::ident::{AttachmentId, ContainerId, IfName, NetworkName};
use crate::outcome::{Collected, Detached, State as Standing};
use crate::plan::{Side, Step};
use crate::request::Topology;
use crate::shared_bridge;
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

/// Takes an attachment down that belongs to a named network; false if there is none, or if it
/// belongs to another network or to none.
///
/// ```no_run
/// # async fn example() -> netup::Result<()> {
/// use netup::ident::AttachmentId;
/// let id = AttachmentId { container: "web".parse()?, ifname: "eth0".parse()? };
/// let gone = netup::detach_member(&id, &"backend".parse()?).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// A refusal by the kernel, after everything else has been taken down.
pub async fn detach_member(id: &AttachmentId, network: &NetworkName) -> Result<bool> {
    let host = Host::enter()?;
    let gone = detach_if(&host, id, |record| record.network_name.as_ref() == Some(network));
    host.leave_less(gone)
}

/// As [`detach_member`], but only what was made for a container that was called so: under an id that
/// several callers may use, another's is left alone.
///
/// ```no_run
/// # async fn example() -> netup::Result<()> {
/// use netup::ident::AttachmentId;
/// let id = AttachmentId { container: "web".parse()?, ifname: "eth0".parse()? };
/// let gone = netup::detach_member_of(&id, &"backend".parse()?, &"4711".parse()?).await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// A refusal by the kernel, after everything else has been taken down.
pub async fn detach_member_of(
    id: &AttachmentId,
    network: &NetworkName,
    target: &TargetName,
) -> Result<bool> {
    let host = Host::enter()?;
    let gone = detach_if(&host, id, |record| {
        record.network_name.as_ref() == Some(network) && record.attachment.target == *target
    });
    host.leave_less(gone)
}

/// True if there was one and it was meant.
fn detach_if(host: &Host, id: &AttachmentId, is_meant: impl Fn(&Record) -> bool) -> Result<bool> {
    let _lock = host.state.lock_attachment(id)?;
    match host.state.record(id)? {
        Some(record) if is_meant(&record) => take_down_whole(host, &record).map(|()| true),
        Some(_) => Ok(false),
        None => detach_unrecorded_member(host, id),
    }
}

/// What only the kernel remembers, or what was claimed before a crash came in between. Claims are
/// found by reading all of them, which only this rare call does.
fn detach_unrecorded_member(host: &Host, id: &AttachmentId) -> Result<bool> {
    let lost = unrecorded::of(host, id)?;
    if let Some(lost) = &lost {
        unrecorded::take_down(host, None, lost)?;
    }
    let claims = host.state.claims()?.into_iter().filter(|(_, owner)| owner == id);
    claims.into_iter().try_for_each(|(ip, _)| host.state.release(HostAddr::single(ip), id))?;
    host.state.forget(id)?;
    Ok(lost.is_some())
}

/// Takes down every attachment of a named network, and everything that was added to interfaces on
/// its behalf, but for those to keep. It goes on past failures and reports them.
///
/// # Errors
/// If the state folder cannot be read at all.
pub async fn detach_members(
    network: &NetworkName,
    keep: &dyn Fn(&AttachmentId) -> bool,
) -> Result<Collected> {
    let host = Host::enter()?;
    let collected = detach_members_of(&host, network, keep);
    host.leave_less(collected)
}

fn detach_members_of(
    host: &Host,
    network: &NetworkName,
    keep: &dyn Fn(&AttachmentId) -> bool,
) -> Result<Collected> {
    let mut collected = Collected::default();
    let is_member = |record: &Record| record.network_name.as_ref() == Some(network);
    for id in host.state.attachment_ids()?.into_iter().filter(|id| !keep(id)) {
        match detach_if(host, &id, is_member) {
            Ok(true) => collected.removed.push(id),
            Ok(false) => {}
            Err(e) => collected.failed.push((id, e)),
        }
    }
    Ok(collected)
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
        Some(record) => take_down_whole(host, &record),
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

/// Takes one attachment down with all that was added to its interface. Its lock must be held.
pub fn take_down_whole(host: &Host, record: &Record) -> Result<()> {
    let extensions = extend::take_down_all(host, record.id());
    let attachment = take_down(host, record);
    let mut failures = extensions.err().into_iter().chain(attachment.err());
    match failures.next() {
        Some(first) => Err(first.with_undo_failures(failures.collect())),
        None => Ok(()),
    }
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
        failures.extend(shared_bridge::leave(&mut executor, name, &attachment.id));
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
            take_down_whole(host, &record).map(|()| true)
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
        Some(record) => take_down_whole(host, &record).map(|()| true),
        None => host.state.release(HostAddr::single(ip), id).map(|()| true),
    }
}

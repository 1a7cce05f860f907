//! Adding to interfaces that exist already, and taking that back. As with an attachment it comes
//! about whole or not at all, and the record outlives a crash.

use crate::apply::journal::Journal;
use crate::apply::{Container, Executor};
use crate::check::mend_step;
use crate::error::{Error, ErrorKind, Result};
use crate::extension::{Extension, ExtensionId, Part, PartKind};
use crate::host::Host;
use crate::ident::{AttachmentId, IfName, NetworkName};
use crate::observe::surroundings::{bridge_of, surroundings};
use crate::outcome::{Collected, State as Standing};
use crate::plan::extension::ExtensionPlan;
use crate::plan::{self, Shared, Step};
use crate::reload;
use crate::reserve;
use crate::ruleset::{Element, Rules};
use crate::shared_bridge::{self, SharedBridge};
use crate::state::{ExtensionRecord, Phase};
use crate::target::Target;

/// Adds one part to an interface, whoever made that. What was added under the same identity before
/// is taken back first.
///
/// ```no_run
/// # async fn example() -> netup::Result<()> {
/// use netup::ident::AttachmentId;
/// use netup::{Extension, Part, Publishing, Target};
///
/// let publishing = Publishing {
///     addresses: vec!["10.0.0.2".parse().unwrap()],
///     publish: vec!["8080:80".parse()?],
///     local: true,
///     masquerade_all: false,
///     host_ifname: None,
/// };
/// let extension = Extension {
///     id: AttachmentId { container: "web".parse()?, ifname: "eth0".parse()? },
///     network_name: "backend".parse()?,
///     part: Part::Publish(publishing),
/// };
/// netup::extend(&extension, &Target::open("/run/netns/web")?).await
/// # }
/// ```
///
/// # Errors
/// [`PortInUse`](ErrorKind::PortInUse), [`AttachmentExists`](ErrorKind::AttachmentExists) if it
/// belongs to another network; a refusal by the kernel, after which everything is as it was.
pub async fn extend(extension: &Extension, target: &Target) -> Result<()> {
    let host = Host::enter()?;
    let made = extend_locked(&host, extension, target);
    host.leave(made)
}

fn extend_locked(host: &Host, extension: &Extension, target: &Target) -> Result<()> {
    let id = extension.id();
    let _lock = host.state.lock_attachment(&id.attachment)?;
    clear_former(host, &id, extension, target)?;
    match establish(host, extension, target) {
        // A port may only seem to be taken: what it leads to has ended.
        Err(e) if e.kind() == ErrorKind::PortInUse && clear_ports(host, extension)? => {
            establish(host, extension, target)
        }
        made => made,
    }
}

fn clear_former(
    host: &Host,
    id: &ExtensionId,
    extension: &Extension,
    target: &Target,
) -> Result<()> {
    match host.state.extension(id)? {
        Some(former)
            if former.network_name != extension.network_name
                && former.netns_cookie == target.cookie() =>
        {
            Err(Error::new(
                ErrorKind::AttachmentExists,
                format!("{id} was added already, by network {}", former.network_name),
            ))
        }
        Some(former) => {
            take_down(host, &former)?;
            match former.netns_cookie == target.cookie() {
                true => unhang(host, &former),
                false => Ok(()),
            }
        }
        None => Ok(()),
    }
}

/// Takes off the links what would go with them, for they stay.
fn unhang(host: &Host, former: &ExtensionRecord) -> Result<()> {
    let mut executor = Executor::new(host, None, &former.target);
    let mut hanging = former.steps.iter().rev().filter_map(plan::extension::unhung);
    hanging.try_for_each(|step| executor.undo(&step))
}

fn clear_ports(host: &Host, extension: &Extension) -> Result<bool> {
    let Part::Publish(publishing) = &extension.part else { return Ok(false) };
    reserve::clear_dead_ports(host, &publishing.ports())
}

/// Observe → plan → apply (undo armed). What others rely on as well is locked meanwhile.
fn establish(host: &Host, extension: &Extension, target: &Target) -> Result<()> {
    let bridge = match bridge_of(host, extension)? {
        Some(name) => Some((SharedBridge::lock(host, &name)?, name)),
        None => None,
    };
    let around = surroundings(host, extension, target)?;
    let plan = plan::extension::extension(extension, &around)?;
    if plan.all().next().is_none() && bridge.is_none() {
        return Ok(());
    }
    let container = match &extension.part {
        Part::Tune(_) => Some(Container::open(target)?),
        _ => None,
    };
    let mut executor = Executor::new(host, container, target.name());
    let record = record(extension, target, &plan, bridge.as_ref().map(|(_, name)| name));
    let shared = bridge.as_ref().map(|(shared, _)| shared);
    let mut journal = Journal::default();
    match carry_out(&mut executor, record, &plan, shared, &mut journal) {
        Ok(()) => Ok(()),
        Err(cause) => Err(roll_back(executor, journal, &extension.id(), shared, cause)),
    }
}

fn record(
    extension: &Extension,
    target: &Target,
    plan: &ExtensionPlan,
    bridge: Option<&IfName>,
) -> ExtensionRecord {
    let mut record = ExtensionRecord::intent(
        extension.id(),
        extension.network_name.clone(),
        target.name().clone(),
        target.cookie(),
    );
    record.bridge = bridge.cloned();
    record.steps = plan.steps.iter().map(|planned| planned.step.clone()).collect();
    record.undo = plan::lasting_undo(&plan.steps);
    record
}

fn carry_out(
    executor: &mut Executor<'_>,
    mut record: ExtensionRecord,
    plan: &ExtensionPlan,
    bridge: Option<&SharedBridge<'_>>,
    journal: &mut Journal,
) -> Result<()> {
    let state = &executor.host.state;
    state.save_extension(&record)?;
    if let Some(bridge) = bridge {
        let steps = plan.bridge.as_ref().map_or(&[][..], |(_, steps)| steps);
        bridge.join(&record.id, steps)?;
    }
    for planned in plan.all() {
        match bridge {
            Some(bridge) => journal.arm(&bridge.sparing(planned)),
            None => journal.arm(planned),
        }
        executor.apply(&planned.step).map_err(|e| e.context(&record.id))?;
    }
    record.phase = Phase::Complete;
    executor.host.state.save_extension(&record)
}

/// Takes everything back, the record last.
fn roll_back(
    mut executor: Executor<'_>,
    journal: Journal,
    id: &ExtensionId,
    bridge: Option<&SharedBridge<'_>>,
    cause: Error,
) -> Error {
    let host = executor.host;
    // If it cannot be told what others rely on, everything shared stays.
    let relied_on = host.relied_on(&id.attachment).unwrap_or_else(|_| Shared::ALL.to_vec());
    let mut failures = journal.unwind(&mut executor, &relied_on);
    failures.extend(bridge.and_then(|bridge| bridge.leave(id).err()));
    if failures.is_empty() {
        failures.extend(host.state.forget_extension(id).err());
    }
    cause.with_undo_failures(failures)
}

/// Takes one part back that was added on behalf of this network; false if there is none.
///
/// # Errors
/// A refusal by the kernel, after everything else has been taken back.
pub async fn retract(id: &ExtensionId, network: &NetworkName) -> Result<bool> {
    let host = Host::enter()?;
    let gone = retract_locked(&host, id, network);
    host.leave_less(gone)
}

fn retract_locked(host: &Host, id: &ExtensionId, network: &NetworkName) -> Result<bool> {
    let _lock = host.state.lock_attachment(&id.attachment)?;
    match host.state.extension(id)? {
        Some(record) if record.network_name == *network => take_down(host, &record).map(|()| true),
        Some(_) => Ok(false),
        // A crash may have come before the record.
        None => host.state.forget_extension(id).map(|()| false),
    }
}

/// Takes one kind of part back from every interface on which it was added on behalf of this network,
/// but for those to keep. It goes on past failures and reports them.
///
/// # Errors
/// If the state folder cannot be read at all.
pub async fn retract_members(
    network: &NetworkName,
    part: PartKind,
    keep: &dyn Fn(&AttachmentId) -> bool,
) -> Result<Collected> {
    let host = Host::enter()?;
    let collected = retract_all(&host, network, part, keep);
    host.leave_less(collected)
}

fn retract_all(
    host: &Host,
    network: &NetworkName,
    part: PartKind,
    keep: &dyn Fn(&AttachmentId) -> bool,
) -> Result<Collected> {
    let mut collected = Collected::default();
    let of_part = |id: &ExtensionId| id.part == part && !keep(&id.attachment);
    for id in host.state.extension_ids()?.into_iter().filter(of_part) {
        match retract_locked(host, &id, network) {
            Ok(true) => collected.removed.push(id.attachment),
            Ok(false) => {}
            Err(e) => collected.failed.push((id.attachment, e)),
        }
    }
    Ok(collected)
}

/// What no longer holds of one part, as commands that would mend it; `None` if nothing was added on
/// behalf of this network.
///
/// # Errors
/// A refusal by the kernel while reading.
pub async fn drift_of_extension(
    id: &ExtensionId,
    network: &NetworkName,
    target: &Target,
) -> Result<Option<Vec<String>>> {
    let host = Host::open()?;
    let Some(record) = host.state.extension(id)?.filter(|r| r.network_name == *network) else {
        return Ok(None);
    };
    let steps = required(&host, &record)?;
    let executor = Executor::new(&host, Some(Container::open(target)?), target.name());
    let drift = executor.drift(&steps)?;
    Ok(Some(drift.into_iter().flat_map(|step| plan::lines(step, target.name())).collect()))
}

/// All that must hold for a part: what is the bridge's, and its own.
fn required(host: &Host, record: &ExtensionRecord) -> Result<Vec<Step>> {
    let mut steps: Vec<Step> = match &record.bridge {
        Some(name) => host.state.bridge(name)?.unwrap_or_default().steps,
        None => Vec::new(),
    };
    steps.extend(record.steps.iter().cloned());
    Ok(steps)
}

/// What no longer holds of one part, as commands that would mend it, and whether `repair` has had it
/// mended. The attachment's lock must be held.
pub fn check(host: &Host, id: &ExtensionId, repair: bool) -> Result<(Vec<String>, bool)> {
    let Some(record) = host.state.extension(id)? else { return Ok((Vec::new(), false)) };
    if !container_lives(host, &record)? {
        let line = format!("the container of {id} is gone; netup gc clears the rest");
        return Ok((vec![line], false));
    }
    let target = container_of(&record);
    let container = target.as_ref().map(Container::open).transpose()?;
    let mut executor = Executor::new(host, container, &record.target);
    let steps = required(host, &record)?;
    let drift: Vec<Step> = executor.drift(&steps)?.into_iter().cloned().collect();
    if repair {
        mend(host, &mut executor, &drift)?;
    }
    let lines: Vec<_> = drift.iter().flat_map(|step| plan::lines(step, &record.target)).collect();
    let repaired = repair && !lines.is_empty();
    Ok((lines, repaired))
}

fn mend(host: &Host, executor: &mut Executor<'_>, drift: &[Step]) -> Result<()> {
    if drift.iter().any(|step| matches!(step, Step::AddElements(_))) {
        reload::load_rules(host, Rules::Inet)?;
    }
    drift.iter().try_for_each(|step| mend_step(host, executor, step))
}

/// Takes back all that was added to an interface. Its lock must be held.
pub fn take_down_all(host: &Host, id: &AttachmentId) -> Result<()> {
    let mut failures = Vec::new();
    for extension in host.state.extensions_of(id)? {
        let gone = match host.state.extension(&extension) {
            Ok(Some(record)) => take_down(host, &record),
            other => other.map(drop),
        };
        failures.extend(gone.err());
    }
    first_of(failures)
}

/// Takes one part back. Its lock must be held. The record goes last, and stays if anything failed.
fn take_down(host: &Host, record: &ExtensionRecord) -> Result<()> {
    let target = container_of(record);
    let container = target.as_ref().map(Container::open).transpose()?;
    let mut executor = Executor::new(host, container, &record.target);
    let mut failures: Vec<Error> =
        record.undo.iter().filter_map(|step| executor.undo(step).err()).collect();
    if let Some(bridge) = &record.bridge {
        failures.extend(shared_bridge::leave(&mut executor, bridge, &record.id));
    }
    let is_tuned = record.id.part == PartKind::Tune;
    if failures.is_empty() || (is_tuned && failures.iter().all(is_final)) {
        failures.extend(host.state.forget_extension(&record.id).err());
    }
    first_of(failures).map_err(|e| e.context(format!("take back {}", record.id)))
}

/// Whether it would be no better the next time: a value that the kernel does not take back, such as
/// one that only it can set. A container that can never be taken down would be worse.
fn is_final(failure: &Error) -> bool {
    let refusals = [libc::EINVAL, libc::ERANGE, libc::EPERM, libc::EACCES, libc::EROFS];
    failure.errno().is_some_and(|errno| refusals.contains(&errno))
}

/// The container's namespace, where something must be put back inside it and it still exists.
fn container_of(record: &ExtensionRecord) -> Option<Target> {
    if record.id.part != PartKind::Tune {
        return None;
    }
    let target = Target::open_name(record.target.clone(), true).ok()?;
    (target.cookie() == record.netns_cookie).then_some(target)
}

fn first_of(failures: Vec<Error>) -> Result<()> {
    let mut failures = failures.into_iter();
    match failures.next() {
        Some(first) => Err(first.with_undo_failures(failures.collect())),
        None => Ok(()),
    }
}

/// Takes back what was added to interfaces whose container is gone, and what a crash left half-made.
pub fn collect(host: &Host, collected: &mut Collected) -> Result<()> {
    for id in host.state.extension_ids()? {
        match clear_if_dead(host, &id) {
            Ok(true) => collected.removed.push(id.attachment),
            Ok(false) => {}
            Err(e) => collected.failed.push((id.attachment, e)),
        }
    }
    Ok(())
}

fn clear_if_dead(host: &Host, id: &ExtensionId) -> Result<bool> {
    let Some(_lock) = host.state.try_lock_attachment(&id.attachment)? else {
        return Ok(false);
    };
    match host.state.extension(id)? {
        Some(record) if record.phase == Phase::Intent || !container_lives(host, &record)? => {
            take_down(host, &record).map(|()| true)
        }
        _ => Ok(false),
    }
}

/// Clears away what was added to an interface whose container is gone and that still publishes this
/// port; true if there was anything. Every record is read, which only this rare case does.
pub fn clear_dead_publisher(host: &Host, port: &Element) -> Result<bool> {
    let publishes = |record: &ExtensionRecord| {
        let mut steps = record.steps.iter();
        steps.any(|step| matches!(step, Step::AddElements(known) if known.iter().any(|one| one.key() == port.key() && one.set() == port.set())))
    };
    let mut cleared = false;
    for id in host.state.extension_ids()?.into_iter().filter(|id| id.part == PartKind::Publish) {
        let Some(record) = host.state.extension(&id)? else { continue };
        cleared |= publishes(&record) && clear_if_dead(host, &id)?;
    }
    Ok(cleared)
}

/// Whether the container is there: by what it was called, or by its attachment. The name may mean
/// nothing where the caller is, as in another mount namespace.
fn container_lives(host: &Host, record: &ExtensionRecord) -> Result<bool> {
    match Target::open_name(record.target.clone(), true) {
        Ok(target) if target.cookie() == record.netns_cookie => return Ok(true),
        // Whoever may not look cannot tell.
        Err(e) if e.kind() == ErrorKind::NotPermitted => return Ok(true),
        _ => {}
    }
    match host.state.record(&record.id.attachment)? {
        Some(attached) if attached.attachment.netns_cookie == record.netns_cookie => {
            Ok(host.settled(&attached)? == Standing::Up)
        }
        _ => Ok(false),
    }
}

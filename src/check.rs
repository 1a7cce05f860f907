//! Comparing what is remembered with what the kernel holds, and mending what has drifted.
//!
//! A record holds the steps that made the attachment, so checking is asking of each whether it
//! still holds, and mending is doing those again that do not.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::addr::Family;
use crate::apply::{Container, Executor};
use crate::attach::reattach;
use crate::detach::{Selector, select};
use crate::error::{Error, ErrorKind, Result};
use crate::extend;
use crate::extension::{ExtensionId, PartKind};
use crate::host::{Host, REAPING};
use crate::ident::{AttachmentId, NetworkName};
use crate::outcome::{Attachment, Checked, State as Standing};
use crate::plan::{self, Side, Step};
use crate::reload;
use crate::request::{Sysctl, SysctlKey, Topology};
use crate::ruleset::Rules;
use crate::state::Record;
use crate::target::Target;

/// The static rules, and the steps that load them.
const RULES: [(Step, Rules); 2] =
    [(Step::InstallRuleset, Rules::Inet), (Step::InstallBridgeRuleset, Rules::Bridge)];

/// Checks attachments, or all of them, and with `repair` puts back what no longer holds.
///
/// # Errors
/// [`AttachmentNotFound`](ErrorKind::AttachmentNotFound) if nothing answers to the selector; a
/// refusal by the kernel while reading or mending.
pub async fn check(selector: Option<&Selector>, repair: bool) -> Result<Vec<Checked>> {
    let host = if repair { Host::enter()? } else { Host::open()? };
    let ids = match selector {
        Some(selector) => selected(&host, selector)?,
        None => all(&host)?,
    };
    let mut found = Vec::new();
    for id in ids {
        let _lock = host.state.lock_attachment(&id)?;
        found.extend(check_whole(&host, &id, repair)?);
    }
    Ok(found)
}

/// The attachments that a selector means, else the interfaces that others made of a container with
/// this id, to which something was added.
fn selected(host: &Host, selector: &Selector) -> Result<BTreeSet<AttachmentId>> {
    let absent = match select(host, selector) {
        Err(e) if e.kind() == ErrorKind::AttachmentNotFound => e,
        found => return Ok(found?.into_iter().collect()),
    };
    let meant = |id: &AttachmentId| {
        id.container.as_str() == selector.name
            && selector.ifname.as_ref().is_none_or(|name| *name == id.ifname)
    };
    let extended = host.state.extension_ids()?.into_iter().map(|id| id.attachment);
    let found: BTreeSet<_> = extended.filter(meant).collect();
    if found.is_empty() { Err(absent) } else { Ok(found) }
}

/// Every interface of which anything is remembered.
fn all(host: &Host) -> Result<BTreeSet<AttachmentId>> {
    let mut ids: BTreeSet<AttachmentId> = host.state.attachment_ids()?.into_iter().collect();
    ids.extend(host.state.extension_ids()?.into_iter().map(|id| id.attachment));
    Ok(ids)
}

/// An attachment, if there is one, then what was added to the interface, which hangs on its links;
/// `None` if there is nothing at all.
fn check_whole(host: &Host, id: &AttachmentId, repair: bool) -> Result<Option<Checked>> {
    let record = host.state.record(id)?;
    let mut checked = match &record {
        Some(record) if host.standing(record)? != Standing::Up => return Ok(Some(gone(record))),
        Some(record) => check_one(host, record, repair)?,
        None => Checked { id: id.clone(), drift: Vec::new(), repaired: false },
    };
    let extensions = host.state.extensions_of(id)?;
    for extension in &extensions {
        let (drift, repaired) = extend::check(host, extension, repair)?;
        checked.drift.extend(drift);
        checked.repaired |= repaired;
    }
    Ok((record.is_some() || !extensions.is_empty()).then_some(checked))
}

/// Checks the attachment of this identity that belongs to a named network; `None` if there is none.
/// `target` is its container, whatever that is called now.
///
/// # Errors
/// A refusal by the kernel while reading.
pub async fn check_member(
    id: &AttachmentId,
    network: &NetworkName,
    target: &Target,
) -> Result<Option<Checked>> {
    let host = Host::open()?;
    let Some(record) = host.state.record(id)?.filter(|r| r.network_name.as_ref() == Some(network))
    else {
        return Ok(None);
    };
    if host.standing(&record)? != Standing::Up {
        return Ok(Some(gone(&record)));
    }
    let steps = not_overridden(&host, id, required(&host, &record)?)?;
    let executor = Executor::new(&host, Some(Container::open(target)?), target.name());
    let drift = executor.drift(&steps)?;
    let drift = drift.into_iter().flat_map(|step| described(step, &record.attachment)).collect();
    Ok(Some(Checked { id: id.clone(), drift, repaired: false }))
}

/// Whether there is an attachment of this identity, of whatever network.
///
/// # Errors
/// If the state folder cannot be read.
pub async fn is_attached(id: &AttachmentId) -> Result<bool> {
    Ok(Host::open()?.state.record(id)?.is_some())
}

fn gone(record: &Record) -> Checked {
    let drift = vec![format!(
        "the link {} is gone; netup gc clears the rest",
        record.attachment.host_ifname
    )];
    Checked { id: record.id().clone(), drift, repaired: false }
}

fn check_one(host: &Host, record: &Record, repair: bool) -> Result<Checked> {
    let id = record.id().clone();
    let target = open_target(record)?;
    let steps = not_overridden(host, &id, required(host, record)?)?;
    let mut executor =
        Executor::new(host, Some(Container::open(&target)?), &record.attachment.target);
    let mut drift: Vec<Step> = executor.drift(&steps)?.into_iter().cloned().collect();
    for (install, rules) in RULES {
        if steps.contains(&install) && !drift.contains(&install) && !reload::rules_are_ours(rules)?
        {
            drift.insert(0, install);
        }
    }
    let lines = drift.iter().flat_map(|step| described(step, &record.attachment)).collect();
    let repaired = repair && !drift.is_empty();
    if repaired {
        mend(host, &mut executor, record, &drift)?;
    }
    Ok(Checked { id, drift: lines, repaired })
}

fn described(step: &Step, attachment: &Attachment) -> Vec<String> {
    match step {
        // The text of the rules says nothing about what is wrong.
        Step::InstallRuleset | Step::InstallBridgeRuleset => {
            vec!["netup reload  # the static nftables rules are missing or altered".to_owned()]
        }
        step => plan::lines(step, &attachment.target),
    }
}

/// A process that a runner of containers named may be just about to join its namespace, or just have
/// ended: it is given a moment.
fn open_target(record: &Record) -> Result<Target> {
    let started = Instant::now();
    loop {
        match open_target_now(record) {
            Err(e) if e.kind() == ErrorKind::TargetNotFound && started.elapsed() < REAPING => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return opened,
        }
    }
}

fn open_target_now(record: &Record) -> Result<Target> {
    let Attachment { target, netns_cookie, id, .. } = &record.attachment;
    let lost = |why: String| {
        Error::new(ErrorKind::TargetNotFound, format!("{id} cannot be checked: {why}"))
            .hint("its link is alive, but its namespace has no name left; netup down takes it down")
    };
    let opened = Target::open_name(target.clone(), true).map_err(|e| match e.kind() {
        ErrorKind::NotPermitted => e,
        _ => lost(e.message()),
    })?;
    match opened.cookie() == *netns_cookie {
        true => Ok(opened),
        false => Err(lost(format!("{target} is another network namespace now"))),
    }
}

/// All that must hold for an attachment: what is shared, what is the bridge's, and its own.
fn required(host: &Host, record: &Record) -> Result<Vec<Step>> {
    let attachment = &record.attachment;
    let mut steps = vec![Step::InstallRuleset];
    steps.extend(forwarding(attachment));
    if let Topology::Bridge(name) = &attachment.topology {
        steps.extend(host.state.bridge(name)?.unwrap_or_default().steps);
    }
    steps.extend(record.steps.iter().cloned());
    if steps.iter().any(Step::needs_bridge_rules) {
        steps.insert(0, Step::InstallBridgeRuleset);
    }
    Ok(steps)
}

/// Without the container's kernel parameters that a later plugin of the chain has set otherwise.
fn not_overridden(host: &Host, id: &AttachmentId, mut steps: Vec<Step>) -> Result<Vec<Step>> {
    let tuned = ExtensionId { attachment: id.clone(), part: PartKind::Tune };
    let Some(tuned) = host.state.extension(&tuned)? else { return Ok(steps) };
    let overriding: Vec<&Sysctl> = tuned.steps.iter().flat_map(of_container).collect();
    for step in &mut steps {
        if let Step::WriteSysctls { side: Side::Container, sysctls } = step {
            sysctls.retain(|own| !overriding.iter().any(|later| later.key == own.key));
        }
    }
    Ok(steps)
}

fn of_container(step: &Step) -> &[Sysctl] {
    match step {
        Step::WriteSysctls { side: Side::Container, sysctls } => sysctls,
        _ => &[],
    }
}

fn forwarding(attachment: &Attachment) -> Vec<Step> {
    let has = |family| attachment.addresses.iter().any(|address| address.family() == family);
    let switches =
        [(Family::V4, "net/ipv4/ip_forward"), (Family::V6, "net/ipv6/conf/all/forwarding")];
    let on = |key| Step::WriteSysctls {
        side: Side::Host,
        sysctls: vec![Sysctl { key: SysctlKey::known(key), value: "1".to_owned() }],
    };
    switches.into_iter().filter(|(family, _)| has(*family)).map(|(_, key)| on(key)).collect()
}

/// Does again what does not hold. If the links themselves are not as they were, everything else
/// hangs on them, so the attachment is made anew with the same addresses.
fn mend(host: &Host, executor: &mut Executor<'_>, record: &Record, drift: &[Step]) -> Result<()> {
    if drift.iter().any(|step| matches!(step, Step::AddVeth(_) | Step::AddBridge { .. })) {
        return reattach(host, record);
    }
    for step in drift {
        mend_step(host, executor, step)?;
    }
    Ok(())
}

/// Does one step again.
pub fn mend_step(host: &Host, executor: &mut Executor<'_>, step: &Step) -> Result<()> {
    match step {
        Step::InstallRuleset => reload::load_rules(host, Rules::Inet),
        Step::InstallBridgeRuleset => reload::load_rules(host, Rules::Bridge),
        Step::AddElements(elements) => reload::restore(host, elements),
        step => executor.repair(step),
    }
}

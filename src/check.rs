//! Comparing what is remembered with what the kernel holds, and mending what has drifted.
//!
//! A record holds the steps that made the attachment, so checking is asking of each whether it
//! still holds, and mending is doing those again that do not.

use crate::addr::Family;
use crate::apply::{Container, Executor};
use crate::attach::reattach;
use crate::detach::{Selector, select};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
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
        Some(selector) => select(&host, selector)?,
        None => host.state.attachment_ids()?,
    };
    let mut found = Vec::new();
    for id in ids {
        let _lock = host.state.lock_attachment(&id)?;
        if let Some(record) = host.state.record(&id)? {
            found.push(check_one(&host, &record, repair)?);
        }
    }
    Ok(found)
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
    let steps = required(&host, &record)?;
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
    if host.standing(record)? != Standing::Up {
        return Ok(gone(record));
    }
    let target = open_target(record)?;
    let steps = required(host, record)?;
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

fn open_target(record: &Record) -> Result<Target> {
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
        match step {
            Step::InstallRuleset => reload::load_rules(host, Rules::Inet)?,
            Step::InstallBridgeRuleset => reload::load_rules(host, Rules::Bridge)?,
            Step::AddElements(elements) => reload::restore(host, elements)?,
            step => executor.repair(step)?,
        }
    }
    Ok(())
}

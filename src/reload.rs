//! Putting the rules and all elements back after somebody flushed nftables, and taking the rules
//! away for good.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::apply::{Executor, is_stored};
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::kernel::{netns, nftables};
use crate::nft;
use crate::outcome::Reloaded;
use crate::plan::Step;
use crate::request::Topology;
use crate::ruleset::{self, Element, Rules};
use crate::state::ExtensionRecord;

/// Loads the static rules and puts the elements of every attachment back. What is there already
/// stays, so packets keep flowing.
///
/// # Errors
/// [`Nft`](ErrorKind::Nft) or [`MissingTool`](ErrorKind::MissingTool) if the rules cannot be
/// loaded; [`PortInUse`](ErrorKind::PortInUse) if a port leads elsewhere by now.
pub async fn reload() -> Result<Reloaded> {
    let host = Host::enter()?;
    let reloaded = reload_all(&host);
    host.leave(reloaded)
}

fn reload_all(host: &Host) -> Result<Reloaded> {
    load_rules(host, Rules::Inet)?;
    let mut reloaded = Reloaded::default();
    let mut bridge_rules = false;
    let mut bridges = BTreeSet::new();
    for id in host.state.attachment_ids()? {
        let _lock = host.state.lock_attachment(&id)?;
        let Some(record) = host.state.record(&id)? else { continue };
        if !bridge_rules && record.steps.iter().any(Step::needs_bridge_rules) {
            load_rules(host, Rules::Bridge)?;
            bridge_rules = true;
        }
        reloaded.elements += restore_all(host, &record.steps)?;
        reloaded.attachments += 1;
        if let Topology::Bridge(name) = record.attachment.topology {
            bridges.insert(name);
        }
    }
    for id in host.state.extension_ids()? {
        let _lock = host.state.lock_attachment(&id.attachment)?;
        let Some(record) = host.state.extension(&id)? else { continue };
        reloaded.elements += restore_all(host, &record.steps)?;
        readmit(host, &record)?;
        bridges.extend(record.bridge);
    }
    for name in bridges {
        let _lock = host.state.lock_bridge(&name)?;
        reloaded.elements +=
            restore_all(host, &host.state.bridge(&name)?.unwrap_or_default().steps)?;
    }
    Ok(reloaded)
}

/// A firewall that was loaded anew, or flushed together with our table, has forgotten whom it lets
/// through.
fn readmit(host: &Host, record: &ExtensionRecord) -> Result<()> {
    let mut executor = Executor::new(host, None, &record.target);
    for step in &record.steps {
        let admits = matches!(step, Step::AdmitByIptables(_) | Step::TrustByFirewalld { .. });
        if admits && !executor.drift([step])?.is_empty() {
            executor.apply(step)?;
        }
    }
    Ok(())
}

/// Loads the static rules, whatever is there: what the sets hold stays.
pub fn load_rules(host: &Host, rules: Rules) -> Result<()> {
    let _lock = host.state.lock_rules()?;
    nft::load(rules.text())
}

fn restore_all(host: &Host, steps: &[Step]) -> Result<usize> {
    let mut count = 0;
    for step in steps {
        if let Step::AddElements(elements) = step {
            restore(host, elements)?;
            count += elements.len();
        }
    }
    Ok(count)
}

/// Adds those of an attachment's elements that are missing.
pub fn restore(host: &Host, elements: &[Element]) -> Result<()> {
    let mut missing = Vec::new();
    for element in elements {
        if !is_stored(host.nft()?, element)? {
            missing.push(element.clone());
        }
    }
    nftables::add(host.nft()?, &missing, &"nft add element inet netup").map_err(|e| {
        match e.errno() {
            Some(libc::EEXIST) => e
                .with_kind(ErrorKind::PortInUse)
                .hint("a published port leads elsewhere by now; netup check tells which"),
            _ => e,
        }
    })
}

/// Removes the static rules, the admin's own chain included, and the state folder with them. Refused while attachments exist.
///
/// # Errors
/// [`AttachmentExists`](ErrorKind::AttachmentExists) while there are any.
pub async fn remove_ruleset() -> Result<()> {
    let host = Host::open()?;
    let alone = host.state.lock_host()?;
    let ids = host.state.attachment_ids()?;
    if let Some(id) = ids.first() {
        return Err(Error::new(
            ErrorKind::AttachmentExists,
            format!("the rules are in use by {} attachment(s), such as {id}", ids.len()),
        )
        .hint("take them down first; netup ls lists them"));
    }
    if let Some(id) = host.state.extension_ids()?.first() {
        return Err(Error::new(
            ErrorKind::AttachmentExists,
            format!("the rules are in use by {id}, which a CNI plugin added"),
        )
        .hint("take the container down with its runtime, or run netup gc if it is gone"));
    }
    nftables::remove_table(host.nft()?, Rules::Inet)?;
    nftables::remove_table(host.nft()?, Rules::Bridge)?;
    host.state.remove(&alone)
}

/// Whether the rules in the kernel are exactly the static ones, whatever the sets hold.
///
/// What nft prints differs between its versions. So the same nft prints the rules as it has just
/// loaded them into an empty namespace, and the two are compared. What the admin has put into the
/// chain that is theirs does not count.
pub fn rules_are_ours(of: Rules) -> Result<bool> {
    let list = || nft::list_json(of.family(), ruleset::TABLE);
    let Ok(present) = list() else {
        return Ok(false);
    };
    let reference = netns::visit_fresh(|| {
        nft::load(of.text())?;
        list()
    })
    .flatten()?;
    Ok(rules(&present)? == rules(&reference)?)
}

/// The table's objects without handles and elements.
///
/// As plain JSON, not by the types of the `nftables` crate: it does not know a map whose data is a
/// concatenation, which nft 1.0.6 prints as one string.
fn rules(json: &str) -> Result<Vec<Value>> {
    let unreadable =
        |why: String| Error::new(ErrorKind::Nft, format!("read what nft printed: {why}"));
    let mut printed: Value = serde_json::from_str(json).map_err(|e| unreadable(e.to_string()))?;
    let objects = printed.get_mut("nftables").and_then(Value::as_array_mut);
    let mut objects =
        std::mem::take(objects.ok_or_else(|| unreadable("it has no objects".to_owned()))?);
    objects.retain(|object| object.get("metainfo").is_none() && !is_the_admins(object));
    objects
        .iter_mut()
        .filter_map(Value::as_object_mut)
        .flat_map(|object| object.values_mut())
        .for_each(bare);
    Ok(objects)
}

fn is_the_admins(object: &Value) -> bool {
    let chain = object.get("rule").and_then(|rule| rule.get("chain"));
    chain.and_then(Value::as_str) == Some(ruleset::USER_CHAIN)
}

fn bare(object: &mut Value) {
    if let Some(object) = object.as_object_mut() {
        object.remove("handle");
        object.remove("elem");
    }
}

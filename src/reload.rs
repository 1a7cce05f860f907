//! Putting the rules and all elements back after somebody flushed nftables, and taking the rules
//! away for good.

use std::collections::BTreeSet;

use nftables::schema::{NfListObject, NfObject, Nftables};

use crate::apply::is_stored;
use crate::error::{Error, ErrorKind, Result};
use crate::host::Host;
use crate::kernel::{netns, nftables as kernel_nftables};
use crate::nft;
use crate::outcome::Reloaded;
use crate::plan::Step;
use crate::request::Topology;
use crate::ruleset::{self, Element};

/// Loads the static rules and puts the elements of every attachment back. What is there already
/// stays, so packets keep flowing.
///
/// # Errors
/// [`Nft`](ErrorKind::Nft) or [`MissingTool`](ErrorKind::MissingTool) if the rules cannot be
/// loaded; [`PortInUse`](ErrorKind::PortInUse) if a port leads elsewhere by now.
pub async fn reload() -> Result<Reloaded> {
    let host = Host::open()?;
    let _shared = host.state.share_host()?;
    nft::load(ruleset::TEXT)?;
    let mut reloaded = Reloaded::default();
    let mut bridges = BTreeSet::new();
    for id in host.state.attachment_ids()? {
        let _lock = host.state.lock_attachment(&id)?;
        let Some(record) = host.state.record(&id)? else { continue };
        reloaded.elements += restore_all(&host, &record.steps)?;
        reloaded.attachments += 1;
        if let Topology::Bridge(name) = record.attachment.topology {
            bridges.insert(name);
        }
    }
    for name in bridges {
        let _lock = host.state.lock_bridge(&name)?;
        reloaded.elements += restore_all(&host, &host.state.bridge(&name)?.unwrap_or_default().steps)?;
    }
    Ok(reloaded)
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
        if !is_stored(&host.nft, element)? {
            missing.push(element.clone());
        }
    }
    kernel_nftables::add(&host.nft, &missing, &"nft add element inet netup").map_err(|e| match e.errno() {
        Some(libc::EEXIST) => {
            e.with_kind(ErrorKind::PortInUse).hint("a published port leads elsewhere by now; netup check tells which")
        }
        _ => e,
    })
}

/// Removes the static rules, and the state folder with them. Refused while attachments exist.
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
    kernel_nftables::remove_table(&host.nft)?;
    host.state.remove(&alone)
}

/// Whether the rules in the kernel are exactly the static ones, whatever the sets hold.
///
/// What nft prints differs between its versions. So the same nft prints the rules as it has just
/// loaded them into an empty namespace, and the two are compared.
pub fn rules_are_ours() -> Result<bool> {
    let Ok(present) = nft::list_json(ruleset::TABLE) else {
        return Ok(false);
    };
    let reference = netns::visit_fresh(|| {
        nft::load(ruleset::TEXT)?;
        nft::list_json(ruleset::TABLE)
    })
    .flatten()?;
    Ok(rules(&present)? == rules(&reference)?)
}

/// The table without handles and elements.
fn rules(json: &str) -> Result<Vec<NfListObject<'static>>> {
    let parsed: Nftables<'static> = serde_json::from_str(json)
        .map_err(|e| Error::new(ErrorKind::Nft, format!("read what nft printed: {e}")))?;
    let object = |object: &NfObject<'static>| match object {
        NfObject::ListObject(object) => bare(object.clone()),
        NfObject::CmdObject(_) => None,
    };
    Ok(parsed.objects.iter().filter_map(object).collect())
}

fn bare(mut object: NfListObject<'static>) -> Option<NfListObject<'static>> {
    match &mut object {
        NfListObject::MetainfoObject(_) => return None,
        NfListObject::Table(table) => table.handle = None,
        NfListObject::Chain(chain) => chain.handle = None,
        NfListObject::Rule(rule) => rule.handle = None,
        NfListObject::Set(set) => (set.handle, set.elem) = (None, None),
        NfListObject::Map(map) => (map.handle, map.elem) = (None, None),
        _ => {}
    }
    Some(object)
}

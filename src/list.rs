//! What there is.

use std::collections::HashMap;

use crate::detach::{Selector, select};
use crate::error::Result;
use crate::host::Host;
use crate::ident::AttachmentId;
use crate::kernel::link;
use crate::outcome::{State as Standing, Status};
use crate::state::Phase;

/// Every attachment of this host network namespace, in order of id.
///
/// # Errors
/// If the state folder or the kernel's list of links cannot be read.
pub async fn list() -> Result<Vec<Status>> {
    let host = Host::open()?;
    // One dump instead of a question per attachment.
    let links = link::all(&host.rtnl).await?;
    let links: HashMap<u32, String> =
        links.into_iter().map(|link| (link.index, link.name)).collect();
    let mut found = Vec::new();
    for id in host.state.attachment_ids()? {
        // One that was taken down meanwhile is not listed.
        let Some(record) = host.state.record(&id)? else { continue };
        let attachment = record.attachment;
        let up = links
            .get(&attachment.host_ifindex)
            .is_some_and(|name| name == attachment.host_ifname.as_str());
        let state = match (record.phase, up) {
            (Phase::Intent, _) => Standing::Incomplete,
            (Phase::Complete, true) => Standing::Up,
            (Phase::Complete, false) => Standing::Dead,
        };
        found.push(Status { state, attachment });
    }
    Ok(found)
}

/// The attachments that a selector means.
///
/// # Errors
/// [`AttachmentNotFound`](crate::ErrorKind::AttachmentNotFound) if there are none.
pub async fn show(selector: &Selector) -> Result<Vec<Status>> {
    let host = Host::open()?;
    let mut found = Vec::new();
    for id in select(&host, selector).await? {
        found.extend(status(&host, &id).await?);
    }
    Ok(found)
}

async fn status(host: &Host, id: &AttachmentId) -> Result<Option<Status>> {
    let Some(record) = host.state.record(id)? else {
        return Ok(None);
    };
    Ok(Some(Status { state: host.standing(&record).await?, attachment: record.attachment }))
}

//! What there is.

use crate::detach::{Selector, select};
use crate::error::Result;
use crate::host::Host;
use crate::ident::AttachmentId;
use crate::outcome::Status;

/// Every attachment of this host network namespace, in order of id.
///
/// # Errors
/// If the state folder or the kernel's list of links cannot be read.
pub async fn list() -> Result<Vec<Status>> {
    let host = Host::open()?;
    let mut found = Vec::new();
    for id in host.state.attachment_ids()? {
        // One that was taken down meanwhile is not listed.
        found.extend(status(&host, &id)?);
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
    for id in select(&host, selector)? {
        found.extend(status(&host, &id)?);
    }
    Ok(found)
}

fn status(host: &Host, id: &AttachmentId) -> Result<Option<Status>> {
    let Some(record) = host.state.record(id)? else {
        return Ok(None);
    };
    Ok(Some(Status { state: host.standing(&record)?, attachment: record.attachment }))
}

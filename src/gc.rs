//! Clearing away what containers left that ended without `down`, and what crashes left. Only in
//! the state of the caller's own network namespace.

use crate::apply::Executor;
use crate::detach;
use crate::error::Result;
use crate::extend;
use crate::host::Host;
use crate::outcome::Collected;
use crate::shared_bridge;
use crate::target::TargetName;

/// Takes down every attachment whose link is gone or that a crash left half-made, and frees
/// addresses that nobody owns. It goes on past failures and reports them.
///
/// # Errors
/// If the state folder cannot be read at all.
pub async fn collect_garbage() -> Result<Collected> {
    let host = Host::enter()?;
    let collected = collect_and_sweep(&host);
    host.leave_less(collected)
}

fn collect_and_sweep(host: &Host) -> Result<Collected> {
    let collected = collect(host)?;
    host.sweep()?;
    Ok(collected)
}

/// As [`collect_garbage`], with connections that are open already. Attachments that another call
/// is at work on are left alone.
pub fn collect(host: &Host) -> Result<Collected> {
    let mut collected = Collected::default();
    for id in host.state.attachment_ids()? {
        match detach::clear_if_dead(host, &id) {
            Ok(true) => collected.removed.push(id),
            Ok(false) => {}
            Err(e) => collected.failed.push((id, e)),
        }
    }
    extend::collect(host, &mut collected)?;
    let name = TargetName::Named(String::new());
    shared_bridge::collect(&mut Executor::new(host, None, &name))?;
    for (ip, owner) in host.state.claims()? {
        if host.state.record(&owner)?.is_none() {
            detach::clear_dead_owner(host, &owner, ip)?;
        }
    }
    Ok(collected)
}

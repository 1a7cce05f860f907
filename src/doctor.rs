//! Looks at the machine and says what would keep netup from its work, and what to do about it.
//!
//! Nothing on the host is changed: what can only be known by trying is tried in a network namespace
//! of its own, which ends with the thread that made it. The kernel may load modules for that, as it
//! would for netup itself.
//! A [`Health::Failure`] stops netup, a [`Health::Warning`] will bite some day, and each of them
//! comes with a remedy. A check that cannot be made is a warning that says why; looking never fails.

#![forbid(unsafe_code)]

mod bridging;
mod conntrack;
mod firewall;
mod forwarding;
mod ipv6;
mod kernel;
mod localnet;
mod netns;
mod network_manager;
mod networkd;
mod nft;
mod program;
mod reverse_path;
mod rights;
mod state_folder;
mod sysctl;
mod uplinks;

pub use rights::may_attach;

use crate::outcome::{Finding, Health};
use firewall::Firewall;
use program::Program;
use uplinks::Uplinks;

/// Looks at the machine, and reports each thing with a verdict and, unless all is well, a remedy.
///
/// Everything is seen from the calling thread's network namespace. The thread is blocked while
/// `nft` and the like run; each of them is given 5 seconds.
///
/// ```no_run
/// # async fn show() {
/// for finding in netup::doctor().await {
///     println!("{}: {}", finding.subject, finding.found);
/// }
/// # }
/// ```
pub async fn doctor() -> Vec<Finding> {
    let (uplinks, unseen) = match Uplinks::observe() {
        Ok(uplinks) => (uplinks, None),
        Err(error) => (Uplinks::default(), Some(uplinks::unseen(&error))),
    };
    let nft = Program::find("nft");
    let firewall = Firewall::observe(nft.as_ref());
    let mut findings = rights::check();
    findings.extend(kernel::check());
    findings.push(nft::check(nft.as_ref()));
    findings.extend(netns::check(nft.as_ref()));
    findings.extend(conntrack::check());
    findings.push(ipv6::check());
    findings.extend(unseen);
    findings.extend(forwarding::check(&uplinks));
    findings.push(reverse_path::check(&uplinks));
    findings.push(localnet::check(&uplinks, nft.as_ref()));
    findings.extend(firewall.check(&uplinks));
    findings.push(bridging::check(&firewall));
    findings.push(state_folder::check());
    findings.extend(network_manager::check());
    findings.extend(networkd::check());
    findings
}

fn ok(subject: &str, found: impl Into<String>) -> Finding {
    Finding { subject: subject.to_owned(), health: Health::Ok, found: found.into(), remedy: None }
}

fn warning(subject: &str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    let remedy = Some(remedy.into());
    Finding { subject: subject.to_owned(), health: Health::Warning, found: found.into(), remedy }
}

fn failure(subject: &str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
    Finding { health: Health::Failure, ..warning(subject, found, remedy) }
}

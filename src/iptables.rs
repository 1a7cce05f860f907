//! Letting containers through by iptables, as the reference plugin `firewall` does.
//!
//! A host's firewall that drops forwarded packets in an iptables chain cannot be overruled from a
//! table of our own: a drop is final, an accept is not. So where there is such a chain, the rules go
//! there, into the same chains as those of the reference, with the same words and at the same
//! places. A container of either is the same to the other, and neither repeats what is there.

mod admission;
mod saved;
mod tool;

use crate::addr::Family;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::kernel::nfnetlink::Nfnetlink;
use crate::kernel::nft_chain::{self, Chain, Rule, TableFamily};
use crate::reference;

pub(crate) use admission::lines;
pub use admission::{ChainName, IngressPolicy, IptablesAdmission};
pub(crate) use saved::{Saved, SavedRule};
pub(crate) use tool::Tool;

const TABLE: &str = "filter";
/// The chains by which the reference plugin lets containers through and keeps bridges apart. No rule
/// that is not in them changes what they do.
const OF_CONTAINERS: [&str; 2] = ["CNI-FORWARD", "CNI-ISOLATION-STAGE-1"];

/// Adds the rules that are missing.
pub fn admit(admission: &IptablesAdmission) -> Result<()> {
    let host = Host::enter()?;
    let result = admit_on(&host, admission);
    host.leave_less(result)
}

/// Removes the rules of the addresses.
///
/// The chains stay, with the jumps to them and the isolation of bridges, as the reference leaves
/// them: other containers' rules are in there, and an admin's in the one that is the admin's.
/// Whether a chain is ours alone cannot be told, since either implementation may have made it; and
/// an empty one lets every packet pass on to where it would have gone without.
pub fn unadmit(admission: &IptablesAdmission) -> Result<()> {
    reference::remove_firewall(&admission.addresses)
}

/// As [`admit`], within a call. One at a time: two that both miss the jump to a chain would both
/// make it.
pub(crate) fn admit_on(host: &Host, admission: &IptablesAdmission) -> Result<()> {
    let _lock = host.state.lock_rules()?;
    admission.families().try_for_each(|family| {
        let missing = |saved: &Saved| admission.missing(family, saved);
        Tool::of_system(family)?.edit(TABLE, missing)
    })
}

/// As [`unadmit`], within a call.
pub(crate) fn unadmit_on(host: &Host, admission: &IptablesAdmission) -> Result<()> {
    reference::remove_admission(host.nft()?, &admission.addresses)
}

/// Whether all the rules are there.
pub fn is_admitted(admission: &IptablesAdmission) -> Result<bool> {
    admission.families().try_fold(true, |all, family| {
        let saved = Tool::of_system(family)?.save(TABLE)?;
        Ok(all && admission.missing(family, &saved).is_empty())
    })
}

/// Whether forwarded packets go through an iptables chain that drops some, or may: one whose policy
/// is to drop, or with rules other than those that only let containers through. Then only a rule in
/// there helps a container.
///
/// Asks the kernel for two chains and runs no program. Of legacy iptables it only asks whether the
/// table exists, as there is no telling what is in it without one.
pub fn forward_is_filtered() -> Result<bool> {
    let nft = Nfnetlink::here()?;
    let mut filtered = reference::is_legacy_in_use(Family::V4, TABLE)
        || reference::is_legacy_in_use(Family::V6, TABLE);
    for family in [TableFamily::Ip, TableFamily::Ip6] {
        let forward = Chain { family, table: TABLE, name: "FORWARD" };
        let standing = nft_chain::standing(&nft, forward)?;
        filtered |= match standing {
            Some(chain) if chain.drops => true,
            Some(chain) if chain.uses > 0 => !only_admits(&nft, forward)?,
            _ => false,
        };
    }
    Ok(filtered)
}

/// Whether a chain does nothing but jump to those for containers.
fn only_admits(nft: &Nfnetlink, forward: Chain<'_>) -> Result<bool> {
    let of_containers = |rule: &Rule| OF_CONTAINERS.iter().any(|chain| rule.jumps_to(chain));
    Ok(nft_chain::rules(nft, forward)?.iter().all(of_containers))
}

fn missing_tool(names: &[&str]) -> Error {
    let name = names.first().copied().unwrap_or_default();
    let message = format!("the program {name} is not installed");
    Error::new(crate::error::ErrorKind::MissingTool, message)
        .hint("install the package iptables (apt-get install iptables)")
}

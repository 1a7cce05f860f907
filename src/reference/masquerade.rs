//! Masquerading by the reference's `bridge` and `ptp`.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::addr::Family;
use crate::error::Result;
use crate::kernel::nfnetlink::Nfnetlink;
use crate::kernel::nft_chain::{self, Chain, TableFamily};
use crate::reference::chain::ContainerChain;
use crate::reference::names;

const CHECKS: Chain<'static> =
    Chain { family: TableFamily::Inet, table: "cni_plugins_masquerade", name: "masq_checks" };

/// Removes a container's chain of the iptables backend.
pub fn remove_chain(
    nft: &Nfnetlink,
    network: &str,
    container: &str,
    addresses: &[IpAddr],
) -> Result<()> {
    let name = names::masquerade_chain(network, container);
    let chain = ContainerChain { name: &name, entries: &["POSTROUTING"], addresses };
    super::all_of([Family::V4, Family::V6].map(|family| chain.remove(nft, family)))
}

/// Removes an attachment's rules of the nftables backend.
pub fn remove_rules(nft: &Nfnetlink, network: &str, container: &str, ifname: &str) -> Result<()> {
    let mark = names::attachment_mark(network, container, ifname);
    remove_where(nft, |comment| comment.starts_with(&mark))
}

/// Removes the rules of the nftables backend of a network's attachments that are not to be kept.
pub fn collect(nft: &Nfnetlink, network: &str, keep: &[(String, String)]) -> Result<()> {
    let mark = names::network_mark(network);
    let mark_of =
        |(container, ifname): &(String, String)| names::attachment_mark(network, container, ifname);
    let kept: HashSet<String> = keep.iter().map(mark_of).collect();
    // The mark of an attachment ends before the comma.
    let is_kept = |comment: &str| kept.contains(comment.split(',').next().unwrap_or_default());
    remove_where(nft, |comment| comment.starts_with(&mark) && !is_kept(comment))
}

fn remove_where(nft: &Nfnetlink, is_stale: impl Fn(&str) -> bool) -> Result<()> {
    if !nft_chain::exists(nft, CHECKS)? {
        return Ok(());
    }
    let operation = format!("remove rules of {} {}", CHECKS.table, CHECKS.name);
    nft_chain::remove(nft, &operation, || {
        let rules = nft_chain::rules(nft, CHECKS)?;
        let stale = rules.iter().filter(|rule| rule.comment.as_deref().is_some_and(&is_stale));
        Ok(stale.map(|rule| rule.removal(CHECKS)).collect())
    })
}

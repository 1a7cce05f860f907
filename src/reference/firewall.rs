//! Rules by which `firewall` with its iptables backend, the reference's or ours, lets a container
//! through.

use std::net::IpAddr;

use crate::addr::Family;
use crate::error::Result;
use crate::iptables::SavedRule;
use crate::kernel::nfnetlink::Nfnetlink;
use crate::kernel::nft_chain::{self, Chain, Rule};
use crate::reference::chain::table_family;
use crate::reference::{all_of, legacy};

/// The chain with a container's rules, in table `filter`.
pub const CHAIN: &str = "CNI-FORWARD";

/// Removes the rules of these addresses.
pub fn remove(nft: &Nfnetlink, addresses: &[IpAddr]) -> Result<()> {
    all_of([Family::V4, Family::V6].map(|family| {
        let addresses: Vec<IpAddr> =
            addresses.iter().copied().filter(|ip| Family::of(*ip) == family).collect();
        match addresses.is_empty() {
            true => Ok(()),
            false => remove_in(nft, family, &addresses),
        }
    }))
}

fn remove_in(nft: &Nfnetlink, family: Family, addresses: &[IpAddr]) -> Result<()> {
    let from_legacy = legacy::edit(family, "filter", |saved| {
        let rules = saved.rules(CHAIN).filter(SavedRule::accepts);
        rules.filter(|rule| rule.names_any(addresses)).map(|rule| rule.delete()).collect()
    });
    all_of([remove_from_nftables(nft, family, addresses), from_legacy])
}

fn remove_from_nftables(nft: &Nfnetlink, family: Family, addresses: &[IpAddr]) -> Result<()> {
    let chain = Chain { family: table_family(family), table: "filter", name: CHAIN };
    if !nft_chain::exists(nft, chain)? {
        return Ok(());
    }
    let is_theirs = |rule: &&Rule| rule.accepts() && addresses.iter().any(|ip| rule.names(*ip));
    nft_chain::remove(nft, &format!("remove rules of {CHAIN}"), || {
        let rules = nft_chain::rules(nft, chain)?;
        Ok(rules.iter().filter(is_theirs).map(|rule| rule.removal(chain)).collect())
    })
}

//! An iptables chain of one container, wherever that iptables keeps it.

use std::net::IpAddr;

use crate::addr::Family;
use crate::error::Result;
use crate::iptables::SavedRule;
use crate::kernel::nfnetlink::Nfnetlink;
use crate::kernel::nft_chain::{self, Chain, Removal, Rule, TableFamily};
use crate::reference::legacy;

/// The chain of one container, in table `nat`.
pub struct ContainerChain<'a> {
    /// Its name.
    pub name: &'a str,
    /// The chains that lead to it.
    pub entries: &'a [&'a str],
    /// If not empty, a jump that asks for another address than these is somebody else's.
    pub addresses: &'a [IpAddr],
}

impl ContainerChain<'_> {
    /// Its rules in one family, as far as they are in nf_tables.
    pub fn rules(&self, nft: &Nfnetlink, family: Family) -> Result<Vec<Rule>> {
        let chain = self.within(family);
        match nft_chain::exists(nft, chain)? {
            true => nft_chain::rules(nft, chain),
            false => Ok(Vec::new()),
        }
    }

    /// Removes it with what leads to it.
    pub fn remove(&self, nft: &Nfnetlink, family: Family) -> Result<()> {
        super::all_of([self.remove_from_nftables(nft, family), self.remove_from_legacy(family)])
    }

    fn remove_from_nftables(&self, nft: &Nfnetlink, family: Family) -> Result<()> {
        let chain = self.within(family);
        if !nft_chain::exists(nft, chain)? {
            return Ok(());
        }
        let operation = format!("remove the chain {} of {}", self.name, chain.family.as_str());
        nft_chain::remove(nft, &operation, || self.removals(nft, chain))
    }

    fn removals<'c>(&'c self, nft: &Nfnetlink, chain: Chain<'c>) -> Result<Vec<Removal<'c>>> {
        let (mut removals, mut shared) = (Vec::new(), false);
        for entry in self.entries.iter().map(|entry| chain.beside(entry)) {
            for jump in nft_chain::rules(nft, entry)?.iter().filter(|r| r.jumps_to(self.name)) {
                match self.is_of_others(jump, chain.family) {
                    true => shared = true,
                    false => removals.push(jump.removal(entry)),
                }
            }
        }
        if !shared && nft_chain::exists(nft, chain)? {
            removals.extend([Removal::Rules(chain), Removal::Chain(chain)]);
        }
        Ok(removals)
    }

    fn is_of_others(&self, jump: &Rule, family: TableFamily) -> bool {
        !self.addresses.is_empty()
            && jump.names_an_address(family)
            && !self.addresses.iter().any(|ip| jump.names(*ip))
    }

    fn remove_from_legacy(&self, family: Family) -> Result<()> {
        legacy::edit(family, "nat", |saved| {
            let leading = self.entries.iter().flat_map(|entry| saved.rules(entry));
            let jumps: Vec<_> = leading.filter(|rule| rule.jumps_to(self.name)).collect();
            let ours = jumps.iter().filter(|jump| !jump.is_of_others(self.addresses));
            let mut commands: Vec<String> = ours.map(SavedRule::delete).collect();
            if commands.len() == jumps.len() && saved.has_chain(self.name) {
                commands.extend([format!("-F {}", self.name), format!("-X {}", self.name)]);
            }
            commands
        })
    }

    fn within(&self, family: Family) -> Chain<'_> {
        Chain { family: table_family(family), table: "nat", name: self.name }
    }
}

/// Where the newer iptables keeps the tables of a family.
pub fn table_family(family: Family) -> TableFamily {
    match family {
        Family::V4 => TableFamily::Ip,
        Family::V6 => TableFamily::Ip6,
    }
}

//! The guard of the reference's `bridge` against spoofed hardware addresses (`macspoofchk`).

use crate::error::Result;
use crate::kernel::nfnetlink::Nfnetlink;
use crate::kernel::nft_chain::{self, Chain, Removal, TableFamily};

const ENTRY: Chain<'static> =
    Chain { family: TableFamily::Bridge, table: "nat", name: "PREROUTING" };

/// Removes an attachment's chains and what leads to them.
pub fn remove(nft: &Nfnetlink, container: &str, ifname: &str) -> Result<()> {
    if !nft_chain::exists(nft, ENTRY)? {
        return Ok(());
    }
    let of_link = format!("cni-br-iface-{container}-{ifname}");
    let of_mac = format!("{of_link}-mac");
    let comment = format!("macspoofchk-{container}-{ifname}");
    nft_chain::remove(nft, &format!("remove the guard {comment}"), || {
        let rules = nft_chain::rules(nft, ENTRY)?;
        let leads = rules
            .iter()
            .filter(|rule| rule.comment.as_deref() == Some(&comment) || rule.jumps_to(&of_link));
        let mut removals: Vec<Removal<'_>> = leads.map(|rule| rule.removal(ENTRY)).collect();
        // The first jumps to the second.
        for chain in [ENTRY.beside(&of_link), ENTRY.beside(&of_mac)] {
            if nft_chain::exists(nft, chain)? {
                removals.extend([Removal::Rules(chain), Removal::Chain(chain)]);
            }
        }
        Ok(removals)
    })
}

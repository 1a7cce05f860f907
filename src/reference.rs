//! What the reference CNI plugins left behind for a container.
//!
//! A node may change over to netup while containers run. Their rules were made by the plugins of
//! that name from github.com/containernetworking/plugins, and it is netup that is asked to take
//! them down. So a DEL looks for these too, by the names that the reference derives from the
//! network and the container.
//!
//! Where there is nothing, it costs a few questions to the kernel and no process. Rules of nftables
//! and of the newer iptables, which keeps them in nf_tables, are found and removed over netlink;
//! only legacy iptables needs its program, and only where its table is in use. What the reference
//! itself leaves in place for all containers stays.
//!
//! Best asked before the attachment itself is taken down: each function closes a netfilter socket,
//! and where elements or rules were deleted just before, by whomever, that waits 12 to 24 ms for the
//! kernel to free them (`kernel/reclaim.rs`).
//!
//! Everything is tried; what fails is told in one error.

mod chain;
mod firewall;
mod legacy;
mod masquerade;
mod names;
mod port_mappings;
mod spoof_guard;
mod tuning;

use std::net::IpAddr;

use crate::error::{Error, Result};
use crate::kernel::link;
use crate::kernel::nfnetlink::Nfnetlink;
use crate::kernel::rtnl::Rtnl;

pub use names::ifb_name;
pub use tuning::{TUNING_FOLDER, TuningBackup, tuning_backup};

pub(crate) use firewall::remove as remove_admission;
pub(crate) use legacy::is_in_use as is_legacy_in_use;

/// Removes the masquerading of `bridge` and `ptp`, of both their backends and both families.
///
/// The iptables chain bears no interface name. Where another interface of the container shares it,
/// only the jumps from `addresses` go; without addresses all of them do.
pub fn remove_masquerade(
    network: &str,
    container: &str,
    ifname: &str,
    addresses: &[IpAddr],
) -> Result<()> {
    let nft = Nfnetlink::here()?;
    all_of([
        masquerade::remove_chain(&nft, network, container, addresses),
        masquerade::remove_rules(&nft, network, container, ifname),
    ])
}

/// Removes the masquerading by nftables of those attachments of a network, container and interface,
/// that are not to be kept. The rules of the iptables backend do not tell their network.
pub fn collect_masquerade(network: &str, keep: &[(String, String)]) -> Result<()> {
    masquerade::collect(&Nfnetlink::here()?, network, keep)
}

/// Removes the published ports of `portmap`, of both its backends and both families, and makes the
/// kernel forget the UDP flows that they redirected.
///
/// The rules of the nftables backend do not tell their network. Where a container has several, only
/// those that lead to `addresses` go; without addresses all of them do.
pub fn remove_port_mappings(network: &str, container: &str, addresses: &[IpAddr]) -> Result<()> {
    let nft = Nfnetlink::here()?;
    all_of([
        port_mappings::remove_chains(&nft, network, container),
        port_mappings::remove_rules(&nft, container, addresses),
    ])
}

/// Removes the rules of `firewall` that let these addresses through. The chains and the isolation of
/// bridges stay, as they serve others too.
pub fn remove_firewall(addresses: &[IpAddr]) -> Result<()> {
    firewall::remove(&Nfnetlink::here()?, addresses)
}

/// Removes the link (IFB) by way of which a container's own traffic was limited.
///
/// # Errors
/// A refusal by the kernel.
pub fn remove_limits(network: &str, container: &str) -> Result<()> {
    let name = names::ifb_name(network, container).parse()?;
    let (rtnl, _) = Rtnl::here()?;
    let Some(link) = link::by_name(&rtnl, &name)? else { return Ok(()) };
    match link::delete(&rtnl, link.index, &format!("ip link delete {name}")) {
        Err(e) if !e.is_gone() => Err(e),
        _ => Ok(()),
    }
}

/// Removes the rules by which `bridge` lets no other hardware address out of a container
/// (`macspoofchk`).
pub fn remove_spoof_guard(container: &str, ifname: &str) -> Result<()> {
    spoof_guard::remove(&Nfnetlink::here()?, container, ifname)
}

/// One result for all that was tried: the first failure, with the others.
fn all_of(tried: impl IntoIterator<Item = Result<()>>) -> Result<()> {
    let mut failures: Vec<Error> = tried.into_iter().filter_map(Result::err).collect();
    if failures.is_empty() {
        return Ok(());
    }
    let first = failures.remove(0);
    Err(first.with_undo_failures(failures))
}

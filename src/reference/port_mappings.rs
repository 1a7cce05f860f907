//! Ports published by the reference's `portmap`.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::addr::Family;
use crate::error::Result;
use crate::kernel::conntrack;
use crate::kernel::nfnetlink::Nfnetlink;
use crate::kernel::nft_chain::{self, Chain, Removal, Rule};
use crate::publish::Protocol;
use crate::reference::chain::{ContainerChain, table_family};
use crate::reference::{all_of, legacy, names};

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];
/// The table of the nftables backend, one in each family.
const TABLE: &str = "cni_hostport";
/// Its chains with rules of containers.
const CHAINS: [&str; 3] = ["hostports", "hostip_hostports", "masquerading"];

/// Removes a container's chains of the iptables backend.
pub fn remove_chains(nft: &Nfnetlink, network: &str, container: &str) -> Result<()> {
    let (name, old) =
        (names::port_chain(network, container), names::old_port_chain(network, container));
    let ports = ContainerChain { name: &name, entries: &["CNI-HOSTPORT-DNAT"], addresses: &[] };
    let entries = ["CNI-HOSTPORT-SNAT", "POSTROUTING"];
    let back = ContainerChain { name: &old, entries: &entries, addresses: &[] };
    let of_family = |family| {
        let flows = udp_ports(nft, &ports, family);
        let removed = all_of([ports.remove(nft, family), back.remove(nft, family)]);
        all_of([removed, flows.and_then(|ports| forget(nft, family, &ports))])
    };
    all_of(FAMILIES.map(of_family))
}

/// Removes a container's rules of the nftables backend.
pub fn remove_rules(nft: &Nfnetlink, container: &str, addresses: &[IpAddr]) -> Result<()> {
    all_of(FAMILIES.map(|family| remove_in(nft, family, container, addresses)))
}

fn remove_in(nft: &Nfnetlink, family: Family, container: &str, addresses: &[IpAddr]) -> Result<()> {
    let family_of_table = table_family(family);
    if !nft_chain::table_exists(nft, family_of_table, TABLE)? {
        return Ok(());
    }
    let is_ours = |rule: &Rule| {
        rule.comment.as_deref() == Some(container)
            && (addresses.is_empty() || addresses.iter().any(|ip| rule.names(*ip)))
    };
    let mut ports = HashSet::new();
    let operation = format!("remove rules of {container} from {TABLE}");
    nft_chain::remove(nft, &operation, || {
        let mut removals: Vec<Removal<'_>> = Vec::new();
        for name in CHAINS {
            let chain = Chain { family: family_of_table, table: TABLE, name };
            for rule in nft_chain::rules(nft, chain)?.iter().filter(|rule| is_ours(rule)) {
                ports.extend(rule.udp_port());
                removals.push(rule.removal(chain));
            }
        }
        Ok(removals)
    })?;
    forget(nft, family, &ports)
}

/// The UDP ports of a chain of the iptables backend.
fn udp_ports(nft: &Nfnetlink, chain: &ContainerChain<'_>, family: Family) -> Result<HashSet<u16>> {
    let rules = chain.rules(nft, family)?;
    let mut ports: HashSet<u16> = rules.iter().filter_map(Rule::udp_port).collect();
    // One that looks, and changes nothing.
    let found = std::cell::RefCell::new(Vec::new());
    legacy::edit(family, "nat", |saved| {
        found.borrow_mut().extend(saved.rules(chain.name).filter_map(|rule| rule.udp_port()));
        Vec::new()
    })?;
    ports.extend(found.into_inner());
    Ok(ports)
}

/// Forgets the flows to these ports that were redirected. Datagrams would go on to the container
/// that is gone, and to nobody who publishes the port next, for up to two minutes.
fn forget(nft: &Nfnetlink, family: Family, ports: &HashSet<u16>) -> Result<()> {
    if ports.is_empty() {
        return Ok(());
    }
    let flows = conntrack::flows(nft, family, Protocol::Udp)?;
    let mut redirected = flows
        .iter()
        .filter(|flow| ports.contains(&flow.port) && flow.answered_by != flow.destination);
    redirected.try_for_each(|flow| conntrack::forget(nft, flow))
}

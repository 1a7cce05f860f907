//! Firewalls that drop forwarded packets.
//!
//! At hook forward every base chain must let a packet through: one `policy drop` anywhere, and our
//! own table can accept what it likes. So each base chain is walked, rule by rule, with the packets
//! that containers live on, and what would be dropped is reported with the rule that lets it pass.

mod iptables;
mod nftables;
mod remedy;
mod walk;

use crate::doctor::program::{Program, install_command};
use crate::doctor::uplinks::Uplinks;
use crate::doctor::{ok, warning};
use crate::outcome::Finding;
use walk::{Base, Flow, Packet, Place};

const SUBJECT: &str = "firewall";
/// Stands for the links that we make: their names begin alike.
const OURS: &str = "nu0123456789ab";
/// Stands for an uplink where there is none.
const ANY_UPLINK: &str = "eth0";

/// Every base chain that filters forwarded packets.
#[derive(Debug, Default)]
pub struct Firewall {
    bases: Vec<Base>,
    /// Bridges of containers, which have names of their own.
    bridges: Vec<String>,
    unseen: Vec<Finding>,
}

impl Firewall {
    /// Reads what nftables and, if it is in use, legacy iptables have.
    pub fn observe(nft: Option<&Program>) -> Self {
        let mut firewall = Self::default();
        match nft.map(nftables::observe) {
            Some(Ok(bases)) => firewall.bases.extend(bases),
            Some(Err(why)) => firewall.unseen.push(unseen(&why)),
            None => firewall.unseen.push(unseen("nft is not installed")),
        }
        firewall.bridges = nft.map(nftables::bridges).unwrap_or_default();
        for observed in iptables::observe() {
            match observed {
                Ok(base) => firewall.bases.push(base),
                Err(why) => firewall.unseen.push(unseen(&why)),
            }
        }
        firewall
    }

    /// One finding for each base chain that drops what containers need, or one that none does.
    pub fn check(&self, uplinks: &Uplinks) -> Vec<Finding> {
        let dropping = self.bases.iter().filter_map(|base| self.judge(base, uplinks));
        let mut findings: Vec<Finding> = dropping.chain(self.unseen.iter().cloned()).collect();
        if findings.is_empty() {
            findings.push(ok(SUBJECT, "no chain drops what containers send and receive"));
        }
        findings
    }

    /// Whether there are bridges of containers, and so frames within them.
    pub fn has_bridges(&self) -> bool {
        !self.bridges.is_empty()
    }

    /// The chain that drops frames between two ports of one bridge, when br_netfilter shows them to
    /// it, with the remedy.
    pub fn drops_within_a_bridge(&self) -> Option<(&Place, String)> {
        self.bases.iter().find_map(|base| {
            let drops = |bridge: &&String| !base.accepts(&Packet::within(bridge));
            let bridge = self.bridges.iter().find(drops)?;
            Some((&base.place, remedy::remedy(base, &[(bridge.as_str(), vec![Flow::Out])])))
        })
    }

    fn judge(&self, base: &Base, uplinks: &Uplinks) -> Option<Finding> {
        let dropped: Vec<(&str, Vec<Flow>)> = self
            .links()
            .map(|(pattern, link)| (pattern, dropped(base, link, uplinks)))
            .filter(|(_, flows)| !flows.is_empty())
            .collect();
        let (_, flows) = dropped.first()?;
        let what: Vec<&str> = flows.iter().map(|flow| flow.describe()).collect();
        let found = format!("{} drops {}", base.place, what.join(", "));
        Some(warning(SUBJECT, found, remedy::remedy(base, &dropped)))
    }

    /// Links of containers: how a rule names them, and a name to try rules with.
    fn links(&self) -> impl Iterator<Item = (&str, &str)> {
        [("nu*", OURS)]
            .into_iter()
            .chain(self.bridges.iter().map(|bridge| (bridge.as_str(), bridge.as_str())))
    }
}

fn dropped(base: &Base, link: &str, uplinks: &Uplinks) -> Vec<Flow> {
    let mut uplinks: Vec<&str> = uplinks.all().collect();
    if uplinks.is_empty() {
        uplinks.push(ANY_UPLINK);
    }
    let drops =
        |flow: &Flow| uplinks.iter().any(|uplink| !base.accepts(&Packet::of(*flow, link, uplink)));
    Flow::ALL.into_iter().filter(drops).collect()
}

fn unseen(why: &str) -> Finding {
    let remedy = match why {
        _ if why.contains("not installed") => install_command("nftables"),
        _ if why.contains("not permitted") || why.contains("Permission denied") => {
            "sudo netup doctor".to_owned()
        }
        _ => "nft list chains   # look for hook forward with policy drop".to_owned(),
    };
    warning(SUBJECT, format!("could not be looked at: {why}"), remedy)
}

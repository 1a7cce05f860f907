//! The commands that let containers' traffic pass a chain, in the words of whoever owns the chain.
//!
//! No more is opened than containers need: towards them only answers and published ports.

use super::walk::{Backend, Base, Flow};
use crate::doctor::program::first_of;

/// Where Docker lets the admin put rules before its own.
const DOCKER_USER: &str = "DOCKER-USER";
/// A chain by which ufw's tables are known.
const UFW: &str = "ufw-before-forward";

/// One line for the shell. Links are named as nft does, with a `*`.
pub fn remedy(base: &Base, dropped: &[(&str, Vec<Flow>)]) -> String {
    let owner = Owner::of(base);
    let commands: Vec<String> =
        dropped.iter().flat_map(|(link, flows)| owner.allow(base, link, flows)).collect();
    commands.join(" && ")
}

enum Owner {
    Firewalld,
    Ufw,
    /// Anything in iptables' terms: the program and the chain.
    Iptables(String, &'static str),
    Nft,
}

impl Owner {
    fn of(base: &Base) -> Self {
        let has = |chain| base.chains.contains_key(chain);
        let iptables = iptables(base);
        match (base.place.table.as_str(), iptables) {
            ("firewalld", _) => Self::Firewalld,
            (_, Some(program)) if has(DOCKER_USER) => Self::Iptables(program, DOCKER_USER),
            (_, Some(_)) if has(UFW) || has("ufw6-before-forward") => Self::Ufw,
            (_, Some(program)) => Self::Iptables(program, "FORWARD"),
            (_, None) => Self::Nft,
        }
    }

    fn allow(&self, base: &Base, link: &str, flows: &[Flow]) -> Vec<String> {
        match self {
            Self::Firewalld => firewalld(&plus(link)),
            Self::Ufw => ufw(&plus(link), flows),
            Self::Iptables(program, chain) => in_iptables(program, chain, &plus(link), flows),
            Self::Nft => vec![in_nft(base, link, flows)],
        }
    }
}

/// The program for a chain that belongs to iptables, if one is installed.
fn iptables(base: &Base) -> Option<String> {
    let place = &base.place;
    if place.table != "filter" || place.chain != "FORWARD" {
        return None;
    }
    let names = match (place.backend, place.family.as_str()) {
        (Backend::Legacy, "ip") => ["iptables-legacy", "iptables"],
        (Backend::Legacy, _) => ["ip6tables-legacy", "ip6tables"],
        (Backend::Nft, "ip") => ["iptables-nft", "iptables"],
        (Backend::Nft, "ip6") => ["ip6tables-nft", "ip6tables"],
        (Backend::Nft, _) => return None,
    };
    first_of(&names)?.into_string().ok()
}

fn plus(link: &str) -> String {
    link.replace('*', "+")
}

fn firewalld(link: &str) -> Vec<String> {
    // Both, as the permanent one alone holds only from the next reload on.
    let add = |option: &str| format!("firewall-cmd {option}--zone=trusted --add-interface={link}");
    vec![add(""), add("--permanent ")]
}

fn ufw(link: &str, flows: &[Flow]) -> Vec<String> {
    let out = flows.contains(&Flow::Out).then(|| format!("ufw route allow in on {link}"));
    // ufw accepts answers itself, and knows nothing of connections that are redirected.
    let published =
        flows.contains(&Flow::Published).then(|| format!("ufw route allow out on {link}"));
    out.into_iter().chain(published).collect()
}

fn in_iptables(program: &str, chain: &str, link: &str, flows: &[Flow]) -> Vec<String> {
    let out =
        flows.contains(&Flow::Out).then(|| format!("{program} -I {chain} -i {link} -j ACCEPT"));
    let mut states = Vec::new();
    if flows.contains(&Flow::Answer) {
        states.extend(["RELATED", "ESTABLISHED"]);
    }
    if flows.contains(&Flow::Published) {
        states.push("DNAT");
    }
    let states = states.join(",");
    let back = format!("{program} -I {chain} -o {link} -m conntrack --ctstate {states} -j ACCEPT");
    out.into_iter().chain((!states.is_empty()).then_some(back)).collect()
}

fn in_nft(base: &Base, link: &str, flows: &[Flow]) -> String {
    let place = &base.place;
    let insert = |rule: String| {
        format!("insert rule {} {} {} {rule}", place.family, place.table, place.chain)
    };
    let rules = flows.iter().map(|flow| match flow {
        Flow::Out => insert(format!("iifname \"{link}\" accept")),
        Flow::Answer => insert(format!("oifname \"{link}\" ct state established,related accept")),
        Flow::Published => insert(format!("oifname \"{link}\" ct status dnat accept")),
    });
    format!("nft '{}'", rules.collect::<Vec<_>>().join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::firewall::walk::Place;

    fn base(family: &str, table: &str, chain: &str, others: &[&str]) -> Base {
        let place = Place {
            backend: Backend::Nft,
            family: family.into(),
            table: table.into(),
            chain: chain.into(),
        };
        let chains = others.iter().map(|chain| ((*chain).to_owned(), Vec::new())).collect();
        Base { place, policy_accepts: false, chains }
    }

    #[test]
    fn the_owner_is_spoken_to_in_its_words() {
        let all = [("nu*", Flow::ALL.to_vec())];
        assert_eq!(
            remedy(&base("inet", "firewalld", "filter_FORWARD", &[]), &all),
            "firewall-cmd --zone=trusted --add-interface=nu+ && firewall-cmd --permanent --zone=trusted --add-interface=nu+"
        );
        assert_eq!(
            remedy(
                &base("inet", "filter", "forward", &[]),
                &[("nu*", vec![Flow::Out]), ("br0", vec![Flow::Published])]
            ),
            "nft 'insert rule inet filter forward iifname \"nu*\" accept' && \
             nft 'insert rule inet filter forward oifname \"br0\" ct status dnat accept'"
        );
        let ufw = [("nu*", vec![Flow::Out, Flow::Published])];
        assert_eq!(
            Owner::Ufw.allow(&base("ip", "filter", "FORWARD", &[]), "nu*", &ufw[0].1).len(),
            2
        );
    }

    #[test]
    fn iptables_opens_no_more_than_is_closed() {
        assert_eq!(
            in_iptables("iptables", "DOCKER-USER", "nu+", &Flow::ALL),
            [
                "iptables -I DOCKER-USER -i nu+ -j ACCEPT",
                "iptables -I DOCKER-USER -o nu+ -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT"
            ]
        );
        assert_eq!(in_iptables("iptables", "FORWARD", "nu+", &[Flow::Out]).len(), 1);
    }
}

//! Which rules let a container through, and which of them a table lacks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::addr::Family;
use crate::error::{Error, Result};
use crate::ident::IfName;
use crate::iptables::Saved;

const FORWARD: &str = "FORWARD";
/// The chain with the containers' rules.
const CONTAINERS: &str = "CNI-FORWARD";
/// The chains that keep what is not of a bridge out of it.
const STAGE_1: &str = "CNI-ISOLATION-STAGE-1";
const STAGE_2: &str = "CNI-ISOLATION-STAGE-2";

/// The name of an iptables chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChainName(String);

impl ChainName {
    /// The longest: `XT_EXTENSION_MAXNAMELEN` (29) less the closing NUL.
    pub const MAX: usize = 28;
}

impl Default for ChainName {
    /// What the reference calls the admin's chain.
    fn default() -> Self {
        Self("CNI-ADMIN".to_owned())
    }
}

impl FromStr for ChainName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "_.:+/@-".contains(c);
        let good = !text.is_empty()
            && text.len() <= Self::MAX
            && !text.starts_with('-')
            && text.chars().all(fits);
        match good {
            true => Ok(Self(text.to_owned())),
            false => {
                Err(Error::invalid(format!("{text:?} cannot be the name of an iptables chain"))
                    .hint(format!(
                        "use letters, digits, '-' and '_', at most {} in all",
                        Self::MAX
                    )))
            }
        }
    }
}

impl TryFrom<String> for ChainName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<ChainName> for String {
    fn from(name: ChainName) -> Self {
        name.0
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who may reach the containers of a bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IngressPolicy {
    /// The bridge.
    pub bridge: IfName,
    /// Whether its containers may not reach each other either.
    pub isolated: bool,
}

/// The rules that let a container through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IptablesAdmission {
    /// The container's addresses. Only families of which there are some get any rule.
    pub addresses: Vec<IpAddr>,
    /// The chain for an admin's own rules, which come first.
    pub admin_chain: ChainName,
    /// What is kept from the bridge; `None` leaves it open.
    pub ingress: Option<IngressPolicy>,
}

/// A rule that has to be somewhere in a chain.
struct Wanted {
    chain: &'static str,
    /// Whether it goes to the chain's top, or to its end.
    first: bool,
    /// As iptables-save prints it.
    words: String,
}

impl IptablesAdmission {
    /// The families of which there are addresses.
    pub(crate) fn families(&self) -> impl Iterator<Item = Family> {
        let has = |family: &Family| self.addresses.iter().any(|ip| Family::of(*ip) == *family);
        [Family::V4, Family::V6].into_iter().filter(has)
    }

    /// The commands that complete a table, in order; none if it is complete.
    pub(crate) fn missing(&self, family: Family, saved: &Saved) -> Vec<String> {
        let chains = self.chains().into_iter().filter(|chain| !saved.has_chain(chain));
        let mut commands: Vec<String> = chains.map(|chain| format!("-N {chain}")).collect();
        for wanted in self.wanted(family) {
            if !saved.rules(wanted.chain).any(|rule| rule.is(&wanted.words)) {
                commands.push(wanted.command());
            }
        }
        commands.extend(self.reorder(saved, &commands));
        commands
    }

    /// The isolation must come before the containers' rules, which let packets through. Where it
    /// was there already and these are put on top now, or somebody turned them around, it moves.
    fn reorder(&self, saved: &Saved, commands: &[String]) -> Vec<String> {
        let place = |chain| saved.rules(FORWARD).position(|rule| rule.jumps_to(chain));
        let Some(isolation) = place(STAGE_1) else {
            return Vec::new();
        };
        let jump = insert_command(FORWARD, &jump_to_containers());
        let late = place(CONTAINERS).map_or(commands.contains(&jump), |at| at < isolation);
        let jumps = saved.rules(FORWARD).filter(|rule| rule.jumps_to(STAGE_1));
        let moved = jumps.flat_map(|rule| [rule.delete(), rule.insert()]);
        if late { moved.collect() } else { Vec::new() }
    }

    fn chains(&self) -> Vec<&str> {
        let stages = if self.ingress.is_some() { [STAGE_1, STAGE_2].as_slice() } else { &[] };
        [CONTAINERS, &self.admin_chain.0].into_iter().chain(stages.iter().copied()).collect()
    }

    fn wanted(&self, family: Family) -> Vec<Wanted> {
        let admin = commented("", "CNI firewall plugin admin overrides", &self.admin_chain.0);
        let mut wanted = vec![first(FORWARD, jump_to_containers()), first(CONTAINERS, admin)];
        for ip in self.addresses.iter().filter(|ip| Family::of(**ip) == family) {
            wanted.extend(of_address(*ip));
        }
        wanted.extend(self.ingress.iter().flat_map(IngressPolicy::wanted));
        wanted
    }
}

impl IngressPolicy {
    fn wanted(&self) -> Vec<Wanted> {
        let Self { bridge, isolated } = self;
        let policy = if *isolated { "isolated" } else { "same-bridge" };
        let comment = format!("CNI firewall plugin rules (ingressPolicy: {policy})");
        let rule = |matches: &str, target| commented(matches, &comment, target);
        let mut wanted = vec![first(FORWARD, rule("", STAGE_1))];
        if *isolated {
            wanted.push(first(STAGE_1, rule(&format!("-i {bridge} -o {bridge} "), "DROP")));
        }
        wanted.extend([
            first(STAGE_1, rule(&format!("-i {bridge} ! -o {bridge} "), STAGE_2)),
            last(STAGE_1, rule("", "RETURN")),
            first(STAGE_2, rule(&format!("-o {bridge} "), "DROP")),
            last(STAGE_2, rule("", "RETURN")),
        ]);
        wanted
    }
}

fn of_address(ip: IpAddr) -> [Wanted; 2] {
    let bits = Family::of(ip).bits();
    [
        last(
            CONTAINERS,
            format!("-d {ip}/{bits} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"),
        ),
        last(CONTAINERS, format!("-s {ip}/{bits} -j ACCEPT")),
    ]
}

fn jump_to_containers() -> String {
    commented("", "CNI firewall plugin rules", CONTAINERS)
}

fn commented(matches: &str, comment: &str, target: &str) -> String {
    format!("{matches}-m comment --comment \"{comment}\" -j {target}")
}

fn first(chain: &'static str, words: String) -> Wanted {
    Wanted { chain, first: true, words }
}

fn last(chain: &'static str, words: String) -> Wanted {
    Wanted { chain, first: false, words }
}

impl Wanted {
    fn command(&self) -> String {
        match self.first {
            true => insert_command(self.chain, &self.words),
            false => format!("-A {} {}", self.chain, self.words),
        }
    }
}

fn insert_command(chain: &str, words: &str) -> String {
    format!("-I {chain} 1 {words}")
}

/// The commands that do the same, or with `admits` false take it back.
pub(crate) fn lines(admission: &IptablesAdmission, admits: bool) -> Vec<String> {
    let of_family = |family| {
        let program = if family == Family::V4 { "iptables -w" } else { "ip6tables -w" };
        if !admits {
            let own = admission.addresses.iter().filter(move |ip| Family::of(**ip) == family);
            let rules = own.flat_map(|ip| of_address(*ip));
            let delete = |rule: Wanted| {
                format!("{program} -D {} {} 2>/dev/null || true", rule.chain, rule.words)
            };
            return rules.map(delete).collect::<Vec<_>>();
        }
        let chains = admission.chains();
        let make = chains.iter().map(|chain| format!("{program} -N {chain} 2>/dev/null || true"));
        let rules = admission.wanted(family).into_iter().map(|wanted| {
            let Wanted { chain, words, .. } = &wanted;
            format!("{program} -C {chain} {words} 2>/dev/null || {program} {}", wanted.command())
        });
        make.chain(rules).collect()
    };
    admission.families().flat_map(of_family).collect()
}

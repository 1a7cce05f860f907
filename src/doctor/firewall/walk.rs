//! What a chain does with a packet, as far as its rules tell.
//!
//! Rules are reduced to what matters here: links and the state of the connection. A rule with any
//! other condition may or may not match; such a rule neither saves a packet nor drops it, unless it
//! accepts and names our very links, which is somebody's decision about them.

use std::collections::BTreeMap;
use std::fmt;

/// The kernel's own limit of nested jumps (`NFT_JUMP_STACK_SIZE`).
const DEPTH: usize = 16;

/// A base chain with the table it can jump around in.
#[derive(Debug)]
pub struct Base {
    /// Where it is.
    pub place: Place,
    /// Whether a packet that no rule decides about passes.
    pub policy_accepts: bool,
    /// Every chain of its table.
    pub chains: BTreeMap<String, Vec<Rule>>,
}

/// Which program a chain is changed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// nftables, or iptables on top of it.
    Nft,
    /// The iptables of old, which nft does not see.
    Legacy,
}

/// Where a base chain is.
#[derive(Debug, Clone)]
pub struct Place {
    pub backend: Backend,
    pub family: String,
    pub table: String,
    pub chain: String,
}

/// One rule, or one element of a verdict map.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rule {
    pub matches: Vec<Match>,
    /// `None`: it counts, logs or marks, and the next rule follows.
    pub verdict: Option<Verdict>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Match {
    Input(OneOf),
    Output(OneOf),
    /// State or status of the connection.
    Connection(OneOf),
    /// iptables' conntrack match, of which nft shows no more than the name. It mostly lets
    /// established connections pass.
    OpaqueConnection,
    /// Anything else.
    Unknown,
}

/// A set of words, where a name may end in `*`; or everything else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OneOf {
    pub words: Vec<String>,
    pub negated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Accept,
    /// Or reject.
    Drop,
    Return,
    Jump(String),
    Goto(String),
}

/// The traffic that a container lives on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// From the container to the outside.
    Out,
    /// The answers to that.
    Answer,
    /// From the outside to a published port.
    Published,
}

/// A packet, by what rules can tell of it.
#[derive(Debug)]
pub struct Packet<'a> {
    input: &'a str,
    output: &'a str,
    /// State and status of its connection.
    connection: &'static [&'static str],
    /// The container's link among the two.
    ours: &'a str,
}

enum Fit {
    Yes,
    No,
    Maybe,
}

impl Flow {
    pub const ALL: [Self; 3] = [Self::Out, Self::Answer, Self::Published];

    pub fn describe(self) -> &'static str {
        match self {
            Self::Out => "what containers send",
            Self::Answer => "the answers to containers",
            Self::Published => "what is sent to published ports",
        }
    }
}

impl<'a> Packet<'a> {
    pub fn of(flow: Flow, ours: &'a str, uplink: &'a str) -> Self {
        match flow {
            Flow::Out => Self { input: ours, output: uplink, connection: &["new"], ours },
            Flow::Answer => {
                Self { input: uplink, output: ours, connection: &["established"], ours }
            }
            Flow::Published => {
                Self { input: uplink, output: ours, connection: &["new", "dnat"], ours }
            }
        }
    }

    pub fn within(bridge: &'a str) -> Self {
        Self { input: bridge, output: bridge, connection: &["new"], ours: bridge }
    }
}

impl Base {
    /// Whether the packet passes.
    pub fn accepts(&self, packet: &Packet<'_>) -> bool {
        match self.walk(&self.place.chain, packet, 0) {
            Some(Verdict::Accept) => true,
            Some(Verdict::Drop) => false,
            _ => self.policy_accepts,
        }
    }

    /// The final verdict of a chain, or `None` when it returns.
    fn walk(&self, chain: &str, packet: &Packet<'_>, depth: usize) -> Option<Verdict> {
        let rules = self.chains.get(chain).filter(|_| depth <= DEPTH)?;
        for verdict in rules.iter().filter_map(|rule| rule.apply(packet)) {
            match verdict {
                Verdict::Accept | Verdict::Drop => return Some(verdict.clone()),
                Verdict::Return => return None,
                Verdict::Goto(next) => return self.walk(next, packet, depth + 1),
                Verdict::Jump(next) => match self.walk(next, packet, depth + 1) {
                    None => {}
                    decided => return decided,
                },
            }
        }
        None
    }
}

impl Rule {
    /// The verdict, if the rule is taken to match.
    fn apply(&self, packet: &Packet<'_>) -> Option<&Verdict> {
        let verdict = self.verdict.as_ref()?;
        match self.fit(packet) {
            Fit::Yes => Some(verdict),
            Fit::No => None,
            Fit::Maybe => self.is_meant_for(packet).then_some(verdict),
        }
    }

    fn fit(&self, packet: &Packet<'_>) -> Fit {
        let mut fit = Fit::Yes;
        for each in &self.matches {
            match each.fit(packet) {
                Fit::Yes => {}
                Fit::No => return Fit::No,
                Fit::Maybe => fit = Fit::Maybe,
            }
        }
        fit
    }

    fn is_meant_for(&self, packet: &Packet<'_>) -> bool {
        let lets_on =
            matches!(self.verdict, Some(Verdict::Accept | Verdict::Jump(_) | Verdict::Goto(_)));
        let by_state = !self.matches.contains(&Match::Unknown)
            && packet.connection.contains(&"established")
            && self.verdict == Some(Verdict::Accept);
        lets_on && self.matches.iter().any(|each| each.names(packet.ours)) || by_state
    }
}

impl Match {
    fn fit(&self, packet: &Packet<'_>) -> Fit {
        let holds = match self {
            Self::Input(names) => names.holds(&[packet.input]),
            Self::Output(names) => names.holds(&[packet.output]),
            Self::Connection(words) => words.holds(packet.connection),
            Self::OpaqueConnection | Self::Unknown => return Fit::Maybe,
        };
        if holds { Fit::Yes } else { Fit::No }
    }

    fn names(&self, link: &str) -> bool {
        match self {
            Self::Input(names) | Self::Output(names) => !names.negated && names.holds(&[link]),
            Self::Connection(_) | Self::OpaqueConnection | Self::Unknown => false,
        }
    }
}

impl OneOf {
    fn holds(&self, any_of: &[&str]) -> bool {
        let is = |word: &String, value: &str| match word.strip_suffix('*') {
            Some(start) => value.starts_with(start),
            None => word == value,
        };
        self.words.iter().any(|word| any_of.iter().any(|value| is(word, value))) != self.negated
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, family, table, chain } = self;
        match (backend, family.as_str()) {
            (Backend::Nft, _) => write!(f, "nft chain {family} {table} {chain}"),
            (Backend::Legacy, "ip6") => write!(f, "ip6tables-legacy {chain}"),
            (Backend::Legacy, _) => write!(f, "iptables-legacy {chain}"),
        }
    }
}

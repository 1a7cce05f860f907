//! Chains and rules of nf_tables that others made: whether they are there, what a rule does, and
//! taking some of them away.
//!
//! The newer iptables keeps its rules here too, so nothing of this needs a program. A question for
//! one chain costs the same however many there are; rules are listed of one chain only.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::nfnetlink::{Buffer, Nfnetlink, Open, each, find};
use crate::kernel::reclaim;

const SUBSYSTEM: u16 = 10; // NFNL_SUBSYS_NFTABLES
const GETTABLE: u16 = SUBSYSTEM << 8 | 1;
const GETCHAIN: u16 = SUBSYSTEM << 8 | 4;
const DELCHAIN: u16 = SUBSYSTEM << 8 | 5;
const GETRULE: u16 = SUBSYSTEM << 8 | 7;
const DELRULE: u16 = SUBSYSTEM << 8 | 8;
const GETGEN: u16 = SUBSYSTEM << 8 | 16;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_POLICY: u16 = 5;
const CHAIN_USE: u16 = 6;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_HANDLE: u16 = 3;
const RULE_EXPRESSIONS: u16 = 4;
const RULE_USERDATA: u16 = 7;
const USERDATA_COMMENT: u8 = 0;
const GENERATION_ID: u16 = 1;
const BATCH_GENERATION: u16 = 1;
const LIST_ITEM: u16 = 1;
const EXPRESSION_NAME: u16 = 1;
const EXPRESSION_DATA: u16 = 2;
const IMMEDIATE_DATA: u16 = 2;
const COMPARE_OPERATOR: u16 = 2;
const COMPARE_DATA: u16 = 3;
const PAYLOAD_BASE: u16 = 2;
const PAYLOAD_OFFSET: u16 = 3;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const VERDICT_CHAIN: u16 = 2;
const TRANSPORT_HEADER: u32 = 2;
/// `NF_DROP` and `NF_ACCEPT`.
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
/// How often to look anew when others change rules meanwhile.
const ATTEMPTS: usize = 50;

/// A family of tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableFamily {
    /// Both versions of IP.
    Inet = 1,
    /// IPv4.
    Ip = 2,
    /// Frames on bridges.
    Bridge = 7,
    /// IPv6.
    Ip6 = 10,
}

impl TableFamily {
    /// As nft writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Ip => "ip",
            Self::Bridge => "bridge",
            Self::Ip6 => "ip6",
        }
    }
}

/// Names a chain.
#[derive(Debug, Clone, Copy)]
pub struct Chain<'a> {
    /// The table's family.
    pub family: TableFamily,
    /// The table.
    pub table: &'a str,
    /// The chain.
    pub name: &'a str,
}

impl<'a> Chain<'a> {
    /// Another chain of the same table.
    pub fn beside(self, name: &'a str) -> Self {
        Self { name, ..self }
    }

    fn operation(&self, verb: &str) -> String {
        format!("nft {verb} chain {} {} {}", self.family.as_str(), self.table, self.name)
    }
}

/// What the kernel says of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whether packets that no rule decides about are dropped.
    pub drops: bool,
    /// How many rules it has; of a chain that is jumped to, with those that do.
    pub uses: u32,
}

/// A rule.
#[derive(Debug, Clone)]
pub struct Rule {
    handle: u64,
    /// Its comment, if nft wrote one. iptables keeps its own elsewhere.
    pub comment: Option<String>,
    expressions: Vec<u8>,
}

/// Something to take away.
#[derive(Debug, Clone, Copy)]
pub enum Removal<'a> {
    /// One rule of a chain.
    Rule(Chain<'a>, u64),
    /// All rules of a chain.
    Rules(Chain<'a>),
    /// A chain, which nothing jumps to any more.
    Chain(Chain<'a>),
}

/// Whether there is such a table.
pub fn table_exists(nft: &Nfnetlink, family: TableFamily, name: &str) -> Result<bool> {
    let mut request = Buffer::default();
    let message = request.message(GETTABLE, NLM_F_ACK, family as u8, 0, 1);
    request.text(TABLE_NAME, name);
    request.end_message(message);
    let operation = format!("nft list table {} {name}", family.as_str());
    Ok(present(nft.get(&request, &operation))?.is_some())
}

/// Whether there is such a chain.
pub fn exists(nft: &Nfnetlink, chain: Chain<'_>) -> Result<bool> {
    Ok(standing(nft, chain)?.is_some())
}

/// What the kernel says of a chain, if it is there.
pub fn standing(nft: &Nfnetlink, chain: Chain<'_>) -> Result<Option<Standing>> {
    let mut request = Buffer::default();
    let message = request.message(GETCHAIN, NLM_F_ACK, chain.family as u8, 0, 1);
    request.text(CHAIN_TABLE, chain.table);
    request.text(CHAIN_NAME, chain.name);
    request.end_message(message);
    let found = present(nft.get(&request, &chain.operation("list")))?;
    Ok(found.map(|attributes| Standing {
        drops: number(&attributes, CHAIN_POLICY) == Some(DROP),
        uses: number(&attributes, CHAIN_USE).unwrap_or_default(),
    }))
}

/// A kernel without nf_tables, or without the family, has no such thing.
fn present(answer: Result<Option<Vec<u8>>>) -> Result<Option<Vec<u8>>> {
    match answer {
        Err(e) if lacks_nf_tables(&e) => Ok(None),
        other => other,
    }
}

fn lacks_nf_tables(error: &Error) -> bool {
    matches!(
        error.errno(),
        Some(libc::EINVAL | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP | libc::EAFNOSUPPORT)
    )
}

/// The rules of a chain, in order; none if it is not there.
pub fn rules(nft: &Nfnetlink, chain: Chain<'_>) -> Result<Vec<Rule>> {
    let mut request = Buffer::default();
    let message = request.message(GETRULE, NLM_F_DUMP, chain.family as u8, 0, 1);
    request.text(RULE_TABLE, chain.table);
    request.text(RULE_CHAIN, chain.name);
    request.end_message(message);
    match nft.request(&request, &chain.operation("list")) {
        Ok(objects) => {
            Ok(objects.iter().filter_map(|attributes| Rule::decode(attributes)).collect())
        }
        Err(e) if e.is_gone() || lacks_nf_tables(&e) => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// Takes away what `look` finds, in one transaction; nothing found is success.
///
/// Somebody else may change rules between the look and the change, or in the middle of the look.
/// The kernel counts the generations of its rules: it takes the transaction only if it is based on
/// the present one. Otherwise everything is looked at anew.
pub fn remove<'a>(
    nft: &Nfnetlink,
    operation: &str,
    mut look: impl FnMut() -> Result<Vec<Removal<'a>>>,
) -> Result<()> {
    for _ in 0..ATTEMPTS {
        let generation = generation(nft)?;
        let removals = look()?;
        if removals.is_empty() {
            if self::generation(nft)? == generation {
                return Ok(());
            }
            continue;
        }
        match nft.request(&batch(&generation, &removals), &operation) {
            Ok(_) => {
                // Whoever closes the socket now would wait until the kernel has freed the rules.
                reclaim::close_later(&[nft.as_fd()]);
                return Ok(());
            }
            Err(e) if e.errno() == Some(libc::ERESTART) || e.is_gone() => {}
            Err(e) => return Err(e),
        }
    }
    let changing = format!("{operation}: others kept changing the rules meanwhile");
    Err(Error::new(ErrorKind::Nft, changing).hint("try again"))
}

fn generation(nft: &Nfnetlink) -> Result<Vec<u8>> {
    let mut request = Buffer::default();
    let message = request.message(GETGEN, NLM_F_ACK, 0, 0, 1);
    request.end_message(message);
    let found = nft.get(&request, &"ask for the generation of the nftables rules")?;
    let id = found.as_deref().and_then(|attributes| find(attributes, GENERATION_ID));
    Ok(id.unwrap_or_default().to_vec())
}

fn batch(generation: &[u8], removals: &[Removal<'_>]) -> Buffer {
    let mut buffer = Buffer::default();
    let begin = buffer.message(BATCH_BEGIN, 0, 0, SUBSYSTEM, 0);
    buffer.attribute(BATCH_GENERATION, generation);
    buffer.end_message(begin);
    for (sequence, removal) in (1..).zip(removals) {
        let message = removal.write(&mut buffer, sequence);
        buffer.end_message(message);
    }
    let end = buffer.message(BATCH_END, 0, 0, SUBSYSTEM, removals.len() as u32 + 1);
    buffer.end_message(end);
    buffer
}

impl Removal<'_> {
    fn write(&self, buffer: &mut Buffer, sequence: u32) -> Open {
        match self {
            Self::Rule(chain, handle) => {
                let message = rules_of(buffer, chain, sequence);
                buffer.attribute(RULE_HANDLE, &handle.to_be_bytes());
                message
            }
            // Without a handle the kernel takes all of them.
            Self::Rules(chain) => rules_of(buffer, chain, sequence),
            Self::Chain(chain) => {
                let message = buffer.message(DELCHAIN, 0, chain.family as u8, 0, sequence);
                buffer.text(CHAIN_TABLE, chain.table);
                buffer.text(CHAIN_NAME, chain.name);
                message
            }
        }
    }
}

fn rules_of(buffer: &mut Buffer, chain: &Chain<'_>, sequence: u32) -> Open {
    let message = buffer.message(DELRULE, 0, chain.family as u8, 0, sequence);
    buffer.text(RULE_TABLE, chain.table);
    buffer.text(RULE_CHAIN, chain.name);
    message
}

impl Rule {
    fn decode(attributes: &[u8]) -> Option<Self> {
        let handle = find(attributes, RULE_HANDLE)?.try_into().ok()?;
        Some(Self {
            handle: u64::from_be_bytes(handle),
            comment: find(attributes, RULE_USERDATA).and_then(comment),
            expressions: find(attributes, RULE_EXPRESSIONS).unwrap_or_default().to_vec(),
        })
    }

    /// Its removal from the chain it was found in.
    pub fn removal<'a>(&self, chain: Chain<'a>) -> Removal<'a> {
        Removal::Rule(chain, self.handle)
    }

    /// Whether it leads to this chain.
    pub fn jumps_to(&self, chain: &str) -> bool {
        let target = |verdict| find(verdict, VERDICT_CHAIN);
        self.verdicts().filter_map(target).any(|name| text(name) == chain.as_bytes())
    }

    /// Whether it ends the walk and lets the packet through.
    pub fn accepts(&self) -> bool {
        self.verdicts().any(|verdict| number(verdict, VERDICT_CODE) == Some(ACCEPT))
    }

    /// Whether it asks for exactly this address, or redirects to it.
    pub fn names(&self, ip: IpAddr) -> bool {
        self.values().any(|value| value == octets(ip))
    }

    /// Whether it asks for a single address at all, of the family whose addresses are that long.
    pub fn names_an_address(&self, family: TableFamily) -> bool {
        let length = if family == TableFamily::Ip6 { 16 } else { 4 };
        self.values().any(|value| value.len() == length)
    }

    /// The destination port that it asks for, if it asks for UDP.
    pub fn udp_port(&self) -> Option<u16> {
        self.compared().any(|value| value == [libc::IPPROTO_UDP as u8]).then_some(())?;
        let mut loads_port = false;
        for (name, data) in self.expressions() {
            match name {
                b"payload" => {
                    loads_port = number(data, PAYLOAD_BASE) == Some(TRANSPORT_HEADER)
                        && number(data, PAYLOAD_OFFSET) == Some(2);
                }
                b"cmp" if loads_port => {
                    let value = find(find(data, COMPARE_DATA)?, DATA_VALUE)?;
                    return value.try_into().ok().map(u16::from_be_bytes);
                }
                _ => {}
            }
        }
        None
    }

    /// What it compares packets with for equality, and what it puts into registers.
    fn values(&self) -> impl Iterator<Item = &[u8]> {
        let put = self.immediates().filter_map(|data| find(data, DATA_VALUE));
        self.compared().chain(put)
    }

    fn compared(&self) -> impl Iterator<Item = &[u8]> {
        let compares = self.expressions().filter(|(name, _)| *name == b"cmp");
        let equal = compares.filter(|(_, data)| number(data, COMPARE_OPERATOR) == Some(0));
        equal.filter_map(|(_, data)| find(find(data, COMPARE_DATA)?, DATA_VALUE))
    }

    fn verdicts(&self) -> impl Iterator<Item = &[u8]> {
        self.immediates().filter_map(|data| find(data, DATA_VERDICT))
    }

    fn immediates(&self) -> impl Iterator<Item = &[u8]> {
        let immediate = self.expressions().filter(|(name, _)| *name == b"immediate");
        immediate.filter_map(|(_, data)| find(data, IMMEDIATE_DATA))
    }

    fn expressions(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        let items = each(&self.expressions).filter(|(kind, _)| *kind == LIST_ITEM);
        items.filter_map(|(_, item)| {
            let name = text(find(item, EXPRESSION_NAME)?);
            Some((name, find(item, EXPRESSION_DATA).unwrap_or_default()))
        })
    }
}

/// User data is a row of type, length and value, a byte each for the first two.
fn comment(mut userdata: &[u8]) -> Option<String> {
    while let [kind, length, rest @ ..] = userdata {
        let value = rest.get(..usize::from(*length))?;
        if *kind == USERDATA_COMMENT {
            return Some(String::from_utf8_lossy(text(value)).into_owned());
        }
        userdata = rest.get(usize::from(*length)..)?;
    }
    None
}

/// Without its closing NUL.
fn text(value: &[u8]) -> &[u8] {
    value.strip_suffix(&[0]).unwrap_or(value)
}

fn number(attributes: &[u8], kind: u16) -> Option<u32> {
    find(attributes, kind)?.try_into().ok().map(u32::from_be_bytes)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

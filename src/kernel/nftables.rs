//! Our table, its sets and maps, over nfnetlink: no process, and never a listing.

use std::fmt::Display;

use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL};

use crate::error::{Error, ErrorKind, Result};
use crate::kernel::nfnetlink::{Buffer, Nfnetlink, each, find};
use crate::ruleset::{self, Element, Rules};

const SUBSYSTEM: u16 = 10; // NFNL_SUBSYS_NFTABLES
const GETTABLE: u16 = SUBSYSTEM << 8 | 1;
const DELTABLE: u16 = SUBSYSTEM << 8 | 2;
const GETCHAIN: u16 = SUBSYSTEM << 8 | 4;
const NEWSETELEM: u16 = SUBSYSTEM << 8 | 12;
const GETSETELEM: u16 = SUBSYSTEM << 8 | 13;
const DELSETELEM: u16 = SUBSYSTEM << 8 | 14;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;

const TABLE_NAME: u16 = 1;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const LIST_ITEM: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;

/// An attribute's length is 16 bits; this many elements of the longest kind stay well below.
const PER_MESSAGE: usize = 500;

/// Whether the static rules are loaded and are those of this release.
pub fn is_current(nft: &Nfnetlink, rules: Rules) -> Result<bool> {
    let mut request = Buffer::default();
    let message = request.message(GETCHAIN, NLM_F_ACK, number(rules), 0, 1);
    request.text(CHAIN_TABLE, ruleset::TABLE);
    request.text(CHAIN_NAME, rules.marker());
    request.end_message(message);
    let operation = format!("nft list chain {} netup {}", rules.family(), rules.marker());
    Ok(nft.get(&request, &operation).map_err(unsupported)?.is_some())
}

/// Whether the table is there, whoever made it. A batch that names one that is not costs the kernel
/// some milliseconds, as it waits for RCU when it aborts.
fn exists(nft: &Nfnetlink, rules: Rules) -> Result<bool> {
    let mut request = Buffer::default();
    let message = request.message(GETTABLE, NLM_F_ACK, number(rules), 0, 1);
    request.text(TABLE_NAME, ruleset::TABLE);
    request.end_message(message);
    let operation = format!("nft list table {} netup", rules.family());
    Ok(nft.get(&request, &operation).map_err(unsupported)?.is_some())
}

/// The family's number in `struct nfgenmsg`.
fn number(rules: Rules) -> u8 {
    match rules {
        Rules::Inet => 1,   // NFPROTO_INET
        Rules::Bridge => 7, // NFPROTO_BRIDGE
    }
}

fn unsupported(error: Error) -> Error {
    match error.errno() {
        // The nf_tables module is absent: nfnetlink knows no such subsystem.
        Some(libc::EINVAL | libc::EPROTONOSUPPORT | libc::EOPNOTSUPP) => error
            .with_kind(ErrorKind::MissingFeature)
            .hint("the kernel lacks nf_tables; run modprobe nf_tables, or see netup doctor"),
        _ => error,
    }
}

/// Removes the table; that it is gone already is success.
pub fn remove_table(nft: &Nfnetlink, rules: Rules) -> Result<()> {
    if !exists(nft, rules)? {
        return Ok(());
    }
    let mut batch = Batch::new();
    let message = batch.message(DELTABLE, 0, rules);
    batch.buffer.text(TABLE_NAME, ruleset::TABLE);
    batch.buffer.end_message(message);
    let operation = format!("nft delete table {} netup", rules.family());
    match nft.request(&batch.finish(), &operation) {
        Err(e) if !e.is_gone() => Err(e),
        _ => Ok(()),
    }
}

/// Adds elements in one transaction: all or none. A published port whose key is taken is EEXIST.
pub fn add(nft: &Nfnetlink, elements: &[Element], operation: &impl Display) -> Result<()> {
    let flags = |element: &Element| match element.is_exclusive() {
        true => NLM_F_CREATE | NLM_F_EXCL,
        false => NLM_F_CREATE,
    };
    transaction(nft, NEWSETELEM, elements, flags, operation)
}

/// Deletes elements in one transaction. One that is missing makes the kernel abort the whole,
/// with ENOENT and after waiting for RCU (5 to 24 ms): name only what is known to exist.
pub fn delete(nft: &Nfnetlink, elements: &[Element], operation: &impl Display) -> Result<()> {
    transaction(nft, DELSETELEM, elements, |_| 0, operation)
}

fn transaction(
    nft: &Nfnetlink,
    kind: u16,
    elements: &[Element],
    flags: impl Fn(&Element) -> u16,
    operation: &impl Display,
) -> Result<()> {
    if elements.is_empty() {
        return Ok(());
    }
    let mut sorted: Vec<&Element> = elements.iter().collect();
    let place = |element: &&Element| (element.rules(), element.set());
    sorted.sort_by_key(place);
    let mut batch = Batch::new();
    for group in sorted.chunk_by(|a, b| place(a) == place(b)) {
        for chunk in group.chunks(PER_MESSAGE) {
            let message = batch.message(kind, flags(chunk[0]), chunk[0].rules());
            batch.elements(chunk);
            batch.buffer.end_message(message);
        }
    }
    nft.request(&batch.finish(), operation).map(drop)
}

/// What the kernel holds under an element's key: `None` if nothing, else the map's data (empty
/// for a set).
pub fn stored(nft: &Nfnetlink, element: &Element) -> Result<Option<Vec<u8>>> {
    let mut batch = Batch { buffer: Buffer::default(), sequence: 0 };
    let message = batch.message(GETSETELEM, NLM_F_ACK, element.rules());
    batch.elements(&[element]);
    batch.buffer.end_message(message);
    let found = nft.get(
        &batch.buffer,
        &format!(
            "nft get element {} netup {} {{ {element} }}",
            element.rules().family(),
            element.set()
        ),
    )?;
    let data = |attributes: Vec<u8>| items(&attributes).into_iter().next().map(|item| item.data);
    Ok(found.map(|attributes| data(attributes).unwrap_or_default()))
}

/// A raw element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: Vec<u8>,
    /// The map's data; empty for a set.
    pub data: Vec<u8>,
}

/// Every element of one set or map. Its cost grows with the set: not for a hot path.
pub fn all(nft: &Nfnetlink, rules: Rules, set: &str) -> Result<Vec<Item>> {
    let mut request = Buffer::default();
    let message = request.message(GETSETELEM, NLM_F_DUMP, number(rules), 0, 1);
    request.text(LIST_TABLE, ruleset::TABLE);
    request.text(LIST_SET, set);
    request.end_message(message);
    match nft.request(&request, &format!("nft list set {} netup {set}", rules.family())) {
        Ok(objects) => Ok(objects.iter().flat_map(|attributes| items(attributes)).collect()),
        Err(e) if e.is_gone() => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

/// Deletes raw elements of one set of the table of family `inet` in one transaction.
pub fn delete_items(nft: &Nfnetlink, set: &str, items: &[Item]) -> Result<()> {
    if items.is_empty() {
        return Ok(());
    }
    let mut batch = Batch::new();
    for chunk in items.chunks(PER_MESSAGE) {
        let message = batch.message(DELSETELEM, 0, Rules::Inet);
        batch.raw(set, chunk.iter().map(|item| (item.key.clone(), None)));
        batch.buffer.end_message(message);
    }
    nft.request(&batch.finish(), &format!("nft delete element inet netup {set}")).map(drop)
}

fn items(attributes: &[u8]) -> Vec<Item> {
    let list = find(attributes, LIST_ELEMENTS).unwrap_or_default();
    each(list)
        .filter(|(kind, _)| *kind == LIST_ITEM)
        .filter_map(|(_, item)| item_of(item))
        .collect()
}

fn item_of(attributes: &[u8]) -> Option<Item> {
    let key = find(find(attributes, ELEMENT_KEY)?, DATA_VALUE)?.to_vec();
    let data = find(attributes, ELEMENT_DATA).and_then(|data| find(data, DATA_VALUE));
    Some(Item { key, data: data.unwrap_or_default().to_vec() })
}

/// A transaction under construction.
struct Batch {
    buffer: Buffer,
    sequence: u32,
}

impl Batch {
    fn new() -> Self {
        let mut batch = Self { buffer: Buffer::default(), sequence: 0 };
        batch.bracket(BATCH_BEGIN);
        batch
    }

    fn bracket(&mut self, kind: u16) {
        let message = self.buffer.message(kind, 0, 0, SUBSYSTEM, self.sequence);
        self.buffer.end_message(message);
        self.sequence += 1;
    }

    fn message(&mut self, kind: u16, flags: u16, rules: Rules) -> crate::kernel::nfnetlink::Open {
        self.sequence += 1;
        self.buffer.message(kind, flags, number(rules), 0, self.sequence)
    }

    fn elements(&mut self, elements: &[&Element]) {
        let Some(first) = elements.first() else { return };
        self.raw(first.set(), elements.iter().map(|element| (element.key(), element.data())));
    }

    fn raw(&mut self, set: &str, elements: impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)>) {
        self.buffer.text(LIST_TABLE, ruleset::TABLE);
        self.buffer.text(LIST_SET, set);
        let list = self.buffer.nest(LIST_ELEMENTS);
        for (key, data) in elements {
            let item = self.buffer.nest(LIST_ITEM);
            self.value(ELEMENT_KEY, &key);
            if let Some(data) = data {
                self.value(ELEMENT_DATA, &data);
            }
            self.buffer.end_nest(item);
        }
        self.buffer.end_nest(list);
    }

    fn value(&mut self, kind: u16, value: &[u8]) {
        let nest = self.buffer.nest(kind);
        self.buffer.attribute(DATA_VALUE, value);
        self.buffer.end_nest(nest);
    }

    fn finish(mut self) -> Buffer {
        self.bracket(BATCH_END);
        self.buffer
    }
}

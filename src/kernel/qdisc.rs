//! Queueing disciplines: limits on what leaves by a link, and leading what arrives through another
//! link's queue.
//!
//! `netlink-packet-route` knows the messages, the filters and the actions, but not the token bucket
//! (`tbf`): its attributes are laid out here, as `linux/pkt_sched.h` has them.

use std::fmt::Display;

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE, Nla, NlasIterator};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAction, TcActionAttribute, TcActionGeneric, TcActionMirror, TcActionMirrorOption,
    TcActionOption, TcActionType, TcAttribute, TcFilterMatchAll, TcFilterMatchAllOption,
    TcFilterU32, TcFilterU32Option, TcHandle, TcMessage, TcMirror, TcMirrorActionType, TcOption,
    TcU32Key, TcU32Selector, TcU32SelectorFlags,
};

use crate::bandwidth::Rate;
use crate::error::{ErrorKind, Result};
use crate::kernel::rtnl::Rtnl;

/// The token bucket's name.
const TBF: &str = "tbf";
/// `TCA_TBF_PARMS`: `struct tc_tbf_qopt`.
const TBF_PARAMETERS: u16 = 1;
/// `TCA_TBF_RATE64`: bytes per second, where 32 bits do not hold them.
const TBF_RATE64: u16 = 4;
/// `TCA_TBF_BURST`: the bucket's size in bytes (kernel 3.13).
const TBF_BURST: u16 = 6;
/// `TC_LINKLAYER_ETHERNET`. Without a link layer the kernel asks for a table of rates, as it did in
/// the days before it calculated.
const LINKLAYER_ETHERNET: u8 = 1;
/// How long a packet may wait in the queue before it is dropped, in milliseconds.
const LATENCY: u64 = 25;
/// Nanoseconds in one tick of the packet scheduler (`PSCHED_SHIFT`, since 2.6.31).
const TICK: u64 = 64;

/// The root queue's own handle, `1:`.
const ROOT: TcHandle = TcHandle { major: 1, minor: 0 };
/// The handle of the queue for what arrives, `ffff:`.
const INGRESS: TcHandle = TcHandle { major: 0xffff, minor: 0 };
/// The first filter of the first table of class `u32`: what the kernel would give it by itself.
const FILTER: TcHandle = TcHandle { major: 0x8000, minor: 0x0800 };
/// Priority 1, and frames of any kind (`ETH_P_ALL`) in network order.
const FIRST_OF_ALL: u32 = 1 << 16 | (0x0003_u16.to_be() as u32);

/// What a token bucket holds, as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// Bytes per second.
    pub rate: u64,
    /// The time in which it fills, in ticks.
    pub ticks: u32,
}

impl Bucket {
    /// Whether this is what was asked for. The kernel calculates with a reciprocal, so its time may
    /// be off by a little.
    #[must_use]
    pub fn is(&self, rate: &Rate) -> bool {
        let bytes = rate.bits_per_second / 8;
        let wanted = ticks(rate.burst_bits / 8, bytes);
        let near = wanted.abs_diff(u64::from(self.ticks)) <= 2 + wanted / 1000;
        self.rate == bytes && near
    }
}

fn ticks(bytes: u64, rate: u64) -> u64 {
    let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    u64::try_from(nanoseconds / u128::from(TICK)).unwrap_or(u64::MAX)
}

/// Limits what leaves by a link, by a token bucket as its root queue.
pub fn shape(rtnl: &Rtnl, index: u32, rate: &Rate, operation: &impl Display) -> Result<()> {
    let options = TcAttribute::Options(bucket(rate));
    let message = message(index, ROOT, TcHandle::ROOT, TBF, Some(options));
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    rtnl.change(RouteNetlinkMessage::NewQueueDiscipline(message), flags, operation)
        .map_err(|e| unsupported(e, "sch_tbf"))
}

/// Takes a link's root queue away; the kernel puts its default in its place.
pub fn unshape(rtnl: &Rtnl, index: u32, operation: &impl Display) -> Result<()> {
    let message = message(index, TcHandle::UNSPEC, TcHandle::ROOT, TBF, None);
    match rtnl.change(RouteNetlinkMessage::DelQueueDiscipline(message), 0, operation) {
        // It has a root queue of another kind (`tc_get_qdisc`, net/sched/sch_api.c): ours is gone.
        Err(e) if e.errno() == Some(libc::EINVAL) => Ok(()),
        other => other,
    }
}

/// The token bucket that is a link's root queue, if it is one.
pub fn bucket_of(rtnl: &Rtnl, index: u32) -> Result<Option<Bucket>> {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = TcHandle::ROOT;
    let request = RouteNetlinkMessage::GetQueueDiscipline(message);
    match rtnl.get_echo(request, format!("tc qdisc show dev index {index} root")) {
        Ok(Some(RouteNetlinkMessage::NewQueueDiscipline(found))) => Ok(bucket_in(&found)),
        Ok(_) => Ok(None),
        Err(e) if e.is_gone() => Ok(None),
        Err(e) => Err(e),
    }
}

/// Leads all that arrives by a link through the queue of another.
pub fn redirect(rtnl: &Rtnl, from: u32, to: u32, operation: &impl Display) -> Result<()> {
    let flags = NLM_F_CREATE | NLM_F_REPLACE;
    let queue = message(from, INGRESS, TcHandle::INGRESS, "ingress", None);
    rtnl.change(RouteNetlinkMessage::NewQueueDiscipline(queue), flags, operation)
        .map_err(|e| unsupported(e, "sch_ingress"))?;
    let filter = |message| {
        rtnl.change(RouteNetlinkMessage::NewTrafficFilter(message), flags, operation)
            .map_err(|e| unsupported(e, "cls_u32 and act_mirred"))
    };
    // Which of the two a kernel has is its distributor's choice.
    match filter(by_u32(from, to)) {
        Err(e) if e.errno() == Some(libc::ENOENT) => filter(by_matchall(from, to)),
        done => done,
    }
}

/// Takes a link's queue for what arrives away, with its filters.
pub fn unredirect(rtnl: &Rtnl, from: u32, operation: &impl Display) -> Result<()> {
    let message = message(from, INGRESS, TcHandle::INGRESS, "ingress", None);
    rtnl.change(RouteNetlinkMessage::DelQueueDiscipline(message), 0, operation)
}

/// The link to which a filter leads all that arrives by this one.
pub fn redirected_to(rtnl: &Rtnl, index: u32) -> Result<Option<u32>> {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.parent = INGRESS;
    let request = RouteNetlinkMessage::GetTrafficFilter(message);
    let operation = format!("tc filter show dev index {index} ingress");
    let target = |message| match message {
        RouteNetlinkMessage::NewTrafficFilter(filter) => target_of(&filter),
        _ => None,
    };
    match rtnl.dump(request, operation, target) {
        Ok(found) => Ok(found.first().copied()),
        Err(e) if e.is_gone() || e.errno() == Some(libc::EINVAL) => Ok(None),
        Err(e) => Err(e),
    }
}

fn message(
    index: u32,
    handle: TcHandle,
    parent: TcHandle,
    kind: &str,
    options: Option<TcAttribute>,
) -> TcMessage {
    let mut message = TcMessage::with_index(index.cast_signed());
    message.header.handle = handle;
    message.header.parent = parent;
    message.attributes.push(TcAttribute::Kind(kind.to_owned()));
    message.attributes.extend(options);
    message
}

/// ENOENT says that the kernel has no such queue, filter or action.
fn unsupported(error: crate::error::Error, modules: &str) -> crate::error::Error {
    match error.errno() {
        Some(libc::ENOENT | libc::EOPNOTSUPP) => error
            .with_kind(ErrorKind::MissingFeature)
            .hint(format!("the kernel needs {modules} to limit bandwidth")),
        _ => error,
    }
}

/// `struct tc_tbf_qopt`: a `struct tc_ratespec` for the rate, one for a peak rate, then the queue's
/// size and the bucket's, and the smallest packet for a peak rate.
fn bucket(rate: &Rate) -> Vec<TcOption> {
    let bytes = rate.bits_per_second / 8;
    let burst = u32::try_from(rate.burst_bits / 8).unwrap_or(u32::MAX);
    let queue = (bytes / 1000).saturating_mul(LATENCY).saturating_add(u64::from(burst));
    let mut parameters = ratespec(bytes);
    parameters.extend_from_slice(&[0; 12]);
    parameters.extend_from_slice(&u32::try_from(queue).unwrap_or(u32::MAX).to_ne_bytes());
    let ticks = u32::try_from(ticks(u64::from(burst), bytes)).unwrap_or(u32::MAX);
    parameters.extend_from_slice(&ticks.to_ne_bytes());
    parameters.extend_from_slice(&[0; 4]);
    let option = |kind, value| TcOption::Other(DefaultNla::new(kind, value));
    let mut options = vec![option(TBF_PARAMETERS, parameters)];
    if bytes > u64::from(u32::MAX) {
        options.push(option(TBF_RATE64, bytes.to_ne_bytes().to_vec()));
    }
    // More exact than the ticks, from which the kernel would have to calculate the size back.
    options.push(option(TBF_BURST, burst.to_ne_bytes().to_vec()));
    options
}

/// `struct tc_ratespec`: cell_log, linklayer, overhead (16 bits), cell_align (16), mpu (16), rate (32).
fn ratespec(bytes: u64) -> Vec<u8> {
    let mut spec = vec![0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0];
    spec.extend_from_slice(&u32::try_from(bytes).unwrap_or(u32::MAX).to_ne_bytes());
    spec
}

fn bucket_in(message: &TcMessage) -> Option<Bucket> {
    let tbf = |attribute: &&TcAttribute| matches!(attribute, TcAttribute::Kind(k) if k == TBF);
    message.attributes.iter().find(tbf)?;
    // The crate hands the options of a queue that it does not know over in one piece.
    let mut whole = Vec::new();
    for option in options(message) {
        let mut value = vec![0; option.value_len()];
        option.emit_value(&mut value);
        whole.extend(value);
    }
    let value = |kind: u16| {
        let found = NlasIterator::new(&whole).flatten().find(|option| option.kind() == kind);
        found.map(|option| option.value().to_vec())
    };
    let parameters = value(TBF_PARAMETERS)?;
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_ne_bytes(parameters.get(at..at + 4)?.try_into().ok()?))
    };
    let rate64 = value(TBF_RATE64).and_then(|value| value.try_into().ok()).map(u64::from_ne_bytes);
    Some(Bucket { rate: rate64.or(number(8).map(u64::from))?, ticks: number(28)? })
}

fn options(message: &TcMessage) -> &[TcOption] {
    let options = message.attributes.iter().find_map(|attribute| match attribute {
        TcAttribute::Options(options) => Some(options.as_slice()),
        _ => None,
    });
    options.unwrap_or_default()
}

/// A filter that matches every frame, since a mask of zero leaves nothing to compare.
fn by_u32(from: u32, to: u32) -> TcMessage {
    let mut selector = TcU32Selector::default();
    selector.flags = TcU32SelectorFlags::Terminal;
    selector.nkeys = 1;
    selector.keys = vec![TcU32Key::default()];
    let options = vec![
        TcOption::U32(TcFilterU32Option::Selector(selector)),
        TcOption::U32(TcFilterU32Option::Action(vec![mirred(to)])),
    ];
    filter(from, TcFilterU32::KIND, FILTER, options)
}

fn by_matchall(from: u32, to: u32) -> TcMessage {
    let action = TcFilterMatchAllOption::Action(vec![mirred(to)]);
    let handle = TcHandle { major: 0, minor: 1 };
    filter(from, TcFilterMatchAll::KIND, handle, vec![TcOption::MatchAll(action)])
}

fn filter(from: u32, kind: &str, handle: TcHandle, options: Vec<TcOption>) -> TcMessage {
    let options = TcAttribute::Options(options);
    let mut message = message(from, handle, INGRESS, kind, Some(options));
    message.header.info = FIRST_OF_ALL;
    message
}

fn mirred(to: u32) -> TcAction {
    let mut mirror = TcMirror::default();
    mirror.generic = TcActionGeneric::default();
    mirror.generic.action = TcActionType::Stolen;
    mirror.eaction = TcMirrorActionType::EgressRedir;
    mirror.ifindex = to;
    let option = TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror));
    let mut action = TcAction::default();
    action.tab = 1;
    action.attributes = vec![
        TcActionAttribute::Kind(TcActionMirror::KIND.to_owned()),
        TcActionAttribute::Options(vec![option]),
    ];
    action
}

fn target_of(message: &TcMessage) -> Option<u32> {
    let actions = options(message).iter().find_map(|option| match option {
        TcOption::U32(TcFilterU32Option::Action(actions))
        | TcOption::MatchAll(TcFilterMatchAllOption::Action(actions)) => Some(actions),
        _ => None,
    });
    let attributes = actions?.iter().flat_map(|action| &action.attributes);
    let options = attributes.filter_map(|attribute| match attribute {
        TcActionAttribute::Options(options) => Some(options),
        _ => None,
    });
    options.flatten().find_map(|option| match option {
        TcActionOption::Mirror(TcActionMirrorOption::Parms(mirror)) => Some(mirror.ifindex),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_core::{Emitable, Parseable};

    #[test]
    fn a_bucket_is_read_as_it_is_written() {
        for (bits_per_second, burst_bits) in [(8_000_000, 1 << 20), (40_000_000_000, 80_000_000)] {
            let rate = Rate { bits_per_second, burst_bits };
            let options = TcAttribute::Options(bucket(&rate));
            let message = message(7, ROOT, TcHandle::ROOT, TBF, Some(options));
            let mut bytes = vec![0; message.buffer_len()];
            message.emit(&mut bytes);
            let parsed = TcMessage::parse(bytes.as_slice()).unwrap();
            let found = bucket_in(&parsed);
            assert!(found.is_some_and(|bucket| bucket.is(&rate)), "{found:?} of {parsed:?}");
        }
    }
}

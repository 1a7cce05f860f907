//! Flows that connection tracking remembers, over ctnetlink.
//!
//! A UDP flow lives on in the table for 30 to 120 s after its last packet, and the nat rules are
//! asked only for its first. Without a flush, datagrams to a port that was just published go where
//! they went before, and datagrams to one that was taken down go on to a container that is gone.

use std::net::IpAddr;

use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};

use crate::addr::Family;
use crate::error::Result;
use crate::kernel::nfnetlink::{Buffer, Nfnetlink, find};
use crate::publish::Protocol;

const SUBSYSTEM: u16 = 1; // NFNL_SUBSYS_CTNETLINK
const GET: u16 = SUBSYSTEM << 8 | 1;
const DELETE: u16 = SUBSYSTEM << 8 | 2;

const TUPLE_ORIG: u16 = 1;
const TUPLE_REPLY: u16 = 2;
const ID: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;
const FILTER_ORIG_FLAGS: u16 = 1;
const FILTER_BY_PROTOCOL: u32 = 1 << 3;
const TUPLE_IP: u16 = 1;
const TUPLE_PROTO: u16 = 2;
const IP_V4_SRC: u16 = 1;
const IP_V4_DST: u16 = 2;
const IP_V6_SRC: u16 = 3;
const IP_V6_DST: u16 = 4;
const PROTO_NUM: u16 = 1;
const PROTO_DST_PORT: u16 = 3;

/// A flow.
#[derive(Debug, Clone)]
pub struct Flow {
    family: Family,
    protocol: u8,
    /// Where its first packet was going.
    pub destination: IpAddr,
    /// To which port.
    pub port: u16,
    /// Who answers: the destination itself, or where it was redirected to.
    pub answered_by: IpAddr,
    /// The attributes that name the flow to the kernel, as it gave them.
    name: Vec<(u16, Vec<u8>)>,
}

/// Every flow of one protocol.
pub fn flows(nft: &Nfnetlink, family: Family, protocol: Protocol) -> Result<Vec<Flow>> {
    let mut request = Buffer::default();
    let message = request.message(GET, NLM_F_DUMP, number(family), 0, 1);
    // The kernel filters since 5.8 (commit cb8aa9a3affb); an older one sends all of them.
    let tuple = request.nest(TUPLE_ORIG);
    let proto = request.nest(TUPLE_PROTO);
    request.attribute(PROTO_NUM, &[protocol.number()]);
    request.end_nest(proto);
    request.end_nest(tuple);
    let filter = request.nest(FILTER);
    request.attribute(FILTER_ORIG_FLAGS, &FILTER_BY_PROTOCOL.to_ne_bytes());
    request.end_nest(filter);
    request.end_message(message);
    let found = nft.request(&request, &format!("conntrack -L -p {protocol}"))?;
    let flows = found.iter().filter_map(|attributes| flow(family, attributes));
    Ok(flows.filter(|flow| flow.protocol == protocol.number()).collect())
}

/// Makes the kernel forget a flow; that it has done so already is success.
pub fn forget(nft: &Nfnetlink, flow: &Flow) -> Result<()> {
    let mut request = Buffer::default();
    let message = request.message(DELETE, NLM_F_ACK, number(flow.family), 0, 1);
    for (kind, value) in &flow.name {
        request.attribute(*kind, value);
    }
    request.end_message(message);
    let operation = format!("conntrack -D --orig-dst {} --dport {}", flow.destination, flow.port);
    nft.get(&request, &operation).map(drop)
}

fn number(family: Family) -> u8 {
    match family {
        Family::V4 => libc::AF_INET as u8,
        Family::V6 => libc::AF_INET6 as u8,
    }
}

fn flow(family: Family, attributes: &[u8]) -> Option<Flow> {
    const NESTED: u16 = netlink_packet_core::NLA_F_NESTED;
    let original = find(attributes, TUPLE_ORIG)?;
    let proto = find(original, TUPLE_PROTO)?;
    let mut name = vec![(TUPLE_ORIG | NESTED, original.to_vec())];
    for kind in [ID, ZONE] {
        name.extend(find(attributes, kind).map(|value| (kind, value.to_vec())));
    }
    Some(Flow {
        family,
        protocol: *find(proto, PROTO_NUM)?.first()?,
        destination: ip(original, IP_V4_DST, IP_V6_DST)?,
        port: u16::from_be_bytes(find(proto, PROTO_DST_PORT)?.try_into().ok()?),
        answered_by: ip(find(attributes, TUPLE_REPLY)?, IP_V4_SRC, IP_V6_SRC)?,
        name,
    })
}

fn ip(tuple: &[u8], v4: u16, v6: u16) -> Option<IpAddr> {
    let addresses = find(tuple, TUPLE_IP)?;
    let of_v4 = || <[u8; 4]>::try_from(find(addresses, v4)?).ok().map(IpAddr::from);
    let of_v6 = || <[u8; 16]>::try_from(find(addresses, v6)?).ok().map(IpAddr::from);
    of_v4().or_else(of_v6)
}

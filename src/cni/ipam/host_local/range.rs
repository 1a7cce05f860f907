//! Ranges of addresses to give out, and the order in which they come.
//!
//! Addresses are counted in 128 bits, so that a /64 costs no more than a /24: nothing here walks
//! through a range, but for the one who looks for the next free address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnetwork::IpNetwork;
use serde::{Deserialize, Deserializer};

use crate::cni::ip;

/// A range as the configuration writes it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct RangeConf {
    /// The network.
    #[serde(deserialize_with = "subnet")]
    pub subnet: Option<IpNetwork>,
    /// The first address.
    #[serde(deserialize_with = "ip::address_or_none")]
    pub range_start: Option<IpAddr>,
    /// The last address.
    #[serde(deserialize_with = "ip::address_or_none")]
    pub range_end: Option<IpAddr>,
    /// The network's gateway.
    #[serde(deserialize_with = "ip::address_or_none")]
    pub gateway: Option<IpAddr>,
}

/// For `#[serde(deserialize_with)]`: a network.
pub fn subnet<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpNetwork>, D::Error> {
    ip::cidr(from).map(Some)
}

/// A range of one network.
#[derive(Debug, Clone)]
pub struct Range {
    subnet: IpNetwork,
    first: IpAddr,
    last: IpAddr,
    gateway: IpAddr,
}

impl Range {
    fn new(conf: &RangeConf) -> Result<Self, String> {
        let subnet = conf.subnet.ok_or("a range has no subnet")?;
        validate_subnet(subnet)?;
        let second = address(subnet.ip(), number(subnet.network()) + 1);
        let gateway = conf.gateway.unwrap_or(second);
        if !same_family(gateway, second) {
            return Err(format!("gateway {gateway} is of another family than {subnet}"));
        }
        let first = within(subnet, "RangeStart", conf.range_start)?.unwrap_or(second);
        let last = within(subnet, "RangeEnd", conf.range_end)?.unwrap_or_else(|| end_of(subnet));
        match first <= last {
            true => Ok(Self { subnet, first, last, gateway }),
            false => Err(format!("RangeEnd {last} not in network {subnet} after {first}")),
        }
    }

    /// How many addresses it spans.
    fn length(&self) -> u128 {
        (number(self.last) - number(self.first)).saturating_add(1)
    }

    fn contains(&self, ip: IpAddr) -> bool {
        same_family(ip, self.first) && self.first <= ip && ip <= self.last
    }

    fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.first) || other.contains(self.first)
    }

    /// The address with the prefix length of its network.
    pub fn with_prefix(&self, ip: IpAddr) -> Option<IpNetwork> {
        IpNetwork::new(ip, self.subnet.prefix()).ok()
    }

    /// The gateway of its network.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

fn validate_subnet(subnet: IpNetwork) -> Result<(), String> {
    let bits = if subnet.is_ipv4() { 32 } else { 128 };
    if subnet.prefix() > bits - 2 {
        return Err(format!("Network {subnet} too small to allocate from"));
    }
    match subnet.ip() == subnet.network() {
        true => Ok(()),
        false => Err(format!(
            "Network has host bits set. For a subnet mask of length {} the network address is {}",
            subnet.prefix(),
            subnet.network()
        )),
    }
}

/// The last address that is given out by default: all but the broadcast address, which IPv6 lacks.
fn end_of(subnet: IpNetwork) -> IpAddr {
    match subnet {
        IpNetwork::V4(net) => address(subnet.ip(), u128::from(net.broadcast().to_bits()) - 1),
        IpNetwork::V6(net) => net.broadcast().into(),
    }
}

fn within(subnet: IpNetwork, key: &str, ip: Option<IpAddr>) -> Result<Option<IpAddr>, String> {
    match ip {
        Some(ip) if !subnet.contains(ip) => Err(format!("{key} {ip} not in network {subnet}")),
        ip => Ok(ip),
    }
}

fn same_family(a: IpAddr, b: IpAddr) -> bool {
    a.is_ipv4() == b.is_ipv4()
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

/// The address with this number, of the family of `like`.
fn address(like: IpAddr, number: u128) -> IpAddr {
    match like {
        IpAddr::V4(_) => Ipv4Addr::from_bits(u32::try_from(number).unwrap_or(u32::MAX)).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(number).into(),
    }
}

/// Ranges of one family from which an attachment gets one address.
#[derive(Debug, Clone)]
pub struct RangeSet(Vec<Range>);

impl RangeSet {
    /// Reads a set, and refuses what cannot be served.
    pub fn new(confs: &[RangeConf]) -> Result<Self, String> {
        let ranges = confs.iter().map(Range::new).collect::<Result<Vec<_>, _>>()?;
        let first = ranges.first().ok_or("empty range set")?;
        if !ranges.iter().all(|range| same_family(range.first, first.first)) {
            return Err("mixed address families".to_owned());
        }
        for (n, a) in ranges.iter().enumerate() {
            if let Some(b) = ranges.iter().skip(n + 1).find(|b| a.overlaps(b)) {
                return Err(format!("subnets {a} and {b} overlap"));
            }
        }
        Ok(Self(ranges))
    }

    /// Whether it gives out addresses of IPv4.
    pub fn is_ipv4(&self) -> bool {
        self.0.first().is_some_and(|range| range.first.is_ipv4())
    }

    /// Whether an address may be given out by both.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.0.iter().any(|a| other.0.iter().any(|b| a.overlaps(b)))
    }

    /// The range that an address is in.
    pub fn range_of(&self, ip: IpAddr) -> Option<&Range> {
        self.0.iter().find(|range| range.contains(ip))
    }

    /// Whether an address belongs to a gateway. One of another range of the set counts too: they
    /// may be parts of one network.
    pub fn is_gateway(&self, ip: IpAddr) -> bool {
        self.0.iter().any(|range| range.gateway == ip)
    }

    /// How many addresses can be given out.
    pub fn capacity(&self) -> u128 {
        let mut gateways: Vec<IpAddr> = self.0.iter().map(|range| range.gateway).collect();
        gateways.retain(|&ip| self.range_of(ip).is_some());
        gateways.sort_unstable();
        gateways.dedup();
        self.total().saturating_sub(gateways.len() as u128)
    }

    /// Every address that can be given out, beginning after the one that was given out last.
    pub fn after(&self, last: Option<IpAddr>) -> impl Iterator<Item = (IpAddr, &Range)> {
        let start = last.and_then(|ip| self.position(ip)).map_or(0, |n| n.saturating_add(1));
        let turns = (start..self.total()).chain(0..start);
        turns.filter_map(|n| self.nth(n)).filter(|(ip, _)| !self.is_gateway(*ip))
    }

    /// How many addresses the ranges span, one after another.
    fn total(&self) -> u128 {
        self.0.iter().fold(0, |sum: u128, range| sum.saturating_add(range.length()))
    }

    fn position(&self, ip: IpAddr) -> Option<u128> {
        let mut before: u128 = 0;
        for range in &self.0 {
            if range.contains(ip) {
                return Some(before.saturating_add(number(ip) - number(range.first)));
            }
            before = before.saturating_add(range.length());
        }
        None
    }

    fn nth(&self, mut n: u128) -> Option<(IpAddr, &Range)> {
        for range in &self.0 {
            match n < range.length() {
                true => return Some((address(range.first, number(range.first) + n), range)),
                false => n -= range.length(),
            }
        }
        None
    }
}

impl fmt::Display for RangeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Range::to_string).collect();
        f.write_str(&texts.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn set(confs: Value) -> Result<RangeSet, String> {
        RangeSet::new(&crate::cni::any_case::decode::<Vec<RangeConf>>(&confs).unwrap())
    }

    fn turns(set: &RangeSet, last: &str, count: usize) -> String {
        let ips = set.after(last.parse().ok()).take(count).map(|(ip, _)| ip.to_string());
        ips.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_gateway_and_the_ends_are_left_out() {
        let small = set(json!([{"subnet": "10.0.0.0/29"}])).unwrap();
        assert_eq!(turns(&small, "", 9), "10.0.0.2 10.0.0.3 10.0.0.4 10.0.0.5 10.0.0.6");
        assert_eq!(turns(&small, "10.0.0.5", 3), "10.0.0.6 10.0.0.2 10.0.0.3");
        assert_eq!(turns(&small, "10.0.0.6", 1), "10.0.0.2");
        assert_eq!(turns(&small, "10.9.9.9", 1), "10.0.0.2");
        assert_eq!((small.capacity(), small.to_string().as_str()), (5, "10.0.0.1-10.0.0.6"));
        let v6 = set(json!([{"subnet": "fd00::/126"}])).unwrap();
        assert_eq!(turns(&v6, "", 9), "fd00::2 fd00::3");
    }

    #[test]
    fn ranges_of_a_set_follow_each_other_and_share_no_gateway() {
        let two = set(json!([
            {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.8", "rangeEnd": "10.0.0.9"},
            {"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.20", "rangeEnd": "10.0.0.21",
             "gateway": "10.0.0.9"},
        ]));
        let two = two.unwrap();
        assert_eq!(turns(&two, "", 9), "10.0.0.8 10.0.0.20 10.0.0.21");
        assert_eq!(turns(&two, "10.0.0.8", 3), "10.0.0.20 10.0.0.21 10.0.0.8");
        assert_eq!(two.capacity(), 3);
    }

    #[test]
    fn the_whole_of_ipv6_is_a_range_like_others() {
        let all = set(json!([{"subnet": "::/0", "rangeStart": "::"}])).unwrap();
        assert_eq!(turns(&all, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", 2), ":: ::2");
        assert_eq!(turns(&all, "8000::", 2), "8000::1 8000::2");
        assert!(all.capacity() > 1 << 127);
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        for (confs, message) in [
            (json!([]), "empty range set"),
            (json!([{}]), "no subnet"),
            (json!([{"subnet": "10.0.0.0/31"}]), "Network 10.0.0.0/31 too small to allocate from"),
            (json!([{"subnet": "fd00::/127"}]), "too small"),
            (json!([{"subnet": "10.0.0.5/24"}]), "the network address is 10.0.0.0"),
            (
                json!([{"subnet": "10.0.0.0/24", "rangeStart": "10.0.1.5"}]),
                "RangeStart 10.0.1.5 not in network 10.0.0.0/24",
            ),
            (
                json!([{"subnet": "10.0.0.0/24", "rangeEnd": "10.0.1.5"}]),
                "RangeEnd 10.0.1.5 not in network 10.0.0.0/24",
            ),
            (
                json!([{"subnet": "10.0.0.0/24", "rangeStart": "10.0.0.9", "rangeEnd": "10.0.0.5"}]),
                "RangeEnd 10.0.0.5 not in network",
            ),
            (json!([{"subnet": "10.0.0.0/24", "rangeStart": "fd00::1"}]), "not in network"),
            (json!([{"subnet": "10.0.0.0/24", "gateway": "fd00::1"}]), "another family"),
            (json!([{"subnet": "10.0.0.0/24"}, {"subnet": "fd00::/64"}]), "mixed address families"),
            (
                json!([{"subnet": "10.0.0.0/24"}, {"subnet": "10.0.0.0/25"}]),
                "subnets 10.0.0.1-10.0.0.254 and 10.0.0.1-10.0.0.126 overlap",
            ),
        ] {
            let error = set(confs.clone()).unwrap_err();
            assert!(error.contains(message), "{confs}: {error}");
        }
    }
}

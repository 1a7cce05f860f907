//! Addresses and networks: a [`Prefix`] is masked, a [`HostAddr`] is an address a host can have
//! inside its prefix. Both are checked once, here.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnetwork::IpNetwork;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ident::text_conversions;

/// The two address families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(ip: IpAddr) -> Self {
        if ip.is_ipv4() { Self::V4 } else { Self::V6 }
    }

    /// Bits in an address.
    #[must_use]
    pub fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }

    /// The prefix of everything.
    #[must_use]
    pub fn default_prefix(self) -> Prefix {
        match self {
            Self::V4 => Prefix(IpNetwork::V4("0.0.0.0/0".parse().expect("a constant"))),
            Self::V6 => Prefix(IpNetwork::V6("::/0".parse().expect("a constant"))),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// A network: its host bits are zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Prefix(IpNetwork);

impl Prefix {
    /// The network that holds exactly this address.
    #[must_use]
    pub fn host(ip: IpAddr) -> Self {
        Self(IpNetwork::from(ip))
    }

    /// A destination as the kernel reports it.
    pub(crate) fn observed(ip: IpAddr, len: u8) -> Option<Self> {
        IpNetwork::new(ip, len).ok().map(Self)
    }

    /// The network address.
    #[must_use]
    pub fn network(self) -> IpAddr {
        self.0.network()
    }

    /// The prefix length in bits.
    #[must_use]
    pub fn length(self) -> u8 {
        self.0.prefix()
    }

    /// Whether this is the default route's destination, `0.0.0.0/0` or `::/0`.
    #[must_use]
    pub fn is_default(self) -> bool {
        self.length() == 0
    }

    /// The family.
    #[must_use]
    pub fn family(self) -> Family {
        Family::of(self.network())
    }

    /// Whether the address lies inside.
    #[must_use]
    pub fn contains(self, ip: IpAddr) -> bool {
        self.0.contains(ip)
    }

    /// The address `offset` above the network address; `None` past the end.
    #[must_use]
    pub fn nth(self, offset: u64) -> Option<IpAddr> {
        let ip = match self.network() {
            IpAddr::V4(base) => {
                let sum = u64::from(u32::from(base)).checked_add(offset)?;
                IpAddr::V4(u32::try_from(sum).ok()?.into())
            }
            IpAddr::V6(base) => {
                IpAddr::V6(u128::from(base).checked_add(u128::from(offset))?.into())
            }
        };
        self.contains(ip).then_some(ip)
    }

    /// How far an address lies above the network address; `None` outside, or beyond 64 bits.
    #[must_use]
    pub fn offset_of(self, ip: IpAddr) -> Option<u64> {
        match (self.network(), ip) {
            _ if !self.contains(ip) => None,
            (IpAddr::V4(base), IpAddr::V4(ip)) => Some((u32::from(ip) - u32::from(base)).into()),
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                u64::try_from(u128::from(ip) - u128::from(base)).ok()
            }
            _ => None,
        }
    }

    /// The offsets of the first and the last address that a host may have.
    ///
    /// IPv4 keeps the network and broadcast address out, except in /31 (RFC 3021) and /32. IPv6
    /// keeps the subnet-router anycast address out (RFC 4291, 2.6.1), except in /127 and /128.
    #[must_use]
    pub fn host_offsets(self) -> (u64, u64) {
        let host_bits = u32::from(self.family().bits() - self.length());
        let last = if host_bits >= 64 { u64::MAX } else { (1 << host_bits) - 1 };
        match (self.family(), host_bits) {
            (_, 0 | 1) => (0, last),
            (Family::V4, _) => (1, last - 1),
            (Family::V6, _) => (1, last),
        }
    }
}

impl FromStr for Prefix {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let net = parse_cidr(text)?;
        if net.network() != net.ip() {
            let masked = format!("{}/{}", net.network(), net.prefix());
            return Err(Error::invalid(format!("network {text} has host bits set"))
                .hint(format!("write {masked}")));
        }
        Ok(Self(net))
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network(), self.length())
    }
}

/// A host's address together with the network it lies in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostAddr(IpNetwork);

impl HostAddr {
    /// An address in a prefix that is known to hold it.
    #[must_use]
    pub fn new(ip: IpAddr, prefix: Prefix) -> Option<Self> {
        let net = IpNetwork::new(ip, prefix.length()).ok()?;
        prefix.contains(ip).then_some(Self(net))
    }

    /// An address as the kernel reports it, which may be one that we would not give out.
    pub(crate) fn observed(ip: IpAddr, len: u8) -> Option<Self> {
        IpNetwork::new(ip, len).ok().map(Self)
    }

    /// The address alone, as a prefix of its own.
    #[must_use]
    pub fn single(ip: IpAddr) -> Self {
        Self(IpNetwork::from(ip))
    }

    /// The address.
    #[must_use]
    pub fn ip(self) -> IpAddr {
        self.0.ip()
    }

    /// The network around it.
    #[must_use]
    pub fn prefix(self) -> Prefix {
        let network = IpNetwork::new(self.0.network(), self.0.prefix());
        Prefix(network.expect("the length was valid before"))
    }

    /// The family.
    #[must_use]
    pub fn family(self) -> Family {
        Family::of(self.ip())
    }

    /// The gateway that a container with this address gets unless it is told another: the
    /// network's first host address; in a network of two the other one; and where the network
    /// holds nobody else, a link-local address, since in the routed topology any address that the
    /// host answers for will do.
    #[must_use]
    pub fn default_gateway(self) -> IpAddr {
        let prefix = self.prefix();
        match u32::from(prefix.family().bits() - prefix.length()) {
            0 => match self.family() {
                Family::V4 => IpAddr::V4(Ipv4Addr::new(169, 254, 1, 1)),
                Family::V6 => IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1)),
            },
            1 => {
                let own = prefix.offset_of(self.ip()).unwrap_or(0);
                prefix.nth(1 - own).unwrap_or(self.ip())
            }
            _ => prefix.nth(1).unwrap_or(self.ip()),
        }
    }
}

impl FromStr for HostAddr {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let net = parse_cidr(text)?;
        let bad = |why: String| {
            Error::invalid(format!("address {text} {why}"))
                .hint("choose another, such as one of 10.0.0.0/8, 192.168.0.0/16 or fd00::/8")
        };
        if net.prefix() == 0 {
            return Err(bad("has prefix length 0".into())
                .hint("give the length of its network, such as /24"));
        }
        if let Some(why) = senseless(net.ip()) {
            return Err(bad(format!("is {why} and cannot be given to a container")));
        }
        let address = Self(net);
        let (first, last) = address.prefix().host_offsets();
        match address.prefix().offset_of(net.ip()) {
            Some(offset) if offset < first => {
                Err(bad("is the address of the network itself".into()))
            }
            Some(offset) if offset > last => Err(bad("is the network's broadcast address".into())),
            _ => Ok(address),
        }
    }
}

impl fmt::Display for HostAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.0.ip(), self.0.prefix())
    }
}

fn parse_cidr(text: &str) -> Result<IpNetwork> {
    let bad = |why: &str| {
        Error::invalid(format!("{text:?} {why}")).hint("write it as 10.0.0.2/24 or fd00::2/64")
    };
    // `ipnetwork` takes an address without a length for a /32; here the length must be said.
    let Some((ip, len)) = text.split_once('/') else {
        return Err(bad("has no prefix length").hint("write it as 10.0.0.2/24 or fd00::2/64"));
    };
    let ip: IpAddr =
        ip.parse().map_err(|e| bad(&format!("does not start with an IP address ({e})")))?;
    let len: u8 = len.parse().map_err(|e| bad(&format!("has no valid prefix length ({e})")))?;
    IpNetwork::new(ip, len).map_err(|e| bad(&format!("has no valid prefix length ({e})")))
}

/// Why no single host can have this address, if that is so.
pub(crate) fn senseless(ip: IpAddr) -> Option<&'static str> {
    match ip {
        IpAddr::V4(ip) if ip.octets()[0] == 0 => Some("in 0.0.0.0/8, \"this network\""),
        IpAddr::V4(ip) if ip.octets()[0] >= 240 => Some("in 240.0.0.0/4, reserved"),
        IpAddr::V6(ip) if ip.is_unspecified() => Some("the unspecified address"),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Some("an IPv4-mapped address"),
        IpAddr::V6(ip) if (ip.segments()[0] & 0xffc0) == 0xfe80 => Some("a link-local address"),
        ip if ip.is_loopback() => Some("a loopback address"),
        ip if ip.is_multicast() => Some("a multicast address"),
        _ => None,
    }
}

text_conversions!(Prefix);

/// What was stored may be a gateway, or an address of the host's: it is read back as it is.
impl TryFrom<String> for HostAddr {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        parse_cidr(&text).map(Self)
    }
}

impl From<HostAddr> for String {
    fn from(value: HostAddr) -> Self {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> HostAddr {
        text.parse().unwrap()
    }

    #[test]
    fn senseless_addresses_are_refused() {
        let bad = [
            "10.0.0.2",
            "10.0.0.2/",
            "10.0.0.2/33",
            "10.0.0.2/0",
            "10.0.0.0/24",
            "10.0.0.255/24",
            "0.0.0.5/24",
            "127.0.0.2/8",
            "224.0.0.1/24",
            "255.255.255.255/32",
            "250.0.0.1/24",
            "fd00::/64",
            "::/64",
            "::1/128",
            "ff02::1/64",
            "fe80::2/64",
            "::ffff:10.0.0.2/120",
            "fd00::2/129",
            "fd00::2/0",
            "010.0.0.2/24",
            "10.0.0.2/+8 ",
            "x/24",
            "",
            "/24",
        ];
        for text in bad {
            assert!(text.parse::<HostAddr>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn gateways_by_default() {
        let table = [
            ("10.0.0.2/24", "10.0.0.1"),
            ("10.0.0.5/30", "10.0.0.5"),
            ("10.0.0.2/31", "10.0.0.3"),
            ("10.0.0.3/31", "10.0.0.2"),
            ("10.0.0.9/32", "169.254.1.1"),
            ("fd00::2/64", "fd00::1"),
            ("fd00::9/128", "fe80::1"),
        ];
        for (address, gateway) in table {
            assert_eq!(addr(address).default_gateway().to_string(), gateway, "{address}");
        }
    }

    #[test]
    fn offsets() {
        let prefix: Prefix = "10.0.0.0/30".parse().unwrap();
        assert_eq!(prefix.host_offsets(), (1, 2));
        assert_eq!(prefix.nth(3).unwrap().to_string(), "10.0.0.3");
        assert_eq!(prefix.nth(4), None);
        assert_eq!(prefix.offset_of("10.0.0.4".parse().unwrap()), None);
        let wide: Prefix = "fd00::/48".parse().unwrap();
        assert_eq!(wide.host_offsets(), (1, u64::MAX));
        assert_eq!("255.255.255.254/31".parse::<Prefix>().unwrap().nth(2), None);
        assert!("10.0.0.1/24".parse::<Prefix>().is_err());
    }
}

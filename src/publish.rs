//! Published ports: `[HOSTIP:]PORT[-END]:PORT[-END][/tcp|udp|sctp]`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::addr::Family;
use crate::error::{Error, Result};
use crate::ident::text_conversions;

/// A transport protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The number in the IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }
}

impl FromStr for Protocol {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            "sctp" => Ok(Self::Sctp),
            _ => Err(Error::invalid(format!("protocol {text:?} is unknown"))
                .hint("use tcp, udp or sctp")),
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Consecutive ports, both ends included, never port 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

impl PortRange {
    /// How many ports.
    #[must_use]
    pub fn count(self) -> usize {
        usize::from(self.last - self.first) + 1
    }

    /// Each port, in order.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        self.first..=self.last
    }

    fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl FromStr for PortRange {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if last < first {
            return Err(Error::invalid(format!("port range {text} is reversed"))
                .hint(format!("write {last}-{first}")));
        }
        Ok(Self { first, last })
    }
}

fn port(text: &str) -> Result<u16> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u16>() {
        Ok(port) if port > 0 && digits => Ok(port),
        _ => Err(Error::invalid(format!("port {text:?} is not a number from 1 to 65535"))),
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count() {
            1 => write!(f, "{}", self.first),
            _ => write!(f, "{}-{}", self.first, self.last),
        }
    }
}

/// Ports of the host that lead to ports of the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Publish {
    /// The host's address to publish on; `None` is every address of the host, in each family that
    /// the container has, and `0.0.0.0` or `::` every address of that family.
    pub host_ip: Option<IpAddr>,
    /// The host's ports.
    pub host: PortRange,
    /// The container's ports, as many.
    pub container: PortRange,
    /// The protocol.
    pub protocol: Protocol,
}

impl Publish {
    /// Whether connections of this family are taken.
    #[must_use]
    pub fn serves(&self, family: Family) -> bool {
        self.host_ip.is_none_or(|ip| Family::of(ip) == family)
    }

    /// Whether connections of any of these families are taken.
    #[must_use]
    pub fn serves_any(&self, has: impl Fn(Family) -> bool) -> bool {
        [Family::V4, Family::V6].into_iter().any(|family| has(family) && self.serves(family))
    }

    /// Each host port with its container port.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> {
        self.host.iter().zip(self.container.iter())
    }

    /// Whether one packet could match both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let same_address = match (self.host_ip, other.host_ip) {
            (Some(a), Some(b)) => {
                let every = a.is_unspecified() || b.is_unspecified();
                a == b || (every && Family::of(a) == Family::of(b))
            }
            _ => true,
        };
        same_address && self.protocol == other.protocol && self.host.overlaps(other.host)
    }
}

impl FromStr for Publish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let within = |e: Error| e.context(format!("publish {text:?}"));
        let (ports, protocol) = match text.rsplit_once('/') {
            Some((ports, protocol)) => (ports, protocol.parse().map_err(within)?),
            None => (text, Protocol::Tcp),
        };
        let (rest, container) = ports.rsplit_once(':').ok_or_else(|| missing_part(text))?;
        let (host_ip, host) = split_host(rest).map_err(within)?;
        let publish = Self {
            host_ip,
            host: host.parse().map_err(within)?,
            container: container.parse().map_err(within)?,
            protocol,
        };
        publish.check_lengths(text)
    }
}

impl Publish {
    fn check_lengths(self, text: &str) -> Result<Self> {
        let (host, container) = (self.host.count(), self.container.count());
        if host == container {
            return Ok(self);
        }
        Err(Error::invalid(format!(
            "publish {text:?}: {host} host ports cannot lead to {container} container ports"
        ))
        .hint("give two ranges of equal length"))
    }
}

fn missing_part(text: &str) -> Error {
    Error::invalid(format!("publish {text:?} lacks the container's port"))
        .hint("write it as HOSTPORT:CONTAINERPORT, such as 8080:80")
}

/// Splits `[HOSTIP:]PORT`, where an IPv6 address stands in brackets.
fn split_host(text: &str) -> Result<(Option<IpAddr>, &str)> {
    let Some((ip, port)) = text.rsplit_once(':') else {
        return Ok((None, text));
    };
    let bare = ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']'));
    if bare.is_none() && ip.contains(':') {
        return Err(Error::invalid(format!("host address {ip:?} is not in brackets"))
            .hint(format!("write [{ip}]:{port}")));
    }
    let address: IpAddr = bare
        .unwrap_or(ip)
        .parse()
        .map_err(|e| Error::invalid(format!("host address {ip:?} is not an IP address ({e})")))?;
    host_address(address).map(|ip| (ip, port))
}

fn host_address(ip: IpAddr) -> Result<Option<IpAddr>> {
    if ip.is_multicast() {
        return Err(Error::invalid(format!("host address {ip} is a multicast address")));
    }
    if ip == IpAddr::V6(Ipv6Addr::LOCALHOST) {
        // IPv4 has route_localnet for this; IPv6 has nothing like it, and the kernel drops a packet
        // from ::1 that leaves lo.
        return Err(Error::invalid(
            "a port cannot be published on ::1: the kernel does not route IPv6 loopback addresses",
        )
        .hint("use 127.0.0.1, or another IPv6 address of the host"));
    }
    Ok(Some(ip))
}

impl fmt::Display for Publish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host_ip {
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:")?,
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:")?,
            None => {}
        }
        write!(f, "{}:{}/{}", self.host, self.container, self.protocol)
    }
}

text_conversions!(Publish);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let table = [
            ("8080:80", "8080:80/tcp"),
            ("8080:80/udp", "8080:80/udp"),
            ("127.0.0.1:53:53/UDP", "127.0.0.1:53:53/udp"),
            ("[2001:db8::1]:80-82:90-92/sctp", "[2001:db8::1]:80-82:90-92/sctp"),
            ("0.0.0.0:80:80", "0.0.0.0:80:80/tcp"),
            ("[::]:80:80", "[::]:80:80/tcp"),
            ("65535:1", "65535:1/tcp"),
        ];
        for (text, canonical) in table {
            let publish: Publish = text.parse().unwrap();
            assert_eq!(publish.to_string(), canonical);
            assert_eq!(canonical.parse::<Publish>().unwrap(), publish);
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let bad = [
            "",
            "80",
            ":80",
            "80:",
            "0:80",
            "80:0",
            "65536:80",
            "80:65536",
            "82-80:80-82",
            "80-82:80-81",
            "80:80/icmp",
            "80:80/",
            "a:80",
            "2001:db8::1:80:80",
            "[::1]:80:80",
            "1.2.3:80:80",
            "224.0.0.1:80:80",
            "+80:80",
            "80-:80-",
            "-80:80",
            "80:80:80:80",
        ];
        for text in bad {
            assert!(text.parse::<Publish>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn overlap_is_by_address_protocol_and_port() {
        let overlaps =
            |a: &str, b: &str| a.parse::<Publish>().unwrap().overlaps(&b.parse().unwrap());
        assert!(overlaps("80:80", "80:81"));
        assert!(overlaps("80-90:80-90", "85:1"));
        assert!(overlaps("10.0.0.1:80:80", "80:80"));
        assert!(!overlaps("10.0.0.1:80:80", "10.0.0.2:80:80"));
        assert!(!overlaps("80:80", "80:80/udp"));
        assert!(!overlaps("80:80", "81:80"));
        assert!(overlaps("0.0.0.0:80:80", "10.0.0.1:80:80"));
        assert!(!overlaps("0.0.0.0:80:80", "[::]:80:80"));
    }
}

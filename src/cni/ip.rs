//! Addresses as configurations and results write them. What counts as one is what existing
//! configurations rely on: no leading zeros in IPv4, an IPv4-mapped IPv6 address is the IPv4
//! address, and an empty gateway is none.

use std::net::IpAddr;

use ipnetwork::IpNetwork;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// An address.
pub fn parse(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().map(|ip| ip.to_canonical())
}

/// An address with its prefix length, which must be there. Bits of the host stay.
pub fn parse_cidr(text: &str) -> Option<IpNetwork> {
    let (ip, length) = text.split_once('/')?;
    if length.is_empty() || !length.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (ip, length) = (ip.parse::<IpAddr>().ok()?, length.parse::<u8>().ok()?);
    match (ip, ip.to_canonical()) {
        // Of a mapped address the first 96 bits are always the same.
        (IpAddr::V6(_), mapped @ IpAddr::V4(_)) => {
            IpNetwork::new(mapped, length.checked_sub(96)?).ok()
        }
        _ => IpNetwork::new(ip, length).ok(),
    }
}

/// For `#[serde(default, deserialize_with)]`: an address, or an empty text.
pub fn address_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<IpAddr>, D::Error> {
    let text = String::deserialize(from)?;
    match text.as_str() {
        "" => Ok(None),
        text => parse(text)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format!("{text:?} is not an IP address"))),
    }
}

/// For `#[serde(deserialize_with)]`: an address with its prefix length.
pub fn cidr<'de, D: Deserializer<'de>>(from: D) -> Result<IpNetwork, D::Error> {
    let text = String::deserialize(from)?;
    parse_cidr(&text).ok_or_else(|| {
        D::Error::custom(format!("{text:?} is not an address with its prefix length"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        for (text, expected) in [
            ("10.0.0.1", Some("10.0.0.1")),
            ("fd00::0001", Some("fd00::1")),
            ("::ffff:10.0.0.1", Some("10.0.0.1")),
            ("::FFFF:a00:1", Some("10.0.0.1")),
            ("10.0.0.01", None),
            ("10.0.0", None),
            ("10.0.0.256", None),
            ("fe80::1%eth0", None),
            ("10.0.0.1/24", None),
            (" 10.0.0.1", None),
            ("", None),
        ] {
            assert_eq!(parse(text).map(|ip| ip.to_string()).as_deref(), expected, "{text:?}");
        }
    }

    #[test]
    fn addresses_with_prefix_lengths() {
        for (text, expected) in [
            ("10.0.0.1/24", Some("10.0.0.1/24")),
            ("10.0.0.1/024", Some("10.0.0.1/24")),
            ("fd00::1/64", Some("fd00::1/64")),
            ("::ffff:10.0.0.1/120", Some("10.0.0.1/24")),
            ("0.0.0.0/0", Some("0.0.0.0/0")),
            ("::ffff:10.0.0.1/64", None),
            ("10.0.0.1", None),
            ("10.0.0.1/", None),
            ("10.0.0.1/+8", None),
            ("10.0.0.1/33", None),
            ("10.0.0.1/255.255.255.0", None),
            ("fd00::1/129", None),
            ("fd00::1/300", None),
        ] {
            assert_eq!(parse_cidr(text).map(|ip| ip.to_string()).as_deref(), expected, "{text:?}");
        }
    }
}

//! The nftables side as data: one static table, and per container only elements of its sets.
//!
//! The rules are the text in `ruleset/netup.nft`, which is at once what `nft -f` loads, what
//! `--dry-run` prints and what an admin can read. Nothing here talks to the kernel.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::ident::{IfName, Mac};
use crate::publish::Protocol;

/// The static rules, as nft text.
pub const TEXT: &str = include_str!("ruleset/netup.nft");
/// The static rules for frames that are bridged, as nft text.
pub const BRIDGE_TEXT: &str = include_str!("ruleset/bridge.nft");
/// The name of both tables.
pub const TABLE: &str = "netup";
/// The admin's own chain in the table of family `inet`, which is never flushed.
pub const USER_CHAIN: &str = "user";
/// Every set and map of the table of family `inet`.
pub const SETS: [&str; 13] = [
    "links",
    "hairpin",
    "reflected",
    "confined",
    "parted",
    "masqall4",
    "masqall6",
    "masq4",
    "masq6",
    "publish4",
    "publish4_at",
    "publish6",
    "publish6_at",
];

/// The static rules of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rules {
    /// For packets: family `inet`.
    Inet,
    /// For frames that are bridged: family `bridge`.
    Bridge,
}

impl Rules {
    /// The family as nft calls it.
    #[must_use]
    pub fn family(self) -> &'static str {
        match self {
            Self::Inet => "inet",
            Self::Bridge => "bridge",
        }
    }

    /// The rules as nft text.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Inet => TEXT,
            Self::Bridge => BRIDGE_TEXT,
        }
    }

    /// An empty chain whose name changes with the rules, so that a newer release knows that it must
    /// refill the chains an older one made. The table's comment would not do: the kernel does not
    /// change the one of a table that exists.
    #[must_use]
    pub fn marker(self) -> &'static str {
        match self {
            Self::Inet => "ruleset_2",
            Self::Bridge => "ruleset_2",
        }
    }
}

/// One element of a set or map.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Element {
    /// This link leads to containers.
    Link(IfName),
    /// Redirected packets that enter and leave by this link are masqueraded.
    Hairpin(IfName),
    /// Redirected frames on this bridge are masqueraded. With br_netfilter they are bridged, not
    /// routed, and pass the rules without an incoming link.
    Reflected(IfName),
    /// Traffic of this address to the outside is masqueraded.
    Masquerade(IpAddr),
    /// A published port.
    Publish(PublishedPort),
    /// Other containers cannot open connections by this link.
    Confined(IfName),
    /// What enters and leaves by this link, other than redirected, is not forwarded.
    Parted(IfName),
    /// Every redirected connection to this address is masqueraded.
    MasqueradeAll(IpAddr),
    /// Frames from this port of a bridge must bear an address that is genuine there.
    GuardedPort(IfName),
    /// Connections are not made out of frames from this port of a bridge.
    Untracked(IfName),
    /// The hardware address that is genuine at this port.
    GenuineMac(IfName, Mac),
}

/// One port of the host that leads to one port of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PublishedPort {
    /// The host's address; `None` is any.
    pub host_ip: Option<IpAddr>,
    /// The protocol.
    pub protocol: Protocol,
    /// The host's port.
    pub host_port: u16,
    /// The container's address.
    pub ip: IpAddr,
    /// The container's port.
    pub port: u16,
}

impl Element {
    /// The set or map that it belongs to.
    #[must_use]
    pub fn set(&self) -> &'static str {
        match self {
            Self::Link(_) => "links",
            Self::Hairpin(_) => "hairpin",
            Self::Reflected(_) => "reflected",
            Self::Masquerade(IpAddr::V4(_)) => "masq4",
            Self::Masquerade(IpAddr::V6(_)) => "masq6",
            Self::Confined(_) => "confined",
            Self::Parted(_) => "parted",
            Self::MasqueradeAll(IpAddr::V4(_)) => "masqall4",
            Self::MasqueradeAll(IpAddr::V6(_)) => "masqall6",
            Self::GuardedPort(_) => "guarded",
            Self::Untracked(_) => "untracked",
            Self::GenuineMac(..) => "genuine",
            Self::Publish(port) => match (port.ip, port.host_ip) {
                (IpAddr::V4(_), None) => "publish4",
                (IpAddr::V4(_), Some(_)) => "publish4_at",
                (IpAddr::V6(_), None) => "publish6",
                (IpAddr::V6(_), Some(_)) => "publish6_at",
            },
        }
    }

    /// The rules whose table the set is in.
    #[must_use]
    pub fn rules(&self) -> Rules {
        match self {
            Self::GuardedPort(_) | Self::GenuineMac(..) | Self::Untracked(_) => Rules::Bridge,
            _ => Rules::Inet,
        }
    }

    /// Whether a taken key is an error: two containers cannot have one port, while the other sets
    /// merely hold names and addresses that are the attachment's own already.
    #[must_use]
    pub fn is_exclusive(&self) -> bool {
        matches!(self, Self::Publish(_))
    }

    /// The key as the kernel holds it: components in network order, each padded to 4 bytes.
    #[must_use]
    pub fn key(&self) -> Vec<u8> {
        let mut key = Concat::default();
        match self {
            Self::Link(name)
            | Self::Reflected(name)
            | Self::Confined(name)
            | Self::Untracked(name)
            | Self::GuardedPort(name) => key.name(name),
            Self::GenuineMac(name, mac) => {
                key.name(name);
                key.part(&mac.octets());
            }
            Self::Hairpin(name) | Self::Parted(name) => {
                key.name(name);
                key.name(name);
            }
            Self::Masquerade(ip) | Self::MasqueradeAll(ip) => key.ip(*ip),
            Self::Publish(port) => {
                if let Some(ip) = port.host_ip {
                    key.ip(ip);
                }
                key.part(&[port.protocol.number()]);
                key.part(&port.host_port.to_be_bytes());
            }
        }
        key.0
    }

    /// The port and the address that a key of the set `genuine` stands for.
    #[must_use]
    pub fn genuine_of(key: &[u8]) -> Option<(IfName, Mac)> {
        let (name, mac) = key.split_at_checked(16)?;
        let name = std::str::from_utf8(name).ok()?.trim_end_matches('\0').parse().ok()?;
        Some((name, Mac::observed(mac.get(..6)?)))
    }

    /// What a map holds under the key, in the same encoding.
    #[must_use]
    pub fn data(&self) -> Option<Vec<u8>> {
        let Self::Publish(port) = self else {
            return None;
        };
        let mut data = Concat::default();
        data.ip(port.ip);
        data.part(&port.port.to_be_bytes());
        Some(data.0)
    }
}

/// The address that a map's data leads to, by its length.
#[must_use]
pub fn address_of_data(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        8 => <[u8; 4]>::try_from(&data[..4]).ok().map(IpAddr::from),
        20 => <[u8; 16]>::try_from(&data[..16]).ok().map(IpAddr::from),
        _ => None,
    }
}

#[derive(Default)]
struct Concat(Vec<u8>);

impl Concat {
    fn part(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn ip(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.part(&ip.octets()),
            IpAddr::V6(ip) => self.part(&ip.octets()),
        }
    }

    /// An interface name is compared as a whole `IFNAMSIZ` field.
    fn name(&mut self, name: &IfName) {
        let mut field = [0_u8; 16];
        field[..name.as_str().len()].copy_from_slice(name.as_str().as_bytes());
        self.part(&field);
    }
}

impl fmt::Display for Element {
    /// As nft writes it between braces.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Link(name)
            | Self::Reflected(name)
            | Self::Confined(name)
            | Self::Untracked(name)
            | Self::GuardedPort(name) => write!(f, "\"{name}\""),
            Self::GenuineMac(name, mac) => write!(f, "\"{name}\" . {mac}"),
            Self::Hairpin(name) | Self::Parted(name) => write!(f, "\"{name}\" . \"{name}\""),
            Self::Masquerade(ip) | Self::MasqueradeAll(ip) => write!(f, "{ip}"),
            Self::Publish(port) => {
                if let Some(ip) = port.host_ip {
                    write!(f, "{ip} . ")?;
                }
                let PublishedPort { protocol, host_port, ip, port, .. } = port;
                write!(f, "{protocol} . {host_port} : {ip} . {port}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_padded_concatenations() {
        let port = PublishedPort {
            host_ip: Some("127.0.0.1".parse().unwrap()),
            protocol: Protocol::Tcp,
            host_port: 8080,
            ip: "10.0.0.2".parse().unwrap(),
            port: 80,
        };
        let element = Element::Publish(port);
        assert_eq!(element.key(), [127, 0, 0, 1, 6, 0, 0, 0, 0x1f, 0x90, 0, 0]);
        assert_eq!(element.data().unwrap(), [10, 0, 0, 2, 0, 80, 0, 0]);
        assert_eq!(address_of_data(&element.data().unwrap()), Some(port.ip));
        assert_eq!(element.to_string(), "127.0.0.1 . tcp . 8080 : 10.0.0.2 . 80");
        assert_eq!(Element::Hairpin("nu0".parse().unwrap()).key().len(), 32);
    }

    #[test]
    fn the_text_declares_what_the_code_uses() {
        for rules in [Rules::Inet, Rules::Bridge] {
            let chain = format!("add chain {} {TABLE} {}\n", rules.family(), rules.marker());
            assert!(rules.text().contains(&chain), "{chain}");
        }
        for set in ["guarded", "genuine", "untracked"] {
            assert!(BRIDGE_TEXT.contains(&format!("add set bridge {TABLE} {set} ")), "{set}");
        }
        for set in SETS {
            let declared = |kind| TEXT.contains(&format!("add {kind} inet {TABLE} {set} "));
            assert!(declared("set") || declared("map"), "{set}");
        }
    }
}

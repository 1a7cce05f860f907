//! Names and identities: parsed once at the edge, so that inside no `String` means an interface.

use std::fmt;
use std::hash::Hasher;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use crate::error::{Error, Result};

/// The longest interface name the kernel takes: `IFNAMSIZ` (16) less the closing NUL.
pub const IFNAME_MAX: usize = 15;

/// An interface name that the kernel will accept (`dev_valid_name`, net/core/dev.c), without the
/// `%` by which a name becomes a template.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IfName(String);

impl IfName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The loopback interface.
    #[must_use]
    pub fn loopback() -> Self {
        Self("lo".to_owned())
    }
}

impl FromStr for IfName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!("interface name {text:?} {why}"))
                .hint(format!("use letters, digits, '-', '_' and '.', at most {IFNAME_MAX} in all"))
        };
        if text.is_empty() {
            return Err(bad("is empty"));
        }
        if text.len() > IFNAME_MAX {
            return Err(bad("is too long"));
        }
        // `all` and `default` stand for every link below /proc/sys/net/*/conf.
        if matches!(text, "." | ".." | "all" | "default") {
            return Err(bad("is reserved by the kernel"));
        }
        let wrong = |c: char| c.is_whitespace() || c.is_control() || "/:%\"".contains(c);
        match text.chars().find(|&c| wrong(c)) {
            Some(c) => Err(bad(&format!("may not contain {c:?}"))),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// The id under which a container's attachments are remembered.
///
/// Letters, digits, `_`, `.`, `-` and `:`; it starts with a letter or digit, so that it can name a
/// folder and never an option.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ContainerId(String);

impl ContainerId {
    /// The longest id. A file name holds 255 bytes, and the kernel's interface alias as much.
    pub const MAX: usize = 200;

    /// The id that stands for a network namespace when the caller gives none: its cookie is never
    /// reused within a boot, unlike a PID or an inode.
    #[must_use]
    pub fn of_netns(cookie: u64) -> Self {
        Self(format!("ns-{cookie}"))
    }

    /// The id from which the names of what belongs to a bridge are derived. No container can have
    /// it, since it starts with a dot.
    pub(crate) fn of_bridge() -> Self {
        Self(".bridge".to_owned())
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ContainerId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: String| {
            Error::invalid(format!("container id {text:?} {why}")).hint(
                "use letters, digits, '-', '_', '.' and ':', beginning with a letter or digit",
            )
        };
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-:".contains(c);
        if text.len() > Self::MAX {
            return Err(bad(format!("is longer than {} bytes", Self::MAX)));
        }
        if !text.starts_with(|c: char| c.is_ascii_alphanumeric()) {
            return Err(bad("does not start with a letter or digit".to_owned()));
        }
        match text.chars().find(|&c| !allowed(c)) {
            Some(c) => Err(bad(format!("may not contain {c:?}"))),
            None => Ok(Self(text.to_owned())),
        }
    }
}

/// The name of a network that attachments belong to, as CNI configurations name them: letters,
/// digits, `_`, `.` and `-`; it starts with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NetworkName(String);

impl NetworkName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NetworkName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        match text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(allowed) {
            true => Ok(Self(text.to_owned())),
            false => Err(Error::invalid(format!("network name {text:?} is not valid"))
                .hint("use letters, digits, '-', '_' and '.', beginning with a letter or digit")),
        }
    }
}

impl fmt::Display for NetworkName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// One container interface: the identity of everything netup makes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttachmentId {
    /// The container.
    pub container: ContainerId,
    /// The interface inside it.
    pub ifname: IfName,
}

impl AttachmentId {
    /// The host link's name, which follows from the identity alone, so that the link can be found
    /// when nothing else is left: `nu` and 12 hexadecimal digits.
    ///
    /// The prefixes `ve-`, `vz-` and `vb-` are avoided: systemd-networkd ships configurations that
    /// match them.
    #[must_use]
    pub fn host_ifname(&self) -> IfName {
        IfName(format!("nu{:012x}", self.hash(0) >> 16))
    }

    /// The host link's hardware address. It is set on purpose: an address that the kernel chose
    /// at random may be replaced by udev's `MACAddressPolicy=persistent` after the fact.
    #[must_use]
    pub fn host_mac(&self) -> Mac {
        Mac::local(self.hash(1))
    }

    /// The host link's hardware address when it is a port of a bridge. A bridge takes the lowest
    /// address among its ports unless it was given one; a first byte of `fe` is never the lowest.
    #[must_use]
    pub fn port_mac(&self) -> Mac {
        let [_, rest @ ..] = self.host_mac().octets();
        let [b, c, d, e, f] = rest;
        Mac([0xfe, b, c, d, e, f])
    }

    /// The host link's index: above all that the kernel hands out by itself, which it does in order.
    #[must_use]
    pub fn host_index(&self) -> u32 {
        // The upper half of the positive 31-bit integers.
        0x4000_0000 | (self.hash(3) >> 34) as u32
    }

    /// The name of the intermediate functional block through which what the container sends is
    /// shaped: as the host link's, with the prefix `nb`.
    #[must_use]
    pub fn ifb_ifname(&self) -> IfName {
        IfName(format!("nb{:012x}", self.hash(0) >> 16))
    }

    /// That block's hardware address.
    #[must_use]
    pub fn ifb_mac(&self) -> Mac {
        Mac::local(self.hash(4))
    }

    /// The label of that block. The blank after `netup bandwidth` keeps it from being taken for an
    /// attachment's.
    #[must_use]
    pub fn ifb_alias(&self) -> String {
        format!("netup bandwidth {self}")
    }

    /// The container interface's default hardware address: the same at each attach, so that
    /// neighbours' caches stay right.
    #[must_use]
    pub fn container_mac(&self) -> Mac {
        Mac::local(self.hash(2))
    }

    /// The text of the link's alias, by which `ip link` shows whose the link is.
    #[must_use]
    pub fn alias(&self) -> String {
        format!("netup {self}")
    }

    /// A number that stands for this identity, for example as the offset of its lock.
    #[must_use]
    pub fn hash(&self, salt: u64) -> u64 {
        // The algorithm is part of the on-disk and on-kernel contract: a new release must find
        // what an older one made. SipHash-2-4 is fixed by its paper, unlike std's default hasher.
        let mut hasher = SipHasher24::new_with_keys(salt, 0);
        hasher.write(self.to_string().as_bytes());
        hasher.finish()
    }
}

impl fmt::Display for AttachmentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither part may contain `@`... an interface name may, but it comes last.
        write!(f, "{}@{}", self.container, self.ifname)
    }
}

/// A unicast Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac([u8; 6]);

impl Mac {
    /// A locally administered address from a hash.
    #[must_use]
    pub fn local(hash: u64) -> Self {
        let [_, _, a, b, c, d, e, f] = hash.to_be_bytes();
        // Bit 1 of the first byte: locally administered; bit 0: multicast.
        Self([(a & 0xfc) | 0x02, b, c, d, e, f])
    }

    /// An address as the kernel reports it.
    pub(crate) fn observed(bytes: &[u8]) -> Self {
        Self(bytes.try_into().unwrap_or_default())
    }

    /// The six bytes.
    #[must_use]
    pub fn octets(self) -> [u8; 6] {
        self.0
    }
}

impl FromStr for Mac {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bad = |why: &str| {
            Error::invalid(format!("MAC address {text:?} {why}"))
                .hint("write it as 02:00:00:00:00:01")
        };
        let bytes: Option<Vec<u8>> = text.split([':', '-']).map(hex_byte).collect();
        let bytes: [u8; 6] = bytes
            .and_then(|bytes| bytes.try_into().ok())
            .ok_or_else(|| bad("is not six hexadecimal bytes"))?;
        match bytes {
            [0, 0, 0, 0, 0, 0] => Err(bad("is all zero")),
            [first, ..] if first & 1 == 1 => Err(bad("is a group address")),
            _ => Ok(Self(bytes)),
        }
    }
}

fn hex_byte(text: &str) -> Option<u8> {
    (text.len() == 2 && !text.starts_with('+')).then(|| u8::from_str_radix(text, 16).ok())?
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Display for IfName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

macro_rules! text_conversions {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = Error;
            fn try_from(text: String) -> Result<Self> {
                text.parse()
            }
        }
        impl From<$type> for String {
            fn from(value: $type) -> String {
                value.to_string()
            }
        }
    )*};
}
text_conversions!(IfName, ContainerId, NetworkName, Mac);
pub(crate) use text_conversions;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_names_follow_the_kernel() {
        for good in ["eth0", "a", "fifteen-bytes-x", "eth0.100", "br_lan"] {
            assert_eq!(good.parse::<IfName>().unwrap().as_str(), good);
        }
        for bad in
            ["", "sixteen-bytes-xy", ".", "..", "a/b", "a b", "a:1", "a%d", "a\0b", "é\u{85}"]
        {
            assert!(bad.parse::<IfName>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn container_ids_can_name_a_folder() {
        assert!("web-1.2_3".parse::<ContainerId>().is_ok());
        for bad in ["", "-x", "..", ".hidden", "a/b", "a b", "a@b", &"x".repeat(201)] {
            assert!(bad.parse::<ContainerId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn macs() {
        let mac: Mac = "02:AB:00:00:00:01".parse().unwrap();
        assert_eq!(mac.to_string(), "02:ab:00:00:00:01");
        for bad in [
            "",
            "02:00:00:00:00",
            "01:00:00:00:00:01",
            "00:00:00:00:00:00",
            "02:0:0:0:0:1",
            "zz:00:00:00:00:01",
        ] {
            assert!(bad.parse::<Mac>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn derived_names_never_change_between_releases() {
        let id =
            AttachmentId { container: "web".parse().unwrap(), ifname: "eth0".parse().unwrap() };
        assert_eq!(id.to_string(), "web@eth0");
        assert_eq!(id.host_ifname().as_str().len(), 14);
        assert_eq!(id.host_ifname().as_str(), "nua38ebcbbfd76");
        assert_eq!(id.host_mac().octets()[0] & 3, 2);
        assert_ne!(id.host_mac(), id.container_mac());
    }
}

//! The names that the reference derives: a hash of network and container, as long as fits.

use hmac_sha512::Hash;

/// The longest name of an iptables chain: `XT_EXTENSION_MAXNAMELEN` (29) less the closing NUL.
pub const CHAIN_MAX: usize = 28;
/// How much of each hash a comment of the nftables backend begins with.
const COMMENT_HASH: usize = 16;

/// The chain of `bridge` and `ptp` for a container's masquerading.
pub fn masquerade_chain(network: &str, container: &str) -> String {
    hashed("CNI-", CHAIN_MAX, &[network, container])
}

/// The chain of `portmap` for a container's published ports.
pub fn port_chain(network: &str, container: &str) -> String {
    hashed("CNI-DN-", CHAIN_MAX, &[network, container])
}

/// The chain that `portmap` had for their way back until 0.7.
pub fn old_port_chain(network: &str, container: &str) -> String {
    hashed("CNI-SN-", CHAIN_MAX, &[network, container])
}

/// The link by which the reference's `bandwidth` shapes what a container sends.
#[must_use]
pub fn ifb_name(network: &str, container: &str) -> String {
    hashed("bwp", crate::ident::IFNAME_MAX, &[network, container])
}

/// What the comments of a network's rules of masquerading begin with.
pub fn network_mark(network: &str) -> String {
    hashed("", COMMENT_HASH, &[network]) + "-"
}

/// What the comments of one attachment's rules of masquerading begin with.
pub fn attachment_mark(network: &str, container: &str, ifname: &str) -> String {
    network_mark(network) + &hashed("", COMMENT_HASH, &[ifname, ":", container])
}

fn hashed(prefix: &str, length: usize, parts: &[&str]) -> String {
    let digest = Hash::hash(parts.concat());
    let hex = digest.iter().map(|byte| format!("{byte:02x}"));
    let mut name = hex.fold(prefix.to_owned(), |name, byte| name + &byte);
    name.truncate(length);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_reference() {
        assert_eq!(masquerade_chain("test", "1234"), "CNI-2bbe0c48b91a7d1b8a6753a8");
        assert_eq!(port_chain("test", "1234"), "CNI-DN-2bbe0c48b91a7d1b8a675");
        assert_eq!(ifb_name("test", "1234"), "bwp2bbe0c48b91a");
        let mark = attachment_mark("test", "1234", "eth0");
        assert_eq!(mark.len(), 33);
        assert!(mark.starts_with(&network_mark("test")));
    }
}

//! What a network namespace has, by the `/proc/PID/net` of a process in it: nobody has to go there.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netup::addr::HostAddr;

use crate::error::{Error, Result};

/// The addresses by which others reach the namespace of this process.
///
/// # Errors
/// If `/proc` cannot be read.
pub fn of(pid: i32) -> Result<Vec<HostAddr>> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/net/{file}");
        match fs::read_to_string(&path) {
            // A kernel without that family has no such file.
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            read => read.map_err(|e| Error::io(format!("read {path}"), &e)),
        }
    };
    let (v4, v6) = (local_v4(&read("fib_trie")?), global_v6(&read("if_inet6")?));
    Ok(v4
        .into_iter()
        .map(IpAddr::V4)
        .chain(v6.into_iter().map(IpAddr::V6))
        .map(HostAddr::single)
        .collect())
}

/// An address that is the namespace's own is followed by `/32 host LOCAL`, in each table.
fn local_v4(fib_trie: &str) -> Vec<Ipv4Addr> {
    let mut found: Vec<Ipv4Addr> = Vec::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in fib_trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last.filter(|ip| !ip.is_loopback() && !found.contains(ip)));
        }
    }
    found
}

/// A line each: address, index, prefix length, scope, flags, interface. Scope 0 is global.
fn global_v6(if_inet6: &str) -> Vec<Ipv6Addr> {
    let address = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, _, _, "00", ..] = words.as_slice() else { return None };
        u128::from_str_radix(address, 16).ok().map(Ipv6Addr::from)
    };
    if_inet6.lines().filter_map(address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_found() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 192.0.2.0\n        /24 link UNICAST\n\
            Local:\n     |-- 127.0.0.1\n        /32 host LOCAL\n     |-- 192.0.2.5\n        \
            /32 host LOCAL\n     |-- 192.0.2.255\n        /32 link BROADCAST\n";
        assert_eq!(local_v4(trie), [Ipv4Addr::new(192, 0, 2, 5)]);
        assert_eq!(local_v4(&[trie, trie].concat()).len(), 1);
        let inet6 = "00000000000000000000000000000001 01 80 10 80       lo\n\
            fe80000000000000c8217efffe216766 02 40 20 c0     eth0\n\
            20010db8000000000000000000000005 02 40 00 82     eth0\n";
        assert_eq!(global_v6(inet6), ["2001:db8::5".parse::<Ipv6Addr>().unwrap()]);
    }
}

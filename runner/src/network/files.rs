//! The contents of `/etc/{resolv.conf,hosts,hostname}`. Pure: from what is wanted and what the host
//! has.

use std::fmt::Write;
use std::net::IpAddr;

use netup::addr::HostAddr;

use crate::error::Result;
use crate::request::{Helper, Net};

/// Where the host's name servers are.
pub const HOST_RESOLV_CONF: &str = "/etc/resolv.conf";

/// Where systemd-resolved keeps those that it asks itself, while the host's file names its own
/// loopback address.
pub const UPSTREAM_RESOLV_CONF: &str = "/run/systemd/resolve/resolv.conf";

/// The name server that slirp4netns is, for the container.
const SLIRP_DNS: &str = "10.0.2.3";

/// The address whose port 53 pasta forwards to the host's first name server, whichever that is. A
/// link-local one, which is nobody's.
pub const PASTA_DNS: &str = "169.254.1.1";

/// What of the host's file holds in the container too, beside the name servers.
const KEPT: [&str; 3] = ["search", "domain", "options"];

/// `/etc/resolv.conf`: the name servers asked for, or the host's as far as they can be reached. The
/// upstream file is read only if the host's names loopback addresses.
///
/// # Errors
/// What reading it says.
pub fn resolv_conf(
    net: &Net,
    dns: &[IpAddr],
    host: &str,
    upstream: impl FnOnce() -> Result<String>,
) -> Result<String> {
    let servers = match (dns, net) {
        ([], Net::None) => {
            return Ok("# without a network there is no name server\n".to_owned());
        }
        ([], Net::Host) => return Ok(host.to_owned()),
        ([], Net::Userspace { helper: Helper::Slirp4netns, .. }) => vec![SLIRP_DNS.to_owned()],
        ([], Net::Userspace { helper: Helper::Pasta, .. }) => vec![PASTA_DNS.to_owned()],
        ([], Net::Attach(_) | Net::Join(_)) => reachable(host, upstream)?,
        (dns, _) => dns.iter().map(ToString::to_string).collect(),
    };
    let mut text: String = kept(host).map(|line| format!("{line}\n")).collect();
    if servers.is_empty() {
        text += "# the host names no name server that can be reached from here; see --dns\n";
    }
    for server in servers {
        text += &format!("nameserver {server}\n");
    }
    Ok(text)
}

/// `/etc/hosts`: both loopback addresses, and the container's name by its own addresses.
#[must_use]
pub fn hosts(hostname: &str, addresses: &[HostAddr]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    for address in addresses {
        text += &format!("{}\t{hostname}\n", address.ip());
    }
    if addresses.is_empty() {
        // Debian's way for a host without a permanent address; all of 127/8 leads to itself.
        writeln!(text, "127.0.1.1\t{hostname}").ok();
    }
    text
}

/// `/etc/hostname`.
#[must_use]
pub fn hostname(name: &str) -> String {
    format!("{name}\n")
}

fn reachable(host: &str, upstream: impl FnOnce() -> Result<String>) -> Result<Vec<String>> {
    let here = servers(host);
    let there: Vec<String> = here.iter().filter(|server| !is_loopback(server)).cloned().collect();
    if here.is_empty() || !there.is_empty() {
        return Ok(there);
    }
    let upstream = servers(&upstream()?);
    Ok(upstream.into_iter().filter(|server| !is_loopback(server)).collect())
}

fn servers(text: &str) -> Vec<String> {
    let second_word = |line: &str| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next().map(str::to_owned)).flatten()
    };
    text.lines().filter_map(second_word).collect()
}

/// In the container it would be the container itself. A link-local address is followed by its link,
/// which the container does not have either.
fn is_loopback(server: &str) -> bool {
    match server.split_once('%') {
        Some((address, _link)) => address.parse::<IpAddr>().is_ok(),
        None => server.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback()),
    }
}

fn kept(host: &str) -> impl Iterator<Item = &str> {
    host.lines().filter(|line| {
        line.split_whitespace().next().is_some_and(|keyword| KEPT.contains(&keyword))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attached() -> Net {
        Net::Attach(Box::default())
    }

    fn of(net: &Net, dns: &[&str], host: &str, upstream: &str) -> String {
        let dns: Vec<IpAddr> = dns.iter().map(|ip| ip.parse().unwrap()).collect();
        resolv_conf(net, &dns, host, || Ok(upstream.to_owned())).unwrap()
    }

    #[test]
    fn name_servers_that_can_be_reached_are_the_hosts() {
        let host = "# comment\nsearch example.net\nnameserver 192.0.2.1\nnameserver 127.0.0.1\n";
        let expected = "search example.net\nnameserver 192.0.2.1\n";
        assert_eq!(of(&attached(), &[], host, "nameserver 9.9.9.9\n"), expected);
        assert_eq!(of(&Net::Join("/n".into()), &[], host, ""), expected);
        assert_eq!(of(&Net::Host, &[], host, ""), host);
    }

    #[test]
    fn behind_a_stub_the_real_ones_count() {
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n";
        let upstream = "nameserver 192.0.2.53\nnameserver fe80::1%eth0\nnameserver 2001:db8::1\n";
        let expected =
            "options edns0 trust-ad\nsearch .\nnameserver 192.0.2.53\nnameserver 2001:db8::1\n";
        assert_eq!(of(&attached(), &[], stub, upstream), expected);
        let none = "nameserver ::1\nnameserver 127.0.0.53\nnameserver ::ffff:127.0.0.1\n";
        assert!(of(&attached(), &[], none, none).starts_with("# the host names no name server"));
        assert!(of(&attached(), &[], "", "nameserver 1.1.1.1").starts_with("# the host names"));
    }

    #[test]
    fn those_asked_for_count_before_all() {
        let host = "search a.example\nnameserver 192.0.2.1\n";
        let expected = "search a.example\nnameserver 9.9.9.9\nnameserver 2001:db8::9\n";
        let slirp = Net::Userspace { helper: Helper::Slirp4netns, publish: Vec::new() };
        for net in [Net::None, Net::Host, attached(), slirp] {
            assert_eq!(of(&net, &["9.9.9.9", "2001:db8::9"], host, ""), expected, "{net:?}");
        }
    }

    #[test]
    fn helpers_have_name_servers_of_their_own() {
        let net = |helper| Net::Userspace { helper, publish: Vec::new() };
        assert_eq!(of(&net(Helper::Slirp4netns), &[], "", ""), "nameserver 10.0.2.3\n");
        assert_eq!(of(&net(Helper::Pasta), &[], "", ""), "nameserver 169.254.1.1\n");
        assert!(of(&Net::None, &[], "nameserver 192.0.2.1\n", "").starts_with('#'));
    }

    #[test]
    fn a_container_knows_its_own_name() {
        let addresses = ["10.0.0.2/24".parse().unwrap(), "fd00::2/64".parse().unwrap()];
        let text = hosts("web", &addresses);
        assert!(text.ends_with("ip6-loopback\n10.0.0.2\tweb\nfd00::2\tweb\n"), "{text}");
        assert!(hosts("web", &[]).ends_with("127.0.1.1\tweb\n"));
        assert_eq!(hostname("web"), "web\n");
    }
}

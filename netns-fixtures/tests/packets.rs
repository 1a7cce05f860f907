//! Wires carry packets, and servers tell whom they saw.

use netns_fixtures::{
    Lab, Node, isolate,
    probe::{self, SctpEcho, TcpEcho, UdpEcho},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
};

isolate!();

const LEFT: [&str; 2] = ["192.0.2.1/24", "2001:db8:2::1/64"];
const RIGHT: [&str; 2] = ["192.0.2.2/24", "2001:db8:2::2/64"];

fn pair(lab: &Lab) -> io::Result<(Node, Node)> {
    let (left, right) = (lab.host("left")?, lab.host("right")?);
    lab.wire(&left, "eth0", &LEFT, &right, "eth0", &RIGHT)?;
    Ok((left, right))
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

#[test]
fn pings_cross_in_both_families_and_directions() -> io::Result<()> {
    let lab = Lab::new();
    let (left, right) = pair(&lab)?;
    for destination in ["192.0.2.2", "2001:db8:2::2"] {
        probe::ping(&left, ip(destination))?;
    }
    for destination in ["192.0.2.1", "2001:db8:2::1"] {
        probe::ping(&right, ip(destination))?;
    }
    Ok(())
}

#[test]
fn a_ping_to_nobody_fails() -> io::Result<()> {
    let lab = Lab::new();
    let (left, _right) = pair(&lab)?;
    let error = probe::ping(&left, ip("203.0.113.1")).unwrap_err().to_string();
    assert!(error.contains("left: ping 203.0.113.1: Network is unreachable"), "{error}");
    assert!(probe::ping(&left, ip("192.0.2.77")).is_err());
    Ok(())
}

#[test]
fn tcp_servers_tell_whom_they_saw() -> io::Result<()> {
    let lab = Lab::new();
    let (left, right) = pair(&lab)?;
    for (any, destination, source) in [
        ("0.0.0.0:80", "192.0.2.2:80", "192.0.2.1"),
        ("[::]:80", "[2001:db8:2::2]:80", "2001:db8:2::1"),
    ] {
        let server = TcpEcho::start(&right, at(any))?;
        let answer = probe::tcp_ask(&left, at(destination))?;
        assert_eq!((answer.server.as_str(), answer.client_seen.ip()), ("right", ip(source)));
        drop(server);
        let refused = probe::tcp_ask(&left, at(destination)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    Ok(())
}

#[test]
fn udp_servers_tell_whom_they_saw() -> io::Result<()> {
    let lab = Lab::new();
    let (left, right) = pair(&lab)?;
    for (any, destination, source) in [
        ("0.0.0.0:53", "192.0.2.2:53", "192.0.2.1"),
        ("[::]:53", "[2001:db8:2::2]:53", "2001:db8:2::1"),
    ] {
        let server = UdpEcho::start(&right, at(any))?;
        let answer = probe::udp_ask(&left, at(destination))?;
        assert_eq!((answer.server.as_str(), answer.client_seen.ip()), ("right", ip(source)));
        drop(server);
        let refused = probe::udp_ask(&left, at(destination)).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
    Ok(())
}

#[test]
fn both_families_can_listen_at_one_port() -> io::Result<()> {
    let lab = Lab::new();
    let (left, right) = pair(&lab)?;
    let v4 = TcpEcho::start(&right, at("0.0.0.0:0"))?;
    let port = v4.address().port();
    let _v6 = TcpEcho::start(&right, at(&format!("[::]:{port}")))?;
    probe::tcp_ask(&left, at(&format!("192.0.2.2:{port}")))?;
    probe::tcp_ask(&left, at(&format!("[2001:db8:2::2]:{port}")))?;
    Ok(())
}

#[test]
fn sctp_works_or_says_that_the_kernel_lacks_it() -> io::Result<()> {
    let lab = Lab::new();
    let (left, right) = pair(&lab)?;
    match SctpEcho::start(&right, at("192.0.2.2:90")) {
        Ok(_server) => {
            let answer = probe::sctp_ask(&left, at("192.0.2.2:90"))?;
            assert_eq!(answer.client_seen.ip(), ip("192.0.2.1"));
        }
        Err(error) => assert_eq!(error.raw_os_error(), Some(nix::libc::EPROTONOSUPPORT)),
    }
    Ok(())
}

#[test]
fn the_outside_does_not_know_the_way_to_containers() -> io::Result<()> {
    let lab = Lab::new();
    let (outside, host, container) =
        (lab.host("outside")?, lab.host("host")?, lab.container("box")?);
    lab.internet(&outside, &host)?;
    lab.wire(&host, "veth0", &["10.0.0.1/24"], &container, "eth0", &["10.0.0.2/24"])?;
    container.ip(&["route", "add", "default", "via", "10.0.0.1"])?;
    host.set_sysctl("net/ipv4/ip_forward", "1")?;
    let _server = UdpEcho::start(&outside, at("198.51.100.1:53"))?;
    assert!(probe::udp_ask(&container, at("198.51.100.1:53")).is_err(), "an answer without NAT");
    host.nft("table inet t { chain c { type nat hook postrouting priority srcnat; oifname eth0 masquerade; }; }")?;
    let answer = probe::udp_ask(&container, at("198.51.100.1:53"))?;
    assert_eq!(answer.client_seen.ip(), ip("198.51.100.2"));
    Ok(())
}

#[test]
fn the_host_reaches_the_outside_in_both_families() -> io::Result<()> {
    let lab = Lab::new();
    let (outside, host) = (lab.host("outside")?, lab.host("host")?);
    lab.internet(&outside, &host)?;
    outside.ip(&["addr", "add", "203.0.113.5/32", "dev", "lo"])?;
    outside.ip(&["addr", "add", "2001:db8:5::5/128", "dev", "lo"])?;
    probe::ping(&host, ip("203.0.113.5"))?;
    probe::ping(&host, ip("2001:db8:5::5"))?;
    Ok(())
}

//! Made-up facts that the tests of text and of JSON share.

use std::time::Duration;

use netup::ident::AttachmentId;
use netup::{
    Attachment, Bandwidth, Change, Checked, Collected, Detached, Error, ErrorKind, Finding, Health,
    Isolation, Outcome, Reloaded, State, Status, Topology,
};

use crate::install::{Fate, Installation, Plugin};

pub fn installation() -> Installation {
    let plugins = [("netup", Fate::Installed), ("bridge", Fate::Replaced)];
    Installation {
        dir: "/opt/cni/bin".into(),
        plugins: plugins.map(|(name, result)| Plugin { name, result }).into(),
    }
}

pub fn id(container: &str) -> AttachmentId {
    AttachmentId { container: container.parse().unwrap(), ifname: "eth0".parse().unwrap() }
}

/// Everything that can be said of an attachment.
pub fn attachment() -> Attachment {
    Attachment {
        id: id("web"),
        target: "4711".parse().unwrap(),
        netns_cookie: 4096,
        topology: Topology::Routed,
        gateway_ifname: None,
        host_ifname: "nu4ecb0a26d6a2".parse().unwrap(),
        host_ifindex: 1073741829,
        host_mac: "02:00:00:00:00:01".parse().unwrap(),
        mac: "02:00:00:00:00:02".parse().unwrap(),
        mtu: Some(1500),
        addresses: vec!["10.0.0.2/24".parse().unwrap(), "fd00::2/64".parse().unwrap()],
        gateways: vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        default_route: true,
        routes: vec!["10.9.0.0/16,via=10.0.0.9,metric=5".parse().unwrap()],
        nat: true,
        publish: vec!["8080:80".parse().unwrap(), "127.0.0.1:53:53/udp".parse().unwrap()],
        sysctls: vec!["net.ipv4.tcp_syncookies=1".parse().unwrap()],
        bandwidth: Bandwidth {
            ingress: "8mbit:1mbit".parse().ok(),
            egress: "4mbit:1mbit".parse().ok(),
        },
        isolation: Isolation::Isolated,
    }
}

/// As little as there can be, on a VLAN of a bridge.
pub fn plain() -> Attachment {
    Attachment {
        id: id("db"),
        target: "/run/netns/blue".parse().unwrap(),
        topology: Topology::Bridge("br0".parse().unwrap()),
        gateway_ifname: "br0.10".parse().ok(),
        host_ifname: "nu0".parse().unwrap(),
        mtu: None,
        addresses: vec!["10.0.0.3/24".parse().unwrap()],
        gateways: vec!["10.0.0.1".parse().unwrap()],
        default_route: false,
        routes: vec![],
        nat: false,
        publish: vec![],
        sysctls: vec![],
        bandwidth: Bandwidth::default(),
        isolation: Isolation::Open,
        ..attachment()
    }
}

pub fn outcome() -> Outcome {
    let elapsed = Duration::from_micros(912);
    Outcome { result: Change::Created, attachment: attachment(), elapsed }
}

pub fn statuses() -> Vec<Status> {
    vec![
        Status { state: State::Up, attachment: attachment() },
        Status { state: State::Dead, attachment: plain() },
    ]
}

pub fn detached() -> Vec<Detached> {
    vec![Detached { id: id("web"), elapsed: Duration::from_micros(640) }]
}

pub fn checked() -> Vec<Checked> {
    let drift = vec!["ip link set nu0 up".to_owned(), "sysctl -w net.ipv4.ip_forward=1".to_owned()];
    vec![
        Checked { id: id("web"), drift: vec![], repaired: false },
        Checked { id: id("db"), drift, repaired: false },
    ]
}

pub fn collected() -> Collected {
    let error = Error::kernel("ip link del nu0", 1, None);
    Collected { removed: vec![id("web"), id("old")], failed: vec![(id("db"), error)] }
}

pub fn reloaded() -> Reloaded {
    Reloaded { attachments: 2, elements: 7 }
}

pub fn findings() -> Vec<Finding> {
    let finding = |subject: &str, health, found: &str, remedy: Option<&str>| Finding {
        subject: subject.to_owned(),
        health,
        found: found.to_owned(),
        remedy: remedy.map(str::to_owned),
    };
    vec![
        finding("forwarding", Health::Ok, "on for IPv4 and IPv6", None),
        finding(
            "docker",
            Health::Warning,
            "policy of FORWARD is drop",
            Some("iptables -P FORWARD ACCEPT"),
        ),
        finding("nft", Health::Failure, "not installed", Some("apt install nftables")),
    ]
}

pub fn error() -> Error {
    Error::new(ErrorKind::PortInUse, "port 8080/tcp is published by db@eth0 already")
        .hint("choose another port, or netup down db")
}

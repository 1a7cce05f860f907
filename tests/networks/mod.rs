//! What the CNI tests share: the two sets of plugins, the networks, and what may be left of them.

#![allow(dead_code, reason = "each test file needs its part of this")]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use netns_fixtures::cni::{REFERENCE, plugin_dir};
use netns_fixtures::probe::{TcpEcho, ping, tcp_ask};
use netns_fixtures::{Dump, Node};
use serde_json::{Value, json};

use crate::calling::{NETUP, World, holds_soon, state_folder, without_forwarding};

/// Whose plugins are under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Set {
    /// Debian's: they show that a test tests what it says, as far as they are without the fault.
    Reference,
    Ours,
}

impl Set {
    pub fn folder(self) -> &'static Path {
        static LINKS: OnceLock<PathBuf> = OnceLock::new();
        match self {
            Set::Reference => Path::new(REFERENCE),
            Set::Ours => LINKS.get_or_init(|| plugin_dir(Path::new(NETUP)).unwrap()),
        }
    }
}

/// The subnets of type `netup`'s networks, and the gateways that follow from them.
pub const SUBNET4: &str = "10.89.0.0/24";
pub const SUBNET6: &str = "fd00:89::/64";

/// One entry of type `netup`.
pub fn fast(topology: &str) -> Value {
    let mut plugin = json!({
        "type": "netup", "topology": topology, "subnets": [SUBNET4, SUBNET6], "masquerade": true,
        "capabilities": { "portMappings": true, "ips": true, "mac": true, "bandwidth": true },
    });
    if topology == "bridge" {
        plugin["bridge"] = json!("nucni0");
    }
    json!({ "cniVersion": "1.0.0", "name": "fast", "plugins": [plugin] })
}

/// What runtimes install: bridge with host-local, portmap, firewall, tuning.
pub fn standard(leases: &Path) -> Value {
    json!({ "cniVersion": "1.0.0", "name": "standard", "plugins": [
        bridge(leases), portmap(),
        { "type": "firewall" },
        { "type": "tuning", "sysctl": { "net.core.somaxconn": "500" } },
    ] })
}

pub fn bridge(leases: &Path) -> Value {
    json!({ "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true,
        "ipam": { "type": "host-local", "dataDir": leases, "ranges": [[{ "subnet": "10.88.0.0/24" }]],
            "routes": [{ "dst": "0.0.0.0/0" }] } })
}

pub fn portmap() -> Value {
    json!({ "type": "portmap", "capabilities": { "portMappings": true } })
}

/// The first address of a family that an interface has, link-local ones apart.
pub fn address(node: &Node, ifname: &str, is_v4: bool) -> Option<IpAddr> {
    let json = node.ip(&["-j", "addr", "show", "dev", ifname, "scope", "global"]).unwrap();
    let links: Value = serde_json::from_str(&json).unwrap();
    let infos = links.as_array().unwrap().iter().flat_map(|link| link["addr_info"].as_array());
    let texts = infos.flatten().filter_map(|info| info["local"].as_str());
    texts.map(|text| text.parse::<IpAddr>().unwrap()).find(|address| address.is_ipv4() == is_v4)
}

pub fn v4(node: &Node) -> IpAddr {
    address(node, "eth0", true).unwrap_or_else(|| panic!("{} has no IPv4 address", node.name()))
}

pub fn v6(node: &Node) -> Option<IpAddr> {
    address(node, "eth0", false)
}

pub fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// Two containers on one network of a host.
pub struct Pair<'a> {
    pub world: &'a World,
    pub web: &'a Node,
    pub other: &'a Node,
}

impl Pair<'_> {
    /// To the host, to the outside with the host's address, and to each other without.
    pub fn reach(&self) {
        let host = "198.51.100.2".parse().unwrap();
        let outside = TcpEcho::start(&self.world.outside, at("198.51.100.1:7000")).unwrap();
        for container in [self.web, self.other] {
            ping(container, host).unwrap();
            let answer = tcp_ask(container, outside.address()).unwrap();
            assert_eq!(answer.client_seen.ip(), host, "what leaves is masqueraded");
        }
        let web = TcpEcho::start(self.web, at("0.0.0.0:80")).unwrap();
        let answer = tcp_ask(self.other, (v4(self.web), 80).into()).unwrap();
        assert_eq!(
            (answer.server.as_str(), answer.client_seen.ip()),
            (self.web.name(), v4(self.other))
        );
        drop(web);
        self.reach_by_ipv6();
    }

    fn reach_by_ipv6(&self) {
        let (Some(web), Some(_)) = (v6(self.web), v6(self.other)) else { return };
        ping(self.other, web).unwrap();
        let outside = TcpEcho::start(&self.world.outside, at("[2001:db8:1::1]:7000")).unwrap();
        let answer = tcp_ask(self.web, outside.address()).unwrap();
        assert_eq!(answer.client_seen.ip().to_string(), "2001:db8:1::2");
    }

    /// Port 8080 of the host is port 80 of the first.
    pub fn published(&self) {
        let server = TcpEcho::start(self.web, at("0.0.0.0:80")).unwrap();
        let answer = tcp_ask(&self.world.outside, at("198.51.100.2:8080")).unwrap();
        assert_eq!(answer.server, self.web.name());
        assert_eq!(answer.client_seen.ip().to_string(), "198.51.100.1", "the client's own address");
        for from in [&self.world.host, self.other, self.web] {
            let answer = tcp_ask(from, at("198.51.100.2:8080")).unwrap();
            assert_eq!(answer.server, self.web.name(), "from {}", from.name());
        }
        tcp_ask(&self.world.host, at("127.0.0.1:8080")).unwrap();
        drop(server);
    }
}

/// What tells of these containers.
pub fn words(nodes: &[&Node], more: &[&str]) -> Vec<String> {
    let addresses = nodes.iter().flat_map(|node| [Some(v4(node)), v6(node)]).flatten();
    let addresses = addresses.map(|address| address.to_string());
    // Not a longer one that begins like it.
    let ends = |address: String| [" ", "/", ":", ",", "\""].map(|end| format!("{address}{end}"));
    addresses.flat_map(ends).chain(more.iter().map(|&word| word.to_owned())).collect()
}

pub fn texts(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

/// The state of the host that must be the same before and after, and what the rules say of one
/// container: nothing.
#[derive(Debug)]
pub struct Before {
    host: Node,
    dump: Dump,
}

impl Before {
    pub fn of(world: &World) -> Self {
        Self { host: world.host.clone(), dump: dump(&world.host) }
    }

    /// Waits until the host is as before, but for the bridges named, which the reference plugins never
    /// remove either; until no rule tells of these words; and until no folder has a file.
    #[track_caller]
    pub fn returns(&self, bridges: &[&str], words: &[&str], folders: &[PathBuf]) {
        let holds = holds_soon_enough(|| self.difference(bridges, words, folders).is_empty());
        assert!(holds, "left behind:\n{}", self.difference(bridges, words, folders));
    }

    pub fn difference(&self, bridges: &[&str], words: &[&str], folders: &[PathBuf]) -> String {
        let without = |dump: Dump| bridges.iter().fold(dump, |dump, bridge| dump.without(bridge));
        let mut difference = without(self.dump.clone()).changes(&without(dump(&self.host)));
        let rules = self.host.nft_list().unwrap();
        for line in rules.lines().filter(|line| words.iter().any(|word| line.contains(word))) {
            difference += &format!("rule: {line}\n");
        }
        for element in elements(&rules).filter(|_| !words.is_empty()) {
            if !bridges.iter().any(|bridge| element.contains(bridge)) {
                difference += &format!("element: {element}\n");
            }
        }
        for folder in folders.iter().cloned().chain(records(&self.host)) {
            files(&folder)
                .iter()
                .for_each(|file| difference += &format!("file: {}\n", file.display()));
        }
        difference
    }
}

/// What the sets and maps hold.
fn elements(rules: &str) -> impl Iterator<Item = &str> {
    let held = rules.split("elements = {").skip(1).filter_map(|rest| rest.split('}').next());
    held.flat_map(|held| held.split(',')).map(str::trim)
}

fn holds_soon_enough(mut holds: impl FnMut() -> bool) -> bool {
    let started = std::time::Instant::now();
    holds_soon(|| holds() || started.elapsed().as_secs() >= 5) && holds()
}

/// Forwarding may stay on, and the rules are looked at by their words.
fn dump(host: &Node) -> Dump {
    without_forwarding(Dump::of(host).unwrap()).without_section("nft")
}

/// Where netup remembers what exists.
fn records(host: &Node) -> Vec<PathBuf> {
    let kinds = ["attachments", "extensions", "claims", "bridges", "unfinished"];
    kinds.iter().map(|kind| state_folder(host).join(kind)).collect()
}

/// The files below a folder, but for what host-local keeps for good.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap()) {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&path));
        } else if name != "lock" && !name.starts_with("last_reserved_ip.") {
            found.push(path);
        }
    }
    found.sort_unstable();
    found
}

/// The addresses that host-local has given out in a folder.
pub fn leases(folder: &Path) -> Vec<IpAddr> {
    let name = |path: PathBuf| path.file_name()?.to_str()?.parse().ok();
    files(folder).into_iter().filter_map(name).collect()
}

/// Whether this is real root, and not root of a user namespace that the laboratory made.
pub fn is_real_root() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap();
    map.split_whitespace().collect::<Vec<_>>() == ["0", "0", "4294967295"]
}

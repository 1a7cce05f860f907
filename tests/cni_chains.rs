//! Chains of plugins, executed as libcni does it: ours mixed with the reference ones, many at once,
//! calls that fail or are killed, and results compared with the reference key by key.

mod calling;
mod networks;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use calling::{World, done, tell};
use netns_fixtures::cni::{Attachment, Chain, Refused};
use netns_fixtures::probe::ping;
use netns_fixtures::{Container, Dump, Node, assert_same, isolate, program};
use networks::{
    Before, Pair, Set, address, bridge, fast, files, leases, portmap, standard, texts, v4, words,
};
use serde_json::{Value, json};
use tempfile::TempDir;

isolate!();

/// A host, a network on it, and a folder for its leases.
struct Stage {
    world: World,
    before: Before,
    folder: TempDir,
    chain: Chain,
    /// The reference plugins, and ours in their place, never remove these.
    bridges: &'static [&'static str],
}

/// The networks that a test is about.
type Network = fn(&Path) -> Value;

const STANDARD: Network = standard;
const ROUTED: Network = |_| fast("routed");
const BRIDGED: Network = |_| fast("bridge");

impl Stage {
    fn new(set: Set, network: Network) -> Self {
        let (world, folder) = (World::new(), TempDir::new().unwrap());
        let before = Before::of(&world);
        let conf = network(folder.path());
        let chain = Chain::new(&world.host, conf, set.folder());
        Self { world, before, folder, chain, bridges: &["cni0", "cni1"] }
    }

    /// With another part of the configuration.
    fn set(&mut self, pointer: &str, value: Value) {
        self.chain = self.chain.clone().edited(pointer, value);
    }

    /// Another network on the same host.
    fn second(&self) -> Chain {
        let conf = self.chain.clone().edited("/name", json!("b"));
        if self.chain.folder("netup").is_some() {
            let has_bridge = conf.document(0, &Value::Null).get("bridge").is_some();
            let conf =
                if has_bridge { conf.edited("/plugins/0/bridge", json!("nucni1")) } else { conf };
            return conf.edited("/plugins/0/subnets", json!(["10.99.0.0/24", "fd00:99::/64"]));
        }
        let conf = conf.edited("/plugins/0/bridge", json!("cni1"));
        conf.edited("/plugins/0/ipam/ranges/0/0", json!({ "subnet": "10.98.0.0/24" }))
    }

    fn publishing(mut self) -> Self {
        self.chain = self.chain.offering("portMappings", ports(8080));
        self
    }

    fn pair(&self) -> (Container, Container) {
        (self.world.container("web"), self.world.container("other"))
    }

    #[track_caller]
    fn add(&self, at: &Attachment) -> Value {
        self.chain.add(at).unwrap_or_else(|refused| panic!("ADD {at:?}: {refused}"))
    }

    #[track_caller]
    fn del(&self, at: &Attachment, previous: Option<&Value>) {
        self.chain.del(at, previous).unwrap_or_else(|refused| panic!("DEL {at:?}: {refused}"));
    }

    #[track_caller]
    fn is_clean(&self, words: &[String]) {
        let folders = [self.folder.path().to_owned(), PathBuf::from("/run/cni")];
        self.before.returns(self.bridges, &texts(words), &folders);
    }
}

fn ports(host: u16) -> Value {
    json!([{ "hostPort": host, "containerPort": 80, "protocol": "tcp" }])
}

/// With bandwidth behind the four.
fn five(leases: &Path) -> Value {
    let mut network = standard(leases);
    network["plugins"].as_array_mut().unwrap().push(bandwidth());
    network
}

fn bandwidth() -> Value {
    let (rate, burst) = (1_000_000_000_u64, 100_000_000_u64);
    json!({ "type": "bandwidth", "ingressRate": rate, "ingressBurst": burst,
        "egressRate": rate, "egressBurst": burst })
}

/// Two containers come, all traffic crosses, CHECK is content, both go, and nothing is left.
fn life(stage: &Stage, del: &Chain) {
    let (web, other) = stage.pair();
    let plain = stage.chain.clone().offering("portMappings", json!([]));
    let (web_at, other_at) = (Attachment::of("web", &web), Attachment::of("other", &other));
    let web_result = stage.add(&web_at);
    let other_result = plain.add(&other_at).unwrap_or_else(|refused| panic!("{refused}"));
    let pair = Pair { world: &stage.world, web: &web, other: &other };
    pair.reach();
    pair.published();
    // Version 1.1.1 of the reference looks for IPv6 rules that it has not made.
    if stage.chain.folder("portmap") != Some(Set::Reference.folder()) {
        stage.chain.check(&web_at, &web_result).unwrap_or_else(|refused| panic!("{refused}"));
    }
    let words = words(&[&web, &other], &["8080", "veth"]);
    for (at, result) in [(&web_at, &web_result), (&other_at, &other_result)] {
        del.del(at, Some(result)).unwrap_or_else(|refused| panic!("{refused}"));
    }
    let links = web.ip(&["-o", "link"]).unwrap();
    assert!(!links.contains("eth0"), "{links}");
    assert_eq!(
        leases(stage.folder.path()),
        [""; 0].map(|text: &str| text.parse::<IpAddr>().unwrap())
    );
    stage.is_clean(&words);
}

#[test]
fn the_reference_chain_lives_and_goes() {
    let stage = Stage::new(Set::Reference, five).publishing();
    life(&stage, &stage.chain);
}

#[test]
fn our_chain_lives_and_goes() {
    let stage = Stage::new(Set::Ours, five).publishing();
    life(&stage, &stage.chain);
}

#[test]
fn type_netup_routed_lives_and_goes() {
    let stage = Stage::new(Set::Ours, ROUTED).publishing();
    life(&stage, &stage.chain);
}

#[test]
fn type_netup_bridge_lives_and_goes() {
    let stage = Stage::new(Set::Ours, BRIDGED).publishing();
    life(&stage, &stage.chain);
}

/// `r` is a reference plugin, `o` one of ours.
fn mixed(sets: &str) {
    let mut stage = Stage::new(Set::Ours, five).publishing();
    let folder = |set| if set == 'r' { Set::Reference.folder() } else { Set::Ours.folder() };
    stage.chain = stage.chain.from(sets.chars().map(folder));
    life(&stage, &stage.chain);
}

#[test]
fn their_bridge_and_our_chained_plugins() {
    mixed("roooo");
}

#[test]
fn our_bridge_and_their_chained_plugins() {
    mixed("orrrr");
}

#[test]
fn theirs_and_ours_in_turn() {
    mixed("roror");
    mixed("ororo");
}

#[test]
fn our_bridge_with_their_host_local_and_theirs_with_ours() {
    for (bridge, ipam) in [(Set::Ours, Set::Reference), (Set::Reference, Set::Ours)] {
        let mut stage = Stage::new(bridge, five).publishing();
        stage.chain = stage.chain.searching(ipam.folder());
        life(&stage, &stage.chain);
    }
}

#[test]
fn what_the_reference_added_we_delete() {
    let stage = Stage::new(Set::Reference, five).publishing();
    life(&stage, &stage.chain.all_from(Set::Ours.folder()));
}

/// The reference bridge complains when there is no chain of its own for what was masqueraded, but not
/// before the container is disconnected and the lease is free. The rest is ours to take away.
#[test]
fn what_we_added_the_reference_deletes_as_far_as_it_knows() {
    let stage = Stage::new(Set::Ours, five).publishing();
    let web = stage.world.container("web");
    let at = Attachment::of("web", &web);
    let result = stage.add(&at);
    let words = words(&[&web], &["8080", "veth"]);
    for index in (0..stage.chain.len()).rev() {
        let theirs = stage.chain.all_from(Set::Reference.folder());
        let (command, input) = theirs.prepared(index, "DEL", &at, &result);
        program::run(command, &input, Duration::from_secs(60)).unwrap();
    }
    assert!(web.ip(&["link", "show", "eth0"]).is_err());
    assert_eq!(leases(stage.folder.path()).len(), 0);
    done(&stage.world.host, &["gc"]);
    stage.is_clean(&words);
    stage.del(&at, Some(&result));
    stage.is_clean(&words);
}

/// Each plugin by itself, behind a bridge where it has to be chained.
#[test]
fn each_plugin_added_by_one_is_deleted_by_the_other() {
    let chained = [
        json!([portmap()]),
        json!([{ "type": "firewall", "backend": "iptables" }]),
        json!([{ "type": "tuning", "mac": "02:00:00:00:00:07", "mtu": 1400, "promisc": true }]),
        json!([bandwidth()]),
        json!([]),
    ];
    for (add, del) in [(Set::Reference, Set::Ours), (Set::Ours, Set::Reference)] {
        // Debian's version fails at the DEL of masquerade that it does not know.
        let masquerade = del == Set::Ours;
        for behind in &chained {
            let mut stage = Stage::new(add, STANDARD).publishing();
            let mut plugins = vec![bridge(stage.folder.path())];
            plugins[0]["ipMasq"] = json!(masquerade);
            plugins.extend(behind.as_array().unwrap().iter().cloned());
            let conf = json!({ "cniVersion": "1.0.0", "name": "one", "plugins": plugins });
            stage.chain = Chain::new(&stage.world.host, conf, add.folder())
                .offering("portMappings", ports(8080));
            handed_over(&stage, del);
        }
        for (kind, ipam) in [("ptp", "host-local"), ("ptp", "static"), ("loopback", "")] {
            let mut stage = Stage::new(add, STANDARD);
            let ipam = match ipam {
                "static" => {
                    json!({ "type": "static", "addresses": [{ "address": "10.88.0.9/24", "gateway": "10.88.0.1" }] })
                }
                _ => {
                    json!({ "type": "host-local", "subnet": "10.88.0.0/24", "dataDir": stage.folder.path() })
                }
            };
            let conf = json!({ "cniVersion": "1.0.0", "name": "one",
                "plugins": [{ "type": kind, "ipMasq": masquerade, "ipam": ipam }] });
            stage.chain = Chain::new(&stage.world.host, conf, add.folder());
            handed_over(&stage, del);
        }
    }
}

fn handed_over(stage: &Stage, del: Set) {
    let web = stage.world.container_with_loopback("web");
    let inside = Dump::of(&web).unwrap();
    let at = Attachment::of("web", &web);
    let result = stage.add(&at);
    let words = if result["ips"][0]["address"] == "127.0.0.1/8" {
        Vec::new()
    } else {
        words(&[&web], &["veth"])
    };
    let chain = stage.chain.all_from(del.folder());
    chain.del(&at, Some(&result)).unwrap_or_else(|refused| panic!("DEL by {del:?}: {refused}"));
    assert_eq!(leases(stage.folder.path()).len(), 0);
    if del == Set::Reference {
        done(&stage.world.host, &["gc"]);
    }
    web.ip(&["link", "set", "lo", "up"]).unwrap();
    assert_same(&inside, &Dump::of(&web).unwrap());
    stage.is_clean(&words);
}

#[test]
fn leases_in_one_folder_are_shared() {
    let mut stage = Stage::new(
        Set::Reference,
        |folder| json!({ "cniVersion": "1.0.0", "name": "shared", "plugins": [bridge(folder)] }),
    );
    // Twelve addresses and the gateway.
    // With masquerade the DEL of what ours added would fail.
    stage.set("/plugins/0/ipMasq", json!(false));
    stage.set(
        "/plugins/0/ipam/ranges/0/0",
        json!({ "subnet": "10.88.0.0/28", "rangeEnd": "10.88.0.13" }),
    );
    let chains = [stage.chain.clone(), stage.chain.all_from(Set::Ours.folder())];
    let containers: Vec<_> = (0..13).map(|n| stage.world.container(&format!("c{n}"))).collect();
    let at = |n: usize| Attachment::of(&format!("c{n}"), &containers[n]);
    for n in 0..12 {
        chains[n % 2].add(&at(n)).unwrap_or_else(|refused| panic!("{n}: {refused}"));
    }
    let addresses: BTreeSet<IpAddr> = containers[..12].iter().map(|c| v4(c)).collect();
    assert_eq!(addresses.len(), 12);
    assert_eq!(leases(stage.folder.path()).into_iter().collect::<BTreeSet<_>>(), addresses);
    for chain in &chains {
        let refused = chain.add(&at(12)).unwrap_err();
        assert!(refused.error["msg"].is_string(), "{refused}");
        chain.del(&at(12), None).unwrap();
    }
    // Each gives back what the other took, and finds what the other gave back.
    for n in 0..12 {
        chains[(n + 1) % 2].del(&at(n), None).unwrap();
        assert_eq!(leases(stage.folder.path()).len(), 11);
        chains[n % 2].add(&at(12)).unwrap_or_else(|refused| panic!("{n}: {refused}"));
        chains[(n + 1) % 2].del(&at(12), None).unwrap();
        chains[n % 2].add(&at(n)).unwrap_or_else(|refused| panic!("{n}: {refused}"));
    }
}

/// Does one thing for each at the same time, and tells what came of it in order.
fn at_once<T: Send>(count: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let work = &work;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|n| scope.spawn(move || work(n))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn a_hundred_at_once(network: Network) {
    const COUNT: usize = 100;
    let stage = Stage::new(Set::Ours, network);
    let containers: Vec<_> = (0..COUNT).map(|n| stage.world.container(&format!("c{n}"))).collect();
    let attachments: Vec<_> =
        containers.iter().enumerate().map(|(n, c)| Attachment::of(&format!("c{n}"), c)).collect();
    let started = std::time::Instant::now();
    let publish = |n: usize| stage.chain.clone().offering("portMappings", ports(10000 + n as u16));
    let results = at_once(COUNT, |n| publish(n).add(&attachments[n]));
    tell(&format!("chains: {COUNT} ADDs at once in {:?}", started.elapsed()));
    let results: Vec<Value> = results
        .into_iter()
        .map(|result| result.unwrap_or_else(|refused| panic!("{refused}")))
        .collect();
    let addresses: BTreeSet<IpAddr> = containers.iter().map(|container| v4(container)).collect();
    assert_eq!(addresses.len(), COUNT);
    for (n, container) in containers.iter().enumerate() {
        ping(&stage.world.host, v4(container)).unwrap();
        ping(container, "198.51.100.1".parse().unwrap()).unwrap();
        ping(container, v4(&containers[(n + 7) % COUNT])).unwrap();
        let web =
            netns_fixtures::probe::TcpEcho::start(container, networks::at("0.0.0.0:80")).unwrap();
        let port = networks::at(&format!("198.51.100.2:{}", 10000 + n));
        let answer = netns_fixtures::probe::tcp_ask(&stage.world.outside, port).unwrap();
        assert_eq!(answer.server, container.name());
        drop(web);
    }
    let nodes: Vec<&Node> = containers.iter().map(|container| &**container).collect();
    let words = words(&nodes, &["veth"]);
    let started = std::time::Instant::now();
    let ends = at_once(COUNT, |n| publish(n).del(&attachments[n], Some(&results[n])));
    tell(&format!("chains: {COUNT} DELs at once in {:?}", started.elapsed()));
    ends.into_iter().for_each(|end| end.unwrap_or_else(|refused| panic!("{refused}")));
    stage.is_clean(&words);
}

#[test]
fn a_hundred_at_once_on_our_standard_chain() {
    a_hundred_at_once(STANDARD);
}

#[test]
fn a_hundred_at_once_of_type_netup_routed() {
    a_hundred_at_once(ROUTED);
}

#[test]
fn a_hundred_at_once_of_type_netup_bridge() {
    a_hundred_at_once(BRIDGED);
}

/// A DEL in which something is missing.
#[derive(Debug, Clone, Copy)]
enum Lacking {
    Container,
    NetnsName,
    Netns,
    PreviousResult,
    PlainFile,
    Everything,
}

fn del_without(network: Network, lacking: Lacking) {
    let stage = Stage::new(Set::Ours, network).publishing();
    let web = stage.world.container("web");
    let at = Attachment::of("web", &web);
    let result = stage.add(&at);
    let words = words(&[&web], &["veth", "8080"]);
    let file = tempfile::NamedTempFile::new().unwrap();
    let (at, previous) = match lacking {
        Lacking::Container => {
            web.kill().unwrap();
            (at, Some(&result))
        }
        Lacking::Netns => (at.at("/run/netns/nowhere"), Some(&result)),
        Lacking::NetnsName => (at.at(""), Some(&result)),
        Lacking::PlainFile => (at.at(file.path()), Some(&result)),
        Lacking::PreviousResult => (at, None),
        Lacking::Everything => (at.at(""), None),
    };
    for _ in 0..2 {
        stage.del(&at, previous);
        stage.is_clean(&words);
    }
}

fn del_succeeds_whatever_is_missing_and_a_second_time(name: &str, network: Network) {
    use Lacking::{Container, Everything, Netns, NetnsName, PlainFile, PreviousResult};
    for lacking in [Container, NetnsName, Netns, PreviousResult, PlainFile, Everything] {
        tell(&format!("chains: DEL on {name} without {lacking:?}"));
        del_without(network, lacking);
    }
}

fn del_before_any_add_succeeds_and_makes_nothing(_: &str, network: Network) {
    let stage = Stage::new(Set::Ours, network).publishing();
    let web = stage.world.container_with_loopback("web");
    let inside = Dump::of(&web).unwrap();
    stage.del(&Attachment::of("web", &web), None);
    stage.del(&Attachment::of("web", &web).at(""), None);
    assert_same(&inside, &Dump::of(&web).unwrap());
    assert!(stage.world.host.ip(&["link", "show", "cni0"]).is_err());
    assert_eq!(stage.before.difference(&[], &["netup"], &[]), "");
    stage.is_clean(&[]);
}

fn del_on_one_network_leaves_the_same_container_on_another(_: &str, network: Network) {
    let stage = Stage::new(Set::Ours, network).publishing();
    let b = stage.second();
    let (web, other) = stage.pair();
    let (at, result) = (Attachment::of("web", &web), stage.add(&Attachment::of("web", &web)));
    let plain = stage.chain.clone().offering("portMappings", json!([]));
    plain.add(&Attachment::of("other", &other)).unwrap_or_else(|refused| panic!("{refused}"));
    for (at, previous) in [(at.clone(), None), (at.at(""), None), (at.at(""), Some(&result))] {
        b.del(&at, previous).unwrap_or_else(|refused| panic!("{refused}"));
        let pair = Pair { world: &stage.world, web: &web, other: &other };
        pair.reach();
        pair.published();
        stage
            .chain
            .check(&at.at(web.path()), &result)
            .unwrap_or_else(|refused| panic!("{refused}"));
    }
    let words = words(&[&web, &other], &["veth", "8080"]);
    stage.del(&at, Some(&result));
    stage.del(&Attachment::of("other", &other), None);
    stage.is_clean(&words);
}

/// One container has the port; a second one asks for it.
fn an_add_for_a_port_that_is_taken_leaves_nothing(name: &str, network: Network) {
    let stage = Stage::new(Set::Ours, network).publishing();
    let (web, other) = (stage.world.container("web"), stage.world.container_with_loopback("other"));
    let at = Attachment::of("web", &web);
    let result = stage.add(&at);
    let words = words(&[&web], &["veth", "8080"]);
    let (inside, host) = (Dump::of(&other).unwrap(), Dump::of(&stage.world.host).unwrap());
    let late = Attachment::of("other", &other);
    let refused = stage.chain.add(&late).unwrap_err();
    assert_eq!(refused.code(), Some(104), "{name}: {refused}");
    assert!(refused.error["msg"].as_str().unwrap().contains("8080"), "{refused}");
    // In a chain the plugins before the one that failed have made something: the runtime's DEL
    // takes it away. A plugin by itself has to leave nothing.
    if stage.chain.len() > 1 {
        stage.del(&late, None);
    }
    assert_same(&inside, &Dump::of(&other).unwrap());
    assert_same(&host, &Dump::of(&stage.world.host).unwrap());
    stage.del(&at, Some(&result));
    stage.is_clean(&words);
}

/// A single plugin that fails must leave nothing by itself, before any DEL.
fn fails_and_leaves_nothing(stage: &Stage, why: &str) -> Refused {
    let web = stage.world.container_with_loopback("web");
    fails_and_leaves_nothing_in(stage, &web, why)
}

fn fails_and_leaves_nothing_in(stage: &Stage, web: &Container, why: &str) -> Refused {
    let (inside, host) = (Dump::of(web).unwrap(), networks_dump(&stage.world.host));
    let held = files(stage.folder.path());
    let refused =
        stage.chain.add(&Attachment::of("late", web)).map(|result| format!("{why}: {result}"));
    let refused = refused.unwrap_err();
    assert!(refused.error["code"].is_u64() && refused.error["msg"].is_string(), "{why}: {refused}");
    assert_same(&inside, &Dump::of(web).unwrap());
    assert_same(&host, &networks_dump(&stage.world.host));
    assert_eq!(files(stage.folder.path()), held, "{why}");
    refused
}

fn networks_dump(host: &Node) -> Dump {
    calling::without_forwarding(Dump::of(host).unwrap()).without("cni0")
}

/// Single plugins that give out addresses, with so few of them that one is all.
fn small(kind: &str, folder: &Path) -> Value {
    let ipam = json!({ "type": "host-local", "subnet": "10.88.0.0/30", "dataDir": folder });
    let plugin = match kind {
        "netup" => json!({ "type": "netup", "topology": "routed", "subnets": ["10.88.0.0/30"] }),
        "netup bridge" => {
            json!({ "type": "netup", "topology": "bridge", "bridge": "nucni0", "subnets": ["10.88.0.0/30"] })
        }
        _ => json!({ "type": kind, "isGateway": true, "ipMasq": true, "ipam": ipam }),
    };
    json!({ "cniVersion": "1.1.0", "name": "small", "plugins": [plugin] })
}

fn small_stage(kind: &str) -> Stage {
    let mut stage = Stage::new(Set::Ours, STANDARD);
    let conf = small(kind, stage.folder.path());
    stage.chain = Chain::new(&stage.world.host, conf, Set::Ours.folder());
    stage
}

fn an_add_with_no_address_left_leaves_nothing_and_status_tells_before(kind: &str) {
    let stage = small_stage(kind);
    stage.chain.status().unwrap_or_else(|refused| panic!("{kind}: {refused}"));
    let web = stage.world.container("web");
    let at = Attachment::of("web", &web);
    stage.add(&at);
    let words = words(&[&web], &["veth"]);
    let refused = stage.chain.status().expect_err(kind);
    assert!([50, 51].contains(&refused.code().unwrap()), "{kind}: {refused}");
    fails_and_leaves_nothing(&stage, kind);
    stage.del(&at, None);
    stage.chain.status().unwrap_or_else(|refused| panic!("{kind}: {refused}"));
    stage.is_clean(&words);
}

fn an_add_for_an_interface_that_exists_leaves_nothing(kind: &str) {
    let stage = small_stage(kind);
    let web = stage.world.container_with_loopback("web");
    web.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "own"]).unwrap();
    let refused = fails_and_leaves_nothing_in(&stage, &web, kind);
    assert!(refused.error["msg"].as_str().unwrap().contains("eth0"), "{refused}");
    stage.is_clean(&[]);
    // Not even a DEL takes what the plugin has not made.
    web.ip(&["link", "show", "eth0"]).unwrap();
}

fn an_add_for_an_address_that_is_taken_leaves_nothing(name: &str, network: Network) {
    let mut stage = Stage::new(Set::Ours, network);
    let web = stage.world.container("web");
    let at = Attachment::of("web", &web);
    stage.add(&at);
    let taken = v4(&web).to_string();
    stage.set("/plugins/0/capabilities", json!({ "ips": true }));
    let length = if name == "standard" { "" } else { "/24" };
    stage.chain = stage.chain.clone().offering("ips", json!([format!("{taken}{length}")]));
    fails_and_leaves_nothing(&stage, name);
    stage.del(&at, None);
    stage.is_clean(&[format!("{taken} ")]);
}

/// GC is of 1.1.0, which Debian's plugins do not speak.
fn gc_keeps_what_is_valid_and_other_networks(name: &str, network: Network) {
    let mut stage = Stage::new(Set::Ours, network);
    stage.set("/cniVersion", json!("1.1.0"));
    let b = stage.second();
    let containers: Vec<_> = (0..5).map(|n| stage.world.container(&format!("c{n}"))).collect();
    let at: Vec<_> = (0..5).map(|n| Attachment::of(&format!("c{n}"), &containers[n])).collect();
    let publish = |n: usize| stage.chain.clone().offering("portMappings", ports(10000 + n as u16));
    for (n, at) in at[..4].iter().enumerate() {
        publish(n).add(at).unwrap_or_else(|refused| panic!("{name}: {refused}"));
    }
    b.add(&at[4]).unwrap_or_else(|refused| panic!("{name}: {refused}"));
    // Two have lost their netns, one has not and is not valid all the same.
    containers[2].kill().unwrap();
    let gone = v4(&containers[1]);
    stage
        .chain
        .gc(&[at[0].clone(), at[3].clone()])
        .unwrap_or_else(|refused| panic!("{name}: {refused}"));
    for n in [0, 3] {
        let port = networks::at(&format!("198.51.100.2:{}", 10000 + n));
        let web = netns_fixtures::probe::TcpEcho::start(&containers[n], networks::at("0.0.0.0:80"))
            .unwrap();
        netns_fixtures::probe::tcp_ask(&stage.world.outside, port).unwrap();
        drop(web);
    }
    for n in [0, 3, 4] {
        ping(&containers[n], "198.51.100.1".parse().unwrap()).unwrap();
    }
    let rules = stage.world.host.nft_list().unwrap();
    assert!(!rules.contains("10001") && !rules.contains("10002"), "{name}: {rules}");
    assert!(containers[1].ip(&["link", "show", "eth0"]).is_err(), "{name}");
    let held = leases(stage.folder.path());
    assert!(held.is_empty() || (held.len() == 3 && !held.contains(&gone)), "{name}: {held:?}");
    stage.chain.gc(&[]).unwrap_or_else(|refused| panic!("{name}: {refused}"));
    ping(&containers[4], "198.51.100.1".parse().unwrap()).unwrap();
    b.gc(&[]).unwrap_or_else(|refused| panic!("{name}: {refused}"));
    stage.is_clean(&["10000", "10003", "veth"].map(str::to_owned));
}

/// What somebody does to an attachment, and CHECK has to find.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Address,
    DefaultRoute,
    Link,
    Down,
    PublishedPort,
}

impl Harm {
    fn do_to(self, host: &Node, web: &Node) {
        let address = format!("{}/24", v4(web));
        let words: &[&str] = match self {
            Harm::Address => &["addr", "del", &address, "dev", "eth0"],
            Harm::DefaultRoute => &["route", "del", "default"],
            Harm::Link => &["link", "del", "eth0"],
            Harm::Down => &["link", "set", "eth0", "down"],
            Harm::PublishedPort => {
                let script = "flush map inet netup publish4\nflush map inet netup publish4_at";
                return host.nft(script).unwrap();
            }
        };
        web.ip(words).unwrap();
    }
}

fn check_finds_what_is_not_there_any_more(name: &str, network: Network) {
    use Harm::{Address, DefaultRoute, Down, Link, PublishedPort};
    for harm in [Address, DefaultRoute, Link, Down, PublishedPort] {
        let stage = Stage::new(Set::Ours, network).publishing();
        let web = stage.world.container("web");
        let at = Attachment::of("web", &web);
        let result = stage.add(&at);
        let words = words(&[&web], &["veth", "8080"]);
        stage.chain.check(&at, &result).unwrap_or_else(|refused| panic!("{name}: {refused}"));
        harm.do_to(&stage.world.host, &web);
        let found = stage.chain.check(&at, &result);
        assert!(found.is_err(), "{name}: CHECK does not see {harm:?}");
        assert!(found.unwrap_err().code().is_some());
        stage.del(&at, Some(&result));
        stage.is_clean(&words);
    }
}

#[test]
fn check_finds_that_the_bridge_is_gone() {
    for (network, bridge) in [(STANDARD, "cni0"), (BRIDGED, "nucni0")] {
        let stage = Stage::new(Set::Ours, network).publishing();
        let web = stage.world.container("web");
        let at = Attachment::of("web", &web);
        let result = stage.add(&at);
        let words = words(&[&web], &["veth", "8080"]);
        stage.world.host.ip(&["link", "del", bridge]).unwrap();
        stage.chain.check(&at, &result).unwrap_err();
        stage.del(&at, Some(&result));
        stage.is_clean(&words);
    }
}

/// From nothing to more than an ADD takes, in steps that no two rounds have in common.
fn moments() -> impl Iterator<Item = Duration> {
    (0..20).map(|round: u64| Duration::from_micros(round * 173 + (round * 7919) % 97))
}

fn killed_at_any_moment(network: Network) {
    let stage = Stage::new(Set::Ours, network).publishing();
    // So that no round is spent on what only the first call of a boot does.
    let first = stage.world.container("first");
    let at = Attachment::of("first", &first);
    let result = stage.add(&at);
    stage.del(&at, Some(&result));
    let mut ended = 0;
    for (round, moment) in moments().enumerate() {
        let web = stage.world.container_with_loopback("web");
        let inside = Dump::of(&web).unwrap();
        let at = Attachment::of(&format!("web{round}"), &web);
        let mut previous = Value::Null;
        for index in 0..stage.chain.len() {
            let (command, input) = stage.chain.prepared(index, "ADD", &at, &previous);
            let mut started = program::start(command, &input).unwrap();
            // The last one is killed; in the first rounds of a chain, the first.
            let is_last = index + 1 == stage.chain.len() || index == round % stage.chain.len();
            if is_last {
                thread::sleep(moment);
                ended += usize::from(started.has_ended().unwrap());
                started.kill().ok();
                started.finish(Duration::from_secs(20)).unwrap();
                break;
            }
            let said = started.finish(Duration::from_secs(100)).unwrap();
            previous = serde_json::from_str(&said.success().unwrap()).unwrap();
        }
        stage.del(&at, None);
        assert_same(&inside, &Dump::of(&web).unwrap());
        stage.is_clean(&["veth".to_owned(), "8080".to_owned()]);
    }
    tell(&format!("chains: {ended} of 20 calls were done before they were killed"));
}

fn an_add_killed_at_any_moment_is_taken_away_by_del(_: &str, network: Network) {
    killed_at_any_moment(network);
}

/// A configuration that both get, and what the runtime tells with it.
struct Alike {
    what: &'static str,
    plugins: fn(&Path) -> Value,
    offers: fn() -> Value,
    args: &'static str,
    /// Older versions cannot say it, or the reference refuses them.
    since: &'static str,
}

fn nothing() -> Value {
    json!({})
}

fn local(folder: &Path) -> Value {
    json!({ "type": "host-local", "dataDir": folder, "ranges": [[{ "subnet": "10.88.0.0/24" }]] })
}

fn dual(folder: &Path) -> Value {
    json!({ "type": "host-local", "dataDir": folder,
        "ranges": [[{ "subnet": "10.88.0.0/24", "rangeStart": "10.88.0.20", "gateway": "10.88.0.9" }],
            [{ "subnet": "fd00:88::/64" }]],
        "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "192.168.5.0/24", "gw": "10.88.0.77" }, { "dst": "::/0" }] })
}

fn fixed(dns: Value) -> Value {
    json!({ "type": "static", "addresses": [{ "address": "10.88.0.44/24", "gateway": "10.88.0.1" }],
        "routes": [{ "dst": "0.0.0.0/0", "gw": "10.88.0.1" }], "dns": dns })
}

fn dns() -> Value {
    json!({ "nameservers": ["9.9.9.9"], "domain": "a.test", "search": ["b.test"], "options": ["ndots:2"] })
}

fn plain_bridge(folder: &Path) -> Value {
    json!({ "type": "bridge", "bridge": "cni0", "isGateway": true, "ipam": local(folder) })
}

const ALIKE: [Alike; 20] = [
    Alike {
        what: "bridge",
        plugins: |f| json!([plain_bridge(f)]),
        offers: nothing,
        args: "",
        since: "",
    },
    Alike {
        what: "bridge, a default gateway and masquerade",
        plugins: |f| json!([{ "type": "bridge", "isDefaultGateway": true, "ipMasq": true, "ipam": local(f) }]),
        offers: nothing,
        args: "",
        since: "",
    },
    Alike {
        what: "bridge, no gateway",
        plugins: |f| json!([{ "type": "bridge", "mtu": 1400, "ipam": local(f) }]),
        offers: nothing,
        args: "",
        since: "",
    },
    Alike {
        what: "bridge, both families",
        plugins: |f| json!([{ "type": "bridge", "isGateway": true, "hairpinMode": true, "ipam": dual(f) }]),
        offers: nothing,
        args: "",
        since: "",
    },
    Alike {
        what: "bridge, both families, a default gateway",
        plugins: |f| {
            json!([{ "type": "bridge", "isDefaultGateway": true, "promiscMode": true, "ipam": {
            "type": "host-local", "dataDir": f, "ranges": [[{ "subnet": "10.88.0.0/24" }], [{ "subnet": "fd00:88::/64" }]] } }])
        },
        offers: nothing,
        args: "",
        since: "",
    },
    Alike {
        what: "bridge without addresses",
        plugins: |_| json!([{ "type": "bridge", "bridge": "cni0", "ipam": {} }]),
        offers: nothing,
        args: "",
        since: "0.3.0",
    },
    Alike {
        // Debian's version of bridge drops the DNS of a delegate, what newer ones do not.
        what: "bridge, static addresses",
        plugins: |_| json!([{ "type": "bridge", "isGateway": true, "ipam": fixed(json!({})) }]),
        offers: nothing,
        args: "",
        since: "",
    },
    Alike {
        what: "bridge, DNS of its own",
        plugins: |f| json!([{ "type": "bridge", "ipam": local(f), "dns": { "nameservers": ["8.8.8.8"] } }]),
        offers: nothing,
        args: "",
        since: "",
    },
    Alike {
        what: "bridge, an address asked for by CNI_ARGS",
        plugins: |f| json!([plain_bridge(f)]),
        offers: nothing,
        args: "IgnoreUnknown=1;K8S_POD_NAME=a;IP=10.88.0.77",
        since: "",
    },
    Alike {
        what: "bridge, an address and a MAC by capability",
        plugins: |f| {
            let mut plugin = plain_bridge(f);
            plugin["capabilities"] = json!({ "ips": true, "mac": true });
            json!([plugin])
        },
        offers: || json!({ "ips": ["10.88.0.99"], "mac": "02:11:22:33:44:55" }),
        args: "",
        since: "",
    },
    Alike {
        what: "bridge, ranges by capability",
        plugins: |f| {
            let mut plugin = plain_bridge(f);
            plugin["capabilities"] = json!({ "ipRanges": true });
            plugin["ipam"] = json!({ "type": "host-local", "dataDir": f });
            json!([plugin])
        },
        offers: || json!({ "ipRanges": [[{ "subnet": "10.87.0.0/24", "gateway": "10.87.0.254" }]] }),
        args: "",
        since: "",
    },
    Alike {
        what: "the old way to write a range",
        plugins: |f| {
            json!([{ "type": "bridge", "ipam": { "type": "host-local", "dataDir": f,
            "subnet": "10.88.0.0/24", "rangeStart": "10.88.0.50", "rangeEnd": "10.88.0.60", "gateway": "10.88.0.3",
            "routes": [{ "dst": "10.0.0.0/8" }] } }])
        },
        offers: nothing,
        args: "",
        since: "",
    },
    Alike {
        what: "a range in several pieces",
        plugins: |f| {
            json!([{ "type": "bridge", "ipam": { "type": "host-local", "dataDir": f, "ranges": [
            [{ "subnet": "10.88.0.0/24", "rangeStart": "10.88.0.200" }, { "subnet": "10.86.0.0/24" }],
            [{ "subnet": "10.85.0.0/24" }]] } }])
        },
        offers: nothing,
        args: "",
        since: "0.3.0",
    },
    Alike {
        what: "ptp",
        plugins: |f| json!([{ "type": "ptp", "ipMasq": true, "mtu": 1300, "ipam": local(f), "dns": { "search": ["x.test"] } }]),
        offers: nothing,
        args: "",
        since: "",
    },
    Alike {
        what: "ptp, static addresses and DNS",
        plugins: |_| json!([{ "type": "ptp", "ipam": fixed(dns()) }]),
        offers: nothing,
        args: "",
        since: "",
    },
    Alike {
        what: "ptp, both families",
        plugins: |f| {
            json!([{ "type": "ptp", "ipam": { "type": "host-local", "dataDir": f,
            "ranges": [[{ "subnet": "10.88.0.0/24" }], [{ "subnet": "fd00:88::/64" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }] } }])
        },
        offers: nothing,
        args: "",
        since: "",
    },
    Alike {
        // To older versions Debian's answers in the shape of 1.0.0.
        what: "loopback",
        plugins: |_| json!([{ "type": "loopback" }]),
        offers: nothing,
        args: "",
        since: "1.0.0",
    },
    Alike {
        what: "bridge, portmap, tuning",
        plugins: |f| {
            json!([plain_bridge(f), portmap(),
            { "type": "tuning", "mac": "02:aa:bb:cc:dd:ee", "sysctl": { "net.core.somaxconn": "500" } }])
        },
        offers: || json!({ "portMappings": [{ "hostPort": 8080, "containerPort": 80, "protocol": "tcp" }] }),
        args: "",
        since: "",
    },
    Alike {
        what: "bridge, firewall",
        plugins: |f| json!([plain_bridge(f), { "type": "firewall" }]),
        offers: nothing,
        args: "",
        since: "0.4.0",
    },
    Alike {
        what: "bridge, bandwidth",
        plugins: |f| json!([plain_bridge(f), bandwidth()]),
        offers: nothing,
        args: "",
        since: "0.3.0",
    },
];

/// What one set makes of a configuration: the result, and the container's addresses and routes.
fn made(set: Set, alike: &Alike, version: &str) -> Value {
    let mut stage = Stage::new(set, STANDARD);
    let conf = json!({ "cniVersion": version, "name": "alike", "plugins": (alike.plugins)(stage.folder.path()) });
    let mut chain = Chain::new(&stage.world.host, conf, set.folder()).with_args(alike.args);
    for (capability, value) in (alike.offers)().as_object().unwrap() {
        chain = chain.offering(capability, value.clone());
    }
    stage.chain = chain;
    // Ours brings the loopback up, too.
    let is_loopback = alike.what == "loopback";
    let world = &stage.world;
    let web =
        if is_loopback { world.container("web") } else { world.container_with_loopback("web") };
    let at = Attachment::of("web", &web);
    let result = stage
        .chain
        .add(&at)
        .unwrap_or_else(|refused| panic!("{set:?}, {}, {version}: {refused}", alike.what));
    let seen = json!({ "result": comparable(&result, &web), "inside": inside(&web) });
    stage.del(&at, Some(&result));
    assert_eq!(leases(stage.folder.path()).len(), 0);
    seen
}

/// Names that the plugin makes up and addresses that the kernel does are left out, and so is what is
/// empty: a list that is not there says as much.
fn comparable(result: &Value, web: &Node) -> Value {
    let mut result = result.clone();
    let path = web.path().to_string_lossy().into_owned();
    for interface in result["interfaces"].as_array_mut().into_iter().flatten() {
        for (prefix, name) in [("veth", "veth"), ("nu", "veth"), ("bwp", "ifb"), ("nb", "ifb")] {
            if interface["name"].as_str().is_some_and(|text| text.starts_with(prefix)) {
                interface["name"] = json!(name);
            }
        }
        let mac = interface["mac"].as_str().unwrap_or_default().to_lowercase();
        let is_given = mac.starts_with("02:11:22")
            || mac.starts_with("02:aa:bb")
            || mac == "00:00:00:00:00:00";
        interface["mac"] = if is_given || mac.is_empty() { json!(mac) } else { json!("some") };
        if interface["sandbox"] == path {
            interface["sandbox"] = json!("the container's");
        }
    }
    filled(&result)
}

fn filled(value: &Value) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::String(text) => text.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            let fields = fields.iter().map(|(key, value)| (key.clone(), filled(value)));
            Value::Object(fields.filter(|(_, value)| !is_empty(value)).collect())
        }
        Value::Array(items) => items.iter().map(filled).collect(),
        other => other.clone(),
    }
}

/// The routes that somebody would notice, and the addresses.
fn inside(web: &Node) -> Value {
    let pick = |json: String, keys: &[&str]| {
        let list: Vec<Value> = serde_json::from_str(&json).unwrap_or_default();
        let line = |entry: &Value| {
            keys.iter().map(|key| format!("{key}={} ", entry[key])).collect::<String>()
        };
        let is_kernels = |line: &String| line.contains("fe80") || line.contains("ff00::");
        list.iter().map(line).filter(|line| !is_kernels(line)).collect::<BTreeSet<_>>()
    };
    let keys = ["dst", "gateway", "dev"];
    let routes = [["-4", "-j", "route"], ["-6", "-j", "route"]]
        .map(|words| pick(web.ip(&words).unwrap(), &keys));
    let links: Vec<Value> = serde_json::from_str(&web.ip(&["-j", "addr"]).unwrap()).unwrap();
    let address = |link: &Value| {
        let infos = link["addr_info"].as_array().cloned().unwrap_or_default();
        let name = link["ifname"].clone();
        let text = move |info: Value| {
            (info["scope"] != "link")
                .then(|| format!("{name} {}/{}", info["local"], info["prefixlen"]))
        };
        infos.into_iter().filter_map(text).collect::<Vec<_>>()
    };
    let addresses: BTreeSet<String> = links.iter().flat_map(address).collect();
    json!({ "routes": routes, "addresses": addresses, "mtu": links.iter().map(|link| &link["mtu"]).collect::<Vec<_>>() })
}

fn results_are_the_same(version: &str) {
    let mut differences = String::new();
    for alike in ALIKE.iter().filter(|alike| alike.since <= version) {
        let theirs = made(Set::Reference, alike, version);
        let ours =
            catch_unwind(|| made(Set::Ours, alike, version)).unwrap_or_else(|_| json!("failed"));
        if theirs != ours {
            differences += &format!("{}:\n  theirs {theirs}\n  ours   {ours}\n", alike.what);
        }
    }
    assert!(differences.is_empty(), "{version}: {differences}");
}

#[test]
fn results_of_0_1_0_are_those_of_the_reference_plugins_key_by_key() {
    results_are_the_same("0.1.0");
}

#[test]
fn results_of_0_2_0_are_those_of_the_reference_plugins_key_by_key() {
    results_are_the_same("0.2.0");
}

#[test]
fn results_of_0_3_0_are_those_of_the_reference_plugins_key_by_key() {
    results_are_the_same("0.3.0");
}

#[test]
fn results_of_0_3_1_are_those_of_the_reference_plugins_key_by_key() {
    results_are_the_same("0.3.1");
}

#[test]
fn results_of_0_4_0_are_those_of_the_reference_plugins_key_by_key() {
    results_are_the_same("0.4.0");
}

/// The newest that Debian's speak.
#[test]
fn results_of_1_0_0_are_those_of_the_reference_plugins_key_by_key() {
    results_are_the_same("1.0.0");
}

/// Two networks, each with a default route: the container has both, and each goes by itself.
fn on_two_networks(set: Set, network: Network) {
    let stage = Stage::new(set, network).publishing();
    let second = Chain::new(&stage.world.host, standard(stage.folder.path()), set.folder())
        .edited("/plugins/0/bridge", json!("cni1"))
        .edited("/plugins/0/ipam/ranges/0/0", json!({ "subnet": "10.98.0.0/24" }))
        .edited("/name", json!("second"));
    let (web, other) = stage.pair();
    let (at, other_at) = (Attachment::of("web", &web), Attachment::of("other", &other));
    let result = stage.add(&at);
    let also = second.add(&at.named("eth1")).unwrap_or_else(|refused| panic!("{refused}"));
    ping(&stage.world.host, address(&web, "eth1", true).unwrap()).unwrap();
    ping(&web, "198.51.100.1".parse().unwrap()).unwrap();
    let plain = stage.chain.clone().offering("portMappings", json!([]));
    plain.add(&other_at).unwrap_or_else(|refused| panic!("{refused}"));
    second.del(&at.named("eth1"), Some(&also)).unwrap_or_else(|refused| panic!("{refused}"));
    let pair = Pair { world: &stage.world, web: &web, other: &other };
    pair.reach();
    pair.published();
    let words = words(&[&web, &other], &["veth", "8080"]);
    stage.del(&at, Some(&result));
    stage.del(&other_at, None);
    if set == Set::Ours {
        stage.is_clean(&words);
    }
}

#[test]
fn the_reference_on_two_networks() {
    on_two_networks(Set::Reference, STANDARD);
}

fn a_container_on_two_networks(_: &str, network: Network) {
    on_two_networks(Set::Ours, network);
}

/// Each of the tests above for one network, by name.
macro_rules! on_each_network {
    ($($test:ident)*) => {
        mod standard_chain { use super::*; $(#[test] fn $test() { super::$test("standard", STANDARD); })* }
        mod netup_routed { use super::*; $(#[test] fn $test() { super::$test("netup routed", ROUTED); })* }
        mod netup_bridge { use super::*; $(#[test] fn $test() { super::$test("netup bridge", BRIDGED); })* }
    };
}

on_each_network! {
    del_succeeds_whatever_is_missing_and_a_second_time
    del_before_any_add_succeeds_and_makes_nothing
    del_on_one_network_leaves_the_same_container_on_another
    an_add_for_a_port_that_is_taken_leaves_nothing
    an_add_for_an_address_that_is_taken_leaves_nothing
    gc_keeps_what_is_valid_and_other_networks
    check_finds_what_is_not_there_any_more
    an_add_killed_at_any_moment_is_taken_away_by_del
    a_container_on_two_networks
}

/// And of those with few addresses, for each plugin that gives them out.
macro_rules! on_each_small_network {
    ($($test:ident)*) => {
        mod small_netup_routed { $(#[test] fn $test() { super::$test("netup"); })* }
        mod small_netup_bridge { $(#[test] fn $test() { super::$test("netup bridge"); })* }
        mod small_bridge { $(#[test] fn $test() { super::$test("bridge"); })* }
        mod small_ptp { $(#[test] fn $test() { super::$test("ptp"); })* }
    };
}

on_each_small_network! {
    an_add_with_no_address_left_leaves_nothing_and_status_tells_before
    an_add_for_an_interface_that_exists_leaves_nothing
}

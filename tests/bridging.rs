//! What a bridge, its ports and what is on it can be told besides: with real links and packets.

mod calling;

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use calling::{World, assert_no_records, holds_soon, shell, tell, without_what_stays};
use netns_fixtures::probe::{TcpEcho, ping, tcp_ask};
use netns_fixtures::{Container, Dump, Node, assert_same, isolate};
use netup::request::{AddressRequest, LeaseRange};
use netup::{Bridging, ErrorKind, Network, Outcome, VlanRange};

isolate!();

const BRIDGE: &str = "br0";

fn on_bridge(addresses: &[&str], settings: impl Fn(&mut Bridging)) -> Network {
    let network = Network::new().bridge(BRIDGE.parse().unwrap());
    let mut network = addresses.iter().fold(network, |n, a| n.address(a.parse().unwrap()));
    settings(&mut network.bridging);
    network
}

fn attempt(world: &World, container: &Container, network: &Network) -> netup::Result<Outcome> {
    let target = container.pid().to_string();
    calling::attach(&world.host, &target, network, false, &mut || Ok(()))
}

#[track_caller]
fn attach(world: &World, container: &Container, network: &Network) -> String {
    let outcome = attempt(world, container, network).unwrap_or_else(|error| panic!("{error}"));
    world.must(&format!("check {}", container.pid()));
    outcome.attachment.host_ifname.to_string()
}

fn reached(from: &Node, ip: &str) -> bool {
    ping(from, ip.parse::<IpAddr>().unwrap()).is_ok()
}

/// A bridge of somebody else's, without an address.
fn foreign_bridge(host: &Node) {
    shell(host, "ip link add br0 address 02:00:00:00:00:01 type bridge; ip link set br0 up");
}

/// With a port that netup knows nothing of.
fn native_port(world: &World, address: &str) -> Container {
    let native = world.container("native");
    world.lab.wire(&world.host, "port0", &[], &native, "eth0", &[address]).unwrap();
    world.host.ip(&["link", "set", "port0", "master", BRIDGE]).unwrap();
    native
}

fn addresses(node: &Node, link: &str) -> String {
    node.ip(&["-br", "addr", "show", link]).unwrap()
}

#[test]
fn a_guarded_port_takes_only_frames_of_its_container() {
    let world = World::new();
    let [guarded, free] = ["guarded", "free"].map(|name| world.container(name));
    attach(&world, &free, &on_bridge(&["10.0.0.3/24", "fd00::3/64"], |_| {}));
    let before = elements(&world);
    attach(&world, &guarded, &on_bridge(&["10.0.0.2/24", "fd00::2/64"], |b| b.guard_mac = true));
    for container in [&guarded, &free] {
        assert!(reached(container, "10.0.0.1") && reached(container, "fd00::1"));
        let shown = container.ip(&["-br", "link", "show", "eth0"]).unwrap();
        let genuine = shown.split_whitespace().nth(2).unwrap().to_owned();
        // The host is not to go by what it has learnt.
        let become_mac = |mac: &str| {
            shell(container, &format!("ip link set eth0 address {mac}"));
            shell(&world.host, "ip neigh flush dev br0; ip -6 neigh flush dev br0");
        };
        become_mac("02:00:00:00:00:99");
        let forged = [reached(container, "10.0.0.1"), reached(container, "fd00::1")];
        assert_eq!(forged, [container.name() == "free"; 2], "{}", container.name());
        become_mac(&genuine);
    }
    assert!(reached(&guarded, "10.0.0.1"));
    let rules = shell(&world.host, "nft list table bridge netup");
    assert!(rules.contains("guarded") && rules.contains("genuine"), "{rules}");
    world.host.nft("flush set bridge netup genuine").unwrap();
    let drift = world.netup(&format!("check {}", guarded.pid())).unwrap_err();
    assert!(drift.stdout.contains("element bridge netup genuine"), "{drift}");
    world.must("reload");
    assert!(reached(&guarded, "10.0.0.1"));
    world.host.nft("delete table bridge netup").unwrap();
    world.must("reload");
    world.must("check");
    world.down(&guarded);
    assert_eq!(before, elements(&world));
    world.down(&free);
    world.must("reload --remove");
    assert_eq!(world.host.nft_list().unwrap(), "");
}

/// The elements of all sets.
fn elements(world: &World) -> Vec<String> {
    let rules = world.host.nft_list().unwrap();
    rules.lines().filter(|line| line.contains("elements")).map(str::to_owned).collect()
}

#[test]
fn who_lost_the_record_still_takes_the_guard_and_the_limits_down() {
    let world = World::new();
    let container = world.container("c");
    let mut network = on_bridge(&["10.0.0.2/24"], |b| b.guard_mac = true);
    network.bandwidth.egress = "8mbit".parse().ok();
    attach(&world, &container, &network);
    std::fs::remove_dir_all(calling::state_folder(&world.host)).unwrap();
    world.down(&container);
    let rules = world.host.nft_list().unwrap();
    assert!(!rules.contains("elements"), "{rules}");
    let links = world.host.ip(&["-br", "link"]).unwrap();
    assert!(!links.contains("nb") && !links.contains("nu"), "{links}");
}

#[test]
fn isolated_ports_reach_only_others() {
    let world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| world.container(name));
    attach(&world, &a, &on_bridge(&["10.0.0.2/24", "fd00::2/64"], |s| s.isolated_port = true));
    attach(&world, &b, &on_bridge(&["10.0.0.3/24", "fd00::3/64"], |s| s.isolated_port = true));
    attach(&world, &c, &on_bridge(&["10.0.0.4/24", "fd00::4/64"], |_| {}));
    assert!(!reached(&a, "10.0.0.3") && !reached(&a, "fd00::3"));
    assert!(reached(&a, "10.0.0.4") && reached(&a, "fd00::4"));
    assert!(reached(&c, "10.0.0.2") && reached(&c, "fd00::2"));
    assert!(reached(&a, "10.0.0.1") && reached(&b, "fd00::1"));
}

#[test]
fn ports_and_bridge_are_told_and_told_again() {
    let world = World::new();
    foreign_bridge(&world.host);
    let before = shell(&world.host, "ip -d link show br0");
    let [a, b] = ["a", "b"].map(|name| world.container(name));
    let port = attach(
        &world,
        &a,
        &on_bridge(&["10.0.0.2/24"], |b| {
            (b.adopt, b.hairpin, b.isolated_port) = (true, true, true);
        }),
    );
    let told =
        |word: &str| shell(&world.host, &format!("bridge -d link show dev {port}")).contains(word);
    assert!(told("hairpin on") && told("isolated on"));
    for off in ["hairpin", "isolated"] {
        shell(&world.host, &format!("ip link set {port} type bridge_slave {off} off"));
        let drift = world.netup(&format!("check {}", a.pid())).unwrap_err();
        assert!(drift.stdout.contains(&format!("{off} on")), "{drift}");
        world.netup(&format!("check {} --repair", a.pid())).ok();
        assert!(told(&format!("{off} on")));
    }
    attach(&world, &b, &on_bridge(&["10.0.0.3/24"], |b| (b.adopt, b.promiscuous) = (true, true)));
    let promiscuous = || shell(&world.host, "ip link show br0").contains("PROMISC");
    assert!(promiscuous());
    world.down(&b);
    assert!(promiscuous(), "another attachment is on the bridge");
    world.down(&a);
    assert!(!promiscuous());
    let mtu =
        |text: &str| text.split_whitespace().skip_while(|w| *w != "mtu").nth(1).map(str::to_owned);
    assert_eq!(mtu(&before), mtu(&shell(&world.host, "ip -d link show br0")));
}

#[test]
fn an_adopted_bridge_gives_its_address_back_unless_others_are_on_it() {
    for others in [false, true] {
        let world = World::new();
        foreign_bridge(&world.host);
        let native = others.then(|| native_port(&world, "10.0.0.77/24"));
        let container = world.container("c");
        let network = on_bridge(&["10.0.0.2/24", "fd00::2/64"], |b| b.adopt = true).nat(true);
        attach(&world, &container, &network);
        assert!(reached(&container, "198.51.100.1"), "by the gateway on the adopted bridge");
        world.down(&container);
        let left = addresses(&world.host, BRIDGE);
        assert_eq!(left.contains("10.0.0.1/24"), others, "{left}");
        assert_eq!(left.contains("fd00::1/64"), others, "{left}");
        if let Some(native) = native {
            assert!(reached(&native, "10.0.0.1"));
        }
        assert_no_records(&world.host);
    }
}

#[test]
fn a_bridge_of_ours_that_others_use_keeps_its_address() {
    let world = World::new();
    let container = world.container("c");
    attach(&world, &container, &on_bridge(&["10.0.0.2/24"], |_| {}));
    let native = native_port(&world, "10.0.0.77/24");
    world.down(&container);
    assert!(reached(&native, "10.0.0.1"));
}

#[test]
fn other_addresses_are_in_the_way_unless_forced() {
    let world = World::new();
    foreign_bridge(&world.host);
    for address in ["10.9.0.1/24", "fd09::1/64", "fd00::9/64"] {
        world.host.ip(&["addr", "add", address, "dev", BRIDGE]).unwrap();
    }
    let container = world.container("c");
    let wanted = ["10.0.0.2/24", "fd00::2/64"];
    let error = attempt(&world, &container, &on_bridge(&wanted, |b| b.adopt = true)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BridgeUnsuitable, "{error}");
    assert!(error.to_string().contains("already has an IP address different from"), "{error}");
    let force = |b: &mut Bridging| (b.adopt, b.force_address) = (true, true);
    attach(&world, &container, &on_bridge(&wanted, force));
    let now = addresses(&world.host, BRIDGE);
    for (address, stays) in [
        ("10.9.0.1/24", false),
        ("fd00::9/64", false),
        ("fd09::1/64", true),
        ("10.0.0.1/24", true),
        ("fd00::1/64", true),
    ] {
        assert_eq!(now.contains(address), stays, "{address}: {now}");
    }
    // The next one finds its gateway in place, and nothing in the way.
    let next = world.container("next");
    attach(&world, &next, &on_bridge(&["10.0.0.3/24", "fd00::3/64"], |b| b.adopt = true));
    assert!(reached(&next, "10.0.0.2") && reached(&next, "fd00::2"));
}

#[test]
fn a_host_that_is_no_gateway_has_no_address_there() {
    let world = World::new();
    let [a, b] = ["a", "b"].map(|name| world.container(name));
    let before = without_what_stays(&world.host);
    let no_gateway = |b: &mut Bridging| b.host_gateway = false;
    let mut network = on_bridge(&["10.0.0.2/24"], no_gateway);
    network.gateways = vec!["10.0.0.3".parse().unwrap()];
    attach(&world, &a, &network);
    let mut network = on_bridge(&["10.0.0.3/24"], no_gateway);
    let error = attempt(&world, &b, &network).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    network.default_route = false;
    attach(&world, &b, &network);
    assert!(!addresses(&world.host, BRIDGE).contains("10.0.0."));
    assert!(reached(&a, "10.0.0.3"));
    let default = a.ip(&["route", "show", "default"]).unwrap();
    assert!(default.contains("via 10.0.0.3"), "{default}");
    world.down(&a);
    world.down(&b);
    assert_same(&before, &without_what_stays(&world.host));
}

#[test]
fn a_container_without_addresses_is_on_the_segment() {
    let world = World::new();
    let [bare, asleep] = ["bare", "asleep"].map(|name| world.container(name));
    let layer2 =
        |settings: fn(&mut Bridging)| Network { layer2_only: true, ..on_bridge(&[], settings) };
    let forwarding = world.host.sysctl("net/ipv4/ip_forward").unwrap();
    attach(&world, &bare, &layer2(|_| {}));
    attach(&world, &asleep, &layer2(|b| b.leave_down = true));
    assert_eq!(world.host.sysctl("net/ipv4/ip_forward").unwrap(), forwarding);
    let native = native_port(&world, "10.0.0.77/24");
    shell(&bare, "ip addr add 10.0.0.5/24 dev eth0");
    assert!(reached(&bare, "10.0.0.77") && reached(&native, "10.0.0.5"));
    assert!(!asleep.ip(&["link", "show", "eth0"]).unwrap().contains(",UP"));
    let error = attempt(
        &world,
        &world.container("c"),
        &Network { layer2_only: true, ..on_bridge(&["10.0.0.9/24"], |_| {}) },
    );
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn a_duplicate_is_looked_for_and_found() {
    let world = World::new();
    foreign_bridge(&world.host);
    let _native = native_port(&world, "fd00::2/64");
    let container = world.container("c");
    let detect = |b: &mut Bridging| (b.adopt, b.detect_duplicates) = (true, true);
    attach(&world, &container, &on_bridge(&["fd00::2/64"], detect));
    let failed = || addresses_in_full(&container).contains("dadfailed");
    assert!(holds_soon(failed), "{}", addresses_in_full(&container));
    let alone = world.container("alone");
    attach(&world, &alone, &on_bridge(&["fd00::3/64"], detect));
    assert!(holds_soon(|| reached(&alone, "fd00::1")));
}

fn addresses_in_full(node: &Node) -> String {
    node.ip(&["-6", "addr", "show", "dev", "eth0"]).unwrap()
}

#[test]
fn what_leaves_by_a_bridge_with_the_uplink_is_masqueraded() {
    let world = World::new();
    shell(
        &world.host,
        "ip link add br0 type bridge; ip link set br0 up; ip link set eth0 master br0
         ip addr flush dev eth0; ip addr add 198.51.100.2/24 dev br0
         ip route replace default via 198.51.100.1 dev br0",
    );
    assert!(holds_soon(|| reached(&world.host, "198.51.100.1")));
    let [bridged, routed] = ["bridged", "routed"].map(|name| world.container(name));
    world.up(&bridged, "198.51.100.50/24 --bridge br0 --gateway 198.51.100.2 --nat");
    world.up(&routed, "10.0.0.2/24 --nat -p 8080:80");
    let address: SocketAddr = "198.51.100.1:80".parse().unwrap();
    let _server = TcpEcho::start(&world.outside, address).unwrap();
    let seen = |from: &Node| tcp_ask(from, address).unwrap().client_seen.ip().to_string();
    assert_eq!(seen(&routed), "198.51.100.2");
    // That one is on the segment itself.
    assert_eq!(seen(&bridged), "198.51.100.50");
    let sets = world.host.nft_list().unwrap();
    let links = sets.split("set links").nth(1).unwrap().split("set ").next().unwrap();
    assert!(!links.contains(BRIDGE), "{links}");
}

#[test]
fn a_range_is_leased_once_each_and_beside_other_pools() {
    let world = World::new();
    let range = |first: &str, last: &str| {
        let prefix = "10.0.0.0/24".parse().unwrap();
        LeaseRange::new(prefix, first.parse().unwrap(), last.parse().unwrap()).unwrap()
    };
    let within =
        |range| Network { addresses: vec![AddressRequest::LeaseWithin(range)], ..Network::new() };
    let whole = Network::new().subnet("10.0.0.0/24".parse().unwrap());
    let [low, wide] = [range("10.0.0.3", "10.0.0.5"), range("10.0.0.2", "10.0.0.9")];
    let containers: Vec<Container> = (0..9).map(|i| world.container(&format!("c{i}"))).collect();
    let mut leased = BTreeSet::new();
    let mut lease = |container: &Container, network: &Network| {
        let ip = attempt(&world, container, network).unwrap().attachment.addresses[0].ip();
        assert!(leased.insert(ip), "{ip} twice");
        ip.to_string()
    };
    assert_eq!(lease(&containers[0], &within(low)), "10.0.0.3");
    assert_eq!(lease(&containers[1], &whole), "10.0.0.2");
    assert_eq!(lease(&containers[2], &whole), "10.0.0.4");
    assert_eq!(lease(&containers[3], &within(wide)), "10.0.0.5");
    let error = attempt(&world, &containers[4], &within(low)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PoolExhausted, "{error}");
    assert!(error.to_string().contains("10.0.0.3-10.0.0.5"), "{error}");
    for container in &containers[4..8] {
        lease(container, &within(wide));
    }
    assert_eq!(
        attempt(&world, &containers[8], &within(wide)).unwrap_err().kind(),
        ErrorKind::PoolExhausted
    );
    // What is given back comes last, and to whoever asks first.
    world.down(&containers[3]);
    assert_eq!(
        attempt(&world, &containers[8], &within(low)).unwrap().attachment.addresses[0].to_string(),
        "10.0.0.5/24"
    );
    tell(&format!("leases: {} addresses of three overlapping pools, none twice", leased.len()));
}

#[test]
fn routes_have_their_metrics_tables_and_scopes() {
    let world = World::new();
    let container = world.container("c");
    let routes = "--route 192.0.2.0/24,mtu=1400,advmss=1360 --route 203.0.113.0/24,table=100,metric=7 \
                  --route default,table=1000 --route 2001:db8:2::/48,mtu=1300,table=1000 \
                  --route 192.0.2.128/25,scope=200";
    world.up(&container, &format!("10.0.0.2/24 fd00::2/64 --id c {routes}"));
    let shown = |what: &str| container.ip(&what.split(' ').collect::<Vec<_>>()).unwrap();
    let main = shown("route show table main");
    assert!(
        main.contains("192.0.2.0/24 via 10.0.0.1 dev eth0 proto static mtu 1400 advmss 1360"),
        "{main}"
    );
    assert!(
        main.contains("192.0.2.128/25 via 10.0.0.1 dev eth0 proto static scope site"),
        "{main}"
    );
    let hundred = shown("route show table 100");
    assert!(
        hundred.contains("203.0.113.0/24 via 10.0.0.1") && hundred.contains("metric 7"),
        "{hundred}"
    );
    assert!(shown("route show table 1000").contains("default via 10.0.0.1"));
    let v6 = shown("-6 route show table 1000");
    assert!(v6.contains("2001:db8:2::/48 via fd00::1") && v6.contains("mtu 1300"), "{v6}");
    world.must("check c");
    let meddling = [
        "ip route change 192.0.2.0/24 via 10.0.0.1 dev eth0 proto static mtu 1399 advmss 1360",
        "ip route flush table 100",
        "ip -6 route flush table 1000",
    ];
    for change in meddling {
        shell(&container, change);
        let drift = world.netup("check c").unwrap_err();
        assert!(drift.stdout.contains("route add"), "{change}: {drift}");
        world.netup("check c --repair").ok();
        world.must("check c");
    }
}

/// Whether this machine's kernel was built with CONFIG_BRIDGE_VLAN_FILTERING.
fn knows_vlans(world: &World) -> bool {
    let node = world.lab.host("probe").unwrap();
    node.ip(&["link", "add", "probe", "type", "bridge", "vlan_filtering", "1"]).is_ok()
}

#[test]
fn a_kernel_without_vlans_is_told_and_nothing_is_left() {
    let world = World::new();
    let knows = knows_vlans(&world);
    let [first, second] = ["first", "second"].map(|name| world.container(name));
    let on_vlan = on_bridge(&["10.10.0.2/24"], |b| b.vlan = Some(10));
    let trunk = on_bridge(&["10.0.0.3/24"], |b| {
        b.adopt = true;
        b.trunk = vec![VlanRange { first: 20, last: 30 }];
    });
    // The first of all leaves the static rules and forwarding.
    attach(&world, &first, &on_bridge(&["10.0.0.2/24"], |b| b.guard_mac = true));
    world.down(&first);
    let clean = Dump::of(&world.host).unwrap();
    let refused_cleanly = |container: &Container, network: &Network| {
        let before = Dump::of(&world.host).unwrap();
        match attempt(&world, container, network) {
            Ok(_) if knows => world.down(container),
            Err(error) if !knows => {
                assert_eq!(error.kind(), ErrorKind::MissingFeature, "{error}");
                assert!(error.to_string().contains("CONFIG_BRIDGE_VLAN_FILTERING"), "{error}");
                assert!(error.undo_failures().is_empty(), "{error}");
            }
            other => panic!("knows VLANs: {knows}, {other:?}"),
        }
        assert_same(&before, &Dump::of(&world.host).unwrap());
    };
    refused_cleanly(&first, &on_vlan);
    refused_cleanly(&first, &trunk);
    assert_no_records(&world.host);
    attach(&world, &second, &on_bridge(&["10.0.0.9/24"], |_| {}));
    refused_cleanly(&first, &trunk);
    assert!(reached(&second, "10.0.0.1"));
    world.down(&second);
    assert_same(&clean, &Dump::of(&world.host).unwrap());
}

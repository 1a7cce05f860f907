//! What `netup up` promises, shown by packets that cross; and what `netup down` promises, shown by
//! the host being what it was.

mod calling;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use calling::{
    World, assert_no_records, attach, holds_soon, state_folder, value, without_forwarding,
    without_what_stays,
};
use netns_fixtures::probe::{Answer, TcpEcho, UdpEcho, ping, tcp_ask, udp_ask};
use netns_fixtures::{Container, Dump, Node, assert_same, isolate};
use netup::Network;

isolate!();

/// The addresses of one family.
struct Family {
    first: &'static str,
    second: &'static str,
    gateway: &'static str,
    host: &'static str,
    outside: &'static str,
}

const V4: Family = Family {
    first: "10.0.0.2/24",
    second: "10.0.0.3/24",
    gateway: "10.0.0.1",
    host: "198.51.100.2",
    outside: "198.51.100.1",
};
const V6: Family = Family {
    first: "fd00::2/64",
    second: "fd00::3/64",
    gateway: "fd00::1",
    host: "2001:db8:1::2",
    outside: "2001:db8:1::1",
};

impl Family {
    fn first(&self) -> IpAddr {
        bare(self.first)
    }

    fn second(&self) -> IpAddr {
        bare(self.second)
    }

    fn is_v4(&self) -> bool {
        self.first().is_ipv4()
    }

    fn any(&self) -> &'static str {
        if self.is_v4() { "0.0.0.0" } else { "::" }
    }
}

fn bare(address: &str) -> IpAddr {
    ip(address.split('/').next().unwrap())
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn at(address: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(address), port)
}

impl World {
    fn dump(&self) -> Dump {
        Dump::of(&self.host).unwrap()
    }

    /// After every `down`: the host is as before, but for forwarding and the static rules, which
    /// then go as well.
    #[track_caller]
    fn assert_clean(&self, before: &Dump) {
        let bare = without_forwarding(before.clone());
        assert_same(&bare.clone().without_section("nft"), &without_what_stays(&self.host));
        assert_no_records(&self.host);
        self.must("reload --remove");
        assert_same(&bare, &without_forwarding(self.dump()));
        assert!(!state_folder(&self.host).exists());
    }
}

/// A server for each family and protocol.
struct Servers {
    _tcp: Vec<TcpEcho>,
    _udp: Vec<UdpEcho>,
}

fn serve(node: &Node, families: &[&Family], port: u16) -> Servers {
    let addresses = || families.iter().map(|family| at(family.any(), port));
    Servers {
        _tcp: addresses().map(|address| TcpEcho::start(node, address).unwrap()).collect(),
        _udp: addresses().map(|address| UdpEcho::start(node, address).unwrap()).collect(),
    }
}

/// Asks over both protocols, and says who answered and whom it saw.
#[track_caller]
fn ask(from: &Node, to: SocketAddr) -> (String, IpAddr) {
    let of = |answer: io::Result<Answer>| {
        let answer = answer.unwrap_or_else(|error| panic!("{error}"));
        (answer.server, answer.client_seen.ip())
    };
    let (tcp, udp) = (of(tcp_ask(from, to)), of(udp_ask(from, to)));
    assert_eq!(tcp, udp, "the protocols differ for {to}");
    tcp
}

#[track_caller]
fn assert_refused(from: &Node, to: SocketAddr) {
    let error = tcp_ask(from, to).unwrap_err();
    assert!(error.to_string().contains("refused"), "{error}");
}

/// Two containers of one network, with NAT and a published port each, and all ways between them,
/// the host and the outside. Then down, in the given order.
fn every_way(world: &World, topology: &str, families: &[&Family], first_goes_first: bool) {
    let before = world.dump();
    let (a, b) = (world.container("a"), world.container("b"));
    let list = |address: fn(&Family) -> &str| {
        families.iter().map(|family| address(family)).collect::<Vec<_>>().join(" ")
    };
    let publish = |host| format!("--nat -p {host}:80/tcp -p {host}:80/udp {topology}");
    world.up(&a, &format!("{} {}", list(|f| f.first), publish(8080)));
    world.up(&b, &format!("{} {}", list(|f| f.second), publish(9090)));
    let _servers = [serve(&a, families, 80), serve(&b, families, 80)];
    let _outside = serve(&world.outside, families, 7000);
    let _host = serve(&world.host, families, 7000);
    for family in families {
        crosses_every_way(world, [&a, &b], family, !topology.is_empty());
    }
    world.must("check");
    let order = if first_goes_first { [&a, &b] } else { [&b, &a] };
    for (gone, left) in [(order[0], Some(order[1])), (order[1], None)] {
        world.down(gone);
        for family in left.iter().flat_map(|_| families) {
            let port = if first_goes_first { 9090 } else { 8080 };
            let name = if first_goes_first { "b" } else { "a" };
            assert_eq!(ask(&world.outside, at(family.host, port)).0, name);
            assert_refused(&world.outside, at(family.host, 8080 + 9090 - port));
        }
    }
    world.assert_clean(&before);
}

fn crosses_every_way(world: &World, [a, b]: [&Container; 2], family: &Family, bridge: bool) {
    let (host, outside) = (&world.host, &world.outside);
    let (first, second) = (family.first(), family.second());
    ping(a, ip(family.gateway)).unwrap();
    ping(host, first).unwrap();
    ping(host, second).unwrap();
    assert_eq!(ask(a, at(family.gateway, 7000)), ("host".into(), first));
    assert_eq!(ask(host, SocketAddr::new(first, 80)), ("a".into(), ip(family.gateway)));

    // Through NAT the outside sees the host; through a published port the container sees the outside.
    assert_eq!(ask(a, at(family.outside, 7000)), ("outside".into(), ip(family.host)));
    ping(b, ip(family.outside)).unwrap();
    assert_eq!(ask(outside, at(family.host, 8080)), ("a".into(), ip(family.outside)));
    assert_eq!(ask(outside, at(family.host, 9090)), ("b".into(), ip(family.outside)));

    // From the host itself, by its own address and by its loopback address.
    assert_eq!(ask(host, at(family.host, 8080)).0, "a");
    match family.is_v4() {
        true => assert_eq!(ask(host, at("127.0.0.1", 8080)).0, "a"),
        false => assert_refused(host, at("::1", 8080)),
    }

    // To itself and to each other, directly and through the published port.
    assert_eq!(ask(a, at(family.host, 8080)).0, "a");
    assert_eq!(ask(a, SocketAddr::new(second, 80)), ("b".into(), first));
    assert_eq!(ask(b, SocketAddr::new(first, 80)), ("a".into(), second));
    let seen = if bridge { ip(family.gateway) } else { first };
    assert_eq!(ask(a, at(family.host, 9090)), ("b".into(), seen));
}

#[test]
fn routed_containers_are_reached_every_way_over_ipv4() {
    every_way(&World::new(), "", &[&V4], true);
}

#[test]
fn routed_containers_are_reached_every_way_over_ipv6() {
    every_way(&World::new(), "", &[&V6], false);
}

#[test]
fn routed_containers_are_reached_every_way_over_both_families() {
    every_way(&World::new(), "", &[&V4, &V6], false);
}

#[test]
fn bridged_containers_are_reached_every_way_over_ipv4() {
    every_way(&World::new(), "--bridge br0", &[&V4], false);
}

#[test]
fn bridged_containers_are_reached_every_way_over_ipv6() {
    every_way(&World::new(), "--bridge br0", &[&V6], true);
}

#[test]
fn bridged_containers_are_reached_every_way_over_both_families() {
    every_way(&World::new(), "--bridge br0", &[&V4, &V6], true);
}

#[test]
fn a_foreign_bridge_is_used_and_left_as_it_was() {
    let world = World::new();
    let native = world.container("native");
    foreign_bridge(&world.host, "br0", "address 02:00:00:00:00:01");
    world.lab.wire(&world.host, "port0", &[], &native, "eth0", &["10.0.0.9/24"]).unwrap();
    world.host.ip(&["link", "set", "port0", "master", "br0"]).unwrap();
    every_way(&world, "--bridge br0", &[&V4, &V6], true);
    assert!(world.host.ip(&["link", "show", "master", "br0"]).unwrap().contains("port0"));

    let newcomer = world.container("newcomer");
    world.up(&newcomer, "10.0.0.2/24 --bridge br0");
    ping(&native, ip("10.0.0.2")).unwrap();
}

#[test]
fn a_foreign_bridge_keeps_its_hardware_address() {
    let world = World::new();
    foreign_bridge(&world.host, "br0", "");
    let native = world.container("native");
    world.lab.wire(&world.host, "port0", &[], &native, "eth0", &["10.0.0.9/24"]).unwrap();
    // The kernel gives a bridge the lowest address of its ports: here, the only one's.
    world.host.ip(&["link", "set", "port0", "address", "f2:00:00:00:00:01"]).unwrap();
    world.host.ip(&["link", "set", "port0", "master", "br0"]).unwrap();
    let address = || mac_of(&world.host, "br0");
    let before = address();
    for n in 2..8 {
        // Were it to change, the neighbours would send to nobody until their caches expire.
        let a = world.container("a");
        world.up(&a, &format!("10.0.0.{n}/24 --bridge br0"));
        assert_eq!(address(), before);
        ping(&native, ip("10.0.0.1")).unwrap();
    }
}

#[test]
fn a_foreign_bridge_without_ports_keeps_its_hardware_address() {
    let world = World::new();
    foreign_bridge(&world.host, "br0", "");
    let before = mac_of(&world.host, "br0");
    for n in 2..8 {
        let a = world.container("a");
        world.up(&a, &format!("10.0.0.{n}/24 --bridge br0"));
        assert_eq!(mac_of(&world.host, "br0"), before, "with its first port");
        ping(&a, ip("10.0.0.1")).unwrap();
        world.down(&a);
        assert_eq!(mac_of(&world.host, "br0"), before, "without it");
    }
}

fn mac_of(node: &Node, link: &str) -> String {
    let text = node.ip(&["link", "show", link]).unwrap();
    text.split("link/ether ").nth(1).unwrap().split(' ').next().unwrap().to_owned()
}

/// A bridge as an admin makes one, with the gateways' addresses.
fn foreign_bridge(host: &Node, name: &str, options: &str) {
    let words = format!("link add {name} {options} type bridge");
    host.ip(&words.split_whitespace().collect::<Vec<_>>()).unwrap();
    host.set_sysctl(&format!("net/ipv6/conf/{name}/accept_dad"), "0").unwrap();
    host.ip(&["link", "set", name, "up"]).unwrap();
    for address in ["10.0.0.1/24", "fd00::1/64"] {
        host.ip(&["addr", "add", address, "dev", name]).unwrap();
    }
}

#[test]
fn where_forwarding_is_on_already_down_leaves_exactly_what_was_before() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        world.host.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
        world.host.set_sysctl("net/ipv6/conf/all/forwarding", "1").unwrap();
        let before = world.dump();
        let a = world.container("a");
        world.up(&a, &format!("10.0.0.2/24 fd00::2/64 --nat -p 8080:80 {topology}"));
        world.down(&a);
        assert_same(&before.clone().without_section("nft"), &world.dump().without_section("nft"));
        world.must("reload --remove");
        assert_same(&before, &world.dump());
    }
}

#[test]
fn without_nat_nothing_of_a_container_gets_out() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let a = world.container("a");
        world.up(&a, &format!("10.0.0.2/24 fd00::2/64 {topology}"));
        for family in [&V4, &V6] {
            ping(&a, ip(family.host)).unwrap();
            let _server = UdpEcho::start(&world.outside, at(family.outside, 7000)).unwrap();
            udp_ask(&a, at(family.outside, 7000)).unwrap_err();
        }
        // Once the outside knows the way, it sees the container's own address.
        world.outside.ip(&["route", "add", "10.0.0.0/24", "via", V4.host]).unwrap();
        let _server = serve(&world.outside, &[&V4], 7001);
        assert_eq!(ask(&a, at(V4.outside, 7001)), ("outside".into(), V4.first()));
    }
}

#[test]
fn several_addresses_of_a_family_all_answer() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let before = world.dump();
        let a = world.container("a");
        let addresses = ["10.0.0.2", "10.1.0.2", "10.0.0.7", "fd00::2", "fd01::2"];
        let lengths = [24, 16, 24, 64, 48];
        let list: Vec<String> = addresses
            .iter()
            .zip(lengths)
            .map(|(address, length)| format!("{address}/{length}"))
            .collect();
        world.up(&a, &format!("{} --nat -p 8080:80/tcp -p 8080:80/udp {topology}", list.join(" ")));
        let _server = serve(&a, &[&V4, &V6], 80);
        for address in addresses {
            ping(&world.host, ip(address)).unwrap();
            assert_eq!(tcp_ask(&world.host, at(address, 80)).unwrap().server, "a");
        }
        for family in [&V4, &V6] {
            assert_eq!(
                ask(&world.outside, at(family.host, 8080)),
                ("a".into(), ip(family.outside))
            );
        }
        // Each of them is masqueraded.
        let _outside = serve(&world.outside, &[&V4], 7000);
        for address in ["10.0.0.2", "10.1.0.2", "10.0.0.7"] {
            a.ip(&["route", "replace", "default", "via", "10.0.0.1", "src", address]).unwrap();
            assert_eq!(ask(&a, at(V4.outside, 7000)).1, ip(V4.host), "from {address}");
        }
        world.down(&a);
        world.assert_clean(&before);
    }
}

#[test]
fn a_port_on_one_address_of_the_host_is_on_no_other() {
    let world = World::new();
    world.host.ip(&["addr", "add", "198.51.100.3/24", "dev", "eth0"]).unwrap();
    world.host.ip(&["addr", "add", "2001:db8:1::3/64", "dev", "eth0", "nodad"]).unwrap();
    let before = world.dump();
    let (a, b) = (world.container("a"), world.container("b"));
    world.up(&a, "10.0.0.2/24 fd00::2/64 -p 198.51.100.3:8080:80 -p [2001:db8:1::3]:8080:80 -p 198.51.100.3:8080:80/udp -p [2001:db8:1::3]:8080:80/udp");
    let _server = serve(&a, &[&V4, &V6], 80);
    for (has, has_not) in [("198.51.100.3", V4.host), ("2001:db8:1::3", V6.host)] {
        assert_eq!(ask(&world.outside, at(has, 8080)).0, "a");
        assert_eq!(ask(&world.host, at(has, 8080)).0, "a");
        assert_refused(&world.outside, at(has_not, 8080));
    }
    assert_refused(&world.host, at("127.0.0.1", 8080));
    // The same port on another address is another container's to have.
    world.up(&b, "10.0.0.3/24 -p 198.51.100.2:8080:80/tcp -p 198.51.100.2:8080:80/udp -p 127.0.0.1:8081:80/tcp");
    let _other = serve(&b, &[&V4], 80);
    assert_eq!(ask(&world.outside, at(V4.host, 8080)).0, "b");
    assert_eq!(ask(&world.outside, at("198.51.100.3", 8080)).0, "a");
    assert_eq!(tcp_ask(&world.host, at("127.0.0.1", 8081)).unwrap().server, "b");
    assert_refused(&world.outside, at(V4.host, 8081));
    world.down(&a);
    world.down(&b);
    world.assert_clean(&before);
}

#[test]
fn a_range_of_ports_leads_port_by_port() {
    let world = World::new();
    let before = world.dump();
    let a = world.container("a");
    world.up(&a, "10.0.0.2/24 fd00::2/64 -p 8000-8002:80-82/tcp -p 8000-8002:80-82/udp");
    for (host, port) in [(8000, 80), (8001, 81), (8002, 82)] {
        for family in [&V4, &V6] {
            // One server at a time: it can only be reached through its own port.
            let _server = serve(&a, &[family], port);
            assert_eq!(ask(&world.outside, at(family.host, host)).0, "a");
        }
        assert_refused(&world.outside, at(V4.host, host));
    }
    assert_refused(&world.outside, at(V4.host, 8003));
    world.down(&a);
    world.assert_clean(&before);
}

#[test]
fn a_taken_port_names_its_owner_and_changes_nothing() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let (a, b) = (world.container("a"), world.container("b"));
        world.up(&a, &format!("10.0.0.2/24 --id owner -p 8080:80 {topology}"));
        let before = (world.dump(), Dump::of(&b).unwrap());
        let other = format!("up {} 10.0.0.3/24 -p 8080:80 {topology}", b.pid());
        let refusal = world.netup(&other).unwrap_err();
        assert!(refusal.code == Some(5) && refusal.stderr.contains("owner"), "{refusal}");
        assert_same(&before.0, &world.dump());
        assert_same(&before.1, &Dump::of(&b).unwrap());
        world.down(&a);
        world.must(&other);
        let _server = serve(&b, &[&V4], 80);
        assert_eq!(tcp_ask(&world.outside, at(V4.host, 8080)).unwrap().server, "b");
    }
}

#[test]
fn a_port_that_the_host_listens_on_is_refused_before_anything_changes() {
    let world = World::new();
    let listener = TcpEcho::start(&world.host, at("0.0.0.0", 8080)).unwrap();
    let before = world.dump();
    let a = world.container("a");
    let up = format!("up {} 10.0.0.2/24 -p 8080:80", a.pid());
    let refusal = world.netup(&up).unwrap_err();
    assert!(refusal.code == Some(5) && refusal.stderr.contains("listens"), "{refusal}");
    assert_same(&before, &world.dump());
    drop(listener);
    world.must(&up);
}

#[test]
fn no_default_route_means_none() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let (a, b) = (world.container("a"), world.container("b"));
        world.up(&a, &format!("10.0.0.2/24 fd00::2/64 --no-default-route --nat {topology}"));
        world.up(&b, &format!("10.0.0.3/24 fd00::3/64 {topology}"));
        for (flag, family) in [("-4", &V4), ("-6", &V6)] {
            assert_eq!(a.ip(&[flag, "route", "show", "default"]).unwrap(), "");
            assert!(!b.ip(&[flag, "route", "show", "default"]).unwrap().is_empty());
            ping(&a, family.second()).unwrap();
            let error = ping(&a, ip(family.outside)).unwrap_err().to_string();
            assert!(error.contains("unreachable"), "{error}");
        }
    }
}

#[test]
fn an_extra_route_goes_by_its_own_next_hop() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let (a, b) = (world.container("a"), world.container("router"));
        world.up(&b, &format!("10.0.0.3/24 fd00::3/64 {topology}"));
        // Routed, the way to another container is the host's; on a bridge it may be a neighbour's.
        let via =
            if topology.is_empty() { ["10.0.0.1", "fd00::1"] } else { ["10.0.0.3", "fd00::3"] };
        world.up(&a, &format!(
            "10.0.0.2/24 fd00::2/64 --no-default-route --route 192.0.2.0/24,via={} --route 2001:db8:2::/48,via={},metric=77 --route 198.51.100.0/24 {topology}",
            via[0], via[1]
        ));
        let (target4, target6) = ("192.0.2.7/32", "2001:db8:2::7/128");
        let owner: &Node = if topology.is_empty() { &world.host } else { &b };
        owner.ip(&["addr", "add", target4, "dev", "lo"]).unwrap();
        owner.ip(&["addr", "add", target6, "dev", "lo"]).unwrap();
        ping(&a, bare(target4)).unwrap();
        ping(&a, bare(target6)).unwrap();
        assert!(a.ip(&["-6", "route"]).unwrap().contains("metric 77"));
        // Without a next hop of its own it goes by the gateway.
        ping(&a, ip(V4.host)).unwrap();
    }
}

#[test]
fn the_mtu_is_that_of_the_uplink_or_of_the_bridge_unless_given() {
    let world = World::new();
    world.host.ip(&["link", "set", "eth0", "mtu", "1400"]).unwrap();
    foreign_bridge(&world.host, "small", "mtu 1300");
    let cases = [
        ("10.1.0.2/24", 1400),
        ("fd01::2/64", 1400),
        ("10.2.0.2/24 --bridge ours", 1400),
        ("10.2.0.3/24 --bridge ours", 1400),
        ("10.0.0.2/24 --bridge small", 1300),
        ("10.1.0.3/24 --mtu 9000", 9000),
    ];
    for (arguments, mtu) in cases {
        let a = world.container("a");
        world.up(&a, arguments);
        assert_eq!(mtu_of(&a, "eth0"), mtu, "{arguments}");
        let link = value(&world.must(&format!("--json show {}", a.pid())), "host_ifname");
        assert_eq!(mtu_of(&world.host, &link), mtu, "{arguments}");
    }
    assert_eq!(mtu_of(&world.host, "ours"), 1400);
}

fn mtu_of(node: &Node, link: &str) -> u32 {
    let text = node.ip(&["link", "show", link]).unwrap();
    text.split(" mtu ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// What the kernel would delay, it delays by a second or more, each time; what a busy machine
/// delays, not each time.
#[test]
fn the_first_packet_right_after_attach_crosses() {
    for (bridge, family) in [(false, &V4), (false, &V6), (true, &V4), (true, &V6)] {
        let world = World::new();
        let mut waits: Vec<Duration> =
            (0..5).map(|_| first_answer(&world, bridge, family)).collect();
        waits.sort_unstable();
        println!("{}, bridge {bridge}: first answers after {waits:?}", family.first);
        assert!(waits[2] < Duration::from_millis(50), "{waits:?}");
    }
}

/// How long after an attach the container and the host wait for their first answers.
fn first_answer(world: &World, bridge: bool, family: &Family) -> Duration {
    let a = world.container("a");
    let mut network = Network::new().address(family.first.parse().unwrap()).nat(true);
    if bridge {
        network = network.bridge("br0".parse().unwrap());
    }
    attach(&world.host, &a.pid().to_string(), &network, false, &mut || Ok(())).unwrap();
    let started = Instant::now();
    ping(&a, ip(family.outside)).unwrap();
    ping(&world.host, family.first()).unwrap();
    let waited = started.elapsed();
    let addresses = a.ip(&["addr"]).unwrap();
    assert!(family.is_v4() || !addresses.contains("tentative"), "{addresses}");
    world.down(&a);
    waited
}

#[test]
fn nobody_outside_reaches_the_loopback_address_of_the_host() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let a = world.container("a");
        world.up(&a, &format!("10.0.0.2/24 -p 8080:80 {topology}"));
        world.host.set_sysctl("net/ipv4/conf/eth0/route_localnet", "1").unwrap();
        let secret = world.host.run(|| UdpSocket::bind("127.0.0.1:7000")).unwrap().unwrap();
        secret.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let neighbours = [(&*a, V4.gateway), (&world.outside, V4.host)];
        let is_reached_by = |node: &Node| {
            let send = || UdpSocket::bind("0.0.0.0:0")?.send_to(b"?", "127.0.0.1:7000");
            node.run(send).unwrap().unwrap();
            secret.recv(&mut []).is_ok()
        };
        for (node, via) in neighbours {
            aim_at_loopback_of(node, via);
            assert!(!is_reached_by(node), "{} came through", node.name());
        }
        // That it was the guard that kept them out, and not the test's clumsiness:
        world.host.nft("flush chain inet netup guard").unwrap();
        for (node, _) in neighbours {
            assert!(is_reached_by(node), "{} was kept out by something else", node.name());
        }
    }
}

/// Makes 127.0.0.1 somebody else's: the next hop's.
fn aim_at_loopback_of(node: &Node, via: &str) {
    node.set_sysctl("net/ipv4/conf/all/route_localnet", "1").unwrap();
    for route in ["127.0.0.0/8", "127.0.0.1"] {
        node.ip(&["route", "del", "table", "local", "local", route]).unwrap();
    }
    node.ip(&["route", "add", "127.0.0.1/32", "via", via]).unwrap();
}

#[test]
fn a_container_cannot_become_the_router_of_the_host() {
    for (topology, link) in [("", "routed0"), ("--bridge br0", "br0")] {
        let world = World::new();
        let (a, only_v4) = (world.container("a"), world.container("v4"));
        world.host.set_sysctl("net/ipv6/conf/all/accept_ra", "2").unwrap();
        world.host.set_sysctl("net/ipv6/conf/default/accept_ra", "2").unwrap();
        let name = if topology.is_empty() { "--host-ifname routed0" } else { "" };
        world.up(&a, &format!("10.0.0.2/24 fd00::2/64 {topology} {name}"));
        world.up(&only_v4, "10.3.0.2/24 --host-ifname onlyv4");
        let disabled = world.host.sysctl("net/ipv6/conf/onlyv4/disable_ipv6").unwrap();
        assert_eq!(disabled, "1");
        advertise(&a, &world.host, link);
        // The outside may, on a link whose admin lets it: the advertisement is a good one.
        world.host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "2").unwrap();
        advertise(&world.outside, &world.host, "eth0");
        let learnt = || world.host.ip(&["-6", "route", "show", "default", "proto", "ra"]).unwrap();
        holds_soon(|| !learnt().is_empty());
        let learnt = learnt();
        assert!(learnt.contains("dev eth0") && !learnt.contains(link), "{learnt}");
    }
}

/// Sends a router advertisement from `node`'s eth0 to the link-local address of `host`'s link.
fn advertise(node: &Node, host: &Node, link: &str) {
    use nix::sys::socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt,
        socket, sockopt,
    };
    use std::os::fd::AsRawFd;
    let addresses = host.ip(&["-6", "addr", "show", "dev", link, "scope", "link"]).unwrap();
    let address = addresses.split("inet6 ").nth(1).unwrap().split('/').next().unwrap();
    let send = || {
        let raw = (AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC);
        let socket = socket(raw.0, raw.1, raw.2, SockProtocol::IcmpV6).unwrap();
        // Anything that crossed a router is not believed.
        setsockopt(&socket, sockopt::Ipv6Ttl, &255).unwrap();
        let index = nix::net::if_::if_nametoindex("eth0").unwrap();
        let to = std::net::SocketAddrV6::new(address.parse().unwrap(), 0, 0, index);
        // Type 134, hop limit 64, a router for half an hour.
        let advertisement = [134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0];
        sendto(socket.as_raw_fd(), &advertisement, &SockaddrIn6::from(to), MsgFlags::empty())
            .unwrap();
    };
    node.run(send).unwrap();
}

#[test]
fn a_host_that_learns_its_router_goes_on_to_when_ipv6_is_forwarded() {
    let world = World::new();
    let host = &world.host;
    host.ip(&["-6", "route", "del", "default"]).unwrap();
    let route = ["-6", "route", "add", "default", "via", V6.outside, "dev", "eth0", "proto", "ra"];
    host.ip(&route).unwrap();
    host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "1").unwrap();
    let accepts = || host.sysctl("net/ipv6/conf/eth0/accept_ra").unwrap();
    let (a, b) = (world.container("a"), world.container("b"));
    world.up(&a, "10.0.0.2/24 --nat");
    assert_eq!(accepts(), "1", "IPv4 is no reason to touch it");
    world.up(&b, "fd00::2/64 --nat");
    assert_eq!(accepts(), "2");
    assert_eq!(host.sysctl("net/ipv6/conf/all/forwarding").unwrap(), "1");
    assert!(host.ip(&["-6", "route", "show", "default"]).unwrap().contains("proto ra"));
    ping(&b, ip(V6.outside)).unwrap();
}

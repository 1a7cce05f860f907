//! Limits and isolation, with real packets: how fast a container may be, and who may open
//! connections to it.

mod calling;

use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use calling::{World, attempt, shell, tell};
use netns_fixtures::probe::{TcpEcho, tcp_ask};
use netns_fixtures::{Container, Node, isolate};
use serde_json::Value;

isolate!();

const BRIDGED: [&str; 2] = ["", "--bridge br0"];
const PORT: u16 = 80;

fn socket(ip: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip.parse::<IpAddr>().unwrap(), port)
}

/// What tc says of a link's queues, as JSON.
fn queues(node: &Node, link: &str) -> Value {
    serde_json::from_str(&shell(node, &format!("tc -j qdisc show dev {link}"))).unwrap()
}

fn links_like(node: &Node, prefix: &str) -> Vec<String> {
    let listed = node.ip(&["-br", "link"]).unwrap();
    let names = listed.lines().filter_map(|line| line.split([' ', '@']).next());
    names.filter(|name| name.starts_with(prefix)).map(str::to_owned).collect()
}

/// Megabits per second from one node to the other, over some seconds.
fn throughput(from: &Node, to: &Node, address: &str) -> f64 {
    let mut server = to.command("iperf3");
    let server = server.args(["-s", "-1", "-J"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut server = server.spawn().unwrap();
    let ready = calling::holds_soon(|| !shell(to, "ss -Hltn 'sport = :5201'").is_empty());
    assert!(ready, "iperf3 does not listen");
    let mut client = from.command("timeout");
    let output = client.args(["30", "iperf3", "-J", "-t", "4", "-O", "1", "-c", address]).output();
    let report: Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
    server.kill().ok();
    server.wait().unwrap();
    let rate = report["end"]["sum_received"]["bits_per_second"].as_f64();
    rate.unwrap_or_else(|| panic!("{report}")) / 1e6
}

#[test]
fn a_container_is_as_fast_as_it_may_be() {
    for bridge in BRIDGED {
        let world = World::new();
        let container = world.container("c");
        let limits = "--bandwidth-in 8mbit:256kbit --bandwidth-out 8mbit:256kbit";
        world.up(&container, &format!("10.0.0.2/24 {limits} {bridge}"));
        for (from, to, address, way) in [
            (&world.outside, &*container, "10.0.0.2", "in"),
            (&*container, &world.outside, "198.51.100.1", "out"),
        ] {
            if address == "10.0.0.2" {
                let route = ["route", "replace", "10.0.0.0/24", "via", "198.51.100.2"];
                world.outside.ip(&route).unwrap();
            }
            let measured = throughput(from, to, address);
            tell(&format!("limits: {measured:5.2} of 8 Mbit/s {way} {bridge}"));
            assert!((5.6..=10.4).contains(&measured), "{way} {bridge}: {measured}");
        }
        world.down(&container);
        assert_eq!(links_like(&world.host, "nb"), Vec::<String>::new());
    }
}

#[test]
fn queues_are_what_was_asked_for() {
    let world = World::new();
    let container = world.container("c");
    world.up(&container, "10.0.0.2/24 --bandwidth-in 40gbit:80mbit --bandwidth-out 1mbit:100kbit");
    let [link] = &links_like(&world.host, "nu")[..] else { panic!("no host link") };
    let [block] = &links_like(&world.host, "nb")[..] else { panic!("no block") };
    let root = |link: &str| {
        let found = queues(&world.host, link);
        let queues = found.as_array().unwrap().clone();
        queues.into_iter().find(|queue| queue["root"] == true).unwrap_or_else(|| panic!("{found}"))
    };
    let inward = root(link);
    assert_eq!((&inward["kind"], &inward["handle"]), (&"tbf".into(), &"1:".into()), "{inward}");
    // More than 32 bits of bytes per second.
    assert_eq!(inward["options"]["rate"], 5_000_000_000_u64, "{inward}");
    let outward = root(block);
    assert_eq!(outward["options"]["rate"], 125_000, "{outward}");
    let near =
        |value: &Value, wanted: u64| value.as_u64().unwrap().abs_diff(wanted) <= wanted / 100;
    assert!(near(&inward["options"]["burst"], 10_000_000), "{inward}");
    assert!(near(&outward["options"]["burst"], 12_500), "{outward}");
    assert!(near(&outward["options"]["lat"], 25_000), "{outward}");
    let filters = shell(&world.host, &format!("tc -j filter show dev {link} ingress"));
    assert!(filters.contains(&format!("\"to_dev\":\"{block}\"")), "{filters}");
    assert_eq!(world.must(&format!("check {}", container.pid())).lines().count(), 1);
}

#[test]
fn a_limit_that_was_lifted_is_noticed_and_put_back() {
    let world = World::new();
    let container = world.container("c");
    world.up(&container, "10.0.0.2/24 --id c --bandwidth-in 8mbit --bandwidth-out 8mbit");
    let link = links_like(&world.host, "nu").remove(0);
    let block = links_like(&world.host, "nb").remove(0);
    let meddling = [
        format!("tc qdisc delete dev {link} root"),
        format!(
            "tc qdisc replace dev {block} root handle 1: tbf rate 9mbit burst 100kb latency 25ms"
        ),
        format!("tc qdisc delete dev {link} ingress"),
    ];
    for change in meddling {
        world.must("check c");
        shell(&world.host, &change);
        let drift = world.netup("check c").unwrap_err();
        assert!(drift.stdout.contains("tc "), "{change}: {drift}");
        world.netup("check c --repair").ok();
        world.must("check c");
    }
}

/// Two containers and a third that is what the others are not.
struct Neighbours {
    world: World,
    first: Container,
    second: Container,
    third: Container,
    servers: Vec<TcpEcho>,
}

const FIRST: [&str; 2] = ["10.0.0.2", "fd00::2"];
const SECOND: [&str; 2] = ["10.0.0.3", "fd00::3"];
const THIRD: [&str; 2] = ["10.7.0.2", "fd07::2"];

impl Neighbours {
    /// The first two are alike, and the third is open and behind another link.
    fn new(options: &str) -> Self {
        Self::on(World::new(), options)
    }

    fn on(world: World, options: &str) -> Self {
        let [first, second, third] = ["first", "second", "third"].map(|name| world.container(name));
        let publish = "--nat -p 8080:80";
        world.up(&first, &format!("10.0.0.2/24 fd00::2/64 {publish} {options}"));
        world.up(&second, &format!("10.0.0.3/24 fd00::3/64 {options}"));
        let other = if options.contains("--bridge") { "--bridge br7" } else { "" };
        world.up(&third, &format!("10.7.0.2/24 fd07::2/64 {other}"));
        let mut servers = Vec::new();
        for (container, ips) in [(&first, FIRST), (&second, SECOND), (&third, THIRD)] {
            let start = |ip: &str| TcpEcho::start(container, socket(ip, PORT)).unwrap();
            servers.extend(ips.map(start));
        }
        Self { world, first, second, third, servers }
    }

    #[track_caller]
    fn reaches(&self, from: &Node, ips: [&str; 2], expected: bool) {
        for ip in ips {
            let answer = tcp_ask(from, socket(ip, PORT));
            assert_eq!(answer.is_ok(), expected, "{} to {ip}: {answer:?}", from.name());
        }
    }

    /// By an address of the host: a port is published for whoever asks there.
    #[track_caller]
    fn published_is_reached(&self) {
        for from in [&self.world.outside, &self.second, &self.third] {
            for ip in ["198.51.100.2", "2001:db8:1::2"] {
                let answer = tcp_ask(from, socket(ip, 8080)).unwrap();
                assert_eq!(answer.server, "first", "{} by {ip}", from.name());
            }
        }
        assert_eq!(tcp_ask(&self.world.host, socket("127.0.0.1", 8080)).unwrap().server, "first");
    }
}

#[test]
fn an_open_container_is_open() {
    for bridge in BRIDGED {
        let all = Neighbours::new(bridge);
        all.reaches(&all.second, FIRST, true);
        all.reaches(&all.third, FIRST, true);
        all.reaches(&all.first, THIRD, true);
        all.published_is_reached();
    }
}

#[test]
fn an_isolated_container_answers_only_the_host_and_what_is_published() {
    for bridge in BRIDGED {
        let all = Neighbours::new(&format!("--isolation isolated {bridge}"));
        all.reaches(&all.second, FIRST, false);
        all.reaches(&all.third, FIRST, false);
        // What it asks for itself is answered.
        all.reaches(&all.first, THIRD, true);
        all.reaches(&all.world.host, FIRST, true);
        all.published_is_reached();
        assert_eq!(all.servers.len(), 6);
    }
}

#[test]
fn isolated_ports_do_where_the_rules_see_no_frames() {
    let world = World::new();
    for switch in ["iptables", "ip6tables"] {
        let key = format!("net/bridge/bridge-nf-call-{switch}");
        // A kernel without br_netfilter is like one with it switched off.
        world.host.set_sysctl(&key, "0").ok();
    }
    let all = Neighbours::on(world, "--isolation isolated --bridge br0");
    all.reaches(&all.second, FIRST, false);
    all.reaches(&all.third, FIRST, false);
    all.reaches(&all.first, THIRD, true);
    all.published_is_reached();
    let ports = shell(&all.world.host, "bridge -d link");
    assert_eq!(ports.matches("isolated on").count(), 2, "{ports}");
}

#[test]
fn isolated_neighbours_cannot_ask_the_host_to_forward_either() {
    let all = Neighbours::new("--isolation isolated --bridge br0");
    for (route, ip, gateway) in
        [("route", "10.0.0.2", "10.0.0.1"), ("-6 route", "fd00::2", "fd00::1")]
    {
        let line = format!("{route} add {ip} via {gateway} dev eth0");
        all.second.ip(&line.split(' ').collect::<Vec<_>>()).unwrap();
    }
    all.reaches(&all.second, FIRST, false);
}

#[test]
fn on_the_same_bridge_means_just_that() {
    let all = Neighbours::new("--isolation same-bridge --bridge br0");
    all.reaches(&all.second, FIRST, true);
    all.reaches(&all.third, FIRST, false);
    all.reaches(&all.first, THIRD, true);
    all.published_is_reached();
}

#[test]
fn same_bridge_needs_a_bridge() {
    let world = World::new();
    let container = world.container("c");
    let line = format!("up {} 10.0.0.2/24 --isolation same-bridge", container.pid());
    let said = attempt(&world.host, &line).unwrap_err();
    assert_eq!(said.code, Some(2), "{said}");
    assert!(said.stderr.contains("needs a bridge"), "{said}");
}

#[test]
fn the_admins_chain_comes_first_and_stays() {
    let world = World::new();
    let [first, second] = ["first", "second"].map(|name| world.container(name));
    world.up(&first, "10.0.0.2/24 --id first --isolation isolated");
    world.up(&second, "10.0.0.3/24");
    let _server = TcpEcho::start(&first, socket("10.0.0.2", PORT)).unwrap();
    let asked = || tcp_ask(&second, socket("10.0.0.2", PORT)).is_ok();
    assert!(!asked());
    let rule = "ip saddr 10.0.0.3 accept";
    world.host.nft(&format!("add rule inet netup user {rule}")).unwrap();
    assert!(asked(), "the admin allows it");
    // Nor does it count as an alteration.
    world.must("check");
    world.must("reload");
    assert!(world.host.nft_list().unwrap().contains(rule), "reload loses the admin's rule");
    assert!(asked());
    world.host.nft("flush chain inet netup forward").unwrap();
    let drift = world.netup("check first").unwrap_err();
    assert!(drift.stdout.contains("netup reload"), "{drift}");
    world.must("reload");
    assert!(asked());
    world.host.nft("flush chain inet netup user").unwrap();
    assert!(!asked());
}

#[test]
fn rules_of_an_older_release_are_replaced_and_the_admins_stay() {
    let world = World::new();
    let container = world.container("c");
    world
        .host
        .nft(
            "table inet netup { comment \"netup ruleset 1\"; set links { type ifname; }; \
             chain user { ip saddr 192.0.2.7 drop; }; chain publish { counter; }; }",
        )
        .unwrap();
    world.up(&container, "10.0.0.2/24 --isolation isolated --nat");
    let rules = world.host.nft_list().unwrap();
    assert!(rules.contains("ip saddr 192.0.2.7 drop"), "{rules}");
    assert!(!rules.contains("counter"), "{rules}");
    let dry = world.container("dry");
    let plan = world.must(&format!("up {} 10.0.0.9/24 --dry-run", dry.pid()));
    assert!(!plan.contains("nft -f"), "they are loaded once: {plan}");
}

#[test]
fn a_block_that_outlives_its_container_is_cleared() {
    let world = World::new();
    let container = world.container("c");
    world.up(&container, "10.0.0.2/24 --bandwidth-out 8mbit");
    let link = links_like(&world.host, "nu").remove(0);
    container.kill().unwrap();
    calling::wait_until_gone(&world.host, &link);
    assert_eq!(links_like(&world.host, "nb").len(), 1);
    world.must("gc");
    assert_eq!(links_like(&world.host, "nb"), Vec::<String>::new());
}

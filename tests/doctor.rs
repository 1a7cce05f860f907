//! `doctor` against real firewalls: what it warns of does drop packets, its own remedy lets them
//! pass, and then it warns no more. And it leaves the machine as it was.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;

use netns_fixtures::probe::{UdpEcho, ping, udp_ask};
use netns_fixtures::{Container, Dump, Lab, Node, assert_same, isolate};
use netup::{Finding, Health};

isolate!();

const OURS: &str = "nu0123456789ab";
/// The container's address, the outside's, and the host's towards the outside.
const V4: [&str; 3] = ["10.0.0.2:5000", "192.0.2.9:5000", "192.0.2.1:8080"];
const V6: [&str; 3] = ["[fd00::2]:5000", "[fd01::9]:5000", "[fd01::1]:8080"];

struct World {
    host: Node,
    outside: Node,
    container: Container,
    servers: Vec<UdpEcho>,
    _lab: Lab,
}

/// A container behind its own veth with a published port, as netup connects it.
fn world() -> io::Result<World> {
    let lab = Lab::new();
    let (host, outside, container) = (lab.host("host")?, lab.host("outside")?, lab.container("c")?);
    lab.wire(
        &host,
        "eth0",
        &["192.0.2.1/24", "fd01::1/64"],
        &outside,
        "eth0",
        &["192.0.2.9/24", "fd01::9/64"],
    )?;
    lab.wire(
        &host,
        OURS,
        &["10.0.0.1/24", "fd00::1/64"],
        &container,
        "eth0",
        &["10.0.0.2/24", "fd00::2/64"],
    )?;
    for (node, v4, v6) in [
        (&outside, "192.0.2.1", "fd01::1"),
        (&*container, "10.0.0.1", "fd00::1"),
        (&host, "192.0.2.9", "fd01::9"),
    ] {
        node.ip(&["route", "add", "default", "via", v4])?;
        node.ip(&["-6", "route", "add", "default", "via", v6])?;
    }
    host.set_sysctl("net/ipv4/ip_forward", "1")?;
    host.set_sysctl("net/ipv6/conf/all/forwarding", "1")?;
    publish(&host)?;
    let at = |node: &Node, address: &str| UdpEcho::start(node, address.parse().unwrap());
    let servers = vec![
        at(&container, V4[0])?,
        at(&container, V6[0])?,
        at(&outside, V4[1])?,
        at(&outside, V6[1])?,
    ];
    Ok(World { host, outside, container, servers, _lab: lab })
}

fn publish(host: &Node) -> io::Result<()> {
    host.nft(netup::ruleset::TEXT)?;
    host.nft(&format!(
        "add element inet netup links {{ {OURS} }}\n\
         add element inet netup publish4 {{ udp . 8080 : 10.0.0.2 . 5000 }}\n\
         add element inet netup publish6 {{ udp . 8080 : fd00::2 . 5000 }}"
    ))
}

impl World {
    fn crosses(&self, [_, outside, published]: [&str; 3]) -> [bool; 2] {
        let ask = |node: &Node, to: &str| udp_ask(node, to.parse::<SocketAddr>().unwrap()).is_ok();
        assert_eq!(self.servers.len(), 4);
        [ask(&self.container, outside), ask(&self.outside, published)]
    }

    fn shell(&self, script: &str) {
        let mut command = self.host.command("/bin/sh");
        let output = command.args(["-ec", script]).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn warnings(&self) -> Vec<Finding> {
        let findings = doctor(&self.host);
        findings.into_iter().filter(|f| f.subject == "firewall" && f.health != Health::Ok).collect()
    }
}

fn doctor(node: &Node) -> Vec<Finding> {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    node.run(|| runtime().block_on(netup::doctor())).unwrap()
}

/// The firewall drops these families' packets; the remedies, each holding one of the words, heal it.
fn is_healed(firewall: &str, words: &[&str], families: &[[&str; 3]]) {
    let world = world().unwrap();
    for family in [V4, V6] {
        assert_eq!(world.crosses(family), [true, true], "before");
    }
    assert!(world.warnings().is_empty(), "{:?}", world.warnings());
    world.shell(firewall);
    for family in families {
        assert_eq!(world.crosses(*family), [false, false], "{firewall}");
    }
    let warnings = world.warnings();
    assert_eq!(warnings.len(), words.len(), "{warnings:?}");
    for (warning, word) in warnings.iter().zip(words) {
        let remedy = warning.remedy.as_deref().unwrap();
        assert!(remedy.contains(word), "{warning:?}");
        world.shell(remedy);
    }
    for family in families {
        assert_eq!(world.crosses(*family), [true, true], "{warnings:?}");
    }
    assert!(world.warnings().is_empty(), "{:?}", world.warnings());
}

#[test]
fn docker_is_healed_in_its_user_chain() {
    let docker = |program: &str| {
        format!(
            "{program} -P FORWARD DROP
             for chain in DOCKER-USER DOCKER-FORWARD; do {program} -N $chain; {program} -A FORWARD -j $chain; done
             {program} -A DOCKER-FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
             {program} -A DOCKER-FORWARD -i docker0 ! -o docker0 -j ACCEPT\n"
        )
    };
    let both = docker("iptables-nft") + &docker("ip6tables-nft");
    is_healed(&both, &["iptables-nft -I DOCKER-USER", "ip6tables-nft -I DOCKER-USER"], &[V4, V6]);
}

#[test]
fn iptables_policy_drop_is_healed() {
    is_healed("iptables-nft -P FORWARD DROP", &["iptables-nft -I FORWARD -i nu+"], &[V4]);
}

#[test]
fn iptables_that_accepts_answers_needs_no_rule_for_them() {
    let firewall = "iptables-nft -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
                    iptables-nft -A FORWARD -j REJECT";
    is_healed(firewall, &["-o nu+ -m conntrack --ctstate DNAT -j ACCEPT"], &[V4]);
}

#[test]
fn legacy_iptables_is_healed() {
    is_healed("iptables-legacy -P FORWARD DROP", &["iptables-legacy -I FORWARD"], &[V4]);
}

#[test]
fn nftables_policy_drop_is_healed() {
    let firewall = "nft 'add table inet filter; add chain inet filter forward { type filter hook forward priority 0; policy drop; }'";
    is_healed(
        firewall,
        &["nft 'insert rule inet filter forward iifname \"nu*\" accept"],
        &[V4, V6],
    );
}

#[test]
fn a_final_reject_is_healed() {
    let firewall = "nft -f - <<END
        table inet filter {
          chain zones { iifname vmap { \"lo\" : accept, \"eth0\" : goto closed }; goto closed; }
          chain closed { reject with icmpx admin-prohibited; }
          chain forward { type filter hook forward priority 10; policy accept;
            ct state vmap { established : accept, related : accept, invalid : drop }
            jump zones
          }
        }
END";
    is_healed(firewall, &["insert rule inet filter forward"], &[V4, V6]);
}

#[test]
fn looking_changes_nothing() {
    let world = world().unwrap();
    world.shell("iptables-nft -P FORWARD DROP");
    let before = Dump::of(&world.host).unwrap();
    doctor(&world.host);
    assert_same(&before, &Dump::of(&world.host).unwrap());
    // Least of all where there was no firewall at all: iptables makes tables by looking at them.
    let lab = Lab::new();
    let bare = lab.host("bare").unwrap();
    let before = Dump::of(&bare).unwrap();
    doctor(&bare);
    assert_same(&before, &Dump::of(&bare).unwrap());
    assert_eq!(
        bare.run(|| std::fs::read_to_string("/proc/thread-self/net/ip_tables_names"))
            .unwrap()
            .unwrap(),
        ""
    );
}

#[test]
fn kernel_parameters_that_bite_are_found_and_healed() {
    let world = world().unwrap();
    let found =
        |subject: &str| doctor(&world.host).into_iter().find(|f| f.subject == subject).unwrap();
    let heal = |subject: &str| {
        let finding = found(subject);
        assert_eq!(finding.health, Health::Warning, "{finding:?}");
        world.shell(&finding.remedy.unwrap());
        assert_eq!(found(subject).health, Health::Ok);
    };
    world.shell("sysctl -w net/ipv4/conf/eth0/route_localnet=1");
    assert!(found("loopback").found.contains("guard"));
    world.shell("nft delete table inet netup");
    heal("loopback");

    world.shell("sysctl -w net/ipv4/conf/eth0/rp_filter=1");
    assert_eq!(found("reverse path").health, Health::Ok);
    world.shell("ip link add up1 type veth peer name up2; ip link set up1 up; ip link set up2 up; ip addr add 198.51.100.2/24 dev up1; ip route add default via 198.51.100.1 dev up1 metric 5");
    heal("reverse path");

    world.shell("sysctl -w net/ipv6/conf/eth0/accept_ra=1; ip addr add fd02::5/64 dev eth0 valid_lft 600 preferred_lft 600");
    heal("router advertisements");

    world.shell("sysctl -w net/ipv6/conf/default/disable_ipv6=1");
    heal("IPv6");
}

#[test]
fn bridged_frames_that_meet_a_firewall_are_found_and_healed() {
    let world = world().unwrap();
    let lab = Lab::new();
    let (a, b) = (lab.container("a").unwrap(), lab.container("b").unwrap());
    world.shell("ip link add br0 type bridge; ip link set br0 up; sysctl -w net/bridge/bridge-nf-call-iptables=1");
    for (node, link, address) in [(&a, "nua", "10.9.0.2/24"), (&b, "nub", "10.9.0.3/24")] {
        lab.wire(&world.host, link, &[], node, "eth0", &[address]).unwrap();
        world.host.ip(&["link", "set", "dev", link, "master", "br0"]).unwrap();
    }
    world.host.nft("add element inet netup links { br0 }").unwrap();
    let crosses = || ping(&a, "10.9.0.3".parse().unwrap()).is_ok();
    let found =
        |subject: &str| doctor(&world.host).into_iter().find(|f| f.subject == subject).unwrap();
    assert!(crosses());
    assert_eq!(found("bridged frames").health, Health::Ok);
    // What leaves the bridge passes; what stays within does not.
    world.shell("iptables-nft -P FORWARD DROP; iptables-nft -A FORWARD -o eth0 -j ACCEPT; iptables-nft -A FORWARD -i eth0 -j ACCEPT");
    assert!(!crosses());
    assert_eq!(found("firewall").health, Health::Ok);
    let finding = found("bridged frames");
    assert_eq!(finding.remedy.as_deref(), Some("iptables-nft -I FORWARD -i br0 -j ACCEPT"));
    world.shell(&finding.remedy.unwrap());
    assert!(crosses());
    assert_eq!(found("bridged frames").health, Health::Ok);
}

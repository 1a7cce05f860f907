//! Containers get through a host's firewall of iptables or firewalld, and the rules for that are
//! those of the reference plugin `firewall`, whoever made them.

mod calling;

use std::io::Write;
use std::net::IpAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use calling::{World, holds_soon, shell, tell};
use netns_fixtures::probe::ping;
use netns_fixtures::{Container, Node, isolate, tools};
use netup::iptables::{self, ChainName, IngressPolicy, IptablesAdmission};
use netup::plan::{self, Step};
use netup::{TargetName, firewalld};
use serde_json::{Value, json};

isolate!();

const PLUGIN: &str = "/usr/lib/cni/firewall";
const V4: &str = "10.9.0.2";
const V6: &str = "fd09::2";
const OUTSIDE: [&str; 2] = ["198.51.100.1", "2001:db8:1::1"];

fn admission(addresses: &[&str]) -> IptablesAdmission {
    IptablesAdmission {
        addresses: addresses.iter().map(|ip| ip.parse().unwrap()).collect(),
        admin_chain: ChainName::default(),
        ingress: None,
    }
}

fn with_ingress(addresses: &[&str], bridge: &str, isolated: bool) -> IptablesAdmission {
    let ingress = Some(IngressPolicy { bridge: bridge.parse().unwrap(), isolated });
    IptablesAdmission { ingress, ..admission(addresses) }
}

fn admit(host: &Node, admission: &IptablesAdmission) {
    host.run(|| iptables::admit(admission)).unwrap().unwrap();
    assert!(host.run(|| iptables::is_admitted(admission)).unwrap().unwrap());
}

fn unadmit(host: &Node, admission: &IptablesAdmission) {
    host.run(|| iptables::unadmit(admission)).unwrap().unwrap();
    assert!(!host.run(|| iptables::is_admitted(admission)).unwrap().unwrap());
}

/// The reference's plugin, of the same addresses.
#[track_caller]
fn reference(host: &Node, container: &Container, verb: &str, admission: &IptablesAdmission) {
    let single =
        |ip: &IpAddr| json!({"address": format!("{ip}/{}", if ip.is_ipv4() { 24 } else { 64 })});
    let ips: Vec<Value> = admission.addresses.iter().map(single).collect();
    let ingress = admission.ingress.as_ref();
    let bridge = ingress.map_or("cni0".to_owned(), |ingress| ingress.bridge.to_string());
    let conf = json!({"cniVersion": "1.0.0", "name": "net1", "type": "firewall",
        "backend": "iptables", "ingressPolicy": ingress.map_or("open", |_| "same-bridge"),
        "prevResult": {"cniVersion": "1.0.0", "interfaces": [{"name": bridge}], "ips": ips}});
    let mut child = host
        .command(PLUGIN)
        .env_clear()
        .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", "c"), ("CNI_IFNAME", "eth0")])
        .envs([("CNI_PATH", "/usr/lib/cni"), ("PATH", "/usr/sbin:/sbin:/usr/bin:/bin")])
        .env("CNI_NETNS", container.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|e| panic!("{PLUGIN}: {e}: install containernetworking-plugins"));
    child.stdin.take().unwrap().write_all(conf.to_string().as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// The rules of both families, in order, and the chains.
fn rules(host: &Node) -> String {
    let saved = shell(host, "iptables-save -t filter; ip6tables-save -t filter");
    // Without the counters of packets.
    let line = |line: &str| line.split(" [").next().unwrap_or_default().to_owned() + "\n";
    saved.lines().filter(|line| !line.starts_with('#')).map(line).collect()
}

fn drop_forwarded(host: &Node) {
    shell(host, "iptables -P FORWARD DROP; ip6tables -P FORWARD DROP");
}

fn reaches(container: &Container) -> [bool; 2] {
    OUTSIDE.map(|ip| ping(container, ip.parse().unwrap()).is_ok())
}

fn world_with_container(addresses: &str) -> (World, Container) {
    let world = World::new();
    let container = world.container_with_loopback("c");
    world.up(&container, &format!("{addresses} --nat"));
    (world, container)
}

#[test]
fn traffic_passes_a_policy_of_drop() {
    let (world, container) = world_with_container(&format!("{V4}/24 {V6}/64"));
    let admission = admission(&[V4, V6]);
    let filtered = || world.host.run(iptables::forward_is_filtered).unwrap().unwrap();
    assert!(!filtered());
    assert_eq!(reaches(&container), [true, true]);
    drop_forwarded(&world.host);
    assert!(filtered());
    assert_eq!(reaches(&container), [false, false]);
    let started = Instant::now();
    admit(&world.host, &admission);
    tell(&format!("admitted and looked at by iptables: {:?}", started.elapsed()));
    assert_eq!(reaches(&container), [true, true]);
    // Twice is once.
    let once = rules(&world.host);
    admit(&world.host, &admission);
    assert_eq!(rules(&world.host), once);
    unadmit(&world.host, &admission);
    assert_eq!(reaches(&container), [false, false]);
    assert!(!rules(&world.host).contains(V4) && !rules(&world.host).contains(V6));
    unadmit(&world.host, &admission);
}

#[test]
fn a_family_without_addresses_gets_no_rules() {
    let (world, container) = world_with_container(&format!("{V4}/24"));
    drop_forwarded(&world.host);
    // Without the time and the counters of packets.
    let saved = "ip6tables-save -t filter | grep -v '^#' | sed 's/\\[[0-9:]*\\]//'";
    let other = shell(&world.host, saved);
    admit(&world.host, &admission(&[V4]));
    assert!(reaches(&container)[0]);
    assert_eq!(shell(&world.host, saved), other);
}

#[test]
fn rules_in_the_chain_forward_are_a_filter() {
    let world = World::new();
    let filtered = || world.host.run(iptables::forward_is_filtered).unwrap().unwrap();
    shell(&world.host, "iptables -P INPUT ACCEPT");
    assert!(!filtered());
    shell(&world.host, "ip6tables -A FORWARD -j DROP");
    assert!(filtered());
    let world = World::new();
    let filtered = || world.host.run(iptables::forward_is_filtered).unwrap().unwrap();
    shell(&world.host, "iptables-legacy -P FORWARD DROP");
    assert!(filtered());
}

#[test]
fn nothing_is_repeated_after_the_reference() {
    for ours in [admission(&[V4, V6]), with_ingress(&[V4, V6], "cni0", false)] {
        let world = World::new();
        let container = world.container_with_loopback("c");
        reference(&world.host, &container, "ADD", &ours);
        let made = rules(&world.host);
        assert!(made.contains(V4), "{made}");
        admit(&world.host, &ours);
        assert_eq!(rules(&world.host), made);
        // Each takes down what the other made.
        unadmit(&world.host, &ours);
        reference(&world.host, &container, "DEL", &ours);
        let empty = rules(&world.host);
        assert!(!empty.contains(V4) && !empty.contains(V6), "{empty}");
        admit(&world.host, &ours);
        assert_eq!(rules(&world.host), made);
    }
}

#[test]
fn the_reference_repeats_nothing_of_ours() {
    for ours in [admission(&[V4, V6]), with_ingress(&[V4, V6], "cni0", false)] {
        let world = World::new();
        let container = world.container_with_loopback("c");
        admit(&world.host, &ours);
        let made = rules(&world.host);
        reference(&world.host, &container, "ADD", &ours);
        assert_eq!(rules(&world.host), made);
        reference(&world.host, &container, "DEL", &ours);
        assert!(!rules(&world.host).contains(V4));
        reference(&world.host, &container, "ADD", &ours);
        assert_eq!(rules(&world.host), made);
        unadmit(&world.host, &ours);
    }
}

#[test]
fn isolation_comes_before_what_lets_through() {
    let world = World::new();
    let isolated = with_ingress(&[V4], "br1", true);
    admit(&world.host, &isolated);
    let wanted = rules(&world.host);
    let order = |text: &str| {
        let forward: Vec<&str> = text.lines().filter(|l| l.starts_with("-A FORWARD")).collect();
        [forward[0].contains("CNI-ISOLATION-STAGE-1"), forward[1].contains("-j CNI-FORWARD")]
    };
    assert_eq!(order(&wanted), [true, true], "{wanted}");
    assert!(wanted.contains("-i br1 -o br1"), "{wanted}");
    // Somebody flushed the chain FORWARD and a plugin without isolation came first.
    shell(&world.host, "iptables -D FORWARD 2; iptables -I FORWARD -j CNI-FORWARD");
    assert!(!world.host.run(|| iptables::is_admitted(&isolated)).unwrap().unwrap());
    admit(&world.host, &admission(&[V4]));
    assert_eq!(order(&rules(&world.host)), [true, true]);
    shell(&world.host, "iptables -D FORWARD 2");
    admit(&world.host, &admission(&["10.9.0.3"]));
    assert_eq!(order(&rules(&world.host)), [true, true]);
    // A second bridge's rules come before the chains' ends.
    admit(&world.host, &with_ingress(&["10.8.0.2"], "br2", false));
    let both = rules(&world.host);
    for stage in ["-A CNI-ISOLATION-STAGE-1 ", "-A CNI-ISOLATION-STAGE-2 "] {
        let chain: Vec<&str> = both.lines().filter(|line| line.starts_with(stage)).collect();
        let ends: Vec<bool> = chain.iter().map(|line| line.ends_with("-j RETURN")).collect();
        assert!(ends.iter().rev().skip(1).all(|end| !end) && ends[ends.len() - 1], "{both}");
    }
}

#[test]
fn many_at_once_make_each_rule_once() {
    let world = World::new();
    let all: Vec<String> = (2..18).map(|n| format!("10.9.0.{n}")).collect();
    std::thread::scope(|scope| {
        for ip in &all {
            let host = &world.host;
            scope.spawn(move || admit(host, &with_ingress(&[ip], "cni0", false)));
        }
    });
    let made = rules(&world.host);
    let mut lines: Vec<&str> = made.lines().filter(|line| line.starts_with("-A")).collect();
    let count = lines.len();
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), count, "{made}");
    assert_eq!(count, 2 * all.len() + 7, "{made}");
    std::thread::scope(|scope| {
        for ip in &all {
            let host = &world.host;
            scope.spawn(move || unadmit(host, &admission(&[ip])));
        }
    });
    assert!(!rules(&world.host).contains("10.9.0."));
}

#[test]
fn what_cannot_name_a_chain_is_refused() {
    for bad in ["", "-x", "a b", "a\nCOMMIT", "a\"", "chain-of-29-characters-in-all"] {
        bad.parse::<ChainName>().unwrap_err();
    }
    assert_eq!("MY-ADMIN".parse::<ChainName>().unwrap().to_string(), "MY-ADMIN");
    let world = World::new();
    let named = IptablesAdmission { admin_chain: "MY-ADMIN".parse().unwrap(), ..admission(&[V4]) };
    admit(&world.host, &named);
    assert!(rules(&world.host).contains("admin overrides\" -j MY-ADMIN"));
}

#[test]
fn the_printed_commands_do_the_same() {
    let target = TargetName::Pid(1);
    let paste = |host: &Node, step: &Step| shell(host, &plan::lines(step, &target).join("\n"));
    for ours in [admission(&[V4, V6]), with_ingress(&[V4, V6], "cni0", true)] {
        let (one, other) = (World::new(), World::new());
        admit(&one.host, &ours);
        let step = Step::AdmitByIptables(ours.clone());
        paste(&other.host, &step);
        assert_eq!(rules(&other.host), rules(&one.host));
        paste(&other.host, &step);
        assert_eq!(rules(&other.host), rules(&one.host));
        let step = Step::UnadmitByIptables(ours.clone());
        unadmit(&one.host, &ours);
        paste(&other.host, &step);
        assert_eq!(rules(&other.host), rules(&one.host));
        paste(&other.host, &step);
    }
    let (zone, addresses) = ("my zone".to_owned(), vec![V4.parse().unwrap(), V6.parse().unwrap()]);
    let step = Step::TrustByFirewalld { zone, addresses };
    let printed =
        format!("firewall-cmd '--zone=my zone' --add-source={V4}/32 --add-source={V6}/128");
    assert_eq!(plan::lines(&step, &target), [printed]);
}

#[test]
fn a_step_is_remembered_as_it_is() {
    let step = Step::AdmitByIptables(with_ingress(&[V4, V6], "cni0", true));
    let text = serde_json::to_string(&step).unwrap();
    assert_eq!(serde_json::from_str::<Step>(&text).unwrap(), step);
    // A record that somebody tampered with cannot smuggle commands in.
    let bad = text.replace("CNI-ADMIN", "x\\nCOMMIT");
    serde_json::from_str::<Step>(&bad).unwrap_err();
}

/// The same where `iptables` is the legacy one: its program takes the place of the other for a
/// process of its own.
#[test]
fn legacy_iptables_does_as_well() {
    let [nft, legacy] = ["xtables-nft-multi", "xtables-legacy-multi"]
        .map(|name| tools::find(name).unwrap().display().to_string());
    let script = format!("mount --bind {legacy} {nft} && iptables --version && exec \"$@\"");
    let tests = [
        "traffic_passes_a_policy_of_drop",
        "a_family_without_addresses_gets_no_rules",
        "nothing_is_repeated_after_the_reference",
        "the_reference_repeats_nothing_of_ours",
        "isolation_comes_before_what_lets_through",
        "many_at_once_make_each_rule_once",
    ];
    let mut command = Command::new(tools::find("unshare").unwrap());
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(std::env::current_exe().unwrap());
    let output = command.arg("--exact").args(tests).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("(legacy)") && said.contains("6 passed"), "{said}");
}

/// A daemon that ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn daemon(host: &Node, program: &str, arguments: &[&str]) -> Daemon {
    let program = tools::find(program).unwrap();
    let mut command = host.command(program);
    let command = command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
    Daemon(command.stderr(Stdio::null()).spawn().unwrap())
}

/// A bus of its own, which starts no further services.
const BUS: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>system</type>
  <listen>unix:path=/run/dbus/system_bus_socket</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/> <allow own="*"/> <allow send_type="method_call"/>
    <allow send_type="signal"/> <allow send_type="method_return"/> <allow send_type="error"/>
    <allow receive_type="method_call"/> <allow receive_type="signal"/>
    <allow receive_type="method_return"/> <allow receive_type="error"/>
  </policy>
</busconfig>
"#;

#[test]
fn traffic_passes_firewalld() {
    let (world, container) = world_with_container(&format!("{V4}/24 {V6}/64"));
    let addresses = [V4.parse().unwrap(), V6.parse().unwrap()];
    let running = || world.host.run(firewalld::is_running).unwrap().unwrap();
    let trusted =
        || world.host.run(|| firewalld::is_trusted("trusted", &addresses)).unwrap().unwrap();
    let distrust =
        || world.host.run(|| firewalld::distrust("trusted", &addresses)).unwrap().unwrap();
    assert!(!running());
    // Nobody to ask, and so nothing to take back.
    distrust();
    std::fs::create_dir_all("/run/dbus").unwrap();
    std::fs::create_dir_all("/run/firewalld-test").unwrap();
    std::fs::write("/run/dbus/test.conf", BUS).unwrap();
    let bus = daemon(
        &world.host,
        "dbus-daemon",
        &["--config-file=/run/dbus/test.conf", "--nofork", "--nopidfile"],
    );
    assert!(holds_soon(|| Path::new("/run/dbus/system_bus_socket").exists()));
    let arguments = [
        "--nofork",
        "--nopid",
        "--system-config",
        "/run/firewalld-test",
        // Not /dev/null: firewalld takes the rights of others from its log, whatever that is.
        "--log-file",
        "/run/firewalld-test/log",
    ];
    let daemon = daemon(&world.host, "firewalld", &arguments);
    assert!(holds_soon(running));
    let is_up = || {
        let mut ask = world.host.command(tools::find("firewall-cmd").unwrap());
        ask.arg("--state").output().is_ok_and(|output| output.status.success())
    };
    assert!(holds_soon(is_up));
    assert_eq!(reaches(&container), [false, false]);
    assert!(!trusted());
    let trust = || world.host.run(|| firewalld::trust("trusted", &addresses)).unwrap();
    trust().unwrap();
    trust().unwrap();
    assert!(trusted());
    assert_eq!(reaches(&container), [true, true]);
    distrust();
    assert_eq!(reaches(&container), [false, false]);
    // Gone already, all of it or a part.
    distrust();
    world.host.run(|| firewalld::trust("trusted", &addresses[..1])).unwrap().unwrap();
    distrust();
    assert!(!trusted());
    let refusal = world.host.run(|| firewalld::trust("no-such-zone", &addresses)).unwrap();
    assert!(refusal.unwrap_err().to_string().contains("INVALID_ZONE"));
    drop(daemon);
    distrust();
    let refusal = trust().unwrap_err().to_string();
    assert!(refusal.contains("not running") && refusal.contains("start firewalld"), "{refusal}");
    drop(bus);
    distrust();
}

//! The command line end to end: the real binary, real namespaces, packets that cross.

mod calling;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

use calling::{
    NETUP, Said, clean, command, cookie, document, done, holds_soon, netup, refused, remembered,
    shell, state_folder, without_forwarding,
};
use netns_fixtures::probe::{TcpEcho, UdpEcho, ping, tcp_ask, udp_ask};
use netns_fixtures::{Container, Dump, Lab, Node, assert_same, isolate, tools};
use serde_json::{Value, json};

isolate!();

struct World {
    outside: Node,
    host: Node,
    web: Container,
    lab: Lab,
}

fn world() -> World {
    let calling::World { lab, host, outside } = calling::World::new();
    let web = lab.container("web").unwrap();
    World { outside, host, web, lab }
}

fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl World {
    fn pid(&self) -> String {
        self.web.pid().to_string()
    }

    /// Calls netup; `{}` is the PID of the container.
    #[track_caller]
    fn call(&self, line: &str) -> String {
        done(&self.host, &words(&line.replace("{}", &self.pid())))
    }

    #[track_caller]
    fn facts(&self, line: &str) -> Value {
        document(&self.host, &words(&line.replace("{}", &self.pid())))
    }

    #[track_caller]
    fn refused(&self, line: &str, code: i32) -> String {
        refused(&self.host, &words(&line.replace("{}", &self.pid())), code)
    }

    fn dump(&self) -> [Dump; 2] {
        [remembered(&self.host), Dump::of(&self.web).unwrap()]
    }

    /// Out through NAT, and in through the published port 8080.
    #[track_caller]
    fn traffic_crosses(&self) {
        let outside = TcpEcho::start(&self.outside, at("198.51.100.1:7000")).unwrap();
        let inside = TcpEcho::start(&self.web, at("0.0.0.0:80")).unwrap();
        let seen = tcp_ask(&self.web, outside.address()).unwrap().client_seen;
        assert_eq!(seen.ip().to_string(), "198.51.100.2", "the host's address");
        let answer = tcp_ask(&self.outside, at("198.51.100.2:8080")).unwrap();
        assert_eq!(answer.server, "web");
        assert_eq!(answer.client_seen.ip().to_string(), "198.51.100.1", "the client's own address");
        tcp_ask(&self.host, at("127.0.0.1:8080")).unwrap();
        drop(inside);
    }
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[track_caller]
fn same(before: &[Dump; 2], after: &[Dump; 2]) {
    assert_same(&before[0], &after[0]);
    assert_same(&before[1], &after[1]);
}

const WEB: &str = "up {} 10.0.0.2/24 --id web --nat -p 8080:80";

#[test]
fn up_prints_a_short_table_of_what_now_exists() {
    let world = world();
    let text = world.call("{} 10.0.0.2/24 fd00::2/64 --id web --nat -p 8080:80 -p 53:53/udp");
    let head = text.lines().next().unwrap();
    assert!(head.starts_with("web@eth0 created (") && head.ends_with(')'), "{head}");
    for fact in [
        "host link",
        "container",
        "eth0",
        "addresses",
        "10.0.0.2/24",
        "fd00::2/64",
        "gateways",
        "10.0.0.1",
        "fd00::1",
        "nat",
        "on",
        "published",
        "8080:80/tcp",
        "53:53/udp",
        "mtu",
        "1500",
    ] {
        assert!(text.contains(fact), "{fact}: {text}");
    }
    assert!(text.lines().count() < 16, "{text}");
    let link = text.split_whitespace().find(|word| word.starts_with("nu")).unwrap();
    world.host.ip(&["link", "show", "dev", link]).unwrap();
    world.traffic_crosses();
}

#[test]
fn the_facts_as_json_are_what_was_asked_for() {
    let world = world();
    let facts = world.facts("up {} 10.0.0.2/24 --id web --nat -p 8080:80 --mtu 1400");
    let expected = json!({
        "result": "created", "container": "web", "ifname": "eth0", "target": world.pid(),
        "netns_cookie": cookie(&world.web), "topology": "routed", "mtu": 1400,
        "addresses": ["10.0.0.2/24"], "gateways": ["10.0.0.1"], "default_route": true,
        "routes": [], "nat": true, "publish": ["8080:80/tcp"], "sysctls": [],
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&facts[key], value, "{key}");
    }
    assert!(facts["elapsed_us"].as_u64().unwrap() > 0);
    let listed = world.facts("ls");
    assert_eq!(listed, world.facts("show web"));
    let [listed] = &listed.as_array().unwrap()[..] else { panic!("{listed}") };
    assert_eq!(listed["state"], "up");
    for (key, value) in listed.as_object().unwrap().iter().filter(|(key, _)| *key != "state") {
        assert_eq!(&facts[key], value, "{key}");
    }
    let gone = world.facts("down web");
    assert_eq!((&gone[0]["container"], &gone[0]["ifname"]), (&json!("web"), &json!("eth0")));
    assert_eq!(world.facts("ls"), json!([]));
}

#[test]
fn tables_list_and_show_what_exists() {
    let world = world();
    assert_eq!(world.call("ls").lines().count(), 1, "nothing but the heads");
    world.call(WEB);
    let table = world.call("ls");
    let row = table.lines().nth(1).unwrap();
    for cell in ["web", "eth0", &world.pid(), "up", "10.0.0.2/24", "8080:80/tcp"] {
        assert!(row.contains(cell), "{cell}: {table}");
    }
    let shown = world.call("show web");
    assert!(shown.contains(&format!("cookie {}", cookie(&world.web))), "{shown}");
}

#[test]
fn quiet_is_silent() {
    let world = world();
    assert_eq!(world.call("up {} 10.0.0.2/24 -q"), "");
    assert_eq!(world.call("up {} 10.0.0.2/24 -q"), "");
    assert_eq!(world.call("down {} -q"), "");
}

#[test]
fn verbose_tells_each_step_on_standard_error() {
    let world = world();
    let said = netup(&world.host, &["-v", "up", &world.pid(), "10.0.0.2/24"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.stderr.lines().count() > 5 && said.stderr.contains("ip link add"), "{said:?}");
    assert!(said.stdout.contains("created"), "{said:?}");
}

/// What netup writes to a terminal.
fn on_a_terminal(node: &Node, words: &str, variable: (&str, &str)) -> String {
    let mut script = node.command(tools::find("script").unwrap());
    clean(&mut script).env("TERM", "xterm").env(variable.0, variable.1);
    let line = format!("{NETUP} {words}");
    let output = script.args(["-qec", &line, "/dev/null"]).output().unwrap();
    Said::from(output).stdout
}

#[test]
fn colours_are_only_for_a_terminal_that_wants_them() {
    let world = world();
    let escape = '\u{1b}';
    for line in ["up {} 10.0.0.2/24", "ls", "show {}", "check", "doctor", "--help", "down {}", "gc"]
    {
        let said = netup(&world.host, &words(&line.replace("{}", &world.pid())));
        assert!(!said.stdout.contains(escape) && !said.stderr.contains(escape), "{said:?}");
    }
    world.call("up {} 10.0.0.2/24");
    assert!(on_a_terminal(&world.host, "ls", ("X", "")).contains(escape));
    assert!(on_a_terminal(&world.host, "ls", ("NO_COLOR", "")).contains(escape), "empty is unset");
    assert!(!on_a_terminal(&world.host, "ls", ("NO_COLOR", "1")).contains(escape));
    assert!(!on_a_terminal(&world.host, "ls --color never", ("X", "")).contains(escape));
    assert!(!on_a_terminal(&world.host, "ls --json", ("X", "")).contains(escape));
    assert!(world.call("ls --color always").contains(escape));
}

#[test]
fn asking_again_says_unchanged_and_changes_nothing() {
    let world = world();
    for line in [
        "up {} 10.0.0.2/24 fd00::2/64 --id web --nat -p 8080:80 -p 53:53/udp",
        "up {} --subnet 10.2.0.0/24 --id leased --ifname eth1",
        "up {} 10.3.0.2/24 --id bridged --ifname eth2 --bridge br0 --no-default-route",
        "up {} 10.4.0.2/32 fd04::2/128 --id single --ifname eth3 --no-default-route",
    ] {
        let line = if line.contains("eth1") {
            format!("{line} --no-default-route")
        } else {
            line.to_owned()
        };
        world.call(&line);
        let before = world.dump();
        assert!(world.call(&line).contains(" unchanged "), "{line}");
        assert_eq!(world.facts(&line)["result"], "unchanged", "{line}");
        same(&before, &world.dump());
    }
}

#[test]
fn asking_for_something_else_is_a_conflict_that_names_the_difference() {
    let world = world();
    world.call(WEB);
    let before = world.dump();
    for (line, part) in [
        ("up {} 10.0.0.3/24 --id web --nat -p 8080:80", "addresses"),
        ("up {} 10.0.0.2/24 --id web -p 8080:80", "NAT"),
        ("up {} 10.0.0.2/24 --id web --nat", "published ports"),
        ("up {} 10.0.0.2/24 --id web --nat -p 8080:80 --no-default-route", "gateway"),
        ("up {} 10.0.0.2/24 --id web --nat -p 8080:80 --bridge br0", "topology"),
        ("up {} 10.0.0.2/24 --id web --nat -p 8080:80 --mtu 1400", "link"),
        ("up {} 10.0.0.2/24 --id web --nat -p 8080:80 --route 10.9.0.0/16", "routes"),
        (
            "up {} 10.0.0.2/24 --id web --nat -p 8080:80 --sysctl net.ipv4.tcp_syncookies=1",
            "sysctls",
        ),
    ] {
        let refusal = world.refused(line, 5);
        assert!(refusal.contains(part) && refusal.contains("--replace"), "{refusal}");
        same(&before, &world.dump());
    }
    world.traffic_crosses();
}

#[test]
fn replace_takes_the_place_of_what_differs() {
    let world = world();
    let before = world.dump();
    world.call("up {} 10.0.0.7/24 fd00::7/64 --id web --bridge br0 -p 8081:81");
    assert_eq!(world.facts(&format!("{WEB} --replace"))["result"], "replaced");
    world.traffic_crosses();
    assert_eq!(world.facts(&format!("{WEB} --replace"))["result"], "unchanged");
    assert!(world.host.ip(&["link", "show", "dev", "br0"]).is_err(), "the bridge went with it");
    world.call("down web");
    nothing_is_left(&before, &world.dump());
}

/// Forwarding and the static rules stay, and the loopback of the container is up.
#[track_caller]
fn nothing_is_left(before: &[Dump; 2], after: &[Dump; 2]) {
    let lasting = |dump: &Dump| without_forwarding(dump.clone()).without_section("nft");
    assert_same(&lasting(&before[0]), &lasting(&after[0]));
    assert!(!format!("{}", after[0]).contains("elements = {"), "{}", after[0]);
    let inside = |dump: &Dump| dump.clone().without("lo ").without("dev=lo ");
    assert_same(&inside(&before[1]), &inside(&after[1]));
}

#[test]
fn a_failed_replace_brings_the_former_one_back() {
    let world = world();
    world.web.ip(&["link", "set", "lo", "up"]).unwrap();
    world.call(WEB);
    world.traffic_crosses();
    let before = world.dump();
    let _held = world.host.run(|| TcpListener::bind("0.0.0.0:9999").unwrap()).unwrap();
    for (line, code) in [
        ("up {} 10.0.0.3/24 --id web -p 9999:80 --replace", 5),
        ("up {} 198.51.100.9/24 --id web --replace", 5),
        ("up {} 10.0.0.3/24 --id web --bridge eth0 --replace", 5),
        ("up {} 10.0.0.3/24 --id web --sysctl net.ipv4.tcp_syncookies=x --replace", 2),
    ] {
        world.refused(line, code);
        same(&before, &world.dump());
        world.traffic_crosses();
    }
}

/// Breaks one thing, which `check` names, and `--repair` mends. Returns what is amiss.
fn mended(line: &str, damage: &str, named: &str) -> Result<(), String> {
    let world = world();
    world.web.ip(&["link", "set", "lo", "up"]).unwrap();
    world.call(line);
    world.traffic_crosses();
    let before = world.dump();
    let link = world.facts("show web")[0]["host_ifname"].as_str().unwrap().to_owned();
    assert!(world.call("check web").starts_with("ok"));
    let damage = damage.replace("LINK", &link);
    match damage.strip_prefix("inside: ") {
        Some(damage) => shell(&world.web, damage),
        None => shell(&world.host, &damage),
    };
    let said = netup(&world.host, &["check", "web", "--json"]);
    if (said.code, said.stderr.as_str()) != (Some(1), "") || !said.stdout.contains(named) {
        return Err(format!("check does not name {named:?}: {said:?}"));
    }
    let said = netup(&world.host, &["check"]);
    assert!(said.stdout.starts_with("web@eth0 drifted"), "{said:?}");
    let said = netup(&world.host, &["check", "web", "--repair"]);
    if said.code != Some(0) || !said.stdout.starts_with("web@eth0 repaired") {
        return Err(format!("--repair does not mend it: {said:?}"));
    }
    let said = netup(&world.host, &["check"]);
    if !said.stdout.starts_with("ok") {
        return Err(format!("it is not mended: {said:?}"));
    }
    world.traffic_crosses();
    let after = world.dump();
    match before == after {
        true => Ok(()),
        false => Err(before[0].changes(&after[0]) + &before[1].changes(&after[1])),
    }
}

#[track_caller]
fn drift_is_mended(line: &str, damages: &[(&str, &str)]) {
    let results = damages.iter().map(|(damage, named)| (damage, mended(line, damage, named)));
    let amiss: Vec<String> = results
        .filter_map(|(damage, result)| Some(format!("{damage}\n{}\n", result.err()?)))
        .collect();
    assert!(amiss.is_empty(), "{} of {}:\n{}", amiss.len(), damages.len(), amiss.concat());
}

#[test]
fn drift_of_a_routed_container_is_found_and_mended() {
    drift_is_mended(
        "up {} 10.0.0.2/24 fd00::2/64 --id web --nat -p 8080:80 --sysctl net.ipv4.tcp_syncookies=0",
        &[
            ("inside: ip address delete 10.0.0.2/24 dev eth0", "ip address add 10.0.0.2/24"),
            ("inside: ip address delete fd00::2/64 dev eth0", "ip address add fd00::2/64"),
            ("inside: ip route delete default", "ip route add default via 10.0.0.1"),
            ("inside: ip -6 route delete default", "ip -6 route add default via fd00::1"),
            ("inside: ip route delete 10.0.0.0/24", "ip route add 10.0.0.0/24"),
            ("inside: ip link set eth0 down", "ip link set eth0 up"),
            ("inside: sysctl -qw net.ipv4.tcp_syncookies=1", "net.ipv4.tcp_syncookies=0"),
            ("ip address delete 10.0.0.1/32 dev LINK", "ip address add 10.0.0.1/32"),
            ("ip route delete 10.0.0.2 dev LINK", "ip route add 10.0.0.2"),
            ("ip -6 route delete fd00::2 dev LINK", "ip -6 route add fd00::2"),
            ("ip link set LINK down", "ip link set nu"),
            ("sysctl -qw net.ipv4.conf.LINK.route_localnet=0", "route_localnet=1"),
            ("sysctl -qw net.ipv4.ip_forward=0", "net.ipv4.ip_forward=1"),
            ("nft delete element inet netup masq4 '{ 10.0.0.2 }'", "masq4"),
            ("nft delete element inet netup publish4 '{ tcp . 8080 }'", "tcp . 8080"),
            ("nft delete element inet netup links '{ \"LINK\" }'", "links"),
            ("nft flush chain inet netup postrouting", "rules"),
            ("nft flush chain inet netup guard", "rules"),
            ("nft insert rule inet netup prerouting drop", "rules"),
            ("nft delete table inet netup", "netup reload"),
            ("nft flush ruleset", "netup reload"),
        ],
    );
}

#[test]
fn a_link_that_is_gone_is_named_and_made_anew_by_asking_again() {
    let world = world();
    world.call(WEB);
    shell(&world.web, "ip link delete eth0");
    let said = netup(&world.host, &["check", "--repair"]);
    assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""), "{said:?}");
    assert!(said.stdout.contains("is gone; netup gc"), "{said:?}");
    world.call(WEB);
    world.traffic_crosses();
    assert!(world.call("check").starts_with("ok"));
}

#[test]
fn drift_on_a_bridge_is_found_and_mended() {
    drift_is_mended(
        "up {} 10.0.0.2/24 --id web --bridge br0 --nat -p 8080:80",
        &[
            ("ip address delete 10.0.0.1/24 dev br0", "ip address add 10.0.0.1/24"),
            ("ip link set br0 down", "ip link set br0 up"),
            ("ip link set LINK nomaster", "master br0"),
            ("nft delete element inet netup hairpin '{ \"br0\" . \"br0\" }'", "hairpin"),
            ("inside: ip route delete default", "ip route add default via 10.0.0.1"),
            ("ip link delete br0", "br0"),
        ],
    );
}

#[test]
fn reload_puts_back_what_a_flush_took() {
    let world = world();
    world.call("up {} 10.0.0.2/24 fd00::2/64 --id web --nat -p 8080:80 -p 53:53/udp");
    let other = world.lab.container("other").unwrap();
    let pid = other.pid().to_string();
    done(&world.host, &["up", &pid, "10.1.0.2/24", "--bridge", "br0", "-p", "8081:81"]);
    world.traffic_crosses();
    let before = world.dump();
    shell(&world.host, "nft flush ruleset");
    assert!(tcp_ask(&world.outside, at("198.51.100.2:8080")).is_err());
    let text = world.call("reload");
    assert!(text.contains("2 attachments"), "{text}");
    world.traffic_crosses();
    same(&before, &world.dump());
    let again = world.facts("reload");
    assert_eq!(again["attachments"], 2);
    same(&before, &world.dump());
    let udp = UdpEcho::start(&world.web, at("10.0.0.2:53")).unwrap();
    udp_ask(&world.outside, at("198.51.100.2:53")).unwrap();
    drop(udp);
}

#[test]
fn reload_remove_takes_the_table_away_once_nobody_needs_it() {
    let world = world();
    let before = without_forwarding(Dump::of(&world.host).unwrap());
    world.call(WEB);
    let refusal = world.refused("reload --remove", 5);
    assert!(refusal.contains("web@eth0"), "{refusal}");
    world.call("down web");
    assert_eq!(world.facts("reload --remove"), json!({ "removed": true }));
    let after = without_forwarding(Dump::of(&world.host).unwrap());
    assert_same(&before, &after);
    assert!(!state_folder(&world.host).exists());
    world.call("reload --remove");
}

#[test]
fn gc_clears_what_a_container_left_that_ended() {
    let world = world();
    let before = world.dump();
    let [on_bridge, stays] = ["b", "s"].map(|name| world.lab.container(name).unwrap());
    let up = |container: &Container, rest: &str| {
        let pid = container.pid().to_string();
        done(&world.host, &[&["up", &pid], &words(rest)[..]].concat());
    };
    world.call("up {} 10.0.0.2/24 --id web --nat -p 8080:80 -p 53:53/udp");
    up(&on_bridge, "--subnet 10.1.0.0/24 --id leased --bridge br0 -p 8081:81");
    up(&stays, "10.0.0.3/24 --id stays -p 8082:82");
    assert_eq!(world.call("gc"), "nothing to remove\n");
    world.web.kill().unwrap();
    on_bridge.kill().unwrap();
    assert!(holds_soon(|| dead(&world) == 2));
    let rows = world.call("ls");
    assert_eq!(rows.matches("dead").count(), 2, "{rows}");
    let facts = world.facts("gc");
    let removed = json!([
        { "container": "leased", "ifname": "eth0" }, { "container": "web", "ifname": "eth0" }
    ]);
    assert_eq!(facts, json!({ "removed": removed, "failed": [] }));
    done(&world.host, &["down", "stays"]);
    nothing_is_left(
        &[before[0].clone(), before[1].clone()],
        &[remembered(&world.host), before[1].clone()],
    );
}

fn dead(world: &World) -> usize {
    let rows = world.facts("ls");
    rows.as_array().unwrap().iter().filter(|row| row["state"] == "dead").count()
}

#[test]
fn the_same_container_is_reached_by_pid_path_name_and_descriptor() {
    let world = world();
    let named = world.lab.named("blue").unwrap();
    let name = named.path().file_name().unwrap().to_str().unwrap().to_owned();
    let path = named.path().to_str().unwrap();
    let inside = |words: &str| {
        let script = format!("exec 7<{path}; exec {NETUP} {words}");
        let mut shell = world.host.command("/bin/sh");
        let said = Said::from(clean(&mut shell).args(["-c", &script]).output().unwrap());
        assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{words}: {said:?}");
        said.stdout
    };
    let by = |target: &str| inside(&format!("up {target} 10.0.0.2/24 --nat"));
    assert!(by(path).contains("created"));
    for target in [path, &name, "fd:7"] {
        assert!(by(target).contains("unchanged"), "{target}");
        assert!(inside(&format!("show {target}")).contains("10.0.0.2/24"), "{target}");
    }
    ping(&named, "198.51.100.1".parse().unwrap()).unwrap();
    for target in [path, &name, "fd:7"] {
        by(target);
        inside(&format!("down {target}"));
        assert_eq!(world.facts("ls"), json!([]), "{target}");
    }
    world.call("{} 10.0.0.2/24");
    assert!(world.call(&format!("/proc/{}/ns/net 10.0.0.2/24", world.pid())).contains("unchanged"));
    world.call("down {}");
}

#[test]
fn down_takes_an_id_a_target_or_one_interface() {
    let world = world();
    let before = world.dump();
    let both = || {
        world.call("up {} 10.0.0.2/24 --id web -p 8080:80 --nat");
        world.call("up {} 10.1.0.2/24 --id web --ifname eth1 --no-default-route");
        world.traffic_crosses();
        ping(&world.host, "10.1.0.2".parse().unwrap()).unwrap();
    };
    for line in ["down web", "down {}", "down /proc/{}/ns/net"] {
        both();
        assert_eq!(world.call(line).lines().count(), 2, "{line}");
        nothing_is_left(&before, &world.dump());
        world.refused(line, 3);
    }
    both();
    assert!(world.call("down web --ifname eth1").starts_with("web@eth1 removed"));
    world.traffic_crosses();
    assert!(ping(&world.host, "10.1.0.2".parse().unwrap()).is_err());
    world.refused("down web --ifname eth1", 3);
    assert!(world.call("down {} --ifname eth0").starts_with("web@eth0 removed"));
    nothing_is_left(&before, &world.dump());
}

#[test]
fn an_id_keeps_what_a_second_container_of_that_name_would_take() {
    let world = world();
    world.call("up {} 10.0.0.2/24 --id web");
    let other = world.lab.container("other").unwrap();
    let pid = other.pid().to_string();
    let refusal = refused(&world.host, &["up", &pid, "10.0.0.2/24", "--id", "web"], 5);
    assert!(refusal.contains("different container"), "{refusal}");
    let facts = document(&world.host, &["up", &pid, "10.0.0.2/24", "--id", "web", "--replace"]);
    assert_eq!((&facts["result"], &facts["target"]), (&json!("replaced"), &json!(pid)));
    ping(&world.host, "10.0.0.2".parse().unwrap()).unwrap();
    assert!(world.web.ip(&["link", "show", "dev", "eth0"]).is_err());
}

#[test]
fn down_of_a_container_that_has_ended_leaves_nothing() {
    for (line, down) in [
        ("up {} 10.0.0.2/24 --id web --nat -p 8080:80", "down web"),
        ("up {} 10.0.0.2/24 --nat -p 8080:80", "down {}"),
        ("up {} 10.0.0.2/24 --nat -p 8080:80 --bridge br0", "down {}"),
    ] {
        let world = world();
        let before = world.dump();
        world.call(line);
        world.web.kill().unwrap();
        assert!(holds_soon(|| dead(&world) == 1));
        world.call(down);
        nothing_is_left(
            &[before[0].clone(), before[1].clone()],
            &[remembered(&world.host), before[1].clone()],
        );
        assert_eq!(world.facts("ls"), json!([]));
        world.refused(down, 3);
    }
}

/// Without records the link and the container tell what there was.
#[track_caller]
fn down_needs_no_state_folder(up: &str, down: &str) {
    let world = world();
    let before = world.dump();
    world.call(up);
    let folder = state_folder(&world.host);
    assert!(folder.join("attachments").is_dir(), "{}", folder.display());
    fs::remove_dir_all(&folder).unwrap();
    world.call(down);
    let left = |dump: &Dump| dump.clone().without("/run/netup/");
    nothing_is_left(
        &[left(&before[0]), before[1].clone()],
        &[left(&remembered(&world.host)), Dump::of(&world.web).unwrap()],
    );
}

#[test]
fn down_needs_no_state_folder_for_a_target() {
    down_needs_no_state_folder(
        "up {} 10.0.0.2/24 fd00::2/64 --nat -p 8080:80 -p 127.0.0.1:53:53/udp",
        "down {}",
    );
}

#[test]
fn down_needs_no_state_folder_for_a_single_address() {
    down_needs_no_state_folder("up {} 10.0.0.2/32 fd00::2/128 --nat", "down {}");
}

#[test]
fn down_needs_no_state_folder_for_a_container_with_an_id() {
    down_needs_no_state_folder("up {} 10.0.0.2/24 --id web --nat -p 8080:80", "down {}");
}

#[test]
fn down_needs_no_state_folder_for_an_id() {
    down_needs_no_state_folder("up {} 10.0.0.2/24 --id web --nat -p 8080:80", "down web");
}

#[test]
fn down_needs_no_state_folder_for_a_bridge() {
    down_needs_no_state_folder("up {} 10.0.0.2/24 --bridge br0 --nat -p 8080:80", "down {}");
}

#[test]
fn down_needs_no_state_folder_for_a_link_with_a_name_of_its_own() {
    down_needs_no_state_folder("up {} 10.0.0.2/24 --host-ifname veth-web --nat", "down {}");
}

#[test]
fn single_addresses_come_and_go() {
    let world = world();
    let before = world.dump();
    world.call("up {} 10.0.0.2/32 fd00::2/128 --id web --nat -p 8080:80");
    world.traffic_crosses();
    ping(&world.host, "fd00::2".parse().unwrap()).unwrap();
    world.call("ls");
    world.call("check web");
    world.call("down web");
    nothing_is_left(&before, &world.dump());
}

#[test]
fn a_single_ipv6_address_comes_and_goes_on_a_host_without_an_uplink() {
    let lab = Lab::new();
    let (host, container) = (lab.host("host").unwrap(), lab.container("c").unwrap());
    let pid = container.pid().to_string();
    done(&host, &["up", &pid, "fd00::2/128"]);
    ping(&host, "fd00::2".parse().unwrap()).unwrap();
    assert!(done(&host, &["up", &pid, "fd00::2/128"]).contains("unchanged"));
    assert!(done(&host, &["ls"]).contains("fd00::2/128"));
    done(&host, &["down", &pid]);
}

#[test]
fn a_reader_that_has_gone_is_no_reason_to_fail() {
    let world = world();
    world.call(WEB);
    for line in
        ["ls", "show web", "check", "doctor", "--help", "completions bash", "man", "ls --json"]
    {
        let mut call = command(&world.host, &words(line));
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let child = call.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
        let output = child.wait_with_output().unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{line}: {:?} {complaint}", output.status);
        assert_eq!(complaint, "", "{line}");
    }
    // Closed altogether.
    let mut shell = world.host.command("/bin/sh");
    let script = format!("{NETUP} ls >&-; [ $? -le 1 ]");
    let said = Said::from(clean(&mut shell).args(["-c", &script]).output().unwrap());
    assert!(!said.stderr.contains("panicked"), "{said:?}");
}

#[test]
fn a_full_disk_is_an_error() {
    let world = world();
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(&world.host, &["ls"]).stdout(full).output().unwrap();
    let said = Said::from(output);
    assert_eq!(said.code, Some(1), "{said:?}");
    assert!(said.stderr.starts_with("netup: write to standard output: No space left"), "{said:?}");
}

#[test]
fn completions_are_scripts_that_their_shell_takes() {
    let world = world();
    let bash = world.call("completions bash");
    for word in ["down", "reload", "--host-ifname", "--dry-run"] {
        assert!(bash.contains(word), "{word}");
    }
    let mut shell = world.host.command("/bin/bash");
    let said = Said::from(clean(&mut shell).args(["-nc", &bash]).output().unwrap());
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""));
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(world.call(&format!("completions {shell}")).contains("netup"), "{shell}");
    }
}

#[test]
fn manual_pages_are_written_for_every_command() {
    let world = world();
    let page = world.call("man");
    assert!(page.contains(".TH netup 1") && page.contains(".SH"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let to = folder.path().display().to_string();
    assert_eq!(done(&world.host, &["man", &to]), "");
    for command in ["", "-up", "-down", "-ls", "-show", "-check", "-gc", "-reload", "-doctor"] {
        let page = folder.path().join(format!("netup{command}.1"));
        assert!(fs::metadata(&page).is_ok_and(|meta| meta.len() > 200), "{}", page.display());
    }
    assert!(Path::new(&to).read_dir().unwrap().count() >= 9);
}

#[test]
fn help_and_version_need_nothing() {
    let world = world();
    let version = world.call("--version");
    assert_eq!(version, format!("netup {}\n", env!("CARGO_PKG_VERSION")));
    for line in ["--help", "up --help", "down --help", "help up", "help", "doctor --help"] {
        assert!(world.call(line).contains("Usage:"), "{line}");
    }
}

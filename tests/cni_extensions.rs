//! What chained plugins add to interfaces, through the real binary: it holds, it is found missing, it
//! goes, and nothing of it takes away what others rely on.

mod calling;
mod networks;

use std::fs;

use calling::{World, document, done, shell};
use netns_fixtures::cni::{Attachment, Chain, Refused};
use netns_fixtures::probe::{TcpEcho, UdpEcho, ping, tcp_ask, udp_ask};
use netns_fixtures::{Dump, Node, assert_same, isolate};
use networks::{Before, Set, at, bridge, portmap, v4};
use serde_json::{Value, json};
use tempfile::TempDir;

isolate!();

struct Stage {
    world: World,
    before: Before,
    folder: TempDir,
}

impl Stage {
    fn new() -> Self {
        let world = World::new();
        let before = Before::of(&world);
        Self { world, before, folder: TempDir::new().unwrap() }
    }

    fn bridge(&self) -> Value {
        bridge(self.folder.path())
    }

    fn ptp(&self) -> Value {
        json!({ "type": "ptp", "ipMasq": true, "ipam": { "type": "host-local",
            "dataDir": self.folder.path(), "ranges": [[{ "subnet": "10.88.0.0/24" }]],
            "routes": [{ "dst": "0.0.0.0/0" }] } })
    }

    fn both_families(&self, mut plugin: Value) -> Value {
        plugin["ipam"]["ranges"] =
            json!([[{ "subnet": "10.88.0.0/24" }], [{ "subnet": "fd00:88::/64" }]]);
        plugin["ipam"]["routes"] = json!([{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]);
        plugin
    }

    fn chain(&self, plugins: Value) -> Chain {
        let conf = json!({ "cniVersion": "1.1.0", "name": "net", "plugins": plugins });
        Chain::new(&self.world.host, conf, Set::Ours.folder())
    }

    #[track_caller]
    fn is_clean(&self) {
        let folders = [self.folder.path().to_owned(), "/run/cni".into()];
        self.before.returns(&["cni0", "cni1"], &["10.88.0.", "fd00:88:", "8080"], &folders);
    }
}

#[track_caller]
fn ok<T>(result: Result<T, Refused>) -> T {
    result.unwrap_or_else(|refused| panic!("{refused}"))
}

#[track_caller]
fn message(refused: &Refused) -> String {
    refused.error["msg"].as_str().unwrap_or_else(|| panic!("{refused}")).to_owned()
}

fn mapping(host: u16, container: u16, protocol: &str, ip: &str) -> Value {
    json!({ "hostPort": host, "containerPort": container, "protocol": protocol, "hostIP": ip })
}

fn firewall(policy: &str) -> Value {
    json!({ "type": "firewall", "ingressPolicy": policy })
}

fn answers(from: &Node, to: &str, server: &Node) -> bool {
    tcp_ask(from, at(to)).is_ok_and(|answer| answer.server == server.name())
}

fn serve(node: &Node) -> TcpEcho {
    TcpEcho::start(node, at("0.0.0.0:80")).unwrap()
}

/// One container is confined; the ADD for another on the same bridge fails after it has done the same.
#[test]
fn what_others_on_a_bridge_rely_on_survives_a_failed_add() {
    let stage = Stage::new();
    let (first, second) = (stage.world.container("first"), stage.world.container("second"));
    let (first_at, second_at) =
        (Attachment::of("first", &first), Attachment::of("second", &second));
    let chain = stage.chain(json!([stage.bridge(), firewall("same-bridge")]));
    let result = ok(chain.add(&first_at));
    let confined = stage.world.host.nft_list().unwrap();
    assert!(confined.contains("elements = { \"cni0\" }"), "{confined}");
    let mut failing = firewall("isolated");
    failing["backend"] = json!("firewalld");
    let failing = stage.chain(json!([stage.bridge(), failing]));
    failing.add(&second_at).unwrap_err();
    ok(chain.check(&first_at, &result));
    ok(failing.del(&second_at, None));
    ok(chain.check(&first_at, &result));
    // As after somebody flushed it, what is there for all is made by the next one, and stays.
    stage.world.host.nft("flush set inet netup confined").unwrap();
    failing.add(&second_at).unwrap_err();
    ok(chain.check(&first_at, &result));
    ok(failing.del(&second_at, None));
    ok(chain.del(&first_at, Some(&result)));
    stage.is_clean();
}

#[test]
fn isolation_that_cannot_be_had_is_refused() {
    let stage = Stage::new();
    let web = stage.world.container("web");
    web.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "own"]).unwrap();
    let at = Attachment::of("web", &web);
    let chain = stage.chain(json!([firewall("isolated")]));
    for interfaces in [
        json!([]),
        json!([{ "name": "eth0", "sandbox": web.path() }]),
        json!([{ "name": "nowhere" }]),
    ] {
        let previous = json!({ "cniVersion": "1.1.0", "interfaces": interfaces, "ips": [{ "address": "10.88.0.5/24" }] });
        let (command, input) = chain.prepared(0, "ADD", &at, &previous);
        let ended =
            netns_fixtures::program::run(command, &input, std::time::Duration::from_secs(60))
                .unwrap();
        assert!(!ended.is_success(), "{interfaces}: {ended}");
        assert!(ended.stdout.contains("cannot be isolated"), "{ended}");
    }
    stage.is_clean();
}

/// With real traffic, on one bridge and on two.
#[test]
fn policies_of_the_firewall() {
    for (policy, same, other) in
        [("open", true, true), ("same-bridge", true, false), ("isolated", false, false)]
    {
        let stage = Stage::new();
        let chain = stage.chain(json!([stage.bridge(), firewall(policy)]));
        let mut second = stage.bridge();
        second["bridge"] = json!("cni1");
        second["ipam"]["ranges"] = json!([[{ "subnet": "10.98.0.0/24" }]]);
        let b = stage.chain(json!([second])).edited("/name", json!("b"));
        let nodes: Vec<_> = ["web", "near", "far"].map(|name| stage.world.container(name)).into();
        let ats: Vec<_> = nodes.iter().map(|node| Attachment::of(node.name(), node)).collect();
        let result = ok(chain.add(&ats[0]));
        ok(chain.add(&ats[1]));
        ok(b.add(&ats[2]));
        let _web = serve(&nodes[0]);
        let to = format!("{}:80", v4(&nodes[0]));
        assert_eq!(answers(&nodes[1], &to, &nodes[0]), same, "{policy}: on the same bridge");
        assert_eq!(answers(&nodes[2], &to, &nodes[0]), other, "{policy}: on another bridge");
        assert!(answers(&stage.world.host, &to, &nodes[0]), "{policy}: the host");
        ping(&nodes[0], "198.51.100.1".parse().unwrap()).unwrap();
        ok(chain.check(&ats[0], &result));
        ok(chain.del(&ats[0], Some(&result)));
        ok(chain.del(&ats[1], None));
        ok(b.del(&ats[2], None));
        stage.is_clean();
    }
}

#[test]
fn the_policy_drop_of_iptables_is_passed_and_flushed_rules_are_missed() {
    let stage = Stage::new();
    shell(&stage.world.host, "iptables -P FORWARD DROP");
    let before = Before::of(&stage.world);
    let chain = stage.chain(json!([stage.bridge(), firewall("open")]));
    let web = stage.world.container("web");
    let at = Attachment::of("web", &web);
    let result = ok(chain.add(&at));
    let outside = TcpEcho::start(&stage.world.outside, networks::at("198.51.100.1:7000")).unwrap();
    tcp_ask(&web, outside.address()).unwrap();
    ok(chain.check(&at, &result));
    shell(&stage.world.host, "iptables -F CNI-FORWARD");
    assert!(message(&chain.check(&at, &result).unwrap_err()).contains("does not hold"));
    // By hand it is found as well, and mended.
    let found = document(&stage.world.host, &["check", "--repair"]);
    assert!(found.to_string().contains("CNI-FORWARD"), "{found}");
    ok(chain.check(&at, &result));
    shell(&stage.world.host, "iptables -F CNI-FORWARD");
    done(&stage.world.host, &["reload"]);
    ok(chain.check(&at, &result));
    tcp_ask(&web, outside.address()).unwrap();
    ok(chain.del(&at, Some(&result)));
    ok(chain.del(&at, Some(&result)));
    before.returns(&["cni0"], &["10.88.0."], &[stage.folder.path().to_owned()]);
}

/// A later plugin of the chain may set what an earlier one has set.
#[test]
fn what_tuning_changes_is_no_drift_of_the_bridge() {
    let stage = Stage::new();
    let tuning = json!({ "type": "tuning", "mac": "02:AA:BB:CC:DD:EE", "mtu": 1400, "promisc": true,
        "allmulti": true, "txQLen": 50, "sysctl": {
            "net.ipv6.conf.IFNAME.accept_ra": "1", "net/ipv6/conf/IFNAME/accept_dad": "1",
            "net.core.somaxconn": "500", "net.ipv4.conf.IFNAME.arp_notify": "1" } });
    for mut plugin in [stage.both_families(stage.bridge()), stage.both_families(stage.ptp())] {
        plugin["mtu"] = json!(1450);
        let chain = stage.chain(json!([plugin, tuning]));
        let web = stage.world.container("web");
        let at = Attachment::of("web", &web);
        let result = ok(chain.add(&at));
        assert_eq!(
            result["interfaces"].as_array().unwrap().last().unwrap()["mac"],
            "02:aa:bb:cc:dd:ee"
        );
        ok(chain.check(&at, &result));
        let checked = done(&stage.world.host, &["check"]);
        assert!(!checked.contains("accept"), "{checked}");
        web.set_sysctl("net/ipv6/conf/eth0/accept_ra", "2").unwrap();
        assert!(chain.check(&at, &result).unwrap_err().plugin == "tuning");
        web.set_sysctl("net/ipv6/conf/eth0/accept_ra", "1").unwrap();
        for (change, back) in [
            (["mtu", "1300"], ["mtu", "1400"]),
            (["promisc", "off"], ["promisc", "on"]),
            (["allmulticast", "off"], ["allmulticast", "on"]),
            (["txqueuelen", "7"], ["txqueuelen", "50"]),
            (["address", "02:00:00:00:00:01"], ["address", "02:aa:bb:cc:dd:ee"]),
        ] {
            web.ip(&["link", "set", "eth0", change[0], change[1]]).unwrap();
            let refused = chain.check(&at, &result).expect_err(change[0]);
            assert_eq!(refused.code(), Some(112), "{refused}");
            web.ip(&["link", "set", "eth0", back[0], back[1]]).unwrap();
            ok(chain.check(&at, &result));
        }
        web.ip(&["link", "del", "eth0"]).unwrap();
        assert_eq!(chain.check(&at, &result).unwrap_err().code(), Some(112));
        ok(chain.del(&at, Some(&result)));
        assert_eq!(
            web.sysctl("net/core/somaxconn").unwrap(),
            stage.world.container("fresh").sysctl("net/core/somaxconn").unwrap()
        );
    }
    stage.is_clean();
}

/// An interface that lives on, as one that was moved into the container does.
#[test]
fn tuning_puts_everything_back_and_a_refused_value_undoes_the_rest() {
    let stage = Stage::new();
    let web = stage.world.container_with_loopback("web");
    stage.world.lab.wire(&stage.world.host, "outer", &[], &web, "eth0", &[]).unwrap();
    let inside = Dump::of(&web).unwrap();
    let at = Attachment::of("web", &web);
    let previous =
        json!({ "cniVersion": "1.1.0", "interfaces": [{ "name": "eth0", "sandbox": web.path() }] });
    let call = |verb: &str, tuning: Value| {
        let (command, input) = stage.chain(json!([tuning])).prepared(0, verb, &at, &previous);
        netns_fixtures::program::run(command, &input, std::time::Duration::from_secs(60)).unwrap()
    };
    let all = json!({ "type": "tuning", "mac": "02:00:00:00:00:99", "mtu": 1300, "promisc": true, "allmulti": true,
        "txQLen": 5, "sysctl": { "net.core.somaxconn": "77", "net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.conf.IFNAME.arp_notify": "1" } });
    let ended = call("ADD", all.clone());
    assert!(ended.is_success(), "{ended}");
    assert_eq!(web.sysctl("net/core/somaxconn").unwrap(), "77");
    assert!(call("CHECK", all.clone()).is_success());
    // The same once more, as after a failed chain, remembers the first values.
    assert!(call("ADD", all.clone()).is_success());
    assert!(call("DEL", all.clone()).is_success());
    assert_same(&inside, &Dump::of(&web).unwrap());
    assert!(call("DEL", all).is_success());
    for refused in [
        json!({ "type": "tuning", "mac": "02:00:00:00:00:99", "mtu": 4_000_000_000_u32 }),
        json!({ "type": "tuning", "mac": "02:00:00:00:00:99", "mtu": 70000 }),
        json!({ "type": "tuning", "mac": "02:00:00:00:00:99", "promisc": true, "mtu": 3 }),
        json!({ "type": "tuning", "mac": "03:00:00:00:00:99" }),
        json!({ "type": "tuning", "mac": "00:00:00:00:00:00" }),
        json!({ "type": "tuning", "mtu": 1300, "sysctl": { "net.core.somaxconn": "77", "net.ipv4.ip_local_port_range": "9 nonsense" } }),
        json!({ "type": "tuning", "sysctl": { "net.ipv4.conf.IFNAME.arp_notify": "1", "net.ipv4.conf.IFNAME.rp_filter": "x" } }),
        json!({ "type": "tuning", "sysctl": { "net.core.somaxconn": "77", "net.no.such": "1" } }),
        json!({ "type": "tuning", "sysctl": { "net.core.somaxconn": "77", "kernel.panic": "1" } }),
    ] {
        let ended = call("ADD", refused.clone());
        assert_eq!(ended.code, Some(1), "{refused}: {ended}");
        assert!(
            !ended.stdout.contains("undo") && !ended.stdout.contains("\"code\":199"),
            "{ended}"
        );
        assert_same(&inside, &Dump::of(&web).unwrap());
    }
    // A secret that was never set cannot be read, and set all the same.
    let secret = json!({ "type": "tuning", "sysctl": { "net.ipv6.conf.eth0.stable_secret": "2001:db8::1" } });
    let ended = call("ADD", secret.clone());
    assert!(ended.is_success(), "{ended}");
    assert!(call("DEL", secret).is_success());
    stage.world.host.ip(&["link", "del", "outer"]).unwrap();
    stage.is_clean();
}

#[test]
fn parameters_are_allowed_by_a_list_and_not_twice() {
    let stage = Stage::new();
    let web = stage.world.container("web");
    stage.world.lab.wire(&stage.world.host, "outer", &[], &web, "eth0", &[]).unwrap();
    let at = Attachment::of("web", &web);
    let input = |sysctl: &str| {
        format!(
            r#"{{"cniVersion":"1.1.0","name":"net","type":"tuning","sysctl":{sysctl},"prevResult":{{"cniVersion":"1.1.0","interfaces":[{{"name":"eth0","sandbox":"{}"}}]}}}}"#,
            web.path().display()
        )
    };
    let add = |list: Option<&str>, sysctl: &str| {
        let (command, _) =
            stage.chain(json!([{ "type": "tuning" }])).prepared(0, "ADD", &at, &Value::Null);
        let mut script = stage.world.host.command("/usr/bin/unshare");
        let mount = match list {
            Some(list) => {
                let file = stage.folder.path().join("list");
                fs::write(&file, list).unwrap();
                format!(
                    "mount -t tmpfs none /etc/cni && mkdir -p /etc/cni/tuning && cp {} /etc/cni/tuning/allowlist.conf && ",
                    file.display()
                )
            }
            None => String::new(),
        };
        let run = format!("{mount}exec {}", command.get_program().to_string_lossy());
        script.args(["-m", "/bin/sh", "-ec", &run]);
        for (key, value) in command.get_envs() {
            script.env(key, value.unwrap_or_default());
        }
        netns_fixtures::program::run(
            script,
            input(sysctl).as_bytes(),
            std::time::Duration::from_secs(60),
        )
        .unwrap()
    };
    fs::create_dir_all("/etc/cni").ok();
    let one = r#"{"net.core.somaxconn":"77"}"#;
    assert!(add(None, one).is_success());
    let list = Some("^net\\.core\\.\n\nrp_filter$\n");
    let ended = add(list, one);
    assert!(ended.is_success(), "{ended}");
    let ended = add(list, r#"{"net.ipv4.conf.IFNAME.rp_filter":"0"}"#);
    assert!(ended.is_success(), "{ended}");
    for (list, sysctl, says) in [
        (
            list,
            r#"{"net.core.somaxconn":"77","net.ipv4.ip_forward":"1"}"#,
            "ip_forward is not allowed",
        ),
        (Some("("), one, "allowlist.conf"),
        (Some(""), one, "not allowed"),
        (None, r#"{"net.core.somaxconn":"1","net.core.somaxconn":"2"}"#, "twice"),
    ] {
        let ended = add(list, sysctl);
        assert!(!ended.is_success() && ended.stdout.contains(says), "{sysctl}: {ended}");
    }
    ok(stage.chain(json!([{ "type": "tuning" }])).del(&at, None));
}

fn publishing(stage: &Stage, plugin: Value, ports: Value) -> Chain {
    stage.chain(json!([plugin, portmap()])).offering("portMappings", ports)
}

#[test]
fn ports_on_addresses_of_both_families() {
    for kind in ["bridge", "ptp"] {
        let stage = Stage::new();
        let plugin =
            stage.both_families(if kind == "bridge" { stage.bridge() } else { stage.ptp() });
        let ports = json!([
            mapping(8080, 80, "tcp", ""),
            mapping(8080, 80, "tcp", ""),
            mapping(8080, 80, "TCP", "0.0.0.0"),
            mapping(8081, 80, "tcp", "198.51.100.2"),
            mapping(8082, 80, "tcp", "2001:db8:1::2"),
            mapping(8083, 80, "tcp", "::"),
            mapping(8084, 80, "tcp", "127.0.0.1"),
            mapping(8085, 81, "udp", ""),
        ]);
        let chain = publishing(&stage, plugin, ports);
        let web = stage.world.container("web");
        let attachment = Attachment::of("web", &web);
        let result = ok(chain.add(&attachment));
        ok(chain.check(&attachment, &result));
        let (host, outside) = (&stage.world.host, &stage.world.outside);
        let _servers = (serve(&web), TcpEcho::start(&web, at("[fd00:88::2]:80")).unwrap());
        let _udp = UdpEcho::start(&web, at("0.0.0.0:81")).unwrap();
        for (from, to, expected) in [
            (outside, "198.51.100.2:8080", true),
            (outside, "[2001:db8:1::2]:8080", true),
            (outside, "198.51.100.2:8081", true),
            (outside, "[2001:db8:1::2]:8081", false),
            (outside, "198.51.100.2:8082", false),
            (outside, "[2001:db8:1::2]:8082", true),
            (outside, "198.51.100.2:8083", false),
            (outside, "[2001:db8:1::2]:8083", true),
            (outside, "198.51.100.2:8084", false),
            (host, "127.0.0.1:8080", true),
            (host, "127.0.0.1:8084", true),
            (host, "198.51.100.2:8080", true),
            (&*web, "198.51.100.2:8080", true),
            (&*web, "198.51.100.2:8081", true),
            (&*web, "[2001:db8:1::2]:8080", true),
        ] {
            assert_eq!(answers(from, to, &web), expected, "{kind}: {} to {to}", from.name());
        }
        udp_ask(outside, at("198.51.100.2:8085")).unwrap();
        ok(chain.del(&attachment, Some(&result)));
        ok(chain.del(&attachment, Some(&result)));
        stage.is_clean();
    }
}

#[test]
fn a_port_that_leads_to_two_is_refused_and_one_of_the_other_family_passed_over() {
    let stage = Stage::new();
    let web = stage.world.container("web");
    let at = Attachment::of("web", &web);
    let started = std::time::Instant::now();
    let chain = publishing(
        &stage,
        stage.bridge(),
        json!([mapping(8080, 80, "tcp", ""), mapping(8080, 81, "tcp", "")]),
    );
    let refused = chain.add(&at).unwrap_err();
    assert_eq!((refused.code(), refused.plugin.as_str()), (Some(7), "portmap"), "{refused}");
    assert!(started.elapsed().as_secs() < 2);
    ok(chain.del(&at, None));
    let chain = publishing(
        &stage,
        stage.bridge(),
        json!([mapping(8080, 80, "tcp", "2001:db8:1::2"), mapping(8080, 80, "udp", "::")]),
    );
    let result = ok(chain.add(&at));
    ok(chain.check(&at, &result));
    ok(chain.del(&at, Some(&result)));
    stage.is_clean();
}

#[test]
fn a_thousand_ports_in_one_call() {
    let stage = Stage::new();
    let ports: Vec<Value> = (0..1000)
        .map(|n| mapping(20000 + n, 80, if n % 2 == 0 { "tcp" } else { "udp" }, ""))
        .collect();
    let chain = publishing(&stage, stage.both_families(stage.bridge()), json!(ports));
    let web = stage.world.container("web");
    let attachment = Attachment::of("web", &web);
    let started = std::time::Instant::now();
    let result = ok(chain.add(&attachment));
    calling::tell(&format!("extensions: a thousand ports in {:?}", started.elapsed()));
    let _web = serve(&web);
    assert!(answers(&stage.world.outside, "198.51.100.2:20998", &web));
    ok(chain.check(&attachment, &result));
    ok(chain.del(&attachment, Some(&result)));
    stage.is_clean();
}

#[test]
fn snat_and_masq_all() {
    for kind in ["bridge", "ptp"] {
        for (snat, all) in [(true, true), (false, false), (false, true)] {
            let stage = Stage::new();
            let mut map = portmap();
            (map["snat"], map["masqAll"]) = (json!(snat), json!(all));
            let plugin = if kind == "bridge" { stage.bridge() } else { stage.ptp() };
            let chain = stage
                .chain(json!([plugin, map]))
                .offering("portMappings", json!([mapping(8080, 80, "tcp", "")]));
            let web = stage.world.container("web");
            let attachment = Attachment::of("web", &web);
            let result = ok(chain.add(&attachment));
            ok(chain.check(&attachment, &result));
            let _web = serve(&web);
            let seen =
                tcp_ask(&stage.world.outside, at("198.51.100.2:8080")).unwrap().client_seen.ip();
            let expected = if all { "10.88.0.1" } else { "198.51.100.1" };
            assert_eq!(seen.to_string(), expected, "{kind} {snat} {all}");
            assert!(answers(&stage.world.host, "198.51.100.2:8080", &web));
            if snat {
                assert!(answers(&stage.world.host, "127.0.0.1:8080", &web), "{kind} {snat} {all}");
            }
            ok(chain.del(&attachment, Some(&result)));
            stage.is_clean();
        }
    }
}

/// Two interfaces of one container, each of a network of its own.
#[test]
fn two_networks_of_one_container_go_by_themselves() {
    let stage = Stage::new();
    let limit = json!({ "type": "bandwidth", "ingressRate": 100_000_000, "ingressBurst": 10_000_000, "egressRate": 100_000_000, "egressBurst": 10_000_000 });
    let a = stage.chain(json!([stage.bridge(), portmap(), firewall("same-bridge"), limit]));
    let mut second = stage.bridge();
    second["bridge"] = json!("cni1");
    second["ipam"] = json!({ "type": "host-local", "dataDir": stage.folder.path(), "ranges": [[{ "subnet": "10.98.0.0/24" }]] });
    let b = a.clone().edited("/name", json!("b")).edited("/plugins/0", second);
    let (a, same, b) = (
        a.offering("portMappings", json!([mapping(8080, 80, "tcp", "")])),
        b.clone().offering("portMappings", json!([mapping(8080, 80, "tcp", "")])),
        b.offering("portMappings", json!([mapping(8081, 80, "tcp", "")])),
    );
    let web = stage.world.container("web");
    let (first_at, second_at) =
        (Attachment::of("web", &web), Attachment::of("web", &web).named("eth1"));
    let result = ok(a.add(&first_at));
    let refused = same.add(&second_at).unwrap_err();
    assert_eq!((refused.code(), refused.plugin.as_str()), (Some(104), "portmap"));
    ok(same.del(&second_at, None));
    ok(a.check(&first_at, &result));
    let also = ok(b.add(&second_at));
    ok(a.check(&first_at, &result));
    ok(b.check(&second_at, &also));
    let _web = serve(&web);
    assert!(answers(&stage.world.outside, "198.51.100.2:8080", &web));
    // The other network's name, with this one's interface.
    ok(b.del(&first_at, None));
    ok(b.gc(std::slice::from_ref(&second_at)));
    ok(a.check(&first_at, &result));
    ok(b.del(&second_at, Some(&also)));
    ok(a.check(&first_at, &result));
    assert!(answers(&stage.world.outside, "198.51.100.2:8080", &web));
    let again = ok(b.add(&second_at));
    ok(a.del(&first_at, Some(&result)));
    ok(b.check(&second_at, &again));
    ok(b.gc(&[]));
    stage.before.returns(
        &["cni0", "cni1"],
        &["10.88.0.", "10.98.0.", "8080"],
        &[stage.folder.path().to_owned()],
    );
}

/// Its runtime has lost it: no DEL ever comes.
#[test]
fn the_port_of_a_container_that_died_is_free_again() {
    for set in [Set::Ours, Set::Reference] {
        let stage = Stage::new();
        let chain = publishing(&stage, stage.bridge(), json!([mapping(8080, 80, "tcp", "")]))
            .edited("/cniVersion", json!("1.0.0"))
            .from([set.folder(), Set::Ours.folder()]);
        let keeper = stage.world.container("keeper");
        ok(chain
            .clone()
            .offering("portMappings", json!([]))
            .add(&Attachment::of("keeper", &keeper)));
        let first = stage.world.container("first");
        let first_at = Attachment::of("first", &first);
        ok(chain.add(&first_at));
        let next = stage.world.container("next");
        let next_at = Attachment::of("next", &next);
        assert_eq!(chain.add(&next_at).unwrap_err().code(), Some(104));
        ok(chain.del(&next_at, None));
        first.kill().unwrap();
        let result = ok(chain.add(&next_at));
        ok(chain.check(&next_at, &result).or_else(|refused| {
            if refused.plugin == "bridge" && set == Set::Reference { Ok(()) } else { Err(refused) }
        }));
        let _next = serve(&next);
        assert!(answers(&stage.world.outside, "198.51.100.2:8080", &next));
        // The late DEL takes nothing from the next one.
        ok(chain.del(&first_at, None));
        assert!(answers(&stage.world.outside, "198.51.100.2:8080", &next));
        ok(chain.del(&next_at, Some(&result)));
        ok(chain.del(&Attachment::of("keeper", &keeper), None));
        if set == Set::Ours {
            stage.is_clean();
        }
        stage.before.returns(&["cni0"], &["8080"], &[]);
    }
}

/// What older versions tell, and interfaces of kinds that are not ours.
#[test]
fn results_without_a_host_link() {
    for version in ["0.2.0", "0.3.1", "1.0.0"] {
        let stage = Stage::new();
        let chain = stage
            .chain(json!([stage.bridge(), portmap(), { "type": "tuning", "mtu": 1400, "mac": "02:00:00:00:00:07" }]))
            .edited("/cniVersion", json!(version))
            .offering("portMappings", json!([mapping(8080, 80, "tcp", "")]));
        let web = stage.world.container("web");
        let at = Attachment::of("web", &web);
        let result = ok(chain.add(&at));
        let _web = serve(&web);
        for from in [&stage.world.outside, &stage.world.host, &*web] {
            assert!(answers(from, "198.51.100.2:8080", &web), "{version} from {}", from.name());
        }
        ok(chain.del(&at, Some(&result)));
        stage.is_clean();
    }
    // As behind macvlan: the interface is no veth and the result has no link of the host.
    let stage = Stage::new();
    let web = stage.world.container("web");
    web.ip(&["link", "add", "eth0", "type", "bridge"]).unwrap();
    let at = Attachment::of("web", &web);
    let chain = publishing(
        &stage,
        json!({ "type": "bandwidth", "ingressRate": 8000, "ingressBurst": 8000 }),
        json!([mapping(8080, 80, "tcp", "")]),
    );
    let previous = json!({ "cniVersion": "1.1.0", "interfaces": [{ "name": "eth0", "sandbox": web.path() }],
        "ips": [{ "address": "203.0.113.5/24", "interface": 0 }] });
    let run = |index, verb: &str| {
        let (command, input) = chain.prepared(index, verb, &at, &previous);
        netns_fixtures::program::run(command, &input, std::time::Duration::from_secs(60)).unwrap()
    };
    assert!(run(0, "ADD").stdout.contains("no veth"), "bandwidth");
    for verb in ["ADD", "CHECK", "ADD", "CHECK"] {
        let ended = run(1, verb);
        assert!(ended.is_success(), "{verb}: {ended}");
    }
    for index in [1, 0, 1, 0] {
        assert!(run(index, "DEL").is_success());
    }
    stage.is_clean();
}

fn limit(keys: &[(&str, u64)]) -> Value {
    let mut plugin = json!({ "type": "bandwidth" });
    keys.iter().for_each(|(key, value)| plugin[key] = json!(value));
    plugin
}

const RECEIVE: [(&str, u64); 2] = [("ingressRate", 80_000_000), ("ingressBurst", 8_000_000)];
const SEND: [(&str, u64); 2] = [("egressRate", 80_000_000), ("egressBurst", 8_000_000)];

#[test]
fn limits_are_missed_when_they_are_altered_and_go_whole() {
    let both = [RECEIVE, SEND].concat();
    for keys in [
        &RECEIVE[..],
        &SEND[..],
        &both[..],
        &[("ingressRate", u64::MAX), ("ingressBurst", 34_000_000_000)],
        &[("egressRate", 8), ("egressBurst", 8)],
    ] {
        let stage = Stage::new();
        let chain = stage.chain(json!([stage.bridge(), limit(keys)]));
        let web = stage.world.container("web");
        let at = Attachment::of("web", &web);
        let result = ok(chain.add(&at));
        ok(chain.check(&at, &result));
        let veth = result["interfaces"][1]["name"].as_str().unwrap();
        let host = &stage.world.host;
        if keys[0].0 == "ingressRate" {
            shell(
                host,
                &format!("tc qdisc replace dev {veth} root tbf rate 1mbit burst 10k latency 10ms"),
            );
            chain.check(&at, &result).unwrap_err();
            shell(host, &format!("tc qdisc del dev {veth} root"));
            chain.check(&at, &result).unwrap_err();
        } else {
            let block =
                result["interfaces"].as_array().unwrap().last().unwrap()["name"].as_str().unwrap();
            shell(host, &format!("tc qdisc del dev {veth} ingress"));
            chain.check(&at, &result).unwrap_err();
            host.ip(&["link", "del", block]).unwrap();
            chain.check(&at, &result).unwrap_err();
        }
        done(host, &["check", "--repair"]);
        ok(chain.check(&at, &result));
        ok(chain.del(&at, Some(&result)));
        stage.is_clean();
    }
}

/// As a runtime does that tries again, and with other limits.
#[test]
fn limits_are_replaced_when_they_are_added_again() {
    let stage = Stage::new();
    let web = stage.world.container("web");
    let at = Attachment::of("web", &web);
    let alone = stage.chain(json!([stage.bridge()]));
    let previous = ok(alone.add(&at));
    let run = |keys: &[(&str, u64)], verb: &str| {
        let (command, input) = stage.chain(json!([limit(keys)])).prepared(0, verb, &at, &previous);
        netns_fixtures::program::run(command, &input, std::time::Duration::from_secs(60)).unwrap()
    };
    for keys in [&SEND[..], &SEND[..], &RECEIVE[..], &SEND[..], &RECEIVE[..]] {
        let ended = run(keys, "ADD");
        assert!(ended.is_success(), "{ended}");
        assert!(run(keys, "CHECK").is_success());
        ping(&web, "198.51.100.1".parse().unwrap()).unwrap();
    }
    assert!(!shell(&stage.world.host, "tc filter show dev $(ip -o link show type veth | grep -o 'nu[0-9a-f]*' | head -1) ingress").contains("mirred"));
    assert!(run(&RECEIVE, "DEL").is_success());
    assert!(run(&RECEIVE, "ADD").is_success());
    assert!(run(&RECEIVE, "DEL").is_success());
    ok(alone.del(&at, Some(&previous)));
    stage.is_clean();
}

/// Whoever limits twice keeps the first limit.
#[test]
fn a_second_limit_is_refused_and_the_first_stays() {
    let stage = Stage::new();
    let web = stage.world.container("web");
    let at = Attachment::of("web", &web);
    let mut fast = networks::fast("routed");
    fast["plugins"][0]["bandwidth"] = json!({ "ingressRate": 80_000_000, "ingressBurst": 8_000_000, "egressRate": 80_000_000, "egressBurst": 8_000_000 });
    let conf = fast["plugins"][0].clone();
    let alone = stage.chain(json!([conf]));
    let result = ok(alone.add(&at));
    let (command, input) = stage.chain(json!([limit(&SEND)])).prepared(0, "ADD", &at, &result);
    let ended =
        netns_fixtures::program::run(command, &input, std::time::Duration::from_secs(60)).unwrap();
    assert!(ended.stdout.contains("limited already"), "{ended}");
    ok(alone.check(&at, &result));
    ping(&web, "198.51.100.1".parse().unwrap()).unwrap();
    ok(alone.del(&at, Some(&result)));
    stage.is_clean();
}

#[test]
fn reload_brings_back_what_was_added_and_removal_is_refused_until_it_is_gone() {
    for set in [Set::Ours, Set::Reference] {
        let stage = Stage::new();
        let chain = stage
            .chain(json!([stage.bridge(), portmap(), firewall("isolated")]))
            .edited("/cniVersion", json!("1.0.0"))
            .from([set.folder(), Set::Ours.folder(), Set::Ours.folder()])
            .offering("portMappings", json!([mapping(8080, 80, "tcp", "")]));
        let web = stage.world.container("web");
        let attachment = Attachment::of("web", &web);
        let result = ok(chain.add(&attachment));
        stage.world.host.nft("delete table inet netup").unwrap();
        assert_eq!(chain.check(&attachment, &result).unwrap_err().code(), Some(112));
        done(&stage.world.host, &["reload"]);
        if set == Set::Ours {
            ok(chain.check(&attachment, &result));
        }
        // By hand as well, whoever made the interface.
        stage.world.host.nft("flush map inet netup publish4").unwrap();
        let found = document(&stage.world.host, &["check", "web", "--repair"]);
        assert!(
            found.to_string().contains("8080") && found.to_string().contains("true"),
            "{found}"
        );
        let found = document(&stage.world.host, &["check"]);
        assert!(!found.to_string().contains("8080"), "{found}");
        let _web = serve(&web);
        for from in [&stage.world.outside, &stage.world.host, &*web] {
            assert!(answers(from, "198.51.100.2:8080", &web), "{set:?} from {}", from.name());
        }
        assert!(answers(&stage.world.host, "127.0.0.1:8080", &web), "{set:?}");
        calling::refused(&stage.world.host, &["reload", "--remove"], 5);
        ok(chain.del(&attachment, Some(&result)));
        if set == Set::Ours {
            stage.is_clean();
        }
        done(&stage.world.host, &["reload", "--remove"]);
        assert!(!stage.world.host.nft_list().unwrap().contains("inet netup"));
    }
}

/// Calls that are killed; the container dies, and no DEL ever comes.
#[test]
fn gc_clears_what_killed_calls_left() {
    let stage = Stage::new();
    let chain = stage
        .chain(json!([stage.bridge(), portmap(), firewall("isolated"), limit(&[RECEIVE, SEND].concat()), { "type": "tuning", "mtu": 1400, "sysctl": { "net.core.somaxconn": "77" } }]))
        .offering("portMappings", json!([mapping(8080, 80, "tcp", ""), mapping(8081, 80, "udp", "")]));
    for index in 0..chain.len() {
        for round in 0..8 {
            let web = stage.world.container("web");
            let at = Attachment::of("web", &web);
            let mut previous = Value::Null;
            for earlier in 0..=index {
                let (command, input) = chain.prepared(earlier, "ADD", &at, &previous);
                let mut started = netns_fixtures::program::start(command, &input).unwrap();
                if earlier == index {
                    std::thread::sleep(std::time::Duration::from_micros(1500 + round * 1700));
                    started.kill().ok();
                    started.finish(std::time::Duration::from_secs(60)).unwrap();
                } else {
                    let said = started.finish(std::time::Duration::from_secs(60)).unwrap();
                    previous = serde_json::from_str(&said.success().unwrap()).unwrap();
                }
            }
            if round % 2 == 0 {
                web.kill().unwrap();
                calling::holds_soon(|| {
                    !stage.world.host.ip(&["-o", "link"]).unwrap().contains("nu")
                });
                done(&stage.world.host, &["gc"]);
                ok(chain.del(&at.at(""), None));
            } else {
                ok(chain.del(&at, None));
            }
            stage.is_clean();
        }
    }
}

#[test]
fn flows_of_udp_are_forgotten_on_the_way_in_and_out() {
    let stage = Stage::new();
    let chain = publishing(&stage, stage.bridge(), json!([mapping(8081, 81, "udp", "")]));
    let (first, second) = (stage.world.container("first"), stage.world.container("second"));
    let client = stage
        .world
        .outside
        .run(|| std::net::UdpSocket::bind("198.51.100.1:5000").unwrap())
        .unwrap();
    client.set_read_timeout(Some(std::time::Duration::from_millis(500))).unwrap();
    let ask = || {
        client.send_to(b"who", "198.51.100.2:8081").unwrap();
        let mut answer = [0; 500];
        client
            .recv(&mut answer)
            .map(|length| String::from_utf8_lossy(&answer[..length]).into_owned())
    };
    let _ = ask();
    for node in [&first, &second, &first] {
        let at = Attachment::of(node.name(), node);
        let result = ok(chain.add(&at));
        let _server = UdpEcho::start(node, networks::at("0.0.0.0:81")).unwrap();
        let answer = ask().unwrap_or_else(|error| panic!("{}: {error}", node.name()));
        assert!(answer.contains(node.name()), "{answer}");
        ok(chain.del(&at, Some(&result)));
    }
    stage.is_clean();
}

/// What the reference's DEL and ours leave of a bridge, and who is still on it.
#[test]
fn containers_of_the_reference_stay_connected_when_our_last_one_goes() {
    for first in [Set::Ours, Set::Reference] {
        let stage = Stage::new();
        let ours = publishing(&stage, stage.bridge(), json!([mapping(8081, 80, "tcp", "")]))
            .edited("/cniVersion", json!("1.0.0"));
        let theirs = ours
            .all_from(Set::Reference.folder())
            .offering("portMappings", json!([mapping(8080, 80, "tcp", "")]));
        let (mine, other) = (stage.world.container("mine"), stage.world.container("other"));
        let (mine_at, other_at) = (Attachment::of("mine", &mine), Attachment::of("other", &other));
        let result = if first == Set::Ours {
            let result = ok(ours.add(&mine_at));
            ok(theirs.add(&other_at));
            result
        } else {
            ok(theirs.add(&other_at));
            ok(ours.add(&mine_at))
        };
        let _servers = (serve(&mine), serve(&other));
        let reach = || {
            ping(&other, "198.51.100.1".parse().unwrap()).unwrap();
            ping(&stage.world.host, v4(&other)).unwrap();
            for (from, to) in [
                (&stage.world.outside, "198.51.100.2:8080"),
                (&stage.world.host, "127.0.0.1:8080"),
                (&stage.world.host, "198.51.100.2:8080"),
                (&*other, "198.51.100.2:8080"),
            ] {
                assert!(answers(from, to, &other), "first {first:?}, from {} to {to}", from.name());
            }
        };
        reach();
        assert!(answers(&stage.world.outside, "198.51.100.2:8081", &mine));
        assert!(answers(&other, "198.51.100.2:8081", &mine));
        assert!(answers(&mine, "198.51.100.2:8080", &other));
        ok(ours.check(&mine_at, &result));
        ok(ours.del(&mine_at, Some(&result)));
        reach();
        done(&stage.world.host, &["gc"]);
        reach();
        let result = ok(ours.add(&mine_at));
        ok(ours.check(&mine_at, &result));
        ok(ours.del(&mine_at, Some(&result)));
        reach();
        ok(ours.del(&other_at, None));
        done(&stage.world.host, &["gc"]);
        stage.is_clean();
    }
}

#[test]
fn settings_of_a_bridge_are_there_and_missed() {
    let stage = Stage::new();
    let mut plugin = stage.bridge();
    plugin["promiscMode"] = json!(true);
    let refused =
        stage.chain(json!([plugin])).add(&Attachment::of("web", &stage.world.container("web")));
    assert_eq!(refused.unwrap_err().code(), Some(7), "hairpin and promiscuous at once");
    stage.is_clean();
    let settings: [(&str, &str, &str); 4] = [
        (
            "hairpinMode",
            "bridge link set dev VETH hairpin on",
            "bridge link set dev VETH hairpin off",
        ),
        (
            "portIsolation",
            "bridge link set dev VETH isolated on",
            "bridge link set dev VETH isolated off",
        ),
        ("promiscMode", "ip link set cni0 promisc on", "ip link set cni0 promisc off"),
        ("macspoofchk", "true", "nft delete table bridge netup"),
    ];
    for (key, on, off) in settings {
        let stage = Stage::new();
        let mut plugin = stage.both_families(stage.bridge());
        plugin["hairpinMode"] = json!(false);
        plugin[key] = json!(true);
        let chain = stage.chain(json!([plugin]));
        let (web, other) = (stage.world.container("web"), stage.world.container("other"));
        let (at, other_at) = (Attachment::of("web", &web), Attachment::of("other", &other));
        let result = ok(chain.add(&at));
        ok(chain.add(&other_at));
        ok(chain.check(&at, &result));
        assert_eq!(ping(&other, v4(&web)).is_ok(), key != "portIsolation", "{key}");
        ping(&web, "198.51.100.1".parse().unwrap()).unwrap();
        let veth = result["interfaces"][1]["name"].as_str().unwrap();
        shell(&stage.world.host, &off.replace("VETH", veth));
        assert!(chain.check(&at, &result).is_err(), "{key}");
        match key {
            "macspoofchk" => drop(done(&stage.world.host, &["check", "--repair"])),
            _ => drop(shell(&stage.world.host, &on.replace("VETH", veth))),
        }
        ok(chain.check(&at, &result));
        if key == "macspoofchk" {
            web.ip(&["link", "set", "eth0", "address", "02:00:00:00:00:66"]).unwrap();
            assert!(ping(&web, "198.51.100.1".parse().unwrap()).is_err());
        }
        ok(chain.del(&at, Some(&result)));
        ok(chain.del(&other_at, None));
        stage.is_clean();
    }
}

#[test]
fn a_bridge_without_addresses_and_an_interface_left_down() {
    for down in [false, true] {
        let stage = Stage::new();
        let plugin =
            json!({ "type": "bridge", "bridge": "cni0", "disableContainerInterface": down });
        let chain = stage
            .chain(json!([plugin, { "type": "tuning", "mtu": 1300, "mac": "02:00:00:00:00:08" }]));
        let web = stage.world.container("web");
        let at = Attachment::of("web", &web);
        let result = ok(chain.add(&at));
        assert_eq!(web.ip(&["link", "show", "eth0", "up"]).unwrap().is_empty(), down);
        ok(chain.check(&at, &result));
        if down {
            let mut with = stage.bridge();
            with["disableContainerInterface"] = json!(true);
            assert_eq!(
                stage
                    .chain(json!([with]))
                    .add(&Attachment::of("late", &web).named("eth1"))
                    .unwrap_err()
                    .code(),
                Some(7)
            );
        }
        ok(chain.del(&at, Some(&result)));
        stage.is_clean();
        let old = chain.edited("/cniVersion", json!("0.2.0"));
        old.add(&at).unwrap_err();
        stage.is_clean();
    }
}

#[test]
fn where_the_hardware_address_and_the_dns_come_from() {
    let stage = Stage::new();
    let web = stage.world.container("web");
    let attachment = Attachment::of("web", &web);
    let plugin = |args: bool, dns: bool| {
        let mut plugin = stage.bridge();
        plugin["capabilities"] = json!({ "mac": true });
        let resolv = stage.folder.path().join("resolv.conf");
        fs::write(&resolv, "nameserver 9.9.9.9\n").unwrap();
        plugin["ipam"]["resolvConf"] = json!(resolv);
        if args {
            plugin["args"] = json!({ "cni": { "mac": "02:00:00:00:00:02" } });
        }
        if dns {
            plugin["dns"] = json!({ "search": ["a.test"] });
        }
        stage.chain(json!([plugin]))
    };
    let given = json!("02:00:00:00:00:03");
    for (chain, mac, dns) in [
        (
            plugin(false, false).with_args("IgnoreUnknown=1;MAC=02:00:00:00:00:01"),
            "02:00:00:00:00:01",
            json!({ "nameservers": ["9.9.9.9"] }),
        ),
        (
            plugin(true, true).with_args("IgnoreUnknown=1;MAC=02:00:00:00:00:01"),
            "02:00:00:00:00:02",
            json!({ "search": ["a.test"] }),
        ),
        (
            plugin(true, false).offering("mac", given.clone()),
            "02:00:00:00:00:03",
            json!({ "nameservers": ["9.9.9.9"] }),
        ),
    ] {
        let result = ok(chain.add(&attachment));
        assert_eq!(result["interfaces"][2]["mac"], mac);
        assert!(web.ip(&["link", "show", "eth0"]).unwrap().contains(mac));
        assert_eq!(result["dns"], dns);
        ok(chain.del(&attachment, Some(&result)));
    }
    for mac in ["nonsense", "ff:ff:ff:ff:ff:ff", "00:00:00:00:00:00", "02:00:00:00:00:01:02:03"] {
        let refused =
            plugin(false, false).offering("mac", json!(mac)).add(&attachment).unwrap_err();
        assert_eq!(refused.code(), Some(7), "{mac}: {refused}");
    }
    fs::remove_file(stage.folder.path().join("resolv.conf")).unwrap();
    stage.is_clean();
}

/// The admin's own, up or down, with another address of its own, which is forced off or refused.
#[test]
fn a_bridge_that_an_admin_made() {
    for up in [true, false] {
        let stage = Stage::new();
        let host = &stage.world.host;
        shell(
            host,
            &format!(
                "ip link add cni0 type bridge; ip link set cni0 {}; ip addr add 10.77.0.1/24 dev cni0",
                if up { "up" } else { "down" }
            ),
        );
        let mut plugin = stage.bridge();
        let web = stage.world.container("web");
        let at = Attachment::of("web", &web);
        let refused = stage.chain(json!([plugin])).add(&at).unwrap_err();
        assert!(
            message(&refused).contains("already has an IP address different from 10.88.0.1"),
            "{refused}"
        );
        assert!(networks::leases(stage.folder.path()).is_empty());
        plugin["forceAddress"] = json!(true);
        let chain = stage.chain(json!([plugin]));
        let result = ok(chain.add(&at));
        ok(chain.check(&at, &result));
        ping(&web, "198.51.100.1".parse().unwrap()).unwrap();
        assert!(!host.ip(&["addr", "show", "cni0"]).unwrap().contains("10.77.0.1"));
        ok(chain.del(&at, Some(&result)));
        host.ip(&["link", "show", "cni0"]).unwrap();
        stage.is_clean();
        // Without a gateway the bridge gets no address, and keeps what it has.
        plugin["isGateway"] = json!(false);
        plugin["ipMasq"] = json!(false);
        plugin["ipam"]["routes"] = json!([]);
        let chain = stage.chain(json!([plugin]));
        shell(host, "ip addr flush dev cni0; ip addr add 10.77.0.1/24 dev cni0");
        let near = stage.world.container("near");
        let near_at = Attachment::of("near", &near);
        let result = ok(chain.add(&at));
        ok(chain.add(&near_at));
        ok(chain.check(&at, &result));
        ping(&near, v4(&web)).unwrap();
        assert!(host.ip(&["addr", "show", "cni0"]).unwrap().contains("10.77.0.1"));
        ok(chain.del(&at, Some(&result)));
        ok(chain.del(&near_at, None));
        assert!(host.ip(&["addr", "show", "cni0"]).unwrap().contains("10.77.0.1"));
        stage.is_clean();
    }
}

#[test]
fn duplicates_are_looked_for_where_asked() {
    let stage = Stage::new();
    let mut plugin = stage.both_families(stage.bridge());
    plugin["enabledad"] = json!(true);
    plugin["isDefaultGateway"] = json!(true);
    let chain = stage.chain(json!([plugin]));
    let web = stage.world.container("web");
    let at = Attachment::of("web", &web);
    let result = ok(chain.add(&at));
    assert!(calling::holds_soon(|| !web
        .ip(&["-6", "addr", "show", "dev", "eth0"])
        .unwrap()
        .contains("tentative")));
    ok(chain.check(&at, &result));
    ping(&web, "2001:db8:1::1".parse().unwrap()).unwrap();
    ok(chain.del(&at, Some(&result)));
    stage.is_clean();
}

#[test]
fn ptp_needs_a_gateway_and_serves_both_families() {
    let stage = Stage::new();
    let web = stage.world.container("web");
    let at = Attachment::of("web", &web);
    let fixed = json!({ "type": "ptp", "ipam": { "type": "static", "addresses": [{ "address": "10.88.0.5/24" }] } });
    let refused = stage.chain(json!([fixed])).add(&at).unwrap_err();
    assert!(message(&refused).contains("no gateway for 10.88.0.5/24"), "{refused}");
    let mut plugin = stage.both_families(stage.ptp());
    plugin["mtu"] = json!(1350);
    plugin["dns"] = json!({ "nameservers": ["9.9.9.9"] });
    let chain = stage.chain(json!([plugin]));
    let other = stage.world.container("other");
    let other_at = Attachment::of("other", &other);
    let result = ok(chain.add(&at));
    ok(chain.add(&other_at));
    ok(chain.check(&at, &result));
    assert_eq!(result["dns"], json!({ "nameservers": ["9.9.9.9"] }));
    assert!(web.ip(&["link", "show", "eth0"]).unwrap().contains("mtu 1350"));
    for to in [
        "198.51.100.1",
        "2001:db8:1::1",
        &v4(&other).to_string(),
        &networks::v6(&other).unwrap().to_string(),
    ] {
        ping(&web, to.parse().unwrap()).unwrap_or_else(|error| panic!("{to}: {error}"));
    }
    for (harm, name) in
        [("ip route del 10.88.0.2", "host route"), ("ip -6 route del fd00:88::2", "host route 6")]
    {
        shell(&stage.world.host, harm);
        assert!(chain.check(&at, &result).is_err(), "{name}");
        done(&stage.world.host, &["check", "--repair"]);
        ok(chain.check(&at, &result));
    }
    ok(chain.del(&at, Some(&result)));
    ok(chain.del(&other_at, None));
    stage.is_clean();
}

/// What the reference passes over: a default route by `isDefaultGateway` and by the IPAM, routes of a
/// family without addresses, routes to the container's own network.
#[test]
fn routes_that_say_nothing_new_are_passed_over() {
    for kind in ["bridge", "ptp"] {
        let stage = Stage::new();
        let mut plugin = if kind == "bridge" { stage.bridge() } else { stage.ptp() };
        plugin["isDefaultGateway"] = json!(true);
        plugin["ipam"]["routes"] = json!([{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }, { "dst": "10.88.0.0/24" },
            { "dst": "192.0.2.0/24" }, { "dst": "192.0.2.0/24", "gw": "10.88.0.1" }]);
        let chain = stage.chain(json!([plugin]));
        let web = stage.world.container("web");
        let at = Attachment::of("web", &web);
        let result = ok(chain.add(&at));
        ok(chain.check(&at, &result));
        ping(&web, "198.51.100.1".parse().unwrap()).unwrap();
        ok(chain.del(&at, Some(&result)));
        stage.is_clean();
    }
}

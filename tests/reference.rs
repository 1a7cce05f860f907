//! What the reference plugins left behind goes, what is others' stays, and looking for it is cheap.
//!
//! The plugins are Debian's (package containernetworking-plugins), which make rules of iptables.
//! Rules that only later releases make are loaded as those make them.

mod calling;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::net::{IpAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use calling::{World, shell, tell};
use netns_fixtures::probe::{TcpEcho, UdpEcho, tcp_ask};
use netns_fixtures::{Container, Node, isolate, tools};
use netup::reference::{self, TuningBackup};
use serde_json::{Value, json};

isolate!();

const PLUGINS: &str = "/usr/lib/cni";
const NETWORK: &str = "net1";
const SBIN: &str = "/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin";

/// A node on which the reference plugins are used, with either kind of iptables.
struct Reference {
    world: World,
    /// Where the plugins find iptables.
    path: String,
    folder: tempfile::TempDir,
    legacy: bool,
}

impl Reference {
    fn new(legacy: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kind = if legacy { "legacy" } else { "nft" };
        for family in ["iptables", "ip6tables"] {
            let target = tools::find(&format!("{family}-{kind}")).unwrap();
            std::os::unix::fs::symlink(target, folder.path().join(family)).unwrap();
        }
        let path = format!("{}:{SBIN}", folder.path().display());
        Self { world: World::new(), path, folder, legacy }
    }

    fn host(&self) -> &Node {
        &self.world.host
    }

    /// Calls one plugin, which must succeed; what it printed.
    #[track_caller]
    fn call(
        &self,
        plugin: &str,
        verb: &str,
        id: &str,
        container: &Container,
        conf: &Value,
    ) -> Value {
        let mut command = self.host().command(Path::new(PLUGINS).join(plugin));
        command
            .env_clear()
            .envs([("CNI_COMMAND", verb), ("CNI_CONTAINERID", id), ("CNI_IFNAME", "eth0")])
            .envs([("CNI_PATH", PLUGINS), ("PATH", &self.path)])
            .env("CNI_NETNS", container.path());
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{plugin}: {e}: install containernetworking-plugins"));
        child.stdin.take().unwrap().write_all(conf.to_string().as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{plugin} {verb}: {text}");
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    fn confs(&self, ports: &Value) -> [(&'static str, Value); 3] {
        let base = |kind: &str| json!({"cniVersion": "1.0.0", "name": NETWORK, "type": kind});
        let with = |kind: &str, more: Value| {
            let mut conf = base(kind);
            for (key, value) in more.as_object().unwrap() {
                conf[key] = value.clone();
            }
            conf
        };
        let ranges = json!([[{"subnet": "10.9.0.0/24"}], [{"subnet": "fd09::/64"}]]);
        let ipam = json!({"type": "host-local", "ranges": ranges, "dataDir": self.folder.path(),
            "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]});
        [
            (
                "bridge",
                with(
                    "bridge",
                    json!({"bridge": "cni0", "isGateway": true, "ipMasq": true,
                        "macspoofchk": true, "ipam": ipam}),
                ),
            ),
            ("portmap", with("portmap", json!({"runtimeConfig": {"portMappings": ports}}))),
            ("firewall", with("firewall", json!({"backend": "iptables"}))),
        ]
    }

    /// Runs the whole chain; the addresses that the container got.
    fn add(&self, id: &str, container: &Container, ports: &Value) -> Vec<IpAddr> {
        let mut result = Value::Null;
        for (plugin, mut conf) in self.confs(ports) {
            if !result.is_null() {
                conf["prevResult"] = result;
            }
            result = self.call(plugin, "ADD", id, container, &conf);
        }
        let ips = result["ips"].as_array().unwrap().iter();
        let address =
            |ip: &Value| ip["address"].as_str().unwrap().split('/').next().unwrap().parse();
        ips.map(|ip| address(ip).unwrap()).collect()
    }

    fn del(&self, id: &str, container: &Container, ports: &Value, result: &Value) {
        for (plugin, mut conf) in self.confs(ports).into_iter().rev() {
            conf["prevResult"] = result.clone();
            self.call(plugin, "DEL", id, container, &conf);
        }
    }

    /// All rules, without counters.
    fn rules(&self) -> BTreeMap<&'static str, String> {
        let mut rules = BTreeMap::from([("nft", self.host().nft_list().unwrap())]);
        if self.legacy {
            for program in ["iptables-legacy-save", "ip6tables-legacy-save"] {
                let mut command = self.host().command(tools::find(program).unwrap());
                let text = String::from_utf8(command.output().unwrap().stdout).unwrap();
                let plain = |line: &&str| !line.starts_with(['#', ':']) || line.starts_with(":CNI");
                let lines: Vec<&str> = text.lines().filter(plain).collect();
                rules.insert(program, lines.join("\n"));
            }
        }
        rules
    }

    /// As a DEL by our plugins does.
    fn remove(&self, id: &str, addresses: &[IpAddr]) {
        self.host()
            .run(|| {
                reference::remove_masquerade(NETWORK, id, "eth0", addresses)?;
                reference::remove_port_mappings(NETWORK, id, addresses)?;
                reference::remove_firewall(addresses)?;
                reference::remove_spoof_guard(id, "eth0")
            })
            .unwrap()
            .unwrap();
    }
}

#[track_caller]
fn assert_same_rules(
    before: &BTreeMap<&'static str, String>,
    after: &BTreeMap<&'static str, String>,
) {
    for (kind, text) in before {
        assert_eq!(sorted(text), sorted(&after[kind]), "{kind}");
    }
}

/// Chains are printed in the order of a hash.
fn sorted(text: &str) -> String {
    let mut blocks: Vec<&str> = text.split("\n\n").collect();
    blocks.sort_unstable();
    blocks.join("\n\n")
}

fn ports(base: u16) -> Value {
    json!([
        {"hostPort": base, "containerPort": 80, "protocol": "tcp"},
        {"hostPort": base + 1, "containerPort": 53, "protocol": "udp"},
    ])
}

fn a_whole_chain_goes(legacy: bool) {
    let reference = Reference::new(legacy);
    let world = &reference.world;
    let containers = ["zero", "one", "two"].map(|name| world.container_with_loopback(name));
    let [zero, one, two] = &containers;
    // What stays for all is there from the first container on.
    let addresses = reference.add("zero", zero, &ports(8000));
    let ips: Vec<Value> = addresses
        .iter()
        .map(|ip| json!({"address": format!("{ip}/{}", if ip.is_ipv4() { 24 } else { 64 })}))
        .collect();
    let result = json!({"cniVersion": "1.0.0", "interfaces": [], "ips": ips});
    reference.del("zero", zero, &ports(8000), &result);
    let bare = reference.rules();
    let of_one = reference.add("one", one, &ports(8010));
    let with_one = reference.rules();
    let text: String = with_one.values().cloned().collect();
    for what in ["masquerade", "cni-dn-", "cni-br-iface-one", "fd09::3"] {
        assert!(text.to_lowercase().contains(what), "the plugins made no {what}: {text}");
    }
    let of_two = reference.add("two", two, &ports(8020));
    assert_ne!(with_one, reference.rules());

    let started = Instant::now();
    reference.remove("two", &of_two);
    tell(&format!("all that a chain left behind is removed: {:?}", started.elapsed()));
    assert_same_rules(&with_one, &reference.rules());
    let server = TcpEcho::start(one, "0.0.0.0:80".parse().unwrap()).unwrap();
    tcp_ask(&world.outside, "198.51.100.2:8010".parse().unwrap()).unwrap();
    drop(server);
    // A second time changes nothing.
    reference.remove("two", &of_two);
    assert_same_rules(&with_one, &reference.rules());

    reference.remove("one", &of_one);
    assert_same_rules(&bare, &reference.rules());
}

#[test]
fn a_whole_chain_of_nftables_iptables_goes() {
    a_whole_chain_goes(false);
}

#[test]
fn a_whole_chain_of_legacy_iptables_goes() {
    a_whole_chain_goes(true);
}

#[test]
fn without_addresses_all_masquerading_of_the_container_goes() {
    let reference = Reference::new(false);
    let container = reference.world.container_with_loopback("c");
    let addresses = reference.add("c", &container, &json!([]));
    let others = ["10.9.0.200".parse().unwrap()];
    let jumps = || reference.host().nft_list().unwrap().matches("jump CNI-").count();
    let all = jumps();
    let remove = |addresses: &[IpAddr]| {
        let remove = || reference::remove_masquerade(NETWORK, "c", "eth0", addresses);
        reference.host().run(remove).unwrap().unwrap();
    };
    // Another interface's addresses: its jumps are not these.
    remove(&others);
    assert_eq!(jumps(), all);
    remove(&[]);
    assert_eq!(jumps(), all - addresses.len());
}

#[test]
fn flows_of_udp_do_not_outlive_the_port() {
    for legacy in [false, true] {
        let reference = Reference::new(legacy);
        let world = &reference.world;
        let container = world.container_with_loopback("c");
        let addresses = reference.add("c", &container, &ports(8000));
        let _server = UdpEcho::start(&container, "0.0.0.0:53".parse().unwrap()).unwrap();
        let socket = world.outside.run(|| UdpSocket::bind("0.0.0.0:0")).unwrap().unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let ask = || -> std::io::Result<usize> {
            socket.send_to(b"?", "198.51.100.2:8001")?;
            socket.recv(&mut [0; 200])
        };
        ask().unwrap();
        reference.remove("c", &addresses);
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        ask().unwrap_err();
    }
}

/// `portmap` had a second chain until 0.7.
#[test]
fn the_chain_of_old_releases_goes() {
    for kind in ["nft", "legacy"] {
        let world = World::new();
        let chain = format!("CNI-SN-{}", &sha512(&format!("{NETWORK}one"))[..21]);
        let script = format!(
            "for t in iptables-{kind} ip6tables-{kind}; do
                $t -t nat -N CNI-HOSTPORT-SNAT
                $t -t nat -N {chain}
                $t -t nat -A {chain} -j RETURN
                $t -t nat -A CNI-HOSTPORT-SNAT -m comment --comment 'snat of one' -j {chain}
                $t -t nat -A CNI-HOSTPORT-SNAT -j RETURN
            done"
        );
        shell(&world.host, &script);
        let saved = || {
            let save = format!("iptables-{kind}-save -t nat; ip6tables-{kind}-save -t nat");
            shell(&world.host, &save)
        };
        assert_eq!(saved().matches(&chain).count(), 6);
        let remove = || reference::remove_port_mappings(NETWORK, "one", &[]);
        world.host.run(remove).unwrap().unwrap();
        assert_eq!(saved().matches("CNI-SN-").count(), 0);
        assert_eq!(saved().matches("-A CNI-HOSTPORT-SNAT -j RETURN").count(), 2);
    }
}

/// As the releases since 1.6 make them.
fn nftables_masquerade(rules: &[(&str, &str, &str, &str)]) -> String {
    let rule = |(network, container, ifname, ip): &(&str, &str, &str, &str)| {
        let mark = mark(network, container, ifname);
        let comment = format!("{mark}, net: {network}, if: {ifname}, id: {container}");
        format!("ip saddr == {ip} ip daddr != 10.9.0.0/24 masquerade comment \"{comment:.128}\"\n")
    };
    let rules: String = rules.iter().map(rule).collect();
    format!(
        "table inet cni_plugins_masquerade {{
            comment \"Masquerading for plugins from github.com/containernetworking/plugins\"
            chain masq_checks {{ {rules} }}
            chain postrouting {{
                type nat hook postrouting priority srcnat;
                ip daddr == 224.0.0.0/4 return
                ip6 daddr == ff00::/8 return
                goto masq_checks
            }}
        }}"
    )
}

fn mark(network: &str, container: &str, ifname: &str) -> String {
    let hash = |text: &str| sha512(text)[..16].to_owned();
    format!("{}-{}", hash(network), hash(&format!("{ifname}:{container}")))
}

fn sha512(text: &str) -> String {
    let script = ["-c", "printf %s \"$1\" | sha512sum", "sh", text];
    let output = Command::new("sh").args(script).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// What is left of the rules, by a word of each.
fn left<'a>(node: &Node, words: &[&'a str]) -> Vec<&'a str> {
    let text = node.nft_list().unwrap();
    words.iter().copied().filter(|word| text.contains(word)).collect()
}

const MASQUERADED: [&str; 5] = ["10.9.0.1 ", "10.9.0.2 ", "10.9.0.3 ", "10.9.0.4 ", "10.9.0.5 "];

fn masqueraded() -> String {
    nftables_masquerade(&[
        (NETWORK, "one", "eth0", "10.9.0.1"),
        (NETWORK, "one", "eth1", "10.9.0.2"),
        (NETWORK, "two", "eth0", "10.9.0.3"),
        ("net2", "one", "eth0", "10.9.0.4"),
        (NETWORK, &"long".repeat(40), "eth0", "10.9.0.5"),
    ])
}

#[test]
fn masquerading_of_nftables_goes_by_its_comment() {
    let world = World::new();
    world.host.nft(&masqueraded()).unwrap();
    let remove = |container: &str| {
        let remove = || reference::remove_masquerade(NETWORK, container, "eth0", &[]);
        world.host.run(remove).unwrap().unwrap();
    };
    remove("one");
    assert_eq!(left(&world.host, &MASQUERADED), MASQUERADED[1..]);
    remove(&"long".repeat(40));
    assert_eq!(left(&world.host, &MASQUERADED), MASQUERADED[1..4]);
}

#[test]
fn masquerading_that_is_not_to_be_kept_is_collected() {
    let world = World::new();
    world.host.nft(&masqueraded()).unwrap();
    let keep = [("one".to_owned(), "eth1".to_owned()), ("long".repeat(40), "eth0".to_owned())];
    let collect = |keep: &[(String, String)]| {
        world.host.run(|| reference::collect_masquerade(NETWORK, keep)).unwrap().unwrap();
    };
    collect(&keep);
    assert_eq!(left(&world.host, &MASQUERADED), ["10.9.0.2 ", "10.9.0.4 ", "10.9.0.5 "]);
    collect(&[]);
    assert_eq!(left(&world.host, &MASQUERADED), ["10.9.0.4 "]);
}

fn nftables_ports(family: &str, rules: &[(&str, &str, &str)]) -> String {
    let port = |(container, port, to): &(&str, &str, &str)| {
        format!("{port} dnat to {to} comment \"{container}\"\n")
    };
    let back = |(container, _, to): &(&str, &str, &str)| {
        let ip = if family == "ip" {
            to.split(':').next().unwrap()
        } else {
            &to[1..to.find(']').unwrap()]
        };
        format!("{family} saddr {ip} {family} daddr {ip} masquerade comment \"{container}\"\n")
    };
    let ports: String = rules.iter().map(port).collect();
    let backs: String = rules.iter().map(back).collect();
    format!(
        "table {family} cni_hostport {{
            comment \"CNI portmap plugin\"
            chain hostports {{ {ports} }}
            chain hostip_hostports {{ }}
            chain hostports_all {{ jump hostip_hostports; jump hostports; }}
            chain prerouting {{ type nat hook prerouting priority dstnat;
                fib daddr type local jump hostports_all; }}
            chain output {{ type nat hook output priority -100;
                fib daddr type local jump hostports_all; }}
            chain masquerading {{ type nat hook postrouting priority srcnat; {backs} }}
        }}"
    )
}

#[test]
fn ports_of_nftables_go_by_container_and_address() {
    let world = World::new();
    world
        .host
        .nft(&nftables_ports(
            "ip",
            &[
                ("one", "tcp dport 8001", "10.9.0.1:80"),
                ("one", "ip daddr 198.51.100.2 udp dport 8002", "10.9.0.1:53"),
                ("two", "tcp dport 8003", "10.9.0.2:80"),
                ("one", "tcp dport 8004", "10.8.0.1:80"),
            ],
        ))
        .unwrap();
    world
        .host
        .nft(&nftables_ports(
            "ip6",
            &[("one", "tcp dport 8001", "[fd09::1]:80"), ("two", "tcp dport 8003", "[fd09::2]:80")],
        ))
        .unwrap();
    let addresses = ["10.9.0.1".parse().unwrap(), "fd09::1".parse().unwrap()];
    let words = [
        "10.9.0.1:",
        "saddr 10.9.0.1 ",
        "10.9.0.2:",
        "saddr 10.9.0.2 ",
        "10.8.0.1:",
        "fd09::1 ",
        "fd09::2 ",
    ];
    let remove = |addresses: &[IpAddr]| {
        let remove = || reference::remove_port_mappings(NETWORK, "one", addresses);
        world.host.run(remove).unwrap().unwrap();
    };
    assert_eq!(left(&world.host, &words), words);
    // The container's other network keeps its port.
    remove(&addresses);
    assert_eq!(
        left(&world.host, &words),
        ["10.9.0.2:", "saddr 10.9.0.2 ", "10.8.0.1:", "fd09::2 "]
    );
    remove(&[]);
    assert_eq!(left(&world.host, &words), ["10.9.0.2:", "saddr 10.9.0.2 ", "fd09::2 "]);
}

/// While somebody changes rules all the time, what goes is right all the same.
#[test]
fn others_may_change_rules_meanwhile() {
    let world = World::new();
    world.host.nft(&masqueraded()).unwrap();
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            for _ in 0..40 {
                world.host.nft("table inet busy {\nchain c {\naccept\n}\n}").unwrap();
                world.host.nft("delete table inet busy").unwrap();
            }
        });
        while !busy.is_finished() {
            world.host.run(|| reference::collect_masquerade(NETWORK, &[])).unwrap().unwrap();
            let one = nftables_masquerade(&[(NETWORK, "one", "eth0", "10.9.0.1")]);
            let one: Vec<&str> =
                one.lines().filter(|line| line.contains("masq_checks {")).collect();
            let rule = one[0].trim().trim_start_matches("chain masq_checks { ").to_owned();
            world
                .host
                .nft(&format!("add rule inet cni_plugins_masquerade masq_checks {rule}"))
                .unwrap();
        }
    });
    world.host.run(|| reference::collect_masquerade(NETWORK, &[])).unwrap().unwrap();
    assert_eq!(left(&world.host, &MASQUERADED), ["10.9.0.4 "]);
}

#[test]
fn what_tuning_wrote_down_is_read_once() {
    let reference = Reference::new(false);
    let container = reference.world.container_with_loopback("c");
    container.ip(&["link", "add", "eth0", "type", "veth", "peer", "far"]).unwrap();
    container.ip(&["link", "set", "eth0", "address", "02:00:00:00:00:01", "mtu", "1400"]).unwrap();
    let folder: PathBuf = reference.folder.path().join("tuning");
    let conf = json!({"cniVersion": "1.0.0", "name": NETWORK, "type": "tuning", "mtu": 1300,
        "promisc": true, "mac": "02:00:00:00:00:02", "dataDir": folder, "allmulti": true,
        "prevResult": {"cniVersion": "1.0.0", "interfaces": [], "ips": []}});
    reference.call("tuning", "ADD", "c", &container, &conf);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    let backup = reference::tuning_backup(&folder, "c", "eth0").unwrap().unwrap();
    let wanted = TuningBackup {
        mac: Some("02:00:00:00:00:01".to_owned()),
        promisc: Some(false),
        mtu: Some(1400),
        allmulti: Some(false),
        ..backup.clone()
    };
    assert_eq!(backup, wanted);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    assert_eq!(reference::tuning_backup(&folder, "c", "eth0").unwrap(), None);
    reference::tuning_backup(&folder, "../c", "eth0").unwrap_err();
    fs::write(folder.join("c_eth0.json"), "{").unwrap();
    reference::tuning_backup(&folder, "c", "eth0").unwrap_err();
    assert_eq!(reference::tuning_backup(&folder, "c", "eth0").unwrap(), None);
}

/// All that a DEL looks for.
fn look_for_everything() {
    let addresses = ["10.9.0.1".parse().unwrap(), "fd09::1".parse().unwrap()];
    reference::remove_masquerade(NETWORK, "one", "eth0", &addresses).unwrap();
    reference::remove_port_mappings(NETWORK, "one", &addresses).unwrap();
    reference::remove_firewall(&addresses).unwrap();
    reference::remove_spoof_guard("one", "eth0").unwrap();
    reference::collect_masquerade(NETWORK, &[]).unwrap();
}

/// Also run by the test below, watched from outside.
#[test]
fn nothing_is_looked_for_in_vain() {
    look_for_everything();
    let started = Instant::now();
    for _ in 0..100 {
        look_for_everything();
    }
    tell(&format!("looking for all leftovers where there are none: {:?}", started.elapsed() / 100));
}

#[test]
fn no_process_is_started_where_nothing_is() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let status = Command::new(tools::find("strace").unwrap())
        .args(["-f", "-e", "trace=execve,fork,vfork,clone3", "-o"])
        .arg(&log)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "nothing_is_looked_for_in_vain"])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let log = fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("execve(").count(), 1, "{log}");
}

//! Whatever is asked for wrongly: one line with the cause and the remedy, the right exit status, and
//! nothing changed, neither in the kernel nor in the state folder.

mod calling;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use calling::{
    NETUP, Said, clean, command, done, file_below, remembered, shell, state_folder, tell,
};
use netns_fixtures::{Container, Dump, Lab, Node, assert_same, isolate, tools};
use serde_json::Value;

isolate!();

/// The words after `netup`, the exit status, and what the line must say.
type Case<'a> = (&'a str, i32, &'a [&'a str]);

/// Every call that was made to fail, over all tests.
static CASES: AtomicUsize = AtomicUsize::new(0);

/// An uplink at 198.51.100.2/24, a container without anything, a busy one that has an eth0, one
/// attached as `db`, and bridges and links of others.
struct World {
    host: Node,
    container: Container,
    busy: Container,
    attached: Container,
    before: [Dump; 4],
    _outside: Node,
    _lab: Lab,
}

impl World {
    fn new() -> Self {
        let calling::World { lab, host, outside } = calling::World::new();
        let container = |name| lab.container(name).unwrap();
        let (container, busy, attached) = (container("c"), container("busy"), container("db"));
        shell(
            &host,
            "ip link add plain type veth peer name plain2
             ip link add br-bare type bridge; ip link set br-bare up
             ip link add br-down type bridge; ip address add 10.5.0.1/24 dev br-down",
        );
        // A loopback that was up once keeps its address, so a failed attempt would show.
        for container in [&container, &busy] {
            container.ip(&["link", "set", "lo", "up"]).unwrap();
        }
        shell(&busy, "ip link add eth0 type veth peer name other");
        let pid = attached.pid().to_string();
        let ports = ["-p", "9090:90", "-p", "9091:91/udp"];
        done(
            &host,
            &[&["up", &pid, "10.0.0.9/24", "fd00::9/64", "--id", "db"], &ports[..]].concat(),
        );
        // So that neither forwarding nor the rules can be what a failed attempt leaves.
        let before = dumps(&host, &container, &busy, &attached);
        Self { host, container, busy, attached, before, _outside: outside, _lab: lab }
    }

    /// `{c}`, `{busy}` and `{db}` stand for PIDs.
    fn words(&self, line: &str) -> Vec<String> {
        let pids = [("{c}", &self.container), ("{busy}", &self.busy), ("{db}", &self.attached)];
        let fill = |word: &str| {
            pids.iter().fold(word.to_owned(), |word, (mark, container)| {
                word.replace(mark, &container.pid().to_string())
            })
        };
        line.split_whitespace().map(|word| fill(&word.replace('~', " "))).collect()
    }

    fn command(&self, line: &str) -> Command {
        let words = self.words(line);
        command(&self.host, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The call fails with this status, its line has all the words and a remedy, and nothing has
    /// changed. Returns what is amiss.
    fn judge(&self, what: &str, code: i32, says: &[&str], mut call: Command) -> Vec<String> {
        let said = Said::from(call.output().unwrap());
        let mut amiss = faults(&said, code, says);
        let after = dumps(&self.host, &self.container, &self.busy, &self.attached);
        for (before, after) in self.before.iter().zip(&after) {
            amiss.extend((before != after).then(|| format!("changes {}", told(before, after))));
        }
        if said.code == Some(0) {
            // So that the next case starts from where this one should have ended.
            let pid = self.container.pid().to_string();
            command(&self.host, &["down", &pid]).output().unwrap();
        }
        CASES.fetch_add(1, Ordering::Relaxed);
        amiss
            .iter()
            .map(|fault| format!("{what}\n    {}\n    {fault}\n", said.stderr.trim()))
            .collect()
    }

    fn judge_all(&self, cases: &[Case<'_>]) {
        let judged = cases
            .iter()
            .map(|(line, code, says)| self.judge(line, *code, says, self.command(line)));
        settle(&judged.flatten().collect::<Vec<_>>());
    }

    #[track_caller]
    fn refuses(&self, what: &str, code: i32, says: &[&str], call: Command) {
        settle(&self.judge(what, code, says, call));
    }
}

/// What differs, without the parameters that come and go with a link.
fn told(before: &Dump, after: &Dump) -> String {
    let changes = before.changes(after);
    changes
        .lines()
        .filter(|line| !line.contains("net/ipv"))
        .map(|l| format!("{l}\n      "))
        .collect()
}

#[track_caller]
fn settle(amiss: &[String]) {
    let count = CASES.load(Ordering::Relaxed);
    tell(&format!("bad input: {count} cases so far, {} faults", amiss.len()));
    assert!(amiss.is_empty(), "{} faults:\n{}", amiss.len(), amiss.concat());
}

fn dumps(host: &Node, a: &Node, b: &Node, c: &Node) -> [Dump; 4] {
    let of = |node| Dump::of(node).unwrap();
    [remembered(host), of(a), of(b), of(c)]
}

fn faults(said: &Said, code: i32, says: &[&str]) -> Vec<String> {
    let mut amiss = Vec::new();
    let mut expect = |holds: bool, fault: String| amiss.extend((!holds).then_some(fault));
    expect(said.code == Some(code), format!("exits with {:?}, not {code}", said.code));
    expect(said.stdout.is_empty(), format!("prints {:?}", said.stdout));
    expect(said.stderr.lines().count() == 1, "is not one line".to_owned());
    expect(said.stderr.starts_with("netup: "), "does not say who speaks".to_owned());
    for word in says {
        expect(said.stderr.contains(word), format!("does not say {word:?}"));
    }
    amiss
}

/// In JSON the remedy stands by itself. A cause that names the range of what is right is one.
fn faults_of_document(said: &Said, code: i32) -> Vec<String> {
    let Ok(document) = serde_json::from_str::<Value>(&said.stderr) else {
        return vec![format!("prints {:?}", said.stderr)];
    };
    let error = &document["error"];
    let mut amiss = Vec::new();
    if error["exit_code"] != code || said.code != Some(code) || !said.stdout.is_empty() {
        amiss.push(format!("exits with {:?}, prints {:?}", said.code, said.stdout));
    }
    let message = error["message"].as_str().unwrap_or_default();
    let names_the_range = message.contains("between") || message.contains("from 1 to");
    if !names_the_range && error["remedy"].as_str().is_none_or(str::is_empty) {
        amiss.push("names no remedy".to_owned());
    }
    amiss
}

#[test]
fn every_refusal_names_a_remedy() {
    let world = World::new();
    let tables = [SENSELESS_ADDRESSES, USED_ADDRESSES, LINKS, PORTS, ROUTES_AND_PARAMETERS];
    let mut amiss = Vec::new();
    for (line, code, _) in tables.into_iter().flatten() {
        let said = Said::from(world.command(&format!("{line} --json")).output().unwrap());
        let faults = faults_of_document(&said, *code);
        amiss.extend(faults.iter().map(|fault| format!("{line}: {fault}\n    {}\n", said.stderr)));
        if said.code == Some(0) {
            command(&world.host, &["down", &world.container.pid().to_string()]).output().unwrap();
        }
    }
    settle(&amiss);
}

const SENSELESS_ADDRESSES: &[Case<'_>] = &[
    ("{c} 10.0.0.2", 2, &["\"10.0.0.2\"", "prefix length", "10.0.0.2/24"]),
    ("{c} 10.0.0.2/", 2, &["prefix length"]),
    ("{c} 10.0.0.2/0", 2, &["prefix length 0"]),
    ("{c} fd00::2/0", 2, &["prefix length 0"]),
    ("{c} 10.0.0.2/33", 2, &["prefix length"]),
    ("{c} fd00::2/129", 2, &["prefix length"]),
    ("{c} 10.0.0.2/-1", 2, &["prefix length"]),
    ("{c} 10.0.0/24", 2, &["IP address"]),
    ("{c} 10.0.0.256/24", 2, &["IP address"]),
    ("{c} 010.0.0.2/24", 2, &["IP address"]),
    ("{c} example.org/24", 2, &["example.org"]),
    ("{c} 10.0.0.0/24", 2, &["the network itself"]),
    ("{c} 10.0.0.255/24", 2, &["broadcast"]),
    ("{c} fd00::/64", 2, &["the network itself"]),
    ("{c} 0.0.0.0/8", 2, &["0.0.0.0"]),
    ("{c} 127.0.0.1/8", 2, &["loopback"]),
    ("{c} ::1/128", 2, &["loopback"]),
    ("{c} ::/64", 2, &["unspecified"]),
    ("{c} 224.0.0.5/24", 2, &["multicast"]),
    ("{c} ff02::5/64", 2, &["multicast"]),
    ("{c} fe80::5/64", 2, &["link-local"]),
    ("{c} ::ffff:10.0.0.2/120", 2, &["IPv4-mapped"]),
    ("{c} 255.255.255.255/32", 2, &["255.255.255.255"]),
    ("{c} 250.0.0.1/24", 2, &["reserved"]),
    ("{c} 10.7.0.2/24 10.7.0.2/16", 2, &["10.7.0.2", "twice"]),
    ("{c} 10.7.0.2/24 10.7.0.2/24", 2, &["10.7.0.2", "twice"]),
    ("{c}", 2, &["no address"]),
    ("{c} --subnet 10.7.0.0/32", 2, &["10.7.0.0/32"]),
    ("{c} --subnet 0.0.0.0/0", 2, &["0.0.0.0/0"]),
    ("{c} --subnet 10.7.0.1/24", 2, &["host bits", "10.7.0.0/24"]),
    ("{c} --subnet 127.0.0.0/8", 2, &["loopback"]),
    ("{c} --subnet 10.7.0.0", 2, &["prefix length"]),
    ("{c} --subnet ff02::/64", 2, &["multicast"]),
    ("{c} 10.7.0.2/32 --bridge br9", 2, &["10.7.0.2/32"]),
];

#[test]
fn addresses_outside_any_sense_are_refused() {
    World::new().judge_all(SENSELESS_ADDRESSES);
}

const USED_ADDRESSES: &[Case<'_>] = &[
    ("{c} 198.51.100.2/24", 5, &["198.51.100.2", "host's own", "eth0"]),
    ("{c} 198.51.100.77/24", 5, &["198.51.100.77", "198.51.100.0/24", "eth0"]),
    ("{c} 198.51.100.1/32", 5, &["198.51.100.1", "eth0"]),
    ("{c} 198.51.100.200/25", 5, &["198.51.100.0/24", "eth0"]),
    ("{c} 2001:db8:1::2/64", 5, &["2001:db8:1::2", "host's own"]),
    ("{c} 2001:db8:1::77/64", 5, &["2001:db8:1::/64", "eth0"]),
    ("{c} 10.0.0.9/24", 5, &["10.0.0.9", "db@eth0", "netup down db"]),
    ("{c} 10.0.0.9/32", 5, &["10.0.0.9", "db@eth0"]),
    ("{c} 10.7.0.2/24 fd00::9/64", 5, &["fd00::9", "db@eth0"]),
    ("{c} 10.0.0.9/24 --bridge br9", 5, &["10.0.0.9", "db@eth0"]),
    ("{c} 10.0.0.1/24", 2, &["10.0.0.1", "gateway"]),
    ("{c} 10.7.0.1/24", 2, &["10.7.0.1", "gateway"]),
    ("{c} 10.7.0.2/24 --gateway 10.7.0.2", 2, &["10.7.0.2", "gateway"]),
    ("{c} 10.7.0.2/24 --gateway 10.8.0.1", 2, &["10.8.0.1"]),
    ("{c} 10.7.0.2/24 --gateway fd00::1", 2, &["fd00::1"]),
    ("{c} 10.7.0.2/24 --gateway x", 2, &["gateway", "x"]),
    ("{c} 10.7.0.2/24 --gateway 10.7.0.1 --gateway 10.7.0.1", 2, &["twice"]),
    ("{c} 10.7.0.2/24 --gateway 10.7.0.0", 2, &["10.7.0.0"]),
    ("{c} 10.7.0.2/24 --gateway 10.7.0.255", 2, &["10.7.0.255"]),
    ("{c} 10.7.0.2/32 --gateway 127.0.0.1", 2, &["127.0.0.1"]),
    ("{c} 10.7.0.2/32 --gateway 224.0.0.1", 2, &["224.0.0.1"]),
    ("{c} 10.7.0.2/32 --gateway 0.0.0.0", 2, &["0.0.0.0"]),
    ("{c} 10.7.0.2/32 --gateway 198.51.100.1", 5, &["198.51.100.1", "eth0"]),
];

#[test]
fn addresses_and_networks_that_are_used_are_refused() {
    World::new().judge_all(USED_ADDRESSES);
}

const LINKS: &[Case<'_>] = &[
    ("{c} 10.7.0.2/24 --ifname sixteen-bytes-xy", 2, &["sixteen-bytes-xy", "15"]),
    ("{c} 10.7.0.2/24 --ifname a/b", 2, &["a/b"]),
    ("{c} 10.7.0.2/24 --ifname ..", 2, &[".."]),
    ("{c} 10.7.0.2/24 --ifname a%d", 2, &["a%d"]),
    ("{c} 10.7.0.2/24 --ifname a~b", 2, &["a b"]),
    ("{c} 10.7.0.2/24 --ifname=", 2, &["interface name"]),
    ("{c} 10.7.0.2/24 --ifname lo", 5, &["lo"]),
    ("{c} 10.7.0.2/24 --host-ifname sixteen-bytes-xy", 2, &["sixteen-bytes-xy", "15"]),
    ("{c} 10.7.0.2/24 --host-ifname eth0", 5, &["eth0", "--host-ifname"]),
    ("{c} 10.7.0.2/24 --host-ifname all", 2, &["all"]),
    ("{c} 10.7.0.2/24 --host-ifname default", 2, &["default"]),
    ("{busy} 10.7.0.2/24", 5, &["eth0", "--ifname"]),
    ("{c} 10.7.0.2/24 --bridge sixteen-bytes-xy", 2, &["sixteen-bytes-xy", "15"]),
    ("{c} 10.7.0.2/24 --bridge plain", 5, &["plain", "not a bridge", "--bridge"]),
    ("{c} 10.7.0.2/24 --bridge lo", 5, &["lo", "not a bridge"]),
    ("{c} 10.7.0.2/24 --bridge br-bare", 5, &["br-bare", "10.7.0.0/24", "--gateway"]),
    ("{c} 10.5.0.2/24 --bridge br-down", 5, &["br-down", "down", "ip link set br-down up"]),
    ("{c} 10.7.0.2/24 --bridge br9 --host-ifname br9", 2, &["br9"]),
    ("{c} 10.7.0.2/24 --mtu 67", 2, &["67", "68"]),
    ("{c} 10.7.0.2/24 fd07::2/64 --mtu 1279", 2, &["1279", "1280"]),
    ("{c} 10.7.0.2/24 --mtu 65536", 2, &["65536"]),
    ("{c} 10.7.0.2/24 --mtu x", 2, &["MTU", "x"]),
    ("{c} 10.7.0.2/24 --mac 01:00:00:00:00:01", 2, &["group"]),
    ("{c} 10.7.0.2/24 --mac 00:00:00:00:00:00", 2, &["zero"]),
    ("{c} 10.7.0.2/24 --mac 02:00", 2, &["02:00"]),
    ("{c} 10.7.0.2/24 --id a/b", 2, &["a/b"]),
    ("{c} 10.7.0.2/24 --id ..", 2, &[".."]),
    ("{c} 10.7.0.2/24 --id=", 2, &["container id"]),
    ("{c} 10.7.0.2/24 --id db", 5, &["db@eth0", "--replace"]),
];

#[test]
fn links_and_bridges_that_cannot_be_are_refused() {
    World::new().judge_all(LINKS);
}

const PORTS: &[Case<'_>] = &[
    ("{c} 10.7.0.2/24 -p 0:80", 2, &["\"0\"", "65535"]),
    ("{c} 10.7.0.2/24 -p 80:0", 2, &["\"0\"", "65535"]),
    ("{c} 10.7.0.2/24 -p 65536:80", 2, &["65536", "65535"]),
    ("{c} 10.7.0.2/24 -p 80:65536", 2, &["65536"]),
    ("{c} 10.7.0.2/24 -p -1:80", 2, &["-1"]),
    ("{c} 10.7.0.2/24 -p 80", 2, &["80", "8080:80"]),
    ("{c} 10.7.0.2/24 -p :80", 2, &["port"]),
    ("{c} 10.7.0.2/24 -p http:80", 2, &["http"]),
    ("{c} 10.7.0.2/24 -p 90-80:80-90", 2, &["90-80", "reversed", "80-90"]),
    ("{c} 10.7.0.2/24 -p 80-82:80-81", 2, &["3", "2", "equal"]),
    ("{c} 10.7.0.2/24 -p 80-82:80", 2, &["equal"]),
    ("{c} 10.7.0.2/24 -p 80:80/icmp", 2, &["icmp", "tcp, udp or sctp"]),
    ("{c} 10.7.0.2/24 -p 80:80 -p 80:81", 2, &["80:80/tcp", "80:81/tcp"]),
    ("{c} 10.7.0.2/24 -p 80-90:80-90 -p 85:1", 2, &["85:1/tcp"]),
    ("{c} 10.7.0.2/24 -p 127.0.0.1:80:80 -p 80:80", 2, &["127.0.0.1:80:80/tcp"]),
    ("{c} 10.7.0.2/24 -p 2001:db8::1:80:80", 2, &["[2001:db8::1]:80"]),
    ("{c} 10.7.0.2/24 -p [::1]:80:80", 2, &["::1", "127.0.0.1"]),
    ("{c} 10.7.0.2/24 -p 224.0.0.1:80:80", 2, &["multicast"]),
    ("{c} 10.7.0.2/24 -p 1.2.3:80:80", 2, &["1.2.3"]),
    ("{c} 10.7.0.2/24 -p [2001:db8:1::2]:80:80", 2, &["IPv6"]),
    ("{c} fd07::2/64 -p 127.0.0.1:80:80", 2, &["IPv4"]),
    ("{c} 10.7.0.2/24 -p 9090:80", 5, &["9090", "db@eth0"]),
    ("{c} 10.7.0.2/24 -p 9000-9100:9000-9100", 5, &["9090", "db@eth0"]),
    ("{c} 10.7.0.2/24 -p 9091:80/udp", 5, &["9091/udp", "db@eth0"]),
    ("{c} 10.7.0.2/24 -p 127.0.0.1:9090:80", 5, &["9090", "db@eth0"]),
    ("{c} fd07::2/64 -p 9090:80", 5, &["9090", "db@eth0"]),
];

#[test]
fn ports_that_cannot_be_published_are_refused() {
    World::new().judge_all(PORTS);
}

#[test]
fn a_port_that_a_process_listens_on_is_refused() {
    let world = World::new();
    let tcp = |at: &str| world.host.run(|| TcpListener::bind(at).unwrap()).unwrap();
    let udp = |at: &str| world.host.run(|| UdpSocket::bind(at).unwrap()).unwrap();
    // [::]:7003 takes IPv4 too; the port on lo only is free elsewhere, but not for every address.
    let _held = (tcp("0.0.0.0:7001"), tcp("127.0.0.1:7002"), tcp("[::]:7003"), tcp("[::1]:7004"));
    let _also = (udp("0.0.0.0:7001"), udp("198.51.100.2:7005"));
    let me = format!("pid {}", std::process::id());
    world.judge_all(&[
        ("{c} 10.7.0.2/24 -p 7001:80", 5, &["7001/tcp", &me, "0.0.0.0:7001"]),
        ("{c} 10.7.0.2/24 -p 198.51.100.2:7001:80", 5, &["7001", &me]),
        ("{c} 10.7.0.2/24 -p 7000-7002:80-82", 5, &["7001", &me]),
        ("{c} 10.7.0.2/24 -p 7002:80", 5, &["7002/tcp", &me, "127.0.0.1:7002"]),
        ("{c} 10.7.0.2/24 -p 127.0.0.1:7002:80", 5, &["7002", &me]),
        ("{c} 10.7.0.2/24 -p 7003:80", 5, &["7003/tcp", &me, "[::]:7003"]),
        ("{c} fd07::2/64 -p 7003:80", 5, &["7003/tcp", &me]),
        ("{c} fd07::2/64 -p 7004:80", 5, &["7004/tcp", &me, "[::1]:7004"]),
        ("{c} 10.7.0.2/24 -p 7001:80/udp", 5, &["7001/udp", &me]),
        ("{c} 10.7.0.2/24 -p 7005:80/udp", 5, &["7005/udp", &me, "198.51.100.2:7005"]),
    ]);
}

#[test]
fn a_port_that_is_free_where_it_is_wanted_is_not_refused() {
    let world = World::new();
    let _held = world.host.run(|| TcpListener::bind("127.0.0.1:7002").unwrap()).unwrap();
    let pid = world.container.pid().to_string();
    let up = |port: &str| done(&world.host, &["up", &pid, "10.7.0.2/24", "-p", port, "--replace"]);
    up("198.51.100.2:7002:80");
    up("7002:80/udp");
    done(&world.host, &["down", &pid]);
}

const ROUTES_AND_PARAMETERS: &[Case<'_>] = &[
    ("{c} 10.7.0.2/24 --route 10.9.0.1/16", 2, &["10.9.0.1/16", "10.9.0.0/16"]),
    ("{c} 10.7.0.2/24 --route 10.9.0.0", 2, &["prefix length"]),
    ("{c} 10.7.0.2/24 --route 10.9.0.0/16,via=fd00::1", 2, &["famil"]),
    ("{c} 10.7.0.2/24 --route 10.9.0.0/16,via=x", 2, &["via=x"]),
    ("{c} 10.7.0.2/24 --route 10.9.0.0/16,dev=eth0", 2, &["dev=eth0", "via=GATEWAY"]),
    ("{c} 10.7.0.2/24 --route 10.9.0.0/16,metric=x", 2, &["metric=x"]),
    ("{c} 10.7.0.2/24 --route fd09::/48", 2, &["IPv6"]),
    ("{c} 10.7.0.2/24 --route default", 2, &["--no-default-route"]),
    ("{c} 10.7.0.2/24 --route 10.9.0.0/16 --route 10.9.0.0/16", 2, &["twice"]),
    // Without a metric, IPv4 means 0 and IPv6 means 1024; and there 0 means 1024 too.
    ("{c} 10.7.0.2/24 --route 10.9.0.0/16 --route 10.9.0.0/16,metric=0", 2, &["twice"]),
    ("{c} fd07::2/64 --route fd09::/48,metric=0 --route fd09::/48,metric=1024", 2, &["twice"]),
    ("{c} 10.7.0.2/24 --route 10.9.0.0/16,via=172.16.0.1", 2, &["172.16.0.1"]),
    ("{c} 10.7.0.2/24 --no-default-route --route 10.9.0.0/16,via=172.16.0.1", 2, &["172.16.0.1"]),
    ("{c} 10.7.0.2/24 --bridge br9 --route 10.9.0.0/16,via=172.16.0.1", 2, &["172.16.0.1"]),
    ("{c} 10.7.0.2/24 --route 10.9.0.0/16,via=10.7.0.2", 2, &["10.7.0.2"]),
    ("{c} 10.7.0.2/24 --route 10.7.0.0/24", 2, &["10.7.0.0/24"]),
    ("{c} 10.7.0.2/24 --sysctl net.ipv4.no_such=1", 2, &["net.ipv4.no_such"]),
    ("{c} 10.7.0.2/24 --sysctl kernel.hostname=x", 2, &["kernel.hostname", "net"]),
    ("{c} 10.7.0.2/24 --sysctl net/../kernel/hostname=x", 2, &["net/../kernel"]),
    ("{c} 10.7.0.2/24 --sysctl net.ipv4.tcp_syncookies", 2, &["no value"]),
    ("{c} 10.7.0.2/24 --sysctl net.ipv4.tcp_syncookies=", 2, &["value"]),
    ("{c} 10.7.0.2/24 --sysctl net.ipv4.tcp_syncookies=x", 2, &["tcp_syncookies"]),
    ("{c} 10.7.0.2/24 --bridge br9 --sysctl net.ipv4.ip_local_port_range=9", 2, &["port_range"]),
    ("{c} 10.7.0.2/24 --sysctl net.ipv4.conf=1", 2, &["net.ipv4.conf"]),
    (
        "{c} 10.7.0.2/24 --sysctl net.core.somaxconn=1 --sysctl net.core.somaxconn=2",
        2,
        &["somaxconn"],
    ),
    // In a user namespace the kernel refuses its own former value too: groups without a mapping.
    ("{c} 10.7.0.2/24 --sysctl net.ipv4.ping_group_range=0~4294967295", 2, &["ping_group_range"]),
];

#[test]
fn routes_and_kernel_parameters_that_cannot_be_are_refused() {
    World::new().judge_all(ROUTES_AND_PARAMETERS);
}

#[test]
fn targets_that_are_none_are_refused() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    fs::write(at("file"), "x").unwrap();
    shell(&world.host, &format!("mkfifo {}", at("fifo")));
    let gone = {
        let mut child = Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        child.id()
    };
    let lines = [
        (format!("{gone} 10.7.0.2/24"), 3, "process"),
        ("2147483647 10.7.0.2/24".to_owned(), 3, "process"),
        ("0 10.7.0.2/24".to_owned(), 2, "PID"),
        ("99999999999 10.7.0.2/24".to_owned(), 2, "PID"),
        ("no-such-name 10.7.0.2/24".to_owned(), 3, "ip netns list"),
        ("/run/netns/no-such 10.7.0.2/24".to_owned(), 3, "/run/netns/no-such"),
        (format!("{} 10.7.0.2/24", at("file")), 2, "not a network namespace"),
        (format!("{}/x 10.7.0.2/24", at("file")), 3, "file/x"),
        (format!("{} 10.7.0.2/24", at("")), 2, "not a network namespace"),
        (format!("{} 10.7.0.2/24", at("fifo")), 2, "not a network namespace"),
        ("/proc/self/ns/mnt 10.7.0.2/24".to_owned(), 2, "not a network namespace"),
        ("/dev/null 10.7.0.2/24".to_owned(), 2, "not a network namespace"),
        ("/proc/self/ns/net 10.7.0.2/24".to_owned(), 2, "--allow-own-netns"),
        ("fd:77 10.7.0.2/24".to_owned(), 3, "77"),
        ("fd:-1 10.7.0.2/24".to_owned(), 2, "-1"),
        ("fd:x 10.7.0.2/24".to_owned(), 2, "fd:x"),
        ("fd:0 10.7.0.2/24".to_owned(), 2, "not a network namespace"),
        ("down nobody".to_owned(), 3, "nobody"),
        ("down {c}".to_owned(), 3, "netup ls"),
        ("down {db} --ifname eth7".to_owned(), 3, "eth7"),
        ("show nobody".to_owned(), 3, "nobody"),
        ("check nobody".to_owned(), 3, "nobody"),
        ("reload --remove".to_owned(), 5, "db@eth0"),
    ];
    let judged = lines
        .iter()
        .map(|(line, code, says)| world.judge(line, *code, &[says], world.command(line)));
    settle(&judged.flatten().collect::<Vec<_>>());
}

const LINES: &[Case<'_>] = &[
    ("", 2, &["netup --help"]),
    ("lss", 2, &["lss"]),
    ("frobnicate {c} 10.7.0.2/24", 2, &["prefix length"]),
    ("{c} 10.7.0.2/24 --natt", 2, &["--natt", "--nat"]),
    ("{c} 10.7.0.2/24 --nat=yes", 2, &["--nat"]),
    ("{c} 10.7.0.2/24 --nat --nat", 2, &["--nat", "twice"]),
    ("{c} 10.7.0.2/24 -q -v", 2, &["contradict"]),
    ("{c} 10.7.0.2/24 --mtu", 2, &["--mtu"]),
    ("up", 2, &["TARGET"]),
    ("down", 2, &["TARGET"]),
    ("ls extra", 2, &["extra"]),
    ("completions tcsh", 2, &["tcsh", "bash"]),
    ("{c} 10.7.0.2/24 --color sometimes", 2, &["sometimes", "always"]),
];

#[test]
fn lines_that_make_no_sense_are_refused() {
    World::new().judge_all(LINES);
}

/// A process that is root by name but has no right, and one in a user namespace of its own.
fn without_rights(world: &World, line: &str) -> [Command; 3] {
    let wrapped = |program: &str, arguments: &[&str]| {
        let mut command = world.host.command(tools::find(program).unwrap());
        clean(&mut command).args(arguments).arg(NETUP).args(world.words(line));
        command
    };
    [
        wrapped("setpriv", &["--bounding-set=-all"]),
        wrapped("unshare", &["--user", "--map-root-user"]),
        wrapped("unshare", &["--user"]),
    ]
}

#[test]
fn without_the_rights_nothing_is_done() {
    let world = World::new();
    let path = world.host.path().display().to_string();
    let lab = Lab::new();
    let named = lab.named("named").unwrap();
    let by_path = format!("{} 10.7.0.2/24", named.path().display());
    let mut amiss = Vec::new();
    for line in ["{c} 10.7.0.2/24 --nat -p 8080:80", &by_path] {
        for (i, call) in without_rights(&world, line).into_iter().enumerate() {
            amiss.extend(world.judge(&format!("{line} ({i})"), 4, &["CAP_NET_ADMIN"], call));
        }
    }
    for line in ["down db", "reload", "check --repair", "gc", "{db} 10.0.0.10/24 --id db --replace"]
    {
        let [call, ..] = without_rights(&world, line);
        let line = format!("{line} in {path}");
        // What needs no right may succeed; what needs one says so.
        let mut probe = call;
        let said = Said::from(probe.output().unwrap());
        if said.code != Some(0) {
            amiss.extend(world.judge(&line, 4, &[], probe));
        } else {
            assert_same(&world.before[0], &remembered(&world.host));
        }
    }
    settle(&amiss);
}

/// netup where every folder that could hold nft hides it.
fn without_nft(node: &Node, words: &str) -> Command {
    let mut command = node.command(tools::find("unshare").unwrap());
    let script = format!(
        "for nft in /usr/sbin/nft /sbin/nft /usr/local/sbin/nft /usr/bin/nft; do
           [ ! -e $nft ] || [ ! -f $nft ] || /bin/mount --bind /dev/null $nft
         done
         exec /usr/bin/env -i PATH= {NETUP} {words} \"$@\""
    );
    clean(&mut command).args(["--mount", "/bin/sh", "-ec", &script, "sh"]);
    command
}

#[test]
fn without_nft_nothing_is_done() {
    let lab = Lab::new();
    let (host, container) = (lab.host("host").unwrap(), lab.container("c").unwrap());
    container.ip(&["link", "set", "lo", "up"]).unwrap();
    let before = (remembered(&host), Dump::of(&container).unwrap());
    for extra in ["", "--bridge br0", "fd07::2/64 --nat -p 8080:80/udp", "--subnet 10.8.0.0/24"] {
        let words = format!("up {} 10.7.0.2/24 {extra}", container.pid());
        let said = Said::from(without_nft(&host, &words).output().unwrap());
        let amiss = faults(&said, 1, &["nft", "apt-get install nftables"]);
        assert!(amiss.is_empty(), "{words}: {amiss:?}: {said:?}");
        assert_same(&before.0, &remembered(&host));
        assert_same(&before.1, &Dump::of(&container).unwrap());
        CASES.fetch_add(1, Ordering::Relaxed);
    }
    settle(&[]);
}

#[test]
fn an_attachment_needs_no_nft_once_the_rules_are_there() {
    let world = World::new();
    let words = format!("up {} 10.7.0.2/24 --nat -p 8080:80", world.container.pid());
    let said = Said::from(without_nft(&world.host, &words).output().unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
}

#[test]
fn a_state_folder_that_cannot_be_written_is_refused() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::write(at("file"), "in the way").unwrap();
    let (full, read_only) = (at("full"), at("read-only"));
    // A tmpfs of one page: folders need none, the first file of any size takes it.
    shell(
        &lab_mounts(),
        &format!(
            "mkdir {0} {1}; mount -t tmpfs -o size=4k,nr_inodes=64 full {0}; echo x > {0}/x
             mount -t tmpfs -o ro read-only {1}",
            full.display(),
            read_only.display()
        ),
    );
    let with = |state: &str, line: &str| {
        let mut call = world.command(line);
        call.env("NETUP_STATE_DIR", state);
        call
    };
    let up = "{c} 10.7.0.2/24 --nat -p 8080:80";
    let text = |path: &std::path::Path| path.display().to_string();
    let mut amiss = Vec::new();
    let inside_file = text(&at("file/state"));
    for (state, code, says) in [
        (text(&at("file")), 1, "file"),
        (inside_file, 1, "file"),
        (text(&full), 1, "full"),
        (text(&read_only), 4, "read-only"),
        ("/proc/netup".to_owned(), 1, "/proc/netup"),
    ] {
        amiss.extend(world.judge(&format!("state in {state}"), code, &[says], with(&state, up)));
        let leased = format!("{up} --subnet 10.8.0.0/24 --bridge br9");
        amiss.extend(world.judge(
            &format!("lease in {state}"),
            code,
            &[says],
            with(&state, &leased),
        ));
    }
    shell(&lab_mounts(), &format!("umount {}; umount {}", full.display(), read_only.display()));
    settle(&amiss);
}

/// The test's own namespaces, as a node.
fn lab_mounts() -> Node {
    Node::at("here", "/proc/self/ns/net")
}

#[test]
fn a_record_that_cannot_be_read_is_refused() {
    let world = World::new();
    let record = file_below(&state_folder(&world.host).join("attachments/db"), "eth0");
    let whole = fs::read_to_string(&record).unwrap();
    let version = whole.replacen("\"version\":1", "\"version\":999", 1);
    assert_ne!(version, whole);
    let broken: [&[u8]; 5] =
        [b"", b"{", &whole.as_bytes()[..whole.len() / 2], version.as_bytes(), b"\xff\xfe\0"];
    let mut amiss = Vec::new();
    for content in broken {
        fs::write(&record, content).unwrap();
        let before = remembered(&world.host);
        for line in
            ["down db", "ls", "show db", "check db", "{db} 10.0.0.9/24 --id db", "gc", "reload"]
        {
            let said = Said::from(world.command(line).output().unwrap());
            let at = record.display().to_string();
            // gc clears what it can and names what it cannot on standard output.
            let said = match line {
                "gc" if said.stderr.is_empty() => {
                    assert!(said.stdout.contains(&at), "{said:?}");
                    Said {
                        stderr: format!("netup: {}", said.stdout),
                        stdout: String::new(),
                        ..said
                    }
                }
                _ => said,
            };
            amiss.extend(
                faults(&said, 1, &[&at]).iter().map(|fault| format!("{line}: {said:?} {fault}\n")),
            );
            assert_same(&before, &remembered(&world.host));
            CASES.fetch_add(1, Ordering::Relaxed);
        }
    }
    // What the message says helps: without the file the link tells whose it is.
    fs::remove_file(&record).unwrap();
    done(&world.host, &["down", &world.attached.pid().to_string(), "-q"]);
    settle(&amiss);
}

#[test]
fn a_descriptor_that_is_open_is_taken_only_if_it_is_a_netns() {
    let world = World::new();
    let mut call = world.host.command("/bin/sh");
    let pid = world.container.pid();
    let script = format!("exec 9</proc/{pid}/ns/net; exec {NETUP} up fd:9 10.7.0.2/24 -q");
    let said = Said::from(clean(&mut call).args(["-c", &script]).output().unwrap());
    assert_eq!(said.code, Some(0), "{said:?}");
    done(&world.host, &["down", &pid.to_string()]);
    let mut call = world.host.command("/bin/sh");
    let script = format!("exec 9</dev/null; exec {NETUP} up fd:9 10.7.0.2/24 \"$@\"");
    clean(&mut call).args(["-c", &script, "sh"]);
    world.refuses("fd:9 of /dev/null", 2, &["fd:9", "not a network namespace"], call);
}

#[test]
fn a_program_that_cannot_be_run_in_place_of_nft_is_refused() {
    let lab = Lab::new();
    let (host, container) = (lab.host("host").unwrap(), lab.container("c").unwrap());
    container.ip(&["link", "set", "lo", "up"]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let fake = folder.path().join("nft");
    let before = (remembered(&host), Dump::of(&container).unwrap());
    for script in
        ["#!/bin/sh\necho no such feature >&2\nexit 1\n", "#!/bin/sh\nexit 0\n", "#!/no/such\n"]
    {
        fs::write(&fake, script).unwrap();
        fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
        let mut call = command(&host, &["up", &container.pid().to_string(), "10.7.0.2/24"]);
        let said = Said::from(call.env("PATH", folder.path()).output().unwrap());
        let amiss = faults(&said, 1, &["nft"]);
        assert!(amiss.is_empty(), "{script}: {amiss:?}: {said:?}");
        assert_same(&before.0, &remembered(&host));
        assert_same(&before.1, &Dump::of(&container).unwrap());
        CASES.fetch_add(1, Ordering::Relaxed);
    }
    settle(&[]);
}

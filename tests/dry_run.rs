//! `--dry-run` changes nothing, and what it prints, pasted into a shell, makes what `up` makes.

mod calling;

use calling::{document, done, remembered, shell};
use netns_fixtures::{Container, Dump, Lab, Node, assert_same, isolate};

isolate!();

struct World {
    host: Node,
    container: Container,
    _outside: Node,
    _lab: Lab,
}

/// A fresh host, as it is after boot: no rules, no forwarding, an uplink.
fn world() -> World {
    let calling::World { lab, host, outside } = calling::World::new();
    let container = lab.container("c").unwrap();
    World { host, container, _outside: outside, _lab: lab }
}

impl World {
    fn dump(&self) -> [Dump; 2] {
        [Dump::of(&self.host).unwrap(), Dump::of(&self.container).unwrap()]
    }

    fn words(&self, line: &str) -> Vec<String> {
        let pid = self.container.pid().to_string();
        let path = self.container.path().display().to_string();
        let fill = |word: &str| word.replace("{pid}", &pid).replace("{path}", &path);
        line.split_whitespace().map(|word| fill(word).replace('~', " ")).collect()
    }

    fn call(&self, line: &str) -> String {
        let words = self.words(line);
        done(&self.host, &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Everything back to how it was after boot.
    fn reset(&self, before: &[Dump; 2]) {
        self.call("down {pid}");
        self.call("reload --remove");
        self.host.set_sysctl("net/ipv4/ip_forward", "0").unwrap();
        self.host.set_sysctl("net/ipv6/conf/all/forwarding", "0").unwrap();
        shell(&self.container, "ip address flush dev lo; ip link set lo down");
        // A loopback that was up keeps another queue.
        let [host, container] = self.dump();
        assert_same(&before[0], &host);
        assert_same(&loopback_aside(before[1].clone()), &loopback_aside(container));
    }
}

fn loopback_aside(dump: Dump) -> Dump {
    dump.without("lo address=00:00:00:00:00:00")
}

#[track_caller]
fn pasting_makes_what_up_makes(line: &str) {
    let world = world();
    let before = world.dump();
    let files = remembered(&world.host);
    let script = world.call(&format!("up {line} --dry-run"));
    for (before, after) in before.iter().zip(&world.dump()) {
        assert_same(before, after);
    }
    assert_same(&files, &remembered(&world.host));

    world.call(&format!("up {line} -q"));
    let made = world.dump();
    world.reset(&before);

    shell(&world.host, &script);
    let pasted = world.dump();
    assert_same(&made[0], &pasted[0]);
    assert_same(&made[1], &pasted[1]);
}

#[test]
fn a_routed_container_can_be_pasted() {
    pasting_makes_what_up_makes("{pid} 10.0.0.2/24");
}

#[test]
fn a_routed_container_with_everything_can_be_pasted() {
    pasting_makes_what_up_makes(
        "{pid} 10.0.0.2/24 10.1.0.2/16 fd00::2/64 --nat -p 8080:80 -p 127.0.0.1:53:53/udp \
         -p 2000-2002:3000-3002/sctp -p [2001:db8:1::2]:443:443 --route 10.9.0.0/16,via=10.0.0.1,metric=7 \
         --sysctl net.ipv4.ip_local_port_range=20000~30000 --mtu 1400 --mac 02:00:00:00:00:07 \
         --host-ifname veth-web --ifname net0",
    );
}

#[test]
fn both_families_can_be_pasted() {
    pasting_makes_what_up_makes("{pid} 10.0.0.2/24 fd00::2/64 --nat");
}

#[test]
fn single_addresses_can_be_pasted() {
    pasting_makes_what_up_makes("{pid} 10.0.0.2/32 fd00::2/128");
}

#[test]
fn published_ports_can_be_pasted() {
    pasting_makes_what_up_makes("{pid} 10.0.0.2/24 fd00::2/64 -p 8080:80 -p 53:53/udp");
}

#[test]
fn a_bridge_can_be_pasted() {
    pasting_makes_what_up_makes("{pid} 10.0.0.2/24 fd00::2/64 --bridge br0 --nat -p 8080:80");
}

#[test]
fn a_path_can_be_pasted() {
    pasting_makes_what_up_makes("{path} 10.0.0.2/24 --id web");
}

#[test]
fn a_name_that_the_shell_would_read_can_be_pasted() {
    pasting_makes_what_up_makes("{pid} 10.0.0.2/24 --host-ifname a;b$c --ifname d'e&f");
}

#[test]
fn a_replacement_is_shown_as_taking_down_and_setting_up() {
    let world = world();
    world.call("up {pid} 10.0.0.2/24 --nat -q");
    let before = (world.dump(), remembered(&world.host));
    let script = world.call("up {pid} 10.0.0.3/24 --replace --dry-run");
    assert_same(&before.0[0], &world.dump()[0]);
    assert_same(&before.0[1], &world.dump()[1]);
    assert_same(&before.1, &remembered(&world.host));
    world.call("up {pid} 10.0.0.3/24 --replace -q");
    let made = world.dump();
    world.call("down {pid}");
    world.call("up {pid} 10.0.0.2/24 --nat -q");
    shell(&world.host, &script);
    assert_same(&made[0], &world.dump()[0]);
    assert_same(&made[1], &world.dump()[1]);
}

#[test]
fn what_holds_already_needs_no_command() {
    let world = world();
    world.call("up {pid} 10.0.0.2/24 --nat -q");
    assert_eq!(world.call("up {pid} 10.0.0.2/24 --nat --dry-run"), "");
}

#[test]
fn the_commands_as_json_are_the_same() {
    let world = world();
    let text = world.call("up {pid} --subnet 10.3.0.0/24 --nat -p 1:1/udp --dry-run");
    let words = world.words("up {pid} --subnet 10.3.0.0/24 --nat -p 1:1/udp --dry-run");
    let json = document(&world.host, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let lines: Vec<&str> = json.as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    assert_eq!(lines.join("\n") + "\n", text);
}

//! Real clients: containerd's `ctr run --cni` and podman with its CNI backend, with the standard
//! plugins' names and with type `netup` alone, with packets that cross and nothing left.
//!
//! They are run as root only: containerd and this podman are for root. Anybody else's tests fail, with
//! the command that runs them.

mod calling;
mod networks;

use std::env::consts::ARCH;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use calling::World;
use netns_fixtures::cni::{Containerd, Podman};
use netns_fixtures::isolate;
use netns_fixtures::probe::ping;
use networks::{Before, Pair, Set, fast, is_real_root, standard, texts, v4, words};
use serde_json::Value;

isolate!();

const DEADLINE: Duration = Duration::from_secs(100);
/// Where host-local has its leases in the client's own view of the files.
const LEASES: &str = "/var/lib/cni/networks";

#[track_caller]
fn require_root() {
    let variable = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", ARCH.to_uppercase());
    assert!(
        is_real_root(),
        "containerd and podman are for root, which this is not: run these tests by \
         `{variable}=sudo cargo test --test cni_clients`"
    );
}

fn containerd(set: Set, network: &Value, bridges: &[&str]) {
    require_root();
    let world = World::new();
    let before = Before::of(&world);
    let containerd = Containerd::start(&world.host, set.folder(), network).unwrap();
    let (web_ctr, web) = containerd.foreground("web").unwrap();
    let (other_ctr, other) = containerd.foreground("other").unwrap();
    Pair { world: &world, web: &web, other: &other }.reach();
    let ids = ["web", "other"].map(|id| containerd.full_id(id));
    let words = words(&[&web, &other], &[&ids[0], &ids[1], "veth"]);
    for (id, ctr) in [("web", web_ctr), ("other", other_ctr)] {
        containerd.ctr(&["task", "kill", "--signal", "KILL", id]).unwrap().success().unwrap();
        // It waits for the end of the process, calls DEL with an empty CNI_NETNS, and says how the
        // process ended.
        let ended = ctr.finish(DEADLINE).unwrap();
        assert!(!ended.stderr.contains("cni") && !ended.stderr.contains("plugin"), "{ended}");
        assert!(!containerd.ctr(&["container", "list", "-q"]).unwrap().stdout.contains(id));
    }
    let folders = [containerd.var(), "/run/cni".into()];
    let words = texts(&words);
    // With an empty CNI_NETNS the reference bridge leaves its masquerade rules, which shows that they
    // would be found.
    if set == Set::Reference {
        assert!(before.difference(bridges, &words, &folders).contains("rule: "));
    }
    let words = if set == Set::Ours { words } else { Vec::new() };
    before.returns(bridges, &words, &folders);
    let run = containerd.run_words("short", &["--rm"], &["/bin/true"]);
    containerd.ctr(&run).unwrap().success().unwrap();
    before.returns(bridges, &words, &folders);
}

fn podman(set: Set, network: &Value, bridges: &[&str]) {
    require_root();
    let world = World::new();
    let before = Before::of(&world);
    let podman = Podman::new(&world.host, set.folder(), network).unwrap();
    let web = podman.detached("web", &["--publish", "8080:80"]).unwrap();
    let other = podman.detached("other", &[]).unwrap();
    let pair = Pair { world: &world, web: &web, other: &other };
    pair.reach();
    pair.published();
    let words = words(&[&web, &other], &["8080", "veth"]);
    // A port that is taken: the container is not made, and the first one keeps the port.
    podman.detached("late", &["--publish", "8080:80"]).unwrap_err();
    podman.podman(&["rm", "--force", "late"]).unwrap().success().unwrap();
    pair.published();
    given_address_and_mac(&podman, v4(&web));
    podman.podman(&["stop", "--time", "0", "web"]).unwrap().success().unwrap();
    podman.podman(&["rm", "web"]).unwrap().success().unwrap();
    podman.podman(&["rm", "--force", "--time", "0", "other"]).unwrap().success().unwrap();
    before.returns(bridges, &texts(&words), &[podman.var(), "/run/cni".into()]);
    let run = podman.run_words(&["--publish", "8080:80"], &["/bin/true"]);
    podman.podman(&run).unwrap().success().unwrap();
    before.returns(bridges, &texts(&words), &[podman.var(), "/run/cni".into()]);
}

/// podman hands these over in `CNI_ARGS`, whatever capabilities the plugins declare.
fn given_address_and_mac(podman: &Podman, neighbour: IpAddr) {
    let address = neighbour.to_string().rsplit_once('.').unwrap().0.to_owned() + ".77";
    let mac = "02:00:00:00:00:09";
    let options = ["--ip", &address, "--mac-address", mac];
    let fixed = podman.detached("fixed", &options).unwrap();
    assert_eq!(v4(&fixed).to_string(), address);
    let link = fixed.ip(&["link", "show", "eth0"]).unwrap();
    assert!(link.contains(mac), "{link}");
    ping(&fixed, neighbour).unwrap();
    podman.podman(&["rm", "--force", "--time", "0", "fixed"]).unwrap().success().unwrap();
}

fn usual() -> Value {
    standard(Path::new(LEASES))
}

#[test]
fn containerd_with_the_reference_plugins() {
    containerd(Set::Reference, &usual(), &["cni0"]);
}

#[test]
fn containerd_with_the_standard_names() {
    containerd(Set::Ours, &usual(), &["cni0"]);
}

#[test]
fn containerd_with_type_netup_routed() {
    containerd(Set::Ours, &fast("routed"), &[]);
}

#[test]
fn containerd_with_type_netup_bridge() {
    containerd(Set::Ours, &fast("bridge"), &[]);
}

#[test]
fn podman_with_the_reference_plugins() {
    podman(Set::Reference, &usual(), &["cni0"]);
}

#[test]
fn podman_with_the_standard_names() {
    podman(Set::Ours, &usual(), &["cni0"]);
}

#[test]
fn podman_with_type_netup_routed() {
    podman(Set::Ours, &fast("routed"), &[]);
}

#[test]
fn podman_with_type_netup_bridge() {
    podman(Set::Ours, &fast("bridge"), &[]);
}

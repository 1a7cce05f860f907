//! Death at any moment, of netup or of the container: what is left is found and finished by
//! whichever call comes next.

mod calling;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use calling::{attach, command, ended, started, tell, value, wait_until_gone, without_what_stays};
use netns_fixtures::probe::{TcpEcho, ping, tcp_ask};
use netns_fixtures::{Container, Dump, Lab, Node, assert_same, isolate};
use netup::{Change, Network};
use nix::sys::signal::{Signal, kill, raise};
use nix::unistd::Pid;

isolate!();

struct World {
    host: Node,
    /// By this path another process finds the host, which has another /run.
    host_file: File,
    outside: Node,
    /// Outside /run, for the same reason.
    state: tempfile::TempDir,
    lab: Lab,
}

fn world() -> World {
    let calling::World { lab, host, outside } = calling::World::new();
    let host_file = File::open(host.path()).unwrap();
    World { host, host_file, outside, state: tempfile::tempdir().unwrap(), lab }
}

fn network(bridge: bool) -> Network {
    let mut network = Network::new()
        .address("10.0.0.2/24".parse().unwrap())
        .subnet("fd00::/64".parse().unwrap())
        .nat(true)
        .publish("8080:80".parse().unwrap())
        .publish("8080:80/udp".parse().unwrap());
    network.sysctls = vec!["net.ipv4.ip_unprivileged_port_start=7".parse().unwrap()];
    if bridge { network.bridge("br0".parse().unwrap()) } else { network }
}

/// A child process of a test: it attaches, and dies by SIGKILL after the chosen step.
#[test]
#[ignore = "only the other tests start this, as a process of its own"]
fn child_that_dies_after_a_step() {
    let order = |name: &str| std::env::var(name).unwrap();
    let doomed: usize = order("CRASH_STEP").parse().unwrap();
    let network: Network = serde_json::from_str(&order("CRASH_NETWORK")).unwrap();
    let target = order("CRASH_TARGET");
    let mut step = 0;
    let mut watch = || {
        step += 1;
        if step == doomed {
            raise(Signal::SIGKILL).unwrap();
        }
        Ok(())
    };
    let host = Node::at("host", order("CRASH_HOST"));
    let outcome = attach(&host, &target, &network, false, &mut watch).unwrap();
    let clean = outcome.result != Change::Unchanged;
    assert!(clean, "something half-made passed for whole");
}

impl World {
    /// Attaches in a child process that dies after a step; false if there was no such step.
    fn dies(&self, container: &Container, network: &Network, step: usize) -> bool {
        let host = format!("/proc/{}/fd/{}", std::process::id(), self.host_file.as_raw_fd());
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "--nocapture", "child_that_dies_after_a_step"])
            .env("CRASH_HOST", host)
            .env("CRASH_TARGET", container.pid().to_string())
            .env("CRASH_STEP", step.to_string())
            .env("CRASH_NETWORK", serde_json::to_string(network).unwrap())
            .env("NETUP_STATE_DIR", self.state.path());
        let output = command.stdin(Stdio::null()).output().unwrap();
        if output.status.signal() == Some(Signal::SIGKILL as i32) {
            return true;
        }
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "step {step}: {}: {text}", output.status);
        false
    }

    fn command(&self, line: &str) -> Command {
        let mut command = command(&self.host, &line.split_whitespace().collect::<Vec<_>>());
        command.env("NETUP_STATE_DIR", self.state.path());
        command
    }

    #[track_caller]
    fn must(&self, line: &str) -> String {
        let said = ended(started(&mut self.command(line)));
        assert_eq!(said.code, Some(0), "netup {line}: {said}");
        said.stdout
    }

    fn dump(&self) -> Dump {
        without_what_stays(&self.host)
    }

    #[track_caller]
    fn assert_clean(&self, before: &Dump, when: &str) {
        let after = self.dump();
        assert!(*before == after, "{when}:\n{}", before.changes(&after));
        let left = files(self.state.path());
        assert!(left.is_empty(), "{when}: {left:?}");
    }
}

fn is_record(file: &str) -> bool {
    file.contains("attachments/") && !file.contains("/.tmp-")
}

/// What is remembered: all but the lock, and the pools, which only remember what comes next.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let name = entry.file_name().into_string().unwrap();
        match entry.file_type().unwrap() {
            kind if kind.is_dir() && name != "pools" => {
                found.extend(files(&entry.path()).into_iter().map(|file| format!("{name}/{file}")));
            }
            kind if kind.is_dir() || name == "lock" => {}
            _ => found.push(name),
        }
    }
    found
}

fn every_step(bridge: bool, name: &str, recover: impl Fn(&World, &Container)) {
    let world = world();
    let network = network(bridge);
    let before = world.dump();
    let container = world.lab.container("c").unwrap();
    container.ip(&["link", "set", "lo", "up"]).unwrap();
    let inside = Dump::of(&container).unwrap();
    for step in 1.. {
        if !world.dies(&container, &network, step) {
            world.must(&format!("down {}", container.pid()));
            world.assert_clean(&before, "in the end");
            tell(&format!("crash: {} deaths, bridge {bridge}, finished by {name}", step - 1));
            assert!(step > 10);
            return;
        }
        recover(&world, &container);
        world.assert_clean(&before, &format!("step {step}, {name}"));
        assert_same(&inside, &Dump::of(&container).unwrap());
    }
}

fn by_gc(world: &World, _: &Container) {
    world.must("gc");
}

fn by_down(world: &World, container: &Container) {
    world.must(&format!("down {}", container.pid()));
}

fn by_the_same_again(world: &World, container: &Container) {
    let bridge = world.host.ip(&["link", "show", "br0"]).is_ok()
        || files(world.state.path()).iter().any(|file| file.contains("bridges/"));
    assert!(!world.dies(container, &network(bridge), usize::MAX));
    world.must("check");
    ping(container, "198.51.100.1".parse().unwrap()).unwrap();
    let _server = TcpEcho::start(container, "0.0.0.0:80".parse().unwrap()).unwrap();
    tcp_ask(&world.outside, "198.51.100.2:8080".parse().unwrap()).unwrap();
    by_down(world, container);
}

#[test]
fn gc_finishes_what_died_at_any_step_of_a_routed_attach() {
    every_step(false, "gc", by_gc);
}

#[test]
fn gc_finishes_what_died_at_any_step_of_a_bridged_attach() {
    every_step(true, "gc", by_gc);
}

#[test]
fn down_finishes_what_died_at_any_step_of_a_routed_attach() {
    every_step(false, "down", by_down);
}

#[test]
fn down_finishes_what_died_at_any_step_of_a_bridged_attach() {
    every_step(true, "down", by_down);
}

#[test]
fn the_same_attach_finishes_what_died_at_any_step_of_a_routed_one() {
    every_step(false, "the same attach", by_the_same_again);
}

#[test]
fn the_same_attach_finishes_what_died_at_any_step_of_a_bridged_one() {
    every_step(true, "the same attach", by_the_same_again);
}

/// The real binary, killed at moments that no step marks: between the files, half-way through undo.
#[test]
fn a_kill_at_any_moment_leaves_nothing_that_gc_does_not_find() {
    for topology in ["", "--bridge br0"] {
        let world = world();
        let before = world.dump();
        let container = world.lab.container("c").unwrap();
        let up = format!(
            "up {} 10.0.0.2/24 --subnet fd00::/64 --nat -p 8080:80/tcp -p 8080:80/udp {topology}",
            container.pid()
        );
        let down = format!("down {}", container.pid());
        let mut died = 0;
        for round in 0..120_u64 {
            died += usize::from(is_killed(started(&mut world.command(&up)), round * 250));
            if round % 3 == 0 {
                is_killed(started(&mut world.command(&down)), round * 125);
            }
            // What came about whole is no garbage.
            world.must("gc");
            if files(world.state.path()).iter().any(|file| is_record(file)) {
                world.must(&down);
            }
            world.assert_clean(&before, &format!("round {round}"));
        }
        tell(&format!("crash: {died} of 120 were killed before their end, {topology}"));
        assert!(died > 20, "{died}");
    }
}

fn is_killed(mut child: Child, microseconds: u64) -> bool {
    thread::sleep(Duration::from_micros(microseconds));
    kill(Pid::from_raw(child.id().try_into().unwrap()), Signal::SIGKILL).unwrap();
    child.wait().unwrap().signal() == Some(Signal::SIGKILL as i32)
}

fn host_link(world: &World, container: &Container) -> String {
    value(&world.must(&format!("--json show {}", container.pid())), "host_ifname")
}

/// A container that ends without `down`; the kernel takes its link away.
fn ends(world: &World, arguments: &str) {
    let container = world.lab.container("dead").unwrap();
    world.must(&format!("up {} {arguments}", container.pid()));
    let link = host_link(world, &container);
    container.kill().unwrap();
    wait_until_gone(&world.host, &link);
}

const WHOLE: &str = "10.0.0.2/24 fd00::2/64 --nat -p 8080:80/tcp -p 8080:80/udp";

#[test]
fn gc_clears_away_containers_that_ended_without_down_and_no_others() {
    for topology in ["", "--bridge br0"] {
        let world = world();
        let before = world.dump();
        let alive = world.lab.container("alive").unwrap();
        world.must(&format!("up {} 10.0.0.9/24 --nat -p 9090:80 {topology}", alive.pid()));
        ends(&world, &format!("{WHOLE} {topology}"));
        assert!(world.must("ls").contains("10.0.0.2"));
        world.must("gc");
        assert!(!world.must("ls").contains("10.0.0.2"));
        ping(&alive, "198.51.100.1".parse().unwrap()).unwrap();
        let _server = TcpEcho::start(&alive, "0.0.0.0:80".parse().unwrap()).unwrap();
        tcp_ask(&world.outside, "198.51.100.2:9090".parse().unwrap()).unwrap();
        let nft = world.host.nft_list().unwrap();
        assert!(nft.contains("9090") && !nft.contains("8080"), "{nft}");
        world.must(&format!("down {}", alive.pid()));
        world.assert_clean(&before, "in the end");
    }
}

fn successor(first: &str, wanted: &str) {
    let world = world();
    let before = world.dump();
    ends(&world, first);
    let next = world.lab.container("next").unwrap();
    world.must(&format!("up {} {wanted}", next.pid()));
    ping(&next, "198.51.100.1".parse().unwrap()).unwrap();
    let _server = TcpEcho::start(&next, "0.0.0.0:80".parse().unwrap()).unwrap();
    let answer = tcp_ask(&world.outside, "198.51.100.2:8080".parse().unwrap()).unwrap();
    assert_eq!(answer.server, "next");
    world.must("check");
    world.must(&format!("down {}", next.pid()));
    world.must("gc");
    world.assert_clean(&before, &format!("{first}, then {wanted}"));
}

#[test]
fn the_address_of_a_dead_container_is_its_successors() {
    successor(WHOLE, WHOLE);
}

#[test]
fn the_address_of_a_dead_container_is_its_successors_on_a_bridge() {
    let whole = format!("{WHOLE} --bridge br0");
    successor(&whole, &whole);
}

#[test]
fn the_address_of_a_dead_container_is_its_successors_in_another_topology() {
    successor(WHOLE, &format!("{WHOLE} --bridge br0"));
    successor(&format!("{WHOLE} --bridge br0"), WHOLE);
}

#[test]
fn the_port_of_a_dead_container_is_its_successors() {
    for topology in ["", "--bridge br0"] {
        let with = |address: &str| format!("{address} --nat -p 8080:80 {topology}");
        successor(&with("10.0.0.2/24"), &with("10.0.0.3/24"));
    }
}

#[test]
fn down_of_a_container_that_has_ended_finds_it_by_its_former_name() {
    for topology in ["", "--bridge br0"] {
        let world = world();
        let before = world.dump();
        let container = world.lab.container("dead").unwrap();
        world.must(&format!("up {} {WHOLE} {topology}", container.pid()));
        let link = host_link(&world, &container);
        container.kill().unwrap();
        wait_until_gone(&world.host, &link);
        world.must(&format!("down {}", container.pid()));
        world.assert_clean(&before, "after down");
    }
}

//! Addresses by lease: who gets which, when one comes back, and what happens when there is none.

mod calling;

use calling::{Said, attempt, holds_soon, state_folder, value};
use netns_fixtures::probe::ping;
use netns_fixtures::{Container, Dump, Lab, Node, assert_same, isolate};

isolate!();

struct Host {
    node: Node,
    lab: Lab,
}

fn host() -> Host {
    let lab = Lab::new();
    Host { node: lab.host("host").unwrap(), lab }
}

impl Host {
    fn container(&self) -> Container {
        self.lab.container("c").unwrap()
    }

    fn netup(&self, line: &str) -> Result<String, Said> {
        attempt(&self.node, line)
    }

    /// Attaches with a leased address and returns it.
    fn lease(&self, container: &Container, arguments: &str) -> Result<String, Said> {
        let json = self.netup(&format!("--json up {} {arguments}", container.pid()))?;
        Ok(value(&json, "addresses"))
    }

    #[track_caller]
    fn down(&self, container: &Container) {
        self.netup(&format!("down {}", container.pid())).unwrap();
    }
}

#[test]
fn an_exhausted_pool_says_so_and_changes_nothing() {
    for topology in ["", "--bridge br0"] {
        let host = host();
        let arguments = format!("--subnet 10.9.0.0/29 {topology}");
        let containers: Vec<Container> = (0..5).map(|_| host.container()).collect();
        for (n, container) in containers.iter().enumerate() {
            let leased = host.lease(container, &arguments).unwrap();
            assert_eq!(leased, format!("10.9.0.{}/29", n + 2));
        }
        let late = host.container();
        let before = [Dump::of(&host.node).unwrap(), Dump::of(&late).unwrap()];
        let refusal = host.lease(&late, &arguments).unwrap_err();
        assert_eq!(refusal.code, Some(1), "{refusal}");
        assert!(refusal.stderr.contains("no address of 10.9.0.0/29 is free"), "{refusal}");
        assert!(refusal.stderr.contains("larger network"), "{refusal}");
        assert_eq!(refusal.stderr.lines().count(), 1, "{refusal}");
        assert_same(&before[0], &Dump::of(&host.node).unwrap());
        assert_same(&before[1], &Dump::of(&late).unwrap());
        host.down(&containers[3]);
        assert_eq!(host.lease(&late, &arguments).unwrap(), "10.9.0.5/29");
    }
}

#[test]
fn the_leases_of_dead_containers_are_taken_back_when_they_are_needed() {
    for topology in ["", "--bridge br0"] {
        let host = host();
        let arguments = format!("--subnet 10.9.0.0/29 --nat -p 8080:80 {topology}");
        let alive = host.container();
        host.lease(&alive, &format!("--subnet 10.9.0.0/29 {topology}")).unwrap();
        for _ in 0..3 {
            // Each round fills the pool with containers that end without `down`.
            let dead: Vec<Container> = (0..4).map(|_| host.container()).collect();
            let simple = format!("--subnet 10.9.0.0/29 {topology}");
            for container in &dead {
                host.lease(container, &simple).unwrap();
            }
            dead.iter().for_each(|container| container.kill().unwrap());
            wait_for_links(&host.node, 1);
        }
        let next = host.container();
        host.lease(&next, &arguments).unwrap();
        ping(&host.node, "10.9.0.2".parse().unwrap()).unwrap();
        host.down(&next);
        host.down(&alive);
    }
}

/// Waits until the kernel has taken the links of all but `count` containers away.
fn wait_for_links(node: &Node, count: usize) {
    let links = || node.ip(&["-o", "link", "show", "type", "veth"]).unwrap().lines().count();
    assert!(holds_soon(|| links() <= count), "links outlive their containers");
}

#[test]
fn an_address_that_was_given_back_is_used_again_as_late_as_possible() {
    let host = host();
    let container = host.container();
    let mut leased = Vec::new();
    for _ in 0..12 {
        leased.push(host.lease(&container, "--subnet 10.9.0.0/29").unwrap());
        host.down(&container);
    }
    let expected: Vec<String> =
        [2, 3, 4, 5, 6, 2, 3, 4, 5, 6, 2, 3].iter().map(|n| format!("10.9.0.{n}/29")).collect();
    assert_eq!(leased, expected);
}

#[test]
fn exact_and_leased_addresses_of_one_network_keep_apart() {
    let host = host();
    let (exact, leased) = (host.container(), host.container());
    host.netup(&format!("up {} 10.9.0.2/24", exact.pid())).unwrap();
    assert_eq!(host.lease(&leased, "--subnet 10.9.0.0/24").unwrap(), "10.9.0.3/24");
    let refusal = host.netup(&format!("up {} 10.9.0.3/24", host.container().pid())).unwrap_err();
    assert_eq!(refusal.code, Some(5), "{refusal}");
}

#[test]
fn a_pool_of_ipv6_addresses_works_as_one_of_ipv4() {
    for topology in ["", "--bridge br0"] {
        let host = host();
        let containers: Vec<Container> = (0..3).map(|_| host.container()).collect();
        for (n, container) in containers.iter().enumerate() {
            let leased = host.lease(container, &format!("--subnet fd09::/64 {topology}")).unwrap();
            let address = format!("fd09::{}", n + 2);
            assert_eq!(leased, format!("{address}/64"));
            ping(&host.node, address.parse().unwrap()).unwrap();
            ping(&containers[0], address.parse().unwrap()).unwrap();
        }
        // The end of a small one, in both families at once.
        let both = format!(
            "--subnet fd0a::/126 --subnet 10.10.0.0/24 --ifname eth1 --no-default-route {topology}"
        );
        let both = both.replace("br0", "br1");
        host.lease(&containers[0], &both).unwrap();
        host.lease(&containers[1], &both).unwrap();
        let refusal = host.lease(&containers[2], &both).unwrap_err();
        assert!(refusal.code == Some(1) && refusal.stderr.contains("fd0a::/126"), "{refusal}");
    }
}

#[test]
fn the_same_request_again_keeps_its_lease() {
    let host = host();
    let container = host.container();
    let arguments = "--subnet 10.9.0.0/24 --subnet fd09::/64";
    let first = host.lease(&container, arguments).unwrap();
    assert_eq!(host.lease(&container, arguments).unwrap(), first);
    let replaced = host.lease(&container, &format!("{arguments} --replace --mtu 1400")).unwrap();
    assert_eq!(replaced, first);
}

#[test]
fn hosts_that_share_the_state_folder_do_not_disturb_each_other() {
    let (one, other) = (host(), host());
    let (a, b) = (one.container(), other.container());
    let arguments = "--id same --subnet 10.9.0.0/24 --nat -p 8080:80";
    // The same id, address, port and names on both.
    assert_eq!(one.lease(&a, arguments).unwrap(), "10.9.0.2/24");
    assert_eq!(other.lease(&b, arguments).unwrap(), "10.9.0.2/24");
    let folder = state_folder(&other.node);
    let dump = || Dump::of(&other.node).unwrap().with_files(&folder).unwrap();
    let before = dump();
    // Neither gc nor down nor the rules' removal in one reaches the other.
    a.kill().unwrap();
    wait_for_links(&one.node, 0);
    one.netup("gc").unwrap();
    assert!(!one.netup("ls").unwrap().contains("10.9.0.2"));
    assert_eq!(one.netup("down same").unwrap_err().code, Some(3));
    one.netup("reload --remove").unwrap();
    assert_same(&before, &dump());
    ping(&other.node, "10.9.0.2".parse().unwrap()).unwrap();
    other.netup("check").unwrap();
    other.netup("down same").unwrap();
}

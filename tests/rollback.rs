//! Whatever step fails, everything is as it was: links, addresses, routes, rules, kernel parameters
//! and files, on the host and in the container.

mod calling;

use std::thread;

use calling::{attach, remembered, tell};
use netns_fixtures::{Container, Dump, FailAfter, Lab, Node, assert_same, isolate};
use netup::{Bandwidth, Bridging, Change, Error, ErrorKind, Isolation, Network, Outcome};

isolate!();

struct World {
    host: Node,
    container: Container,
    lab: Lab,
}

fn world() -> World {
    let world = calling::World::new();
    let container = world.container_with_loopback("c");
    World { host: world.host, container, lab: world.lab }
}

fn network(addresses: &[&str]) -> Network {
    addresses.iter().fold(Network::new(), |network, a| network.address(a.parse().unwrap()))
}

/// Everything that an attachment can have.
fn rich(network: Network) -> Network {
    let mut network = network
        .nat(true)
        .publish("8080-8081:80-81".parse().unwrap())
        .publish("198.51.100.2:53:53/udp".parse().unwrap())
        .publish("[2001:db8:1::2]:53:53/udp".parse().unwrap());
    network.sysctls = vec![
        "net.ipv4.ip_unprivileged_port_start=0".parse().unwrap(),
        "net.ipv4.ip_local_port_range=20000 30000".parse().unwrap(),
    ];
    network.routes = vec![
        "192.0.2.0/24".parse().unwrap(),
        "2001:db8:2::/48,via=fd00::1,metric=9".parse().unwrap(),
    ];
    network
}

fn on_bridge(network: Network) -> Network {
    network.bridge("br0".parse().unwrap())
}

fn limited(network: Network, isolation: Isolation) -> Network {
    let bandwidth = Bandwidth { ingress: "8mbit".parse().ok(), egress: "9mbit:1mbit".parse().ok() };
    Network { bandwidth, isolation, ..network }
}

fn bridging(mut network: Network, settings: impl Fn(&mut Bridging)) -> Network {
    settings(&mut network.bridging);
    network
}

impl World {
    fn attach(
        &self,
        container: &Container,
        network: &Network,
        fault: &mut FailAfter,
    ) -> netup::Result<Outcome> {
        let mut watch = || {
            let interrupted = |injected| Error::new(ErrorKind::Interrupted, format!("{injected}"));
            fault.step().map_err(interrupted)
        };
        attach(&self.host, &container.pid().to_string(), network, true, &mut watch)
    }

    fn dump(&self) -> [Dump; 2] {
        [remembered(&self.host), Dump::of(&self.container).unwrap()]
    }

    /// With a hardware address of its own and a port: the kernel changes both the address and the
    /// offloads of a bridge that has neither with the first port that comes, and again when it goes.
    fn foreign_bridge(&self) {
        let add = "link add br0 address 02:00:00:00:00:01 type bridge";
        self.host.ip(&add.split(' ').collect::<Vec<_>>()).unwrap();
        let native = self.lab.container("native").unwrap();
        self.lab.wire(&self.host, "port0", &[], &native, "eth0", &[]).unwrap();
        self.host.ip(&["link", "set", "port0", "master", "br0"]).unwrap();
        self.host.set_sysctl("net/ipv6/conf/br0/accept_dad", "0").unwrap();
        self.host.ip(&["link", "set", "br0", "up"]).unwrap();
        for address in ["10.0.0.1/24", "fd00::1/64"] {
            self.host.ip(&["addr", "add", address, "dev", "br0"]).unwrap();
        }
    }

    fn neighbour(&self, network: &Network) {
        let neighbour = self.lab.container("neighbour").unwrap();
        self.attach(&neighbour, network, &mut FailAfter::new(0)).unwrap();
    }

    /// The uplink's default route comes from its router, which forwarding must not cost it.
    fn learnt_router(&self) {
        self.host.ip(&["-6", "route", "del", "default"]).unwrap();
        let route = "-6 route add default via 2001:db8:1::1 dev eth0 proto ra";
        self.host.ip(&route.split(' ').collect::<Vec<_>>()).unwrap();
        self.host.set_sysctl("net/ipv6/conf/eth0/accept_ra", "1").unwrap();
    }
}

/// Fails after each step in turn, until there is none left to fail; tells how many there were.
fn every_step_rolls_back(world: &World, network: &Network) -> usize {
    let before = world.dump();
    for step in 1.. {
        let mut fault = FailAfter::new(step);
        let error = match world.attach(&world.container, network, &mut fault) {
            Err(error) => error,
            Ok(_) => return fault.count(),
        };
        assert_eq!(error.kind(), ErrorKind::Interrupted, "step {step}: {error}");
        assert!(error.undo_failures().is_empty(), "step {step}: {error}");
        assert_eq!(error.to_string(), format!("injected failure at step {step}"));
        for (before, after) in before.iter().zip(&world.dump()) {
            assert!(before == after, "after step {step}:\n{}", before.changes(after));
        }
    }
    unreachable!("an attach has an end")
}

type Prepare = fn(&World) -> Network;

const TOPOLOGIES: [(&str, Prepare); 19] = [
    ("routed IPv4", |_| network(&["10.0.0.2/24"])),
    ("routed IPv6", |_| network(&["fd00::2/64"])),
    ("routed, everything", |_| rich(network(&["10.0.0.2/24", "fd00::2/64", "10.1.0.2/16"]))),
    ("routed, leased, everything", |_| {
        rich(
            Network::new()
                .subnet("10.9.0.0/16".parse().unwrap())
                .subnet("fd00::/64".parse().unwrap()),
        )
    }),
    ("routed, beside another", |world| {
        world.neighbour(&rich(network(&["10.0.0.3/24", "fd00::3/64"])));
        network(&["10.0.0.2/24", "fd00::2/64"]).nat(true).publish("81:80".parse().unwrap())
    }),
    ("routed, behind an advertised router", |world| {
        world.learnt_router();
        network(&["fd00::2/64"]).nat(true)
    }),
    ("routed, forwarding on already", |world| {
        world.host.set_sysctl("net/ipv4/ip_forward", "1").unwrap();
        world.host.set_sysctl("net/ipv6/conf/eth0/forwarding", "1").unwrap();
        network(&["10.0.0.2/24", "fd00::2/64"])
    }),
    ("new bridge IPv4", |_| on_bridge(network(&["10.0.0.2/24"]))),
    ("new bridge, everything", |_| {
        on_bridge(rich(network(&["10.0.0.2/24", "fd00::2/64", "10.1.0.2/16"])))
    }),
    ("foreign bridge, everything", |world| {
        world.foreign_bridge();
        on_bridge(rich(network(&["10.0.0.2/24", "fd00::2/64"])))
    }),
    ("our bridge, second on it", |world| {
        world.neighbour(&on_bridge(network(&["10.0.0.3/24"])));
        on_bridge(rich(network(&["10.0.0.2/24", "fd00::2/64", "10.1.0.2/16"])))
    }),
    ("foreign bridge, second on it", |world| {
        world.foreign_bridge();
        world.neighbour(&on_bridge(network(&["10.0.0.3/24"])));
        on_bridge(network(&["10.0.0.2/24"]).publish("80:80/udp".parse().unwrap()))
    }),
    ("routed, limited and isolated", |_| {
        limited(rich(network(&["10.0.0.2/24", "fd00::2/64"])), Isolation::Isolated)
    }),
    ("new bridge, limited and isolated", |_| {
        limited(on_bridge(rich(network(&["10.0.0.2/24", "fd00::2/64"]))), Isolation::Isolated)
    }),
    ("our bridge, the first that is confined", |world| {
        world.neighbour(&on_bridge(network(&["10.0.0.3/24"])));
        limited(on_bridge(network(&["10.0.0.2/24", "10.1.0.2/16"])), Isolation::SameBridge)
    }),
    ("our bridge, port settings", |world| {
        world.neighbour(&on_bridge(network(&["10.0.0.3/24"])));
        bridging(on_bridge(network(&["10.0.0.2/24"])), |b| {
            (b.hairpin, b.isolated_port, b.guard_mac) = (true, true, true);
        })
    }),
    ("foreign bridge, adopted by force", |world| {
        world.foreign_bridge();
        // With a broadcast address, as ifupdown and the like give it, and as it comes back.
        world.host.ip(&["addr", "delete", "10.0.0.1/24", "dev", "br0"]).unwrap();
        world.host.ip(&["addr", "add", "10.9.0.1/24", "brd", "+", "dev", "br0"]).unwrap();
        bridging(on_bridge(network(&["10.1.0.2/24", "fd01::2/64"])), |b| {
            (b.adopt, b.force_address, b.promiscuous, b.guard_mac) = (true, true, true, true);
        })
    }),
    ("foreign bridge that is down, adopted", |world| {
        world.foreign_bridge();
        world.host.ip(&["addr", "flush", "dev", "br0"]).unwrap();
        // It has been up before: the kernel keeps what that left.
        world.host.ip(&["link", "set", "br0", "down"]).unwrap();
        bridging(on_bridge(network(&["10.1.0.2/24"])), |b| b.adopt = true)
    }),
    ("new bridge, without addresses", |_| Network {
        layer2_only: true,
        ..on_bridge(Network::new())
    }),
];

#[test]
fn every_step_of_every_topology_rolls_back() {
    let counted = |prepare: Prepare| {
        let world = world();
        let network = prepare(&world);
        every_step_rolls_back(&world, &network)
    };
    let counts: Vec<(&str, thread::Result<usize>)> = thread::scope(|scope| {
        let start = |(name, prepare): (&'static str, Prepare)| {
            let thread = thread::Builder::new().name(name.to_owned());
            (name, thread.spawn_scoped(scope, move || counted(prepare)).unwrap())
        };
        let started = TOPOLOGIES.map(start);
        started.into_iter().map(|(name, thread)| (name, thread.join())).collect()
    });
    let mut total = 0;
    for (name, steps) in &counts {
        match steps {
            Ok(steps) => tell(&format!("rollback: {steps:3} steps  {name}")),
            Err(_) => tell(&format!("rollback: not clean  {name}")),
        }
        total += steps.as_ref().copied().unwrap_or_default();
    }
    let clean = counts.iter().filter(|(_, steps)| steps.is_ok()).count();
    let verdict = if clean == counts.len() { "all clean" } else { "not all clean" };
    tell(&format!("rollback: {total} steps × {} topologies, {verdict}", counts.len()));
    assert_eq!(clean, TOPOLOGIES.len(), "of some topology a step did not roll back, see above");
    assert!(total > 60, "{total}");
}

#[test]
fn a_loopback_that_was_down_goes_down_again() {
    let mut world = world();
    world.container = world.lab.container("fresh").unwrap();
    // What the kernel leaves of a loopback that has been up once: its addresses and their routes.
    let without_loopback = |[host, container]: [Dump; 2]| {
        [host, container.without("lo ").without("dev=lo").without("dst=127.").without("dst=::1")]
    };
    let before = without_loopback(world.dump());
    for step in 1.. {
        let mut fault = FailAfter::new(step);
        let Err(error) = world.attach(&world.container, &network(&["10.0.0.2/24"]), &mut fault)
        else {
            println!("{} steps, of which one sets the loopback up", fault.count());
            break;
        };
        assert!(error.undo_failures().is_empty(), "{error}");
        let lo = world.container.ip(&["link", "show", "lo"]).unwrap();
        assert!(!lo.contains("UP"), "after step {step}: {lo}");
        for (before, after) in before.iter().zip(&without_loopback(world.dump())) {
            assert_same(before, after);
        }
    }
    let lo = world.container.ip(&["link", "show", "lo"]).unwrap();
    assert!(lo.contains("UP"), "{lo}");
}

#[test]
fn a_replacement_that_fails_brings_the_former_back() {
    type Placed = fn(Network) -> Network;
    let cases: [(Placed, Placed); 4] =
        [(|n| n, |n| n), (|n| n, on_bridge), (on_bridge, |n| n), (on_bridge, on_bridge)];
    for (former, wanted) in cases {
        let world = world();
        let former = former(rich(network(&["10.0.0.2/24", "fd00::2/64"])));
        world.attach(&world.container, &former, &mut FailAfter::new(0)).unwrap();
        let wanted = wanted(network(&["10.5.0.2/24"]).publish("8080:8000".parse().unwrap()));
        // The neighbour keeps the rules in use.
        let steps = every_step_rolls_back(&world, &wanted);
        let (from, to) = (&former.topology, &wanted.topology);
        tell(&format!("rollback: {steps:3} steps of a replacement, {from:?} by {to:?}, all clean"));
        let again = world.attach(&world.container, &wanted, &mut FailAfter::new(0)).unwrap();
        assert_eq!(again.result, Change::Unchanged);
    }
}

#[test]
fn what_the_kernel_refuses_leaves_nothing_either() {
    type Spoil = fn(&mut Network);
    let refused: [(&str, Spoil); 3] = [
        // The gateway lies nowhere that the container can reach.
        ("10.99.0.1", |network| {
            network.routes.push("192.0.2.0/24,via=10.99.0.1".parse().unwrap());
        }),
        // The kernel knows the parameter, not the value.
        ("ip_unprivileged_port_start", |network| {
            network.sysctls.push("net.ipv4.ip_unprivileged_port_start=-5".parse().unwrap());
        }),
        ("00:00:00:00:00:00", |network| {
            network.mac = "00:00:00:00:00:00".parse().ok();
        }),
    ];
    for bridge in [false, true] {
        for (named, spoil) in &refused {
            let world = world();
            let mut network = network(&["10.0.0.2/24", "fd00::2/64"]).nat(true);
            network = if bridge { on_bridge(network) } else { network };
            spoil(&mut network);
            if *named == "00:00:00:00:00:00" && network.mac.is_none() {
                // Refused where the argument is read already.
                continue;
            }
            let before = world.dump();
            let error =
                world.attach(&world.container, &network, &mut FailAfter::new(0)).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
            assert!(error.undo_failures().is_empty(), "{error}");
            for (before, after) in before.iter().zip(&world.dump()) {
                assert_same(before, after);
            }
        }
    }
}

//! Many calls at once: nobody gets what is another's, nobody is left half-made, nothing leaks.

mod calling;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::process::Child;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use calling::{
    Said, World, assert_no_records, command, ended, netup, started, tell, value, without_what_stays,
};
use netns_fixtures::probe::{TcpEcho, ping, tcp_ask};
use netns_fixtures::{Container, Dump, assert_same, isolate};

isolate!();

impl World {
    fn containers(&self, count: usize) -> Vec<Container> {
        (0..count).map(|n| self.container(&format!("c{n}"))).collect()
    }

    fn call(&self, line: &str) -> Said {
        netup(&self.host, &line.split_whitespace().collect::<Vec<_>>())
    }

    /// Starts all of them before it waits for any.
    fn at_once(&self, calls: impl IntoIterator<Item = String>) -> Vec<Said> {
        let start = |line: String| {
            started(&mut command(&self.host, &line.split_whitespace().collect::<Vec<_>>()))
        };
        let started: Vec<Child> = calls.into_iter().map(start).collect();
        started.into_iter().map(ended).collect()
    }

    #[track_caller]
    fn all_at_once(&self, calls: impl IntoIterator<Item = String>) -> Vec<Said> {
        let replies = self.at_once(calls);
        for reply in &replies {
            assert_eq!(reply.code, Some(0), "{reply}");
        }
        replies
    }

    fn dump(&self) -> Dump {
        without_what_stays(&self.host)
    }

    #[track_caller]
    fn assert_clean(&self, before: &Dump) {
        assert_same(before, &self.dump());
        assert_no_records(&self.host);
    }
}

fn address(reply: &Said) -> IpAddr {
    value(&reply.stdout, "addresses").split('/').next().unwrap().parse().unwrap()
}

#[test]
fn two_hundred_at_once_get_two_hundred_addresses_that_work() {
    let world = World::new();
    let before = world.dump();
    let containers = world.containers(200);
    let started = Instant::now();
    let up = |c: &Container| format!("--json up {} --subnet 10.9.0.0/16 --nat", c.pid());
    let replies = world.all_at_once(containers.iter().map(up));
    tell(&format!("parallel: 200 leases at once in {:?}", started.elapsed()));
    let addresses: Vec<IpAddr> = replies.iter().map(address).collect();
    assert_eq!(addresses.iter().collect::<BTreeSet<_>>().len(), 200);
    for (container, address) in containers.iter().zip(&addresses) {
        ping(&world.host, *address).unwrap();
        if container.pid() % 10 == 0 {
            ping(container, "198.51.100.1".parse().unwrap()).unwrap();
            ping(container, addresses[0]).unwrap();
        }
    }
    let started = Instant::now();
    world.all_at_once(containers.iter().map(|c| format!("down {}", c.pid())));
    tell(&format!("parallel: 200 down at once in {:?}", started.elapsed()));
    world.assert_clean(&before);
}

#[test]
fn fifty_at_once_share_one_bridge_and_the_last_takes_it_away() {
    let world = World::new();
    let before = world.dump();
    let containers = world.containers(50);
    for _ in 0..2 {
        let up = |c: &Container| {
            let pid = c.pid();
            format!("--json up {pid} --subnet 10.9.0.0/24 --subnet fd09::/64 --nat --bridge br0")
        };
        let replies = world.all_at_once(containers.iter().map(up));
        let addresses: BTreeSet<IpAddr> = replies.iter().map(address).collect();
        assert_eq!(addresses.len(), 50);
        for to in &addresses {
            ping(&containers[0], *to).unwrap();
        }
        world.all_at_once(containers.iter().map(|c| format!("down {}", c.pid())));
        assert!(world.host.ip(&["link", "show", "br0"]).is_err());
        world.assert_clean(&before);
    }
}

#[test]
fn one_container_asked_for_eight_times_at_once_is_made_once() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let before = world.dump();
        for _ in 0..5 {
            let container = world.container("c");
            let up = format!(
                "--json up {} 10.0.0.2/24 --subnet fd00::/64 --nat -p 8080:80/udp {topology}",
                container.pid()
            );
            let replies = world.all_at_once((0..8).map(|_| up.clone()));
            let mut results: Vec<String> =
                replies.iter().map(|r| value(&r.stdout, "result")).collect();
            results.sort_unstable();
            assert_eq!(results[0], "created");
            assert!(results[1..].iter().all(|result| result == "unchanged"), "{results:?}");
            let downs = world.at_once((0..8).map(|_| format!("down {}", container.pid())));
            for down in &downs {
                assert!([Some(0), Some(3)].contains(&down.code), "{down}");
            }
            assert!(downs.iter().any(|down| down.code == Some(0)));
            world.assert_clean(&before);
        }
    }
}

#[test]
fn one_port_wanted_by_eight_at_once_goes_to_one_and_the_others_leave_nothing() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let before = world.dump();
        let containers: Vec<_> =
            (0..8).map(|n| world.container_with_loopback(&format!("c{n}"))).collect();
        let inside: Vec<_> = containers.iter().map(|c| Dump::of(c).unwrap()).collect();
        for _ in 0..4 {
            let up = |(n, c): (usize, &Container)| {
                let host = n + 2;
                format!("up {} 10.0.0.{host}/24 fd00::{host}/64 -p 8080:80 {topology}", c.pid())
            };
            let replies = world.at_once(containers.iter().enumerate().map(up));
            let winners: Vec<usize> = (0..8).filter(|n| replies[*n].code == Some(0)).collect();
            assert_eq!(winners.len(), 1, "{replies:?}");
            for (n, reply) in replies.iter().enumerate().filter(|(n, _)| *n != winners[0]) {
                assert_eq!(reply.code, Some(5), "{reply}");
                assert!(!reply.stderr.contains("undo"), "{reply:?}");
                assert_same(&inside[n], &Dump::of(&containers[n]).unwrap());
            }
            let winner = &containers[winners[0]];
            let server = TcpEcho::start(winner, "0.0.0.0:80".parse().unwrap()).unwrap();
            let answer = tcp_ask(&world.outside, "198.51.100.2:8080".parse().unwrap()).unwrap();
            assert_eq!(answer.server, winner.name());
            drop(server);
            assert_eq!(world.must("ls").matches("10.0.0.").count(), 1);
            world.down(winner);
            world.assert_clean(&before);
        }
    }
}

/// Calls at random for a while; each must be in order or tell of a conflict. Then all is taken down.
fn storm(world: &World, containers: &[Container], choose: fn(u64, u32) -> String) {
    let before = world.dump();
    let until = Instant::now() + Duration::from_secs(6);
    let (calls, conflicts) = (AtomicUsize::new(0), AtomicUsize::new(0));
    thread::scope(|scope| {
        for seed in 1..=6_u64 {
            let (calls, conflicts) = (&calls, &conflicts);
            scope.spawn(move || {
                let mut random = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                while Instant::now() < until {
                    random ^= random << 13;
                    random ^= random >> 7;
                    random ^= random << 17;
                    let at = random as usize % containers.len();
                    let arguments = choose(random >> 32, containers[at].pid());
                    let reply = world.call(&arguments);
                    // Found nothing to take down, or found it taken: both are right at times.
                    assert!(
                        [Some(0), Some(3), Some(5)].contains(&reply.code),
                        "netup {arguments}: {reply:?}"
                    );
                    assert!(!reply.stderr.contains("undo"), "netup {arguments}: {reply:?}");
                    calls.fetch_add(1, Ordering::Relaxed);
                    conflicts.fetch_add(usize::from(reply.code == Some(5)), Ordering::Relaxed);
                }
            });
        }
    });
    tell(&format!("parallel: a storm of {calls:?} calls, of which {conflicts:?} met a conflict"));
    for container in containers {
        let reply = world.call(&format!("down {}", container.pid()));
        assert!([Some(0), Some(3)].contains(&reply.code), "{reply}");
    }
    world.must("gc");
    world.assert_clean(&before);
}

#[test]
fn a_storm_of_routed_calls_ends_clean() {
    let world = World::new();
    let containers = world.containers(6);
    storm(&world, &containers, |random, pid| match random % 8 {
        0..=2 => format!("up {pid} --subnet 10.9.0.0/28 --nat -p 80{}:80/udp", random / 8 % 4 + 10),
        3 => {
            let n = random / 8 % 4 + 1;
            format!("up {pid} --ifname eth{n} --subnet 10.{n}.0.0/24 --no-default-route")
        }
        4 | 5 => format!("down {pid}"),
        6 => "gc".to_owned(),
        _ => "reload".to_owned(),
    });
}

#[test]
fn a_storm_of_bridged_calls_ends_clean() {
    let world = World::new();
    let containers = world.containers(6);
    storm(&world, &containers, |random, pid| match random % 8 {
        0 | 1 => format!("up {pid} --subnet 10.9.0.0/24 --bridge br0 --nat -p 8080:80"),
        2 => format!("up {pid} --subnet fd09::/64 --bridge br0 --replace"),
        3 => format!("up {pid} --ifname eth1 --subnet 10.8.0.0/24 --bridge br1 --no-default-route"),
        4 | 5 => format!("down {pid}"),
        6 => "gc".to_owned(),
        _ => "reload".to_owned(),
    });
}

#[test]
fn interfaces_of_one_container_come_and_go_independently() {
    let world = World::new();
    let containers = world.containers(1);
    storm(&world, &containers, |random, pid| {
        let n = random / 2 % 8;
        match random % 2 {
            0 => format!("up {pid} --ifname eth{n} --subnet 10.{n}.0.0/24 --no-default-route"),
            _ => format!("down {pid} --ifname eth{n}"),
        }
    });
}

#[test]
fn the_rules_may_be_removed_at_any_time_and_come_back_when_needed() {
    let world = World::new();
    let containers = world.containers(4);
    storm(&world, &containers, |random, pid| match random % 8 {
        0..=2 => format!("up {pid} --subnet 10.9.0.0/24 --nat -p 80{}:80", random / 8 % 4 + 10),
        3..=5 => format!("down {pid}"),
        6 => "reload".to_owned(),
        _ => "reload --remove".to_owned(),
    });
}

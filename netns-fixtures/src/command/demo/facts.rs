//! The packets of the demo, and what the far end saw of them.

use super::{super::screen::Screen, World};
use netns_fixtures::{
    Node,
    probe::{self, Answer, TcpEcho, UdpEcho},
};
use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

/// One connection: who asks whom, who should answer, and whom that one should see.
struct Crossing<'a> {
    what: &'a str,
    from: &'a Node,
    to: &'a str,
    server: &'a Node,
    seen: &'a str,
}

/// Sends everything and reports line by line.
pub fn check(world: &World, screen: &mut Screen) -> io::Result<()> {
    let _servers = [
        TcpEcho::start(&world.outside, address("0.0.0.0:80"))?,
        TcpEcho::start(&world.outside, address("[::]:80"))?,
        TcpEcho::start(&world.web, address("0.0.0.0:80"))?,
        TcpEcho::start(&world.web, address("[::]:80"))?,
    ];
    let _resolver = UdpEcho::start(&world.outside, address("0.0.0.0:53"))?;
    for crossing in crossings(world) {
        screen.check(crossing.what, crossing.outcome(probe::tcp_ask));
    }
    let query = Crossing {
        what: "worker asks the outside by UDP",
        from: &world.worker,
        to: "198.51.100.1:53",
        server: &world.outside,
        seen: "198.51.100.2",
    };
    screen.check(query.what, query.outcome(probe::udp_ask));
    screen.check("worker pings the outside", echo(&world.worker, "198.51.100.1"));
    screen.check("host pings web", echo(&world.host, "fd00::2"));
    Ok(())
}

fn crossings(world: &World) -> [Crossing<'_>; 10] {
    let World { outside, host, web, worker, .. } = world;
    let crossing = |what, from, to, server, seen| Crossing { what, from, to, server, seen };
    [
        crossing(
            "web reaches the outside, by NAT",
            web,
            "198.51.100.1:80",
            outside,
            "198.51.100.2",
        ),
        crossing("the same by IPv6", web, "[2001:db8:1::1]:80", outside, "2001:db8:1::2"),
        crossing(
            "worker reaches the outside, by NAT",
            worker,
            "198.51.100.1:80",
            outside,
            "198.51.100.2",
        ),
        crossing(
            "the outside reaches web's published port",
            outside,
            "198.51.100.2:8080",
            web,
            "198.51.100.1",
        ),
        crossing("the same by IPv6", outside, "[2001:db8:1::2]:8080", web, "2001:db8:1::1"),
        crossing("worker reaches web directly", worker, "10.0.0.2:80", web, "10.0.0.3"),
        crossing(
            "worker reaches web's published port",
            worker,
            "198.51.100.2:8080",
            web,
            "10.0.0.3",
        ),
        crossing("web reaches its own published port", web, "198.51.100.2:8080", web, "10.0.0.1"),
        crossing("the same by IPv6", web, "[2001:db8:1::2]:8080", web, "fd00::1"),
        crossing("host reaches 127.0.0.1:8080", host, "127.0.0.1:8080", web, "10.0.0.1"),
    ]
}

impl Crossing<'_> {
    fn outcome(&self, ask: fn(&Node, SocketAddr) -> io::Result<Answer>) -> io::Result<String> {
        let started = Instant::now();
        let Answer { server, client_seen } = ask(self.from, address(self.to))?;
        let elapsed = milliseconds(started.elapsed());
        let fact = format!("{} → {server}, which saw {}, {elapsed}", self.to, client_seen.ip());
        let expected = server == self.server.name() && client_seen.ip() == ip(self.seen);
        let complaint = || format!("{fact}; expected {} to see {}", self.server.name(), self.seen);
        if expected { Ok(fact) } else { Err(io::Error::other(complaint())) }
    }
}

fn echo(from: &Node, to: &str) -> io::Result<String> {
    probe::ping(from, ip(to)).map(|time| format!("{to} answered in {}", milliseconds(time)))
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect("the demo's own addresses parse")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("the demo's own addresses parse")
}

//! Flows that the kernel remembers must not outlive what they rest on, and no others may suffer.

mod calling;

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Duration;

use calling::{PATIENCE, World, wait_until_gone};
use netns_fixtures::probe::{UdpEcho, udp_ask};
use netns_fixtures::{Container, Node, isolate, tools};

isolate!();

const HOST4: &str = "198.51.100.2:5353";
const HOST6: &str = "[2001:db8:1::2]:5353";

impl World {
    /// A container with a server at its port 53 of both families.
    fn server(&self, name: &str) -> (Container, [UdpEcho; 2]) {
        let container = self.lab.container(name).unwrap();
        let servers = ["0.0.0.0:53", "[::]:53"]
            .map(|address| UdpEcho::start(&container, address.parse().unwrap()).unwrap());
        (container, servers)
    }

    /// The remembered UDP flows that fit, with the numbers that tell a flow from its successor.
    fn flows(&self, words: &str) -> Vec<String> {
        let mut listed = String::new();
        for family in ["ipv4", "ipv6"] {
            let mut command = self.host.command(tools::find("conntrack").unwrap());
            let output = command.args(["-L", "-f", family, "-p", "udp", "-o", "id"]).output();
            listed += &String::from_utf8_lossy(&output.unwrap().stdout);
        }
        // The answers' half of a line names the same things the other way round.
        let asked = |line: &str| line.split(" src=").nth(1).unwrap().to_owned();
        let fits = |line: &&str| {
            let asked = format!("src={} ", asked(line));
            words.split(' ').all(|word| asked.contains(&format!("{word} ")))
        };
        let id = |line: &str| line.split("id=").nth(1).unwrap().to_owned();
        listed.lines().filter(fits).map(id).collect()
    }
}

/// A client that keeps its port: all that it sends to one place is one flow.
struct Client {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Client {
    fn new(node: &Node, to: &str) -> Self {
        let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = node.run(|| UdpSocket::bind(any)).unwrap().unwrap();
        Self { socket, to: to.parse().unwrap() }
    }

    /// The name of the server that answers; an answer that is due may take its time.
    fn ask(&self) -> io::Result<String> {
        self.ask_within(PATIENCE)
    }

    fn ask_within(&self, patience: Duration) -> io::Result<String> {
        self.socket.set_read_timeout(Some(patience))?;
        self.socket.send_to(b"?", self.to)?;
        let mut line = [0; 200];
        let (length, _) = self.socket.recv_from(&mut line)?;
        let text = String::from_utf8_lossy(&line[..length]).into_owned();
        Ok(text.split(' ').next().unwrap_or_default().to_owned())
    }

    /// Nobody is there, or nobody who answers.
    #[track_caller]
    fn ask_in_vain(&self) {
        self.ask_within(Duration::from_millis(300)).unwrap_err();
    }
}

fn clients(world: &World) -> [Client; 2] {
    [HOST4, HOST6].map(|to| Client::new(&world.outside, to))
}

const ADDRESSES: [&str; 3] =
    ["10.0.0.2/24 fd00::2/64", "10.0.0.3/24 fd00::3/64", "10.0.0.4/24 fd00::4/64"];

#[test]
fn a_flow_from_before_the_port_was_published_is_redirected_from_then_on() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let (first, _) = world.server("first");
        // The rules are there, so that the kernel tracks flows.
        world.must(&format!("up {} {} {topology}", first.pid(), ADDRESSES[0]));
        let clients = clients(&world);
        clients.iter().for_each(|client| client.ask_in_vain());
        assert_eq!(world.flows("dport=5353").len(), 2);
        let (a, _servers) = world.server("a");
        world.must(&format!("up {} {} -p 5353:53/udp {topology}", a.pid(), ADDRESSES[1]));
        assert_eq!(world.flows("dport=5353").len(), 0);
        for client in &clients {
            assert_eq!(client.ask().unwrap(), "a");
        }
    }
}

#[test]
fn after_down_a_flow_leads_to_whoever_has_the_port_now() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let clients = clients(&world);
        for (name, addresses) in ["a", "b", "c"].iter().zip(ADDRESSES) {
            let (container, _servers) = world.server(name);
            world.must(&format!("up {} {addresses} -p 5353:53/udp {topology}", container.pid()));
            for client in &clients {
                assert_eq!(client.ask().unwrap(), *name);
            }
            assert_eq!(world.flows("dport=5353").len(), 2);
            world.must(&format!("down {}", container.pid()));
            assert_eq!(world.flows("dport=5353").len(), 0);
            for client in &clients {
                client.ask_in_vain();
            }
        }
    }
}

#[test]
fn a_flow_to_a_container_that_ended_is_forgotten_by_gc() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let clients = clients(&world);
        let (a, servers) = world.server("a");
        world.must(&format!(
            "up {} {} -p 5353:53/udp --host-ifname link0 {topology}",
            a.pid(),
            ADDRESSES[0]
        ));
        clients.iter().for_each(|client| assert_eq!(client.ask().unwrap(), "a"));
        // A socket keeps a namespace alive.
        drop(servers);
        a.kill().unwrap();
        wait_until_gone(&world.host, "link0");
        world.must("gc");
        assert_eq!(world.flows("dport=5353").len(), 0);
        let (b, _servers) = world.server("b");
        world.must(&format!("up {} {} -p 5353:53/udp {topology}", b.pid(), ADDRESSES[1]));
        clients.iter().for_each(|client| assert_eq!(client.ask().unwrap(), "b"));
    }
}

#[test]
fn flows_to_the_same_port_elsewhere_survive() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let outside: IpAddr = "198.51.100.1".parse().unwrap();
        world.host.ip(&["addr", "add", "198.51.100.3/24", "dev", "eth0"]).unwrap();
        let (x, _) = world.server("x");
        world.must(&format!("up {} {} --nat {topology}", x.pid(), ADDRESSES[0]));
        // One through the host to the port elsewhere; one to another address of the host; one to
        // another port of the host.
        let _elsewhere = UdpEcho::start(&world.outside, SocketAddr::new(outside, 5353)).unwrap();
        let _own = UdpEcho::start(&world.host, "198.51.100.2:5353".parse().unwrap()).unwrap();
        let _other = UdpEcho::start(&world.host, "198.51.100.3:5354".parse().unwrap()).unwrap();
        let through = Client::new(&x, "198.51.100.1:5353");
        let to_host = Client::new(&world.outside, "198.51.100.2:5353");
        let to_port = Client::new(&world.outside, "198.51.100.3:5354");
        let survivors = [
            (&through, "src=10.0.0.2 dst=198.51.100.1", "outside"),
            (&to_host, "src=198.51.100.1 dst=198.51.100.2 dport=5353", "host"),
            (&to_port, "dst=198.51.100.3 dport=5354", "host"),
        ];
        survivors.iter().for_each(|(client, _, name)| assert_eq!(client.ask().unwrap(), *name));
        let doomed = Client::new(&world.outside, "198.51.100.3:5353");
        doomed.ask_in_vain();
        let ids = || survivors.map(|(_, words, _)| world.flows(words));
        let before = ids();
        assert!(before.iter().all(|ids| ids.len() == 1), "{before:?}");
        assert_eq!(world.flows("dst=198.51.100.3 dport=5353").len(), 1);

        let (a, _servers) = world.server("a");
        world.must(&format!(
            "up {} {} -p 198.51.100.3:5353:53/udp {topology}",
            a.pid(),
            ADDRESSES[1]
        ));
        assert_eq!(ids(), before);
        assert_eq!(doomed.ask().unwrap(), "a");
        world.must(&format!("down {}", a.pid()));
        assert_eq!(ids(), before);
        assert_eq!(world.flows("dst=198.51.100.3 dport=5353").len(), 0);
        survivors.iter().for_each(|(client, _, name)| assert_eq!(client.ask().unwrap(), *name));
    }
}

#[test]
fn flows_from_containers_and_the_host_to_a_published_port_follow_it_too() {
    for topology in ["", "--bridge br0"] {
        let world = World::new();
        let (x, _) = world.server("x");
        world.must(&format!("up {} {} {topology}", x.pid(), ADDRESSES[0]));
        let from_host = ["127.0.0.1:5353", HOST4].map(|to| Client::new(&world.host, to));
        let from_container = [HOST4, HOST6].map(|to| Client::new(&x, to));
        let all = || from_host.iter().chain(&from_container);
        all().for_each(|client| drop(client.ask_within(Duration::from_millis(300))));
        for (name, addresses) in [("a", ADDRESSES[1]), ("b", ADDRESSES[2])] {
            let (container, _servers) = world.server(name);
            world.must(&format!("up {} {addresses} -p 5353:53/udp {topology}", container.pid()));
            // A refusal of the time before may be waiting on the socket.
            all().for_each(|client| drop(client.socket.take_error()));
            for client in all() {
                let answer = client.ask().or_else(|_| client.ask()).unwrap();
                assert_eq!(answer, name, "to {}", client.to);
            }
            world.must(&format!("down {}", container.pid()));
        }
        udp_ask(&x, HOST4.parse().unwrap()).unwrap_err();
    }
}

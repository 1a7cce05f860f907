//! Ways to connect a container, and netup's own.

use super::{
    chain::{Chain, Network},
    netavark::Netavark,
    script::{self, Script},
    stopwatch,
    world::World,
};
use netns_fixtures::{Container, Node};
use serde::Serialize;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

/// Someone who connects a container and disconnects it again, and how long each took.
pub trait Contender {
    /// What the first container on a host pays for, and no later one.
    fn prepare(&mut self, _world: &World) -> io::Result<()> {
        Ok(())
    }
    fn up(&mut self, host: &Node, container: &Container) -> io::Result<Duration>;
    fn down(&mut self, host: &Node, container: &Container) -> io::Result<Duration>;
}

/// What has to work once a contender says it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Nothing was promised.
    Nothing,
    /// The host answers.
    Host,
    /// The outside answers through NAT, and reaches the published port.
    Published,
    /// That, in IPv6 as well.
    PublishedDual,
}

/// A row of the table.
pub struct Entry {
    pub name: &'static str,
    pub what: &'static str,
    pub reach: Reach,
    /// Or why it cannot take part.
    pub contender: Result<Box<dyn Contender>, String>,
}

/// The row that all others are compared with.
pub const SUBJECT: &str = "netup";
pub const TUTORIAL: &str = "tutorial";
pub const CHAIN: &str = "CNI bridge+portmap";
/// The reference plugins as runtimes install them, and netup's in their place.
pub const THREE: &str = "CNI three";
pub const OUR_THREE: &str = "our three";
pub const OUR_ONE: &str = "type netup";

/// The rows, in the order in which they take turns.
pub fn entries(netup: &Path, plugins: &Path) -> io::Result<Vec<Entry>> {
    use Reach::{Host, Nothing, Published, PublishedDual};
    let netup = |own, shared| {
        Ok(Box::new(Netup { program: netup.into(), own, shared }) as Box<dyn Contender>)
    };
    let row = |name, what, reach, contender| Entry { name, what, reach, contender };
    Ok(vec![
        row("/bin/true", "the floor: a process that does nothing", Nothing, Ok(Box::new(Floor))),
        row(SUBJECT, "10.0.0.2/24 --nat -p 8080:80", Published, netup(V4, &["--nat"])),
        row("netup dual-stack", "and fd00::2/64", PublishedDual, netup(DUAL, &["--nat"])),
        row(
            "netup --bridge",
            "--bridge br0 10.0.0.2/24 --nat -p 8080:80",
            Published,
            netup(V4, &["--bridge", "br0", "--nat"]),
        ),
        row("netup plain", "10.0.0.2/24", Host, netup(&["10.0.0.2/24"], &[])),
        row(TUTORIAL, "ip, nsenter, sysctl, nft -f", Published, script(script::TUTORIAL)?),
        row("tutorial, tuned", "fewest processes, no move", Published, script(script::TUNED)?),
        row(CHAIN, "ipMasq, default route, port", Published, Chain::with_portmap()),
        row("CNI bridge", "default route, no NAT, no port", Host, Chain::bridge_alone()),
        row(
            OUR_ONE,
            "CNI, all in one: NAT, port",
            Published,
            Chain::of_netup(Network::one(plugins)),
        ),
        row(
            OUR_THREE,
            "bridge+portmap+firewall by netup's links",
            Published,
            Chain::of_netup(Network::three(plugins)),
        ),
        row(THREE, "reference bridge+portmap+firewall", Published, Chain::with_firewall()),
        row("netavark", "bridge, NAT, port (iptables)", Published, Netavark::with_iptables()),
    ])
}

fn script(texts: script::Texts) -> io::Result<Result<Box<dyn Contender>, String>> {
    Ok(Ok(Box::new(Script::write(texts)?)))
}

struct Floor;

impl Contender for Floor {
    fn up(&mut self, host: &Node, _: &Container) -> io::Result<Duration> {
        stopwatch::run(host, stopwatch::command(Path::new("/bin/true"), &[""; 0]))
    }

    fn down(&mut self, host: &Node, container: &Container) -> io::Result<Duration> {
        self.up(host, container)
    }
}

const V4: &[&str] = &["10.0.0.2/24", "-p", "8080:80"];
const DUAL: &[&str] = &["10.0.0.2/24", "fd00::2/64", "-p", "8080:80"];

/// netup by hand. Its resident has an address of its own and the rest in common.
struct Netup {
    program: PathBuf,
    own: &'static [&'static str],
    shared: &'static [&'static str],
}

impl Netup {
    fn call(&self, host: &Node, words: &[&str]) -> io::Result<Duration> {
        stopwatch::run(host, stopwatch::command(&self.program, words))
    }

    fn connect(&self, host: &Node, container: &Container, own: &[&str]) -> io::Result<Duration> {
        let pid = container.pid().to_string();
        self.call(host, &[&[pid.as_str()], own, self.shared].concat())
    }
}

impl Contender for Netup {
    /// Installs the rules, and with `--bridge` the bridge, which goes with its last container.
    fn prepare(&mut self, world: &World) -> io::Result<()> {
        self.connect(&world.host, &world.resident, &["10.0.0.99/24"]).map(drop)
    }

    fn up(&mut self, host: &Node, container: &Container) -> io::Result<Duration> {
        self.connect(host, container, self.own)
    }

    fn down(&mut self, host: &Node, container: &Container) -> io::Result<Duration> {
        self.call(host, &["down", &container.pid().to_string()])
    }
}

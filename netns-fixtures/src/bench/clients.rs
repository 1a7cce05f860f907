//! Real clients, their whole wall time: `ctr run --cni` and `podman run -p`, with the reference
//! plugins and with netup's links in their place.

use super::{
    chain, plugins::Plugins, samples::Spread, settle::settle, stopwatch, subject::Subject,
};
use netns_fixtures::{
    Lab, Node,
    cni::{Containerd, Podman, REFERENCE},
};
use serde::Serialize;
use serde_json::{Value, json};
use std::{io, path::Path, process::Command, time::Duration};

/// What was measured. Its fields are the keys of `--json`.
#[derive(Debug, Serialize)]
pub struct Clients {
    pub binary: Subject,
    pub rounds: usize,
    pub rows: Vec<Row>,
}

/// One client with one set of plugins.
#[derive(Debug, Serialize)]
pub struct Row {
    pub client: &'static str,
    pub plugins: &'static str,
    pub wall: Spread,
    /// How many times the time with the reference plugins.
    pub ratio: f64,
}

enum Client {
    Containerd(Containerd),
    Podman(Podman),
}

struct Lane {
    client: Client,
    plugins: &'static str,
    host: Node,
    wall: Vec<Duration>,
}

const THEIRS: &str = "reference bridge+portmap+firewall+tuning";
const OURS: &str = "the same by netup's links";
const NETUP: &str = "type netup";

/// Interleaved, client by client.
pub fn run(binary: Subject, rounds: usize) -> io::Result<Clients> {
    let plugins = Plugins::of(&binary.path)?;
    let lab = Lab::new();
    let mut lanes = Vec::new();
    for start in [containerd, podman] {
        for (name, folder, network) in [
            (THEIRS, Path::new(REFERENCE), chain::standard()),
            (OURS, plugins.path(), chain::standard()),
            (NETUP, plugins.path(), netup()),
        ] {
            lanes.push(Lane::start(&lab, lanes.len(), start, name, folder, &network)?);
        }
    }
    eprintln!("every client has run a container; {rounds} rounds");
    for round in 0..rounds {
        lanes.iter_mut().try_for_each(|lane| lane.turn(round))?;
    }
    Ok(Clients { binary, rounds, rows: rows(&lanes) })
}

fn containerd(host: &Node, folder: &Path, network: &Value) -> io::Result<Client> {
    Containerd::start(host, folder, network).map(Client::Containerd)
}

fn podman(host: &Node, folder: &Path, network: &Value) -> io::Result<Client> {
    Podman::new(host, folder, network).map(Client::Podman)
}

type Start = fn(&Node, &Path, &Value) -> io::Result<Client>;

impl Lane {
    fn start(
        lab: &Lab,
        number: usize,
        start: Start,
        plugins: &'static str,
        folder: &Path,
        network: &Value,
    ) -> io::Result<Self> {
        let host = lab.host(&format!("client-{number}"))?;
        lab.internet(&lab.host(&format!("client-{number}-outside"))?, &host)?;
        let client = start(&host, folder, network)?;
        let mut lane = Self { client, plugins, host, wall: Vec::new() };
        lane.turn(usize::MAX)?;
        lane.wall.clear();
        Ok(lane)
    }

    fn turn(&mut self, round: usize) -> io::Result<()> {
        let command = self.client.command(&format!("run-{round}"))?;
        settle();
        self.wall.push(stopwatch::run(&self.host, command)?);
        Ok(())
    }
}

impl Client {
    fn name(&self) -> &'static str {
        match self {
            Self::Containerd(_) => "ctr run --cni",
            Self::Podman(_) => "podman run -p",
        }
    }

    fn command(&self, id: &str) -> io::Result<Command> {
        match self {
            Self::Containerd(containerd) => {
                containerd.command(&containerd.run_words(id, &["--rm"], &["/bin/true"]))
            }
            Self::Podman(podman) => {
                podman.command(&podman.run_words(&["--publish", "8080:80"], &["/bin/true"]))
            }
        }
        .map(|mut command| {
            command.stdout(std::process::Stdio::null());
            command
        })
    }
}

fn rows(lanes: &[Lane]) -> Vec<Row> {
    let theirs = |client: &Client| {
        let same = |lane: &&Lane| lane.client.name() == client.name() && lane.plugins == THEIRS;
        lanes.iter().find(same).map(|lane| Spread::of(&lane.wall))
    };
    let row = |lane: &Lane| {
        let wall = Spread::of(&lane.wall);
        let ratio = theirs(&lane.client).map_or(f64::NAN, |theirs| wall.ratio(&theirs));
        Row { client: lane.client.name(), plugins: lane.plugins, wall, ratio }
    };
    lanes.iter().map(row).collect()
}

fn netup() -> Value {
    json!({ "cniVersion": "1.0.0", "name": "fast", "plugins": [{
        "type": "netup", "topology": "routed", "subnets": ["10.89.0.0/16"], "masquerade": true,
        "capabilities": { "portMappings": true },
    }] })
}

/// The report for people.
pub fn print(clients: &Clients) {
    println!(
        "\nWhole wall time of /bin/true in a container, {} rounds: median [min, quartiles] in ms",
        clients.rounds
    );
    println!("{:<15} {:<42} {:>6} time", "", "", "×");
    for row in &clients.rows {
        let wall = &row.wall;
        println!(
            "{:<15} {:<42} {:>6.2} {:.1} [{:.1} {:.1}–{:.1}]",
            row.client,
            row.plugins,
            row.ratio,
            wall.median_ms,
            wall.min_ms,
            wall.p25_ms,
            wall.p75_ms
        );
    }
}

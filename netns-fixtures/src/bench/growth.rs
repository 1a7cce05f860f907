//! What CNI's ADD and DEL cost when many attachments exist already.

use super::{
    chain::{Network, Spot},
    samples::Spread,
    settle::settle,
    world::World,
};
use netns_fixtures::Lab;
use serde::Serialize;
use std::{io, path::Path, time::Duration};

const POPULATIONS: [u16; 3] = [10, 100, 1000];

/// The cost of one network at every size.
#[derive(Debug, Serialize)]
pub struct Growth {
    pub what: &'static str,
    pub at: Vec<Cost>,
}

/// The cost with so many attachments, and against that with the fewest.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    pub attachments: u16,
    pub add: Spread,
    pub del: Spread,
    pub add_ratio: f64,
    pub del_ratio: f64,
}

impl Growth {
    /// The worse of both verbs at the largest size.
    pub fn ratio(&self) -> Option<f64> {
        self.at.last().map(|cost| cost.add_ratio.max(cost.del_ratio))
    }
}

type Way = fn(&Path) -> Network;

struct Town {
    attachments: u16,
    world: World,
    network: Network,
    add: Vec<Duration>,
    del: Vec<Duration>,
}

pub const ONE: &str = "type netup";
pub const THREE: &str = "our bridge+portmap+firewall";

/// Both of netup's ways, in turns between hosts of each size.
pub fn run(plugins: &Path, rounds: usize) -> io::Result<Vec<Growth>> {
    let ways: [(_, Way); 2] = [(ONE, Network::one), (THREE, Network::three)];
    let grown = |(what, way)| Growth::of(what, way, plugins, rounds);
    ways.into_iter().map(grown).collect()
}

impl Growth {
    fn of(what: &'static str, way: Way, plugins: &Path, rounds: usize) -> io::Result<Self> {
        let lab = Lab::new();
        let found = |attachments| Town::found(&lab, way(plugins), attachments, rounds);
        let mut towns = POPULATIONS.into_iter().map(found).collect::<io::Result<Vec<_>>>()?;
        for round in 0..rounds {
            towns.iter_mut().try_for_each(|town| town.turn(round))?;
        }
        let base = towns[0].spreads();
        Ok(Self { what, at: towns.iter().map(|town| town.cost(base)).collect() })
    }
}

impl Town {
    fn found(lab: &Lab, network: Network, attachments: u16, rounds: usize) -> io::Result<Self> {
        let world = World::new(lab, &format!("cni-{attachments}"), rounds)?;
        // Every host has its own leases.
        let network = network.leasing(&format!("/run/cni-{attachments}"));
        let mut town = Self { attachments, world, network, add: Vec::new(), del: Vec::new() };
        eprintln!("connecting {attachments} containers by CNI");
        (0..attachments).try_for_each(|number| town.settler(lab, number))?;
        // As in the race: the first call of each kind is not timed.
        town.turn(0)?;
        (town.add, town.del) = (Vec::new(), Vec::new());
        Ok(town)
    }

    /// A namespace without a process does for a neighbour.
    fn settler(&self, lab: &Lab, number: u16) -> io::Result<()> {
        let netns = lab.named(&format!("cni-{}-{number}", self.attachments))?;
        let id = format!("settler-{number}");
        let spot = Spot { id: &id, netns: netns.path(), port: Some(10000 + number) };
        self.network.add(&self.world.host, &spot).map(drop)
    }

    fn turn(&mut self, round: usize) -> io::Result<()> {
        let container = self.world.container(round);
        let id = format!("bench-{}", container.pid());
        let spot = Spot { id: &id, netns: container.path(), port: Some(8080) };
        settle();
        let (add, result) = self.network.add(&self.world.host, &spot)?;
        settle();
        self.del.push(self.network.del(&self.world.host, &spot, &result)?);
        self.add.push(add);
        Ok(())
    }

    fn spreads(&self) -> [Spread; 2] {
        [&self.add, &self.del].map(|times| Spread::of(times))
    }

    fn cost(&self, base: [Spread; 2]) -> Cost {
        let [add, del] = self.spreads();
        let (add_ratio, del_ratio) = (add.ratio(&base[0]), del.ratio(&base[1]));
        Cost { attachments: self.attachments, add, del, add_ratio, del_ratio }
    }
}

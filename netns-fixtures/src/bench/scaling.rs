//! What a call costs when many attachments exist already.

use super::{
    samples::Spread,
    settle::settle,
    stopwatch,
    weight::{self, Weights},
    world::World,
};
use netns_fixtures::{Lab, Node};
use serde::Serialize;
use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

const POPULATIONS: [usize; 3] = [10, 100, 1000];
/// Weighed so often; the largest counts.
const WEIGHINGS: usize = 3;

/// The cost at every size, and the memory at the largest.
#[derive(Debug, Serialize)]
pub struct Scaling {
    pub at: Vec<Cost>,
    pub weights: Weights,
}

/// The cost with so many attachments, and against that with the fewest.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Cost {
    pub attachments: usize,
    pub up: Spread,
    pub down: Spread,
    pub ls: Spread,
    pub up_ratio: f64,
    pub down_ratio: f64,
    pub ls_ratio: f64,
}

/// A host with that many containers, and the times measured there.
struct Town {
    attachments: usize,
    world: World,
    netup: PathBuf,
    up: Vec<Duration>,
    down: Vec<Duration>,
    ls: Vec<Duration>,
}

/// Takes turns between hosts of each size.
pub fn run(netup: &Path, rounds: usize) -> io::Result<Scaling> {
    let lab = Lab::new();
    let found = |attachments| Town::found(&lab, netup, attachments, rounds);
    let mut towns = POPULATIONS.into_iter().map(found).collect::<io::Result<Vec<_>>>()?;
    for round in 0..rounds {
        towns.iter_mut().try_for_each(|town| town.turn(round))?;
    }
    let weights = towns.last().map_or_else(|| Err(io::ErrorKind::NotFound.into()), Town::weigh)?;
    let base = towns[0].spreads();
    Ok(Scaling { at: towns.iter().map(|town| town.cost(base)).collect(), weights })
}

impl Town {
    fn found(lab: &Lab, netup: &Path, attachments: usize, rounds: usize) -> io::Result<Self> {
        let world = World::new(lab, &format!("host-{attachments}"), rounds)?;
        let (up, down, ls) = (Vec::new(), Vec::new(), Vec::new());
        let town = Self { attachments, world, netup: netup.into(), up, down, ls };
        eprintln!("connecting {attachments} containers");
        (0..attachments).try_for_each(|number| town.settler(lab, number))?;
        // As in the race: the first call of each kind is not timed.
        town.connect(town.world.spare.pid())
            .and_then(|_| town.disconnect(town.world.spare.pid()))?;
        town.list()?;
        Ok(town)
    }

    /// A namespace without a process does for a neighbour.
    fn settler(&self, lab: &Lab, number: usize) -> io::Result<()> {
        let netns: Node = lab.named(&format!("{}-{number}", self.attachments))?;
        let address = format!("10.0.{}.{}/16", number / 250, number % 250 + 2);
        let port = format!("{}:80", 10000 + number);
        self.call(&[&netns.path().to_string_lossy(), &address, "--nat", "-p", &port]).map(drop)
    }

    fn turn(&mut self, round: usize) -> io::Result<()> {
        let pid = self.world.container(round).pid();
        settle();
        self.up.push(self.connect(pid)?);
        settle();
        self.down.push(self.disconnect(pid)?);
        settle();
        self.ls.push(self.list()?);
        Ok(())
    }

    fn weigh(&self) -> io::Result<Weights> {
        let pid = self.world.spare.pid().to_string();
        let heaviest = |a: Weights, b: Weights| Weights {
            floor_kib: a.floor_kib.max(b.floor_kib),
            up_kib: a.up_kib.max(b.up_kib),
            down_kib: a.down_kib.max(b.down_kib),
            ls_kib: a.ls_kib.max(b.ls_kib),
        };
        let first = self.weigh_once(&pid)?;
        (1..WEIGHINGS).try_fold(first, |so_far, _| Ok(heaviest(so_far, self.weigh_once(&pid)?)))
    }

    fn weigh_once(&self, pid: &str) -> io::Result<Weights> {
        let weigh = |words: &[&str]| weight::of(&self.world.host, &self.netup, words);
        Ok(Weights {
            floor_kib: weight::of(&self.world.host, Path::new("/bin/true"), &[])?,
            up_kib: weigh(&connection(pid))?,
            down_kib: weigh(&["down", pid])?,
            ls_kib: weigh(&["ls"])?,
        })
    }

    fn connect(&self, pid: u32) -> io::Result<Duration> {
        self.call(&connection(&pid.to_string()))
    }

    fn disconnect(&self, pid: u32) -> io::Result<Duration> {
        self.call(&["down", &pid.to_string()])
    }

    fn list(&self) -> io::Result<Duration> {
        self.call(&["ls"])
    }

    fn call(&self, words: &[&str]) -> io::Result<Duration> {
        stopwatch::run(&self.world.host, stopwatch::command(&self.netup, words))
    }

    fn spreads(&self) -> [Spread; 3] {
        [&self.up, &self.down, &self.ls].map(|times| Spread::of(times))
    }

    fn cost(&self, base: [Spread; 3]) -> Cost {
        let [up, down, ls] = self.spreads();
        Cost {
            attachments: self.attachments,
            up,
            down,
            ls,
            up_ratio: up.ratio(&base[0]),
            down_ratio: down.ratio(&base[1]),
            ls_ratio: ls.ratio(&base[2]),
        }
    }
}

fn connection(pid: &str) -> [&str; 5] {
    [pid, "10.0.200.2/16", "--nat", "-p", "8080:80"]
}

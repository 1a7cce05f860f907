//! The contenders take turns.

use super::{
    contender::{Contender, Entry, Reach, SUBJECT, entries},
    proof,
    samples::Spread,
    settle::settle,
    world::World,
};
use netns_fixtures::Lab;
use serde::Serialize;
use std::{io, path::Path, time::Duration};

/// What became of one contender.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub what: &'static str,
    pub reach: Reach,
    #[serde(flatten)]
    pub finish: Finish,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Measured(Measured),
    Absent(String),
}

/// The times, and how many times netup's they are.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Measured {
    pub up: Spread,
    pub down: Spread,
    /// A disconnection and a connection right after it: what the first leaves to the kernel runs
    /// into the time of the second.
    pub restart: Spread,
    pub up_ratio: f64,
    pub down_ratio: f64,
    pub restart_ratio: f64,
}

impl Row {
    pub fn measured(&self) -> Option<&Measured> {
        match &self.finish {
            Finish::Measured(measured) => Some(measured),
            Finish::Absent(_) => None,
        }
    }
}

/// A contender on its host, and its times so far.
struct Lane {
    entry: Entry,
    world: World,
    up: Vec<Duration>,
    down: Vec<Duration>,
    restart: Vec<Duration>,
}

/// Runs the whole race.
pub fn run(netup: &Path, plugins: &Path, rounds: usize) -> io::Result<Vec<Row>> {
    let lab = Lab::new();
    let start = |entry| Lane::start(&lab, entry, rounds);
    let mut lanes =
        entries(netup, plugins)?.into_iter().map(start).collect::<io::Result<Vec<_>>>()?;
    eprintln!("every contender's packets cross; {rounds} rounds");
    for round in 0..rounds {
        lanes.iter_mut().try_for_each(|lane| lane.turn(round))?;
    }
    Ok(rows(lanes))
}

impl Lane {
    /// The one call that is not timed: it also warms the caches for those that are.
    fn start(lab: &Lab, mut entry: Entry, rounds: usize) -> io::Result<Self> {
        let world = World::new(lab, &entry.name.replace(['/', ' ', ','], "-"), rounds)?;
        if let Ok(contender) = &mut entry.contender {
            prove(contender.as_mut(), &world, entry.reach).map_err(|error| {
                io::Error::other(format!("{} does not work here: {error}", entry.name))
            })?;
        }
        Ok(Self { entry, world, up: Vec::new(), down: Vec::new(), restart: Vec::new() })
    }

    fn turn(&mut self, round: usize) -> io::Result<()> {
        let Ok(contender) = &mut self.entry.contender else { return Ok(()) };
        let (host, container) = (&self.world.host, self.world.container(round));
        settle();
        self.up.push(contender.up(host, container)?);
        settle();
        let down = contender.down(host, container)?;
        self.down.push(down);
        self.restart.push(down + contender.up(host, container)?);
        settle();
        self.down.push(contender.down(host, container)?);
        Ok(())
    }
}

fn prove(contender: &mut dyn Contender, world: &World, reach: Reach) -> io::Result<()> {
    let container = &world.spare;
    contender.prepare(world)?;
    let before = proof::links(container)?;
    contender.up(&world.host, container)?;
    proof::packets_cross(world, container, reach)?;
    contender.down(&world.host, container)?;
    let after = proof::links(container)?;
    if before == after {
        return Ok(());
    }
    Err(io::Error::other(format!("it left links behind: {before} became {after}")))
}

fn rows(lanes: Vec<Lane>) -> Vec<Row> {
    let subject = lanes.iter().find(|lane| lane.entry.name == SUBJECT).and_then(Lane::times);
    lanes.into_iter().map(|lane| lane.row(subject)).collect()
}

impl Lane {
    fn times(&self) -> Option<Times> {
        let measured = self.entry.contender.is_ok();
        measured.then(|| [&self.up, &self.down, &self.restart].map(|times| Spread::of(times)))
    }

    fn row(self, subject: Option<Times>) -> Row {
        let times = self.times();
        let Entry { name, what, reach, contender } = self.entry;
        let finish = match (times.zip(subject), contender) {
            (Some((own, subject)), _) => Finish::Measured(Measured::of(own, subject)),
            (None, contender) => Finish::Absent(contender.err().unwrap_or_default()),
        };
        Row { name, what, reach, finish }
    }
}

/// Of up, down, restart.
type Times = [Spread; 3];

impl Measured {
    fn of([up, down, restart]: Times, subject: Times) -> Self {
        Self {
            up,
            down,
            restart,
            up_ratio: up.ratio(&subject[0]),
            down_ratio: down.ratio(&subject[1]),
            restart_ratio: restart.ratio(&subject[2]),
        }
    }
}

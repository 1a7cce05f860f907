//! The contenders take turns.

use super::{
    BWRAP,
    contender::{Caller, Contender, Reach, contenders},
    proof,
    stage::Stage,
};
use crate::bench::{samples::Spread, settle::settle, stopwatch};
use serde::Serialize;
use std::{io, time::Duration};

/// What became of one contender.
#[derive(Debug, Serialize)]
pub struct Row {
    pub name: &'static str,
    pub caller: Caller,
    pub reach: Reach,
    #[serde(flatten)]
    pub finish: Finish,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    Measured {
        wall: Spread,
        /// How many times bwrap's.
        ratio: f64,
    },
    Absent(String),
}

impl Row {
    pub fn wall(&self) -> Option<&Spread> {
        match &self.finish {
            Finish::Measured { wall, .. } => Some(wall),
            Finish::Absent(_) => None,
        }
    }
}

struct Lane {
    contender: Contender,
    absent: Option<String>,
    wall: Vec<Duration>,
}

/// Runs the whole race.
pub fn run(stage: &Stage, rounds: usize) -> io::Result<Vec<Row>> {
    let start = |contender| Lane::start(stage, contender);
    let mut lanes = contenders().into_iter().map(start).collect::<io::Result<Vec<_>>>()?;
    eprintln!("every contender's containers are what they should be; {rounds} rounds");
    for round in 0..rounds {
        lanes.iter_mut().try_for_each(|lane| lane.turn(stage, round))?;
    }
    Ok(lanes.iter().map(|lane| lane.row(&lanes)).collect())
}

impl Lane {
    /// The proof warms the caches, too.
    fn start(stage: &Stage, contender: Contender) -> io::Result<Self> {
        let absent = contender.lacks(stage);
        if absent.is_none() {
            proof::of(&contender, stage).map_err(|error| {
                let (name, reach) = (contender.name, contender.reach.words());
                io::Error::other(format!("{name} {reach} does not work here: {error}"))
            })?;
        }
        Ok(Self { contender, absent, wall: Vec::new() })
    }

    fn turn(&mut self, stage: &Stage, round: usize) -> io::Result<()> {
        if self.absent.is_some() {
            return Ok(());
        }
        let id = format!("bench-{round}");
        let command = self.contender.command(stage, &id, &["/bin/true"])?;
        settle();
        self.wall.push(stopwatch::run(self.contender.host(stage), command)?);
        Ok(())
    }

    fn row(&self, lanes: &[Self]) -> Row {
        let Contender { name, caller, reach, .. } = self.contender;
        let finish = match &self.absent {
            Some(why) => Finish::Absent(why.clone()),
            None => {
                let wall = Spread::of(&self.wall);
                let ratio =
                    bwrap(lanes, caller, reach).map_or(f64::NAN, |theirs| wall.ratio(&theirs));
                Finish::Measured { wall, ratio }
            }
        };
        Row { name, caller, reach, finish }
    }
}

/// What a row is compared with: bwrap can make an empty network at most.
fn bwrap(lanes: &[Lane], caller: Caller, reach: Reach) -> Option<Spread> {
    let reach = if reach == Reach::Published { Reach::Nothing } else { reach };
    let same = |lane: &&Lane| {
        let own = &lane.contender;
        own.name == BWRAP && own.caller == caller && own.reach == reach && lane.absent.is_none()
    };
    lanes.iter().find(same).map(|lane| Spread::of(&lane.wall))
}

//! Many containers at once.

use super::{
    BWRAP, NETUP_RUN,
    contender::{Caller, Contender, Reach, contenders},
    stage::Stage,
};
use crate::bench::{samples::Spread, settle::settle};
use serde::Serialize;
use std::{
    io,
    process::{Child, Command},
    time::{Duration, Instant},
};

const CONTAINERS: usize = 50;
const REPETITIONS: usize = 7;

/// Wall times of so many containers that are started without waiting.
#[derive(Debug, Serialize)]
pub struct Crowd {
    pub containers: usize,
    pub reach: Reach,
    pub paces: Vec<Pace>,
}

#[derive(Debug, Serialize)]
pub struct Pace {
    pub name: &'static str,
    pub wall: Spread,
}

/// With the host's network and with an empty one, where the same call can be made many times.
pub fn run(stage: &Stage) -> io::Result<Vec<Crowd>> {
    eprintln!("{CONTAINERS} containers at once");
    [Reach::Host, Reach::Nothing].into_iter().map(|reach| crowd(stage, reach)).collect()
}

fn crowd(stage: &Stage, reach: Reach) -> io::Result<Crowd> {
    let takes_part = |own: &Contender| {
        let named = [NETUP_RUN, BWRAP, "crun"].contains(&own.name);
        named && own.reach == reach && own.caller == Caller::Root && own.lacks(stage).is_none()
    };
    let mut lanes: Vec<(Contender, Vec<Duration>)> =
        contenders().into_iter().filter(takes_part).map(|own| (own, Vec::new())).collect();
    for repetition in 0..REPETITIONS {
        for (contender, wall) in &mut lanes {
            wall.push(at_once(stage, contender, repetition)?);
        }
    }
    let pace =
        |(own, wall): &(Contender, Vec<Duration>)| Pace { name: own.name, wall: Spread::of(wall) };
    Ok(Crowd { containers: CONTAINERS, reach, paces: lanes.iter().map(pace).collect() })
}

fn at_once(stage: &Stage, contender: &Contender, repetition: usize) -> io::Result<Duration> {
    let command = |number| {
        let id = format!("crowd-{repetition}-{number}");
        contender.command(stage, &id, &["/bin/true"])
    };
    let mut commands = (0..CONTAINERS).map(command).collect::<io::Result<Vec<Command>>>()?;
    settle();
    let started = Instant::now();
    let spawn = || commands.iter_mut().map(Command::spawn).collect::<io::Result<Vec<Child>>>();
    for mut child in contender.host(stage).run(spawn)?? {
        let status = child.wait()?;
        if !status.success() {
            return Err(io::Error::other(format!(
                "{}: one of many ended so: {status}",
                contender.name
            )));
        }
    }
    Ok(started.elapsed())
}

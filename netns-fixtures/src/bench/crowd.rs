//! Many calls at once, and the same calls one after the other.

use super::{samples::Spread, settle::settle, stopwatch};
use netns_fixtures::{Lab, Node};
use nix::sys::wait::{WaitStatus, wait};
use serde::Serialize;
use serde_json::Value;
use std::{
    collections::{HashMap, HashSet},
    io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

const CALLS: usize = 200;
const REPETITIONS: usize = 5;
const SUBNET: &str = "10.9.0.0/16";

/// Wall times of all calls together, and what a single one waited for its end when all ran at once.
#[derive(Debug, Serialize)]
pub struct Crowd {
    pub calls: usize,
    pub at_once: Pace,
    pub in_turn: Pace,
    /// From the spawn of a call to its end, at once.
    pub up_latency: Spread,
}

#[derive(Debug, Serialize)]
pub struct Pace {
    pub up: Spread,
    pub down: Spread,
}

/// A host and the namespaces that are connected there.
struct Party {
    host: Node,
    netup: PathBuf,
    guests: Vec<String>,
}

/// Alternates between both ways.
pub fn run(netup: &Path) -> io::Result<Crowd> {
    eprintln!("{CALLS} calls at once");
    let lab = Lab::new();
    let party = Party::invite(&lab, netup)?;
    let (mut at_once, mut in_turn) = (Times::default(), Times::default());
    for _ in 0..REPETITIONS {
        party.repetition(&mut at_once, Party::at_once)?;
        party.repetition(&mut in_turn, Party::in_turn)?;
    }
    let up_latency = Spread::of(&at_once.latencies);
    Ok(Crowd { calls: CALLS, at_once: at_once.pace(), in_turn: in_turn.pace(), up_latency })
}

#[derive(Default)]
struct Times {
    up: Vec<Duration>,
    down: Vec<Duration>,
    latencies: Vec<Duration>,
}

impl Times {
    fn pace(&self) -> Pace {
        Pace { up: Spread::of(&self.up), down: Spread::of(&self.down) }
    }
}

/// How long all calls took together, and each of them.
struct Elapsed {
    wall: Duration,
    each: Vec<Duration>,
}

type Way = fn(&Party, &[Vec<&str>]) -> io::Result<Elapsed>;

impl Party {
    fn invite(lab: &Lab, netup: &Path) -> io::Result<Self> {
        let host = lab.host("crowded")?;
        lab.internet(&lab.host("crowded-outside")?, &host)?;
        let path = |number| Ok(lab.named(&format!("guest-{number}"))?.path().display().to_string());
        let guests = (0..CALLS).map(path).collect::<io::Result<_>>()?;
        Ok(Self { host, netup: netup.into(), guests })
    }

    fn repetition(&self, times: &mut Times, way: Way) -> io::Result<()> {
        let ups: Vec<_> =
            self.guests.iter().map(|guest| vec![guest.as_str(), "--subnet", SUBNET]).collect();
        let downs: Vec<_> = self.guests.iter().map(|guest| vec!["down", guest]).collect();
        settle();
        let up = way(self, &ups)?;
        self.expect_distinct_addresses()?;
        settle();
        let down = way(self, &downs)?;
        times.up.push(up.wall);
        times.down.push(down.wall);
        times.latencies.extend(up.each);
        Ok(())
    }

    fn in_turn(&self, calls: &[Vec<&str>]) -> io::Result<Elapsed> {
        let started = Instant::now();
        let call =
            |words: &Vec<&str>| stopwatch::run(&self.host, stopwatch::command(&self.netup, words));
        let each = calls.iter().map(call).collect::<io::Result<_>>()?;
        Ok(Elapsed { wall: started.elapsed(), each })
    }

    fn at_once(&self, calls: &[Vec<&str>]) -> io::Result<Elapsed> {
        let started = Instant::now();
        let spawn = |words: &Vec<&str>| {
            Ok((stopwatch::command(&self.netup, words).spawn()?.id(), Instant::now()))
        };
        let begun = self.host.run(|| calls.iter().map(spawn).collect::<io::Result<_>>())??;
        let each = ends(begun)?;
        Ok(Elapsed { wall: started.elapsed(), each })
    }

    fn expect_distinct_addresses(&self) -> io::Result<()> {
        let listing = stopwatch::command(&self.netup, &["ls", "--json"]);
        let reply = stopwatch::converse(&self.host, listing, b"")?;
        let listing: Vec<Value> = serde_json::from_slice(&reply.document)?;
        let distinct: HashSet<_> =
            listing.iter().map(|attachment| attachment["addresses"].to_string()).collect();
        if distinct.len() == CALLS {
            return Ok(());
        }
        Err(io::Error::other(format!("{CALLS} calls, {} addresses", distinct.len())))
    }
}

/// Reaps in the order in which they end. The laboratory's own processes live on meanwhile.
fn ends(mut begun: HashMap<u32, Instant>) -> io::Result<Vec<Duration>> {
    let mut each = Vec::new();
    while !begun.is_empty() {
        match wait()? {
            WaitStatus::Exited(pid, 0) => {
                let started = begun.remove(&pid.as_raw().cast_unsigned());
                each.extend(started.map(|started| started.elapsed()));
            }
            other => return Err(io::Error::other(format!("a call ended so: {other:?}"))),
        }
    }
    Ok(each)
}

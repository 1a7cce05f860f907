//! `/bin/true` in a container, from start to exit: the runner beside those that can do a part of it.
//!
//! Three networks: the host's own, an empty namespace, and one with an address, a default route, NAT
//! and a published port. Who cannot make a network has no row for it. All run the same static program
//! in the same root file system, take turns, and first prove that they do what they are timed for.

mod bundle;
mod contender;
mod crowd;
mod proof;
mod race;
mod stage;

use super::{bars::Bar, samples::Spread};
pub use contender::{Caller, Reach};
pub use crowd::Crowd;
pub use race::{Finish, Row};
use serde::Serialize;
use std::{io, path::Path};

/// What the runner promises against bubblewrap, and what was measured.
pub const NETUP_RUN: &str = "netup-run";
pub const BWRAP: &str = "bwrap";

/// The two tables. Its fields are the keys of `--json`.
#[derive(Debug, Serialize)]
pub struct Startup {
    pub rows: Vec<Row>,
    pub crowds: Vec<Crowd>,
}

/// Measures all of it.
pub fn run(netup: &Path, netup_run: &Path, rounds: usize) -> io::Result<Startup> {
    let stage = stage::Stage::set(netup, netup_run)?;
    let rows = race::run(&stage, rounds)?;
    let crowds = crowd::run(&stage)?;
    Ok(Startup { rows, crowds })
}

impl Startup {
    /// The promises.
    pub fn bars(&self) -> Vec<Bar> {
        let full = self.of(NETUP_RUN, Reach::Published);
        let host = self.of(NETUP_RUN, Reach::Host);
        let ratio = |own: Option<&Spread>, reach| {
            own.zip(self.of(BWRAP, reach)).map(|(own, theirs)| own.ratio(theirs))
        };
        let (full, host) = (ratio(full, Reach::Nothing), ratio(host, Reach::Host));
        vec![
            Bar::at_most("netup-run with all, against bwrap --unshare-net", 1.0, full, "times"),
            Bar::at_most("netup-run --net host, against bwrap", 0.5, host, "times"),
        ]
    }

    fn of(&self, name: &str, reach: Reach) -> Option<&Spread> {
        let same =
            |row: &&Row| row.name == name && row.reach == reach && row.caller == Caller::Root;
        self.rows.iter().find(same).and_then(Row::wall)
    }
}

/// The report for people.
pub fn print(startup: &Startup) {
    println!(
        "\n/bin/true in a container, start to exit: median [min, quartiles] in ms; × is against bwrap"
    );
    println!("with the same network and caller, and with an empty netns where bwrap has none");
    let mut head = None;
    for row in &startup.rows {
        if head.replace((row.caller, row.reach)) != Some((row.caller, row.reach)) {
            println!("{}, {}", row.caller.words(), row.reach.words());
        }
        match &row.finish {
            Finish::Absent(why) => println!("  {:<24} {why}", row.name),
            Finish::Measured { wall, ratio } => {
                println!("  {:<24} {ratio:>7.2} {}", row.name, super::table::middle(wall));
            }
        }
    }
    for crowd in &startup.crowds {
        println!("{} at once, {}", crowd.containers, crowd.reach.words());
        for pace in &crowd.paces {
            let each = pace.wall.median_ms / crowd.containers as f64;
            println!("  {:<24} {:<30} {each:.2} each", pace.name, super::table::middle(&pace.wall));
        }
    }
}

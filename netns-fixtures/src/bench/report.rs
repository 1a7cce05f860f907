//! Everything that was measured. Its fields are the keys of `--json`.

use super::{
    bars::{self, Bar},
    crowd::{self, Crowd},
    growth::{self, Growth},
    plugins::Plugins,
    race::{self, Row},
    scaling::{self, Scaling},
    startup::{self, Startup},
    subject::Subject,
};
use serde::Serialize;
use std::{fs, io, thread};

#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    pub binary: Subject,
    pub runner: Subject,
    pub rounds: usize,
    pub rows: Vec<Row>,
    pub scaling: Scaling,
    pub cni: Vec<Growth>,
    pub crowd: Crowd,
    pub startup: Startup,
    pub bars: Vec<Bar>,
}

/// What the times depend on, and the ratios hardly.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub kernel: String,
    pub processors: usize,
    /// Over the minute before the start: more than a little means that others were measured too.
    pub load_before: f64,
    /// Before the calls at once, which are a load themselves. The turns add about 1.
    pub load_after: f64,
}

impl Report {
    /// Measures everything. The race comes first: a thousand namespaces are not a usual host.
    pub fn make(binary: Subject, runner: Subject, rounds: usize) -> io::Result<Self> {
        let load_before = load()?;
        let plugins = Plugins::of(&binary.path)?;
        let rows = race::run(&binary.path, plugins.path(), rounds)?;
        let scaling = scaling::run(&binary.path, rounds)?;
        let cni = growth::run(plugins.path(), rounds)?;
        let machine = Machine::observe(load_before)?;
        let crowd = crowd::run(&binary.path)?;
        // Last: it hides the machine's control groups from this process.
        let startup = startup::run(&binary.path, &runner.path, rounds)?;
        let bars = Vec::new();
        let mut report =
            Self { machine, binary, runner, rounds, rows, scaling, cni, crowd, startup, bars };
        report.bars = bars::judge(&report);
        Ok(report)
    }
}

impl Machine {
    fn observe(load_before: f64) -> io::Result<Self> {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?.trim_end().to_owned();
        let processors = thread::available_parallelism()?.get();
        Ok(Self { kernel, processors, load_before, load_after: load()? })
    }
}

/// Of the last minute.
fn load() -> io::Result<f64> {
    let load = fs::read_to_string("/proc/loadavg")?;
    let minute = load.split(' ').next().unwrap_or_default();
    minute.parse().map_err(io::Error::other)
}

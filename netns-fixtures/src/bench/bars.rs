//! What netup promises, and what was measured.

use super::{
    contender::{CHAIN, OUR_ONE, OUR_THREE, SUBJECT, THREE, TUTORIAL},
    growth,
    race::{Measured, Row},
    report::Report,
};
use serde::Serialize;

/// In bytes.
const MEGABYTE: f64 = 1e6;

/// One promise.
#[derive(Debug, Serialize)]
pub struct Bar {
    pub what: &'static str,
    /// In words, such as "at least 15 times".
    pub wanted: String,
    /// None: the contender is not installed.
    pub measured: Option<f64>,
    pub unit: &'static str,
    pub passed: bool,
}

/// All of them.
pub fn judge(report: &Report) -> Vec<Bar> {
    let mut bars = by_hand(report);
    bars.extend(by_cni(report));
    bars.extend(report.startup.bars());
    bars
}

/// A chain's cost is that of its processes, one after the other.
fn by_cni(report: &Report) -> Vec<Bar> {
    let against = |name: &str, ratio: fn(&Measured) -> f64| {
        let [theirs, ours] = [THREE, name].map(|name| find(&report.rows, name).map(ratio));
        theirs.zip(ours).map(|(theirs, ours)| theirs / ours)
    };
    let up = |row: &Measured| row.up_ratio;
    let down = |row: &Measured| row.down_ratio;
    let grown = |what: &str| {
        report.cni.iter().find(|growth| growth.what == what).and_then(growth::Growth::ratio)
    };
    vec![
        Bar::at_least("type netup's ADD, against three plugins'", 35.0, against(OUR_ONE, up)),
        Bar::at_least("type netup's DEL, against theirs", 60.0, against(OUR_ONE, down)),
        Bar::at_least("our three plugins' ADD, against theirs", 15.0, against(OUR_THREE, up)),
        Bar::at_least("our three plugins' DEL, against theirs", 30.0, against(OUR_THREE, down)),
        Bar::at_most("type netup at 1000, against 10", 1.3, grown(growth::ONE), "times"),
        Bar::at_most("our three at 1000, against 10", 1.3, grown(growth::THREE), "times"),
    ]
}

fn by_hand(report: &Report) -> Vec<Bar> {
    let against = |name: &str, ratio: fn(&Measured) -> f64| find(&report.rows, name).map(ratio);
    let up_at_most = report.scaling.at.last().map(|cost| cost.up_ratio);
    let peak = report.scaling.weights.peak_kib() as f64 * 1024.0 / MEGABYTE;
    let size = report.binary.bytes as f64 / MEGABYTE;
    let is_static = f64::from(u8::from(report.binary.is_static));
    vec![
        Bar::at_least(
            "up, against the tutorial's way",
            15.0,
            against(TUTORIAL, |row| row.up_ratio),
        ),
        Bar::at_least("up, against bridge+portmap's ADD", 25.0, against(CHAIN, |row| row.up_ratio)),
        Bar::at_least(
            "down, against bridge+portmap's DEL",
            50.0,
            against(CHAIN, |row| row.down_ratio),
        ),
        Bar::at_most("up at 1000 attachments, against 10", 1.3, up_at_most, "times"),
        Bar::at_most("peak memory at 1000 attachments", 8.0, Some(peak), "MB"),
        Bar::at_most("size of the binary", 6.0, Some(size), "MB"),
        Bar::at_least("statically linked", 1.0, Some(is_static)).counted("(1 is yes)"),
    ]
}

fn find<'a>(rows: &'a [Row], name: &str) -> Option<&'a Measured> {
    debug_assert!(rows.iter().any(|row| row.name == SUBJECT));
    rows.iter().find(|row| row.name == name).and_then(Row::measured)
}

impl Bar {
    pub fn at_least(what: &'static str, bar: f64, measured: Option<f64>) -> Self {
        let passed = measured.is_some_and(|measured| measured >= bar);
        Self { what, wanted: format!("at least {bar}"), measured, unit: "times", passed }
    }

    pub fn at_most(
        what: &'static str,
        bar: f64,
        measured: Option<f64>,
        unit: &'static str,
    ) -> Self {
        let passed = measured.is_some_and(|measured| measured <= bar);
        Self { what, wanted: format!("at most {bar}"), measured, unit, passed }
    }

    fn counted(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }
}

//! What netup promises, and what was measured.

use super::{
    contender::{CHAIN, SUBJECT, TUTORIAL},
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

/// Issue 2, "Must show" 2.
pub fn judge(report: &Report) -> Vec<Bar> {
    let against = |name: &str, ratio: fn(&Measured) -> f64| find(&report.rows, name).map(ratio);
    let up_at_most = report.scaling.at.last().map(|cost| cost.up_ratio);
    let peak = report.scaling.weights.peak_kib() as f64 * 1024.0 / MEGABYTE;
    let size = report.binary.bytes as f64 / MEGABYTE;
    let is_static = f64::from(u8::from(report.binary.is_static));
    vec![
        at_least("up, against the tutorial's way", 15.0, against(TUTORIAL, |row| row.up_ratio)),
        at_least("up, against bridge+portmap's ADD", 25.0, against(CHAIN, |row| row.up_ratio)),
        at_least("down, against bridge+portmap's DEL", 50.0, against(CHAIN, |row| row.down_ratio)),
        at_most("up at 1000 attachments, against 10", 1.3, up_at_most, "times"),
        at_most("peak memory at 1000 attachments", 8.0, Some(peak), "MB"),
        at_most("size of the binary", 6.0, Some(size), "MB"),
        at_least("statically linked", 1.0, Some(is_static)).counted("(1 is yes)"),
    ]
}

fn find<'a>(rows: &'a [Row], name: &str) -> Option<&'a Measured> {
    debug_assert!(rows.iter().any(|row| row.name == SUBJECT));
    rows.iter().find(|row| row.name == name).and_then(Row::measured)
}

fn at_least(what: &'static str, bar: f64, measured: Option<f64>) -> Bar {
    let passed = measured.is_some_and(|measured| measured >= bar);
    Bar { what, wanted: format!("at least {bar}"), measured, unit: "times", passed }
}

fn at_most(what: &'static str, bar: f64, measured: Option<f64>, unit: &'static str) -> Bar {
    let passed = measured.is_some_and(|measured| measured <= bar);
    Bar { what, wanted: format!("at most {bar}"), measured, unit, passed }
}

impl Bar {
    fn counted(self, unit: &'static str) -> Self {
        Self { unit, ..self }
    }
}

//! Pressure stall information (Documentation/accounting/psi.rst): how long processes could not go
//! on for want of something.

use serde::Serialize;

/// How long processes waited.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Pressure {
    /// While at least one waited.
    pub some: Share,
    /// While all waited; the kernel gives it for processors since Linux 5.13.
    pub full: Option<Share>,
}

/// A share of the time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Share {
    /// Per cent of the last ten seconds.
    pub avg10: f64,
    /// Per cent of the last minute.
    pub avg60: f64,
    /// Per cent of the last five minutes.
    pub avg300: f64,
    /// In all, in microseconds.
    pub total_us: u64,
}

pub fn parse(text: &str) -> Pressure {
    let share = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(parse_share);
    Pressure { some: share("some ").unwrap_or_default(), full: share("full ") }
}

fn parse_share(line: &str) -> Share {
    let mut share = Share::default();
    for (key, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
        match key {
            "avg10" => share.avg10 = value.parse().unwrap_or_default(),
            "avg60" => share.avg60 = value.parse().unwrap_or_default(),
            "avg300" => share.avg300 = value.parse().unwrap_or_default(),
            "total" => share.total_us = value.parse().unwrap_or_default(),
            _ => {}
        }
    }
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_lines_are_read() {
        let text = "some avg10=1.50 avg60=0.20 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let pressure = parse(text);
        assert_eq!((pressure.some.avg10, pressure.some.total_us), (1.5, 42));
        assert_eq!(pressure.full.unwrap().total_us, 7);
        assert_eq!(parse("some avg10=0.00 total=1\n").full, None);
    }
}

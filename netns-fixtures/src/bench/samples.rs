//! What many measurements of one thing say together.

use serde::Serialize;
use std::time::Duration;

/// The middle of the measurements and how far they spread, in milliseconds. No mean: one hiccup of
/// the machine would move it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Spread {
    pub runs: usize,
    pub min_ms: f64,
    pub p25_ms: f64,
    pub median_ms: f64,
    pub p75_ms: f64,
    pub max_ms: f64,
}

impl Spread {
    /// Of one measurement or more.
    pub fn of(samples: &[Duration]) -> Self {
        let mut samples: Vec<f64> = samples.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        samples.sort_by(f64::total_cmp);
        Self {
            runs: samples.len(),
            min_ms: quantile(&samples, 0.0),
            p25_ms: quantile(&samples, 0.25),
            median_ms: quantile(&samples, 0.5),
            p75_ms: quantile(&samples, 0.75),
            max_ms: quantile(&samples, 1.0),
        }
    }

    /// How many times as long as `other` it took.
    pub fn ratio(&self, other: &Self) -> f64 {
        self.median_ms / other.median_ms
    }
}

/// Between two measurements, the straight line.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_measurements() {
        let spread = Spread::of(&[4, 1, 3, 2].map(Duration::from_millis));
        assert_eq!((spread.min_ms, spread.max_ms), (1.0, 4.0));
        assert_eq!((spread.p25_ms, spread.median_ms, spread.p75_ms), (1.75, 2.5, 3.25));
    }

    #[test]
    fn one_measurement_is_all_of_them() {
        let spread = Spread::of(&[Duration::from_millis(7)]);
        assert_eq!((spread.min_ms, spread.median_ms, spread.max_ms), (7.0, 7.0, 7.0));
    }
}

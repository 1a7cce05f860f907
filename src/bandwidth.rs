//! Limits on a container's traffic.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How fast a container may receive and send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Bandwidth {
    /// What it receives.
    pub ingress: Option<Rate>,
    /// What it sends.
    pub egress: Option<Rate>,
}

/// A token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// The sustained rate, in bits per second.
    pub bits_per_second: u64,
    /// What may pass at once, in bits.
    pub burst_bits: u64,
}

impl Bandwidth {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_unlimited(&self) -> bool {
        self.ingress.is_none() && self.egress.is_none()
    }

    /// Checks the rates.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for a rate or burst of less than a
    /// byte, and for a burst that the kernel cannot hold.
    pub fn validate(&self) -> Result<()> {
        [self.ingress, self.egress].into_iter().flatten().try_for_each(Rate::validate)
    }
}

/// What a rate given without a burst may pass at once, in bits: what a link can be handed in one
/// piece (64 KiB), twice.
const LEAST_BURST: u64 = 2 * 64 * 1024 * 8;
/// The factors of the units that rates are given in, as tc has them.
const UNITS: [(&str, u64); 5] = [
    ("tbit", 1_000_000_000_000),
    ("gbit", 1_000_000_000),
    ("mbit", 1_000_000),
    ("kbit", 1000),
    ("bit", 1),
];

impl FromStr for Rate {
    type Err = Error;

    /// `RATE[:BURST]`, each in bits with or without a unit: `10mbit`, `1gbit:2mbit`, `500000`.
    fn from_str(text: &str) -> Result<Self> {
        let (rate, burst) = text.split_once(':').map_or((text, None), |(r, b)| (r, Some(b)));
        let bits_per_second = bits(rate)?;
        let burst_bits = match burst {
            Some(burst) => bits(burst)?,
            // A fiftieth of a second: enough not to slow down who sends in small heaps.
            None => (bits_per_second / 50).clamp(LEAST_BURST, u64::from(u32::MAX - 1) * 8),
        };
        let rate = Self { bits_per_second, burst_bits };
        rate.validate().map(|()| rate)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", in_units(self.bits_per_second), in_units(self.burst_bits))
    }
}

/// In the largest unit that holds it without a fraction.
fn in_units(bits: u64) -> String {
    let unit = UNITS.iter().find(|(_, factor)| bits >= *factor && bits.is_multiple_of(*factor));
    unit.map_or_else(|| bits.to_string(), |(unit, factor)| format!("{}{unit}", bits / factor))
}

fn bits(text: &str) -> Result<u64> {
    let bad = || {
        Error::invalid(format!("{text:?} is no number of bits"))
            .hint("write it as 10mbit, 1gbit or 500000, with a burst as 10mbit:1mbit")
    };
    let lower = text.to_ascii_lowercase();
    let unit = UNITS.iter().find_map(|(unit, factor)| Some((lower.strip_suffix(unit)?, *factor)));
    let (number, factor) = unit.unwrap_or((&lower, 1));
    let plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number = plain.then(|| number.parse::<u64>().ok()).flatten();
    number.and_then(|number| number.checked_mul(factor)).ok_or_else(bad)
}

impl Rate {
    fn validate(self) -> Result<()> {
        if self.bits_per_second < 8 || self.burst_bits < 8 {
            return Err(Error::invalid("a bandwidth needs a rate and a burst of at least 8 bits"));
        }
        // The kernel counts a bucket in 32 bits of bytes.
        match self.burst_bits / 8 >= u64::from(u32::MAX) {
            true => Err(Error::invalid(format!(
                "a burst of {} bits is more than the kernel holds (4 GiB)",
                self.burst_bits
            ))),
            false => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_with_units_and_get_a_burst() {
        let rate = |text: &str| text.parse::<Rate>().map(|r| (r.bits_per_second, r.burst_bits));
        assert_eq!(rate("10mbit").unwrap(), (10_000_000, LEAST_BURST));
        assert_eq!(rate("10Gbit").unwrap(), (10_000_000_000, 200_000_000));
        assert_eq!(rate("500000:8kbit").unwrap(), (500_000, 8000));
        assert_eq!(rate("64bit:8bit").unwrap(), (64, 8));
        for text in ["10mbit:1mbit", "64bit:8bit", "1gbit:1048576bit", "500kbit:8kbit"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "mbit",
            "-1",
            "1.5mbit",
            "7",
            "1mbit:",
            "1mbit:7",
            "1mbyte",
            "99999999tbit",
            "1mbit:40gbit",
        ] {
            assert!(rate(bad).is_err(), "{bad}");
        }
    }
}

//! Failure on demand, for tests that want to see what is left behind.

use std::{error::Error, fmt};

/// Counts steps and fails the chosen one.
///
/// ```
/// use netns_fixtures::FailAfter;
///
/// let mut fault = FailAfter::new(2);
/// assert!(fault.step().is_ok());
/// assert!(fault.step().is_err());
/// assert!(fault.step().is_ok(), "only once: what follows is the undoing");
/// assert_eq!(fault.count(), 3);
/// ```
#[derive(Debug, Clone)]
pub struct FailAfter {
    doomed: usize,
    count: usize,
}

/// The failure that [`FailAfter`] makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injected {
    /// Which step it was, from 1.
    pub step: usize,
}

impl FailAfter {
    /// Fails the `n`-th call of [`FailAfter::step`]. Zero fails none, which counts the steps there are.
    pub fn new(n: usize) -> Self {
        Self { doomed: n, count: 0 }
    }

    /// To be called at each step.
    pub fn step(&mut self) -> Result<(), Injected> {
        self.count += 1;
        if self.count == self.doomed { Err(Injected { step: self.count }) } else { Ok(()) }
    }

    /// How many steps there have been.
    pub fn count(&self) -> usize {
        self.count
    }
}

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "injected failure at step {}", self.step)
    }
}

impl Error for Injected {}

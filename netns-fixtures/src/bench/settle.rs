//! Letting the kernel finish.

use std::{thread, time::Duration};

/// A deleted link, set or namespace is reclaimed after RCU grace periods, 12 to 24 ms each. What one
/// contender left to do must not run into the time of the next.
const SETTLE: Duration = Duration::from_millis(40);

/// To be called between two measurements, never inside one.
pub fn settle() {
    thread::sleep(SETTLE);
}

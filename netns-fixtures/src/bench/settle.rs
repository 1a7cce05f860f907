//! What lies between two measurements.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

/// A deleted link, set or namespace is reclaimed after RCU grace periods, 12 to 24 ms each. What one
/// contender left to do must not run into the time of the next.
const SETTLE: Duration = Duration::from_millis(40);
/// A processor that has slept so long doubles the time of a `/bin/true` (0.7 to 1.4 ms, in a
/// virtual machine), and needs some milliseconds of work to come back. A host that starts containers
/// is at work: so is this one, the same for all, before each measurement.
const WAKING: Duration = Duration::from_millis(15);

/// Lets the kernel finish, then gets the machine going again by processes that do nothing. To be
/// called before a measurement, never inside one.
pub fn settle() {
    thread::sleep(SETTLE);
    let started = Instant::now();
    while started.elapsed() < WAKING {
        Command::new("/bin/true").status().ok();
    }
}

//! What lies between two measurements.

use std::{process::Command, thread, time::Duration};

/// A deleted link, set or namespace is reclaimed after RCU grace periods, 12 to 24 ms each. What one
/// contender left to do must not run into the time of the next.
const SETTLE: Duration = Duration::from_millis(40);
/// A processor that has slept so long doubles the time of a `/bin/true` (0.7 to 1.4 ms, in a
/// virtual machine). On a host that starts containers it has not: wake it, the same for all.
const WAKING_CALLS: usize = 3;

/// Lets the kernel finish, then gets the machine going again. To be called before a measurement,
/// never inside one.
pub fn settle() {
    thread::sleep(SETTLE);
    for _ in 0..WAKING_CALLS {
        Command::new("/bin/true").status().ok();
    }
}

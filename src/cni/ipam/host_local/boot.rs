//! Which leases are from before this boot: no container has outlived it, but nobody has given them
//! back either.

use std::fs;
use std::time::{Duration, SystemTime};

use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::time::{ClockId, clock_gettime};

/// How far two readings of a clock may lie apart that should be one.
const SLACK: Duration = Duration::from_secs(1);

/// A moment that lies before every lease of this boot, by the clock that stamps files.
///
/// The wall clock less the time since the boot (`CLOCK_BOOTTIME`, which goes on in suspend) is when
/// the boot was, by what the wall clock says *now*. A machine without a battery-backed clock boots
/// in the past and steps forward when it hears from a time server, and a lease from before that step
/// looks older than the boot. Removing it would give a living container's address away. So the
/// moment is no later than the birth of /run, which was made at the beginning of this boot and
/// stamped by the clock of then. If instead the clock stepped back, the moment is early and some old
/// leases stay until the next boot, which is the harmless side.
pub fn beginning() -> Option<SystemTime> {
    let now = SystemTime::now();
    let running = Duration::from(clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?);
    let booted = now.checked_sub(running)?.checked_sub(SLACK)?;
    Some(birth_of_run().map_or(booted, |birth| booted.min(birth)))
}

/// On a disk, /run is older than the boot and tells nothing.
fn birth_of_run() -> Option<SystemTime> {
    let on_tmpfs = statfs("/run").ok()?.filesystem_type() == TMPFS_MAGIC;
    on_tmpfs.then(|| fs::metadata("/run").ok()?.created().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_boot_was_before_this_process() {
        let begun = beginning().unwrap();
        assert!(begun < fs::metadata("/proc/self").unwrap().modified().unwrap());
        assert!(begun > SystemTime::UNIX_EPOCH);
    }
}

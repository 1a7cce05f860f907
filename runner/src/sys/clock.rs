//! The clock by which the kernel tells when processes started. rustix asks for the auxiliary vector
//! first, by a system call. rustix asks for the auxiliary vector
//! first, by a system call.

/// Nanoseconds since boot, those asleep included (`CLOCK_BOOTTIME`). The vDSO answers.
pub fn since_boot() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call writes one `timespec`, which outlives it. With a clock that Linux has had since
    // 2.6.39 it cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut now) };
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

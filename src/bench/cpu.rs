//! The CPU time of this process.

use std::time::Duration;

/// User and system time of all threads so far, those that ended too; zero where the system does not tell.
#[cfg(unix)]
pub fn time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is to a live local of the type that the call writes.
    let status = unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut time) };
    if status != 0 {
        return Duration::ZERO;
    }
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Zero: the system does not tell.
#[cfg(not(unix))]
pub fn time() -> Duration {
    Duration::ZERO
}

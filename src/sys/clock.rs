//! One clock for everything: monotonic, and the same for all processes of the machine.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of the monotonic clock, comparable between processes.
pub(crate) fn monotonic_nanos() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("Linux always has a monotonic clock");
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

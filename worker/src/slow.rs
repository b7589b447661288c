//! Tasks that take their time, and so say how far they are and stop when they are asked to.

use std::hint::black_box;
use std::time::{Duration, Instant};

use watertight::{RemoteError, task};

/// How far `countdown` counts between two looks up: about a millisecond.
const STRIDE: u64 = 1 << 20;

/// How long `sleep` sleeps between two looks up.
///
/// A task that waits for a descriptor can be woken; this one waits for nothing but time, and nobody minds
/// that it ends a twentieth of a second late.
const NAP: Duration = Duration::from_millis(50);

/// Counts down from a number, as fast as it can, and says how far it came. Stops early when it is cancelled.
#[watertight::task]
fn countdown(from: u64) -> u64 {
    let mut left = from;
    while left > 0 && !task::cancelled() {
        let next = left.saturating_sub(STRIDE);
        while left > next {
            left = black_box(left - 1);
        }
        task::progress(from - left, from);
    }
    from - left
}

/// Sleeps for a number of seconds, and says for how many it slept. Wakes up early when it is cancelled.
#[watertight::task]
fn sleep(seconds: f64) -> Result<f64, RemoteError> {
    let start = Instant::now();
    let wanted = Duration::try_from_secs_f64(seconds)
        .map_err(|error| RemoteError::new(format_args!("cannot sleep for {seconds} seconds: {error}")))?;
    while !task::cancelled() {
        let left = wanted.saturating_sub(start.elapsed());
        if left.is_zero() {
            return Ok(seconds);
        }
        std::thread::sleep(left.min(NAP));
    }
    Ok(start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_countdown_counts_all() {
        assert_eq!(countdown(0), 0);
        assert_eq!(countdown(1), 1);
        assert_eq!(countdown(2 * STRIDE + 5), 2 * STRIDE + 5);
    }

    #[test]
    fn a_sleep_is_as_long_as_it_says() {
        let start = Instant::now();
        assert_eq!(sleep(0.12), Ok(0.12));
        assert!(start.elapsed() >= Duration::from_millis(120));
        assert_eq!(sleep(0.0), Ok(0.0));
    }

    #[test]
    fn a_sleep_that_cannot_be_is_an_error() {
        for seconds in [-1.0, f64::NAN, f64::INFINITY, 1e30] {
            let error = sleep(seconds).unwrap_err().to_string();
            assert!(error.starts_with("cannot sleep for "), "{error}");
        }
    }
}

//! Tasks that take their time, and so say how far they are and stop when they are asked to.

use std::hint::black_box;
use std::time::{Duration, Instant};

use watertight::{RemoteError, task};

/// How far `countdown` counts between two looks up: about a millisecond.
const STRIDE: u64 = 1 << 20;

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
    if task::sleep(wanted) {
        return Ok(seconds);
    }
    Ok(start.elapsed().as_secs_f64())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use watertight::Pool;

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

    /// Long enough for anybody to stop by himself.
    const PATIENCE: Duration = Duration::from_secs(3600);

    #[watertight::test]
    fn a_countdown_stops_when_it_is_cancelled() {
        let pool = Pool::builder().workers(1).grace(PATIENCE).start().unwrap();
        let pid = pool.apply(std::process::id, ()).unwrap();
        let later = pool.apply_async(countdown, (u64::MAX,)).unwrap();
        while later.progress().is_none_or(|progress| progress.done == 0) {
            std::thread::yield_now();
        }
        assert_eq!(later.progress().unwrap().total, u64::MAX);
        later.cancel();
        assert!(later.get().unwrap_err().is_cancelled());
        assert_eq!(pool.apply(std::process::id, ()).unwrap(), pid);
    }

    #[watertight::test]
    fn a_sleep_ends_when_it_is_cancelled() {
        fn note_sleep(path: PathBuf) {
            std::fs::write(&path, "asleep").unwrap();
            let slept = sleep(1e9).unwrap();
            std::fs::write(&path, slept.to_string()).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slept");
        let pool = Pool::builder().workers(1).grace(PATIENCE).start().unwrap();
        let later = pool.apply_async(note_sleep, (path.clone(),)).unwrap();
        while !std::fs::read(&path).is_ok_and(|text| text == b"asleep") {
            std::thread::yield_now();
        }
        later.cancel();
        assert!(later.get().unwrap_err().is_cancelled());
        let slept: f64 = std::fs::read_to_string(&path).unwrap().parse().unwrap();
        assert!(slept < 1e9);
    }

    #[watertight::test]
    fn both_stop_at_the_end_of_their_time() {
        let limit = Duration::from_millis(50);
        let pool = Pool::builder().workers(1).timeout(limit).grace(PATIENCE).start().unwrap();
        assert!(pool.apply(countdown, (u64::MAX,)).unwrap_err().is_timeout());
        assert!(pool.apply(sleep, (1e9,)).unwrap_err().is_timeout());
        assert_eq!(pool.stats().restarted, 0);
    }
}

//! What a task can ask about itself while it runs.
//!
//! Global because a worker runs one task at a time, and a task is any function. The worker's runtime moves
//! these words; everywhere else they stand at "no task".

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::clock::monotonic_nanos;

/// One more than the number of the task that runs; 0 between tasks.
static RUNNING: AtomicU64 = AtomicU64::new(0);
/// One more than the number of the task that should stop.
static CANCELLED: AtomicU64 = AtomicU64::new(0);
/// Told when `CANCELLED` has changed.
static ASKED: (Mutex<()>, Condvar) = (Mutex::new(()), Condvar::new());
/// When the running task times out, in nanoseconds of the monotonic clock; 0 for never.
static DEADLINE: AtomicU64 = AtomicU64::new(0);
/// Where progress is written: units done, and in all.
static PROGRESS: OnceLock<[&'static AtomicU64; 2]> = OnceLock::new();

/// How much of a task is done, as it said itself by [`progress`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Units in all; 0 if the task does not know.
    pub total: u64,
}

/// Whether this task should stop: it was cancelled, or it is past its time-out and in its grace time.
///
/// A task that runs for long asks now and then and returns early; one that does not is killed after the
/// grace time. Always false outside of tasks.
///
/// ```
/// fn patient() -> u32 {
///     let mut rounds = 0;
///     while !watertight::task::cancelled() && rounds < 3 {
///         rounds += 1;
///     }
///     rounds
/// }
/// # assert_eq!(patient(), 3);
/// ```
pub fn cancelled() -> bool {
    let running = RUNNING.load(Ordering::Relaxed);
    running != 0 && CANCELLED.load(Ordering::Relaxed) == running
}

/// Sleeps for `duration`, or until this task should stop. True if it slept for all of that.
///
/// ```
/// use std::time::Duration;
///
/// fn nap() -> &'static str {
///     if watertight::task::sleep(Duration::from_millis(1)) { "rested" } else { "woken" }
/// }
/// # assert_eq!(nap(), "rested");
/// ```
pub fn sleep(duration: Duration) -> bool {
    let (lock, asked) = &ASKED;
    let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
    let slept = asked.wait_timeout_while(guard, duration, |()| !cancelled());
    slept.unwrap_or_else(PoisonError::into_inner).1.timed_out()
}

/// When this task times out, if it has a time-out.
pub fn deadline() -> Option<Instant> {
    let deadline = DEADLINE.load(Ordering::Relaxed);
    if deadline == 0 || RUNNING.load(Ordering::Relaxed) == 0 {
        return None;
    }
    let (now, instant) = (monotonic_nanos(), Instant::now());
    if deadline >= now {
        instant.checked_add(Duration::from_nanos(deadline - now))
    } else {
        instant.checked_sub(Duration::from_nanos(now - deadline))
    }
}

/// Says how far this task is, for whoever holds its handle. Costs two stores. Nothing happens outside of
/// tasks.
///
/// `total` is 0 if the task does not know it.
pub fn progress(done: u64, total: u64) {
    if let Some([done_word, total_word]) = PROGRESS.get().filter(|_| RUNNING.load(Ordering::Relaxed) != 0) {
        total_word.store(total, Ordering::Relaxed);
        done_word.store(done, Ordering::Relaxed);
    }
}

/// From now on, progress is written there.
pub(crate) fn attach_progress(words: [&'static AtomicU64; 2]) {
    let _ = PROGRESS.set(words);
}

/// A task starts. `deadline` is 0 for none.
pub(crate) fn begin(number: u32, deadline: u64) {
    DEADLINE.store(deadline, Ordering::Relaxed);
    RUNNING.store(u64::from(number) + 1, Ordering::Relaxed);
}

/// No task runs.
pub(crate) fn end() {
    RUNNING.store(0, Ordering::Relaxed);
}

/// Whether a task runs.
pub(crate) fn is_running() -> bool {
    RUNNING.load(Ordering::Relaxed) != 0
}

/// The host wants this task to stop; an old number hits nobody.
pub(crate) fn cancel(number: u32) {
    let _guard = ASKED.0.lock().unwrap_or_else(PoisonError::into_inner);
    CANCELLED.store(u64::from(number) + 1, Ordering::Relaxed);
    ASKED.1.notify_all();
}

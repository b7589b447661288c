//! What a task can ask about itself while it runs.
//!
//! Global because a worker runs one task at a time, and a task is any function. The worker's runtime moves
//! these words; everywhere else they stand at "no task". A worker that is a thread has its own.

use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use crate::sys::clock::monotonic_nanos;

/// What one worker's task can ask about itself.
pub(crate) struct Words {
    /// One more than the number of the task that runs; 0 between tasks.
    running: AtomicU64,
    /// One more than the number of the task that should stop.
    cancelled: AtomicU64,
    /// Told when `cancelled` has changed.
    asked: (Mutex<()>, Condvar),
    /// When the running task times out, in nanoseconds of the monotonic clock; 0 for never.
    deadline: AtomicU64,
    /// Where progress is written: units done, and in all.
    progress: OnceLock<Box<dyn Fn(u64, u64) + Send + Sync>>,
}

/// Stands for any task among those that should stop.
const ALL: u64 = u64::MAX;

/// Of a worker that is a process: its one task may ask from any of its threads.
static OF_PROCESS: Words = Words::new();

thread_local! {
    /// Of a worker that is this thread.
    static OF_THREAD: RefCell<Option<Arc<Words>>> = const { RefCell::new(None) };
}

/// The words of the task that asks. A destructor that runs after a thread's own things are gone is no task.
fn with_words<T>(ask: impl Fn(&Words) -> T) -> T {
    let of_thread = OF_THREAD.try_with(|words| words.borrow().as_deref().map(&ask));
    of_thread.ok().flatten().unwrap_or_else(|| ask(&OF_PROCESS))
}

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
    with_words(Words::is_cancelled)
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
    with_words(|words| words.sleep(duration))
}

/// When this task times out, if it has a time-out.
pub fn deadline() -> Option<Instant> {
    with_words(Words::deadline)
}

/// Says how far this task is, for whoever holds its handle. Costs little more than two stores. Nothing happens
/// outside of tasks.
///
/// `total` is 0 if the task does not know it.
pub fn progress(done: u64, total: u64) {
    with_words(|words| words.tell_progress(done, total));
}

/// From now on, progress is written there.
pub(crate) fn attach_progress([done_word, total_word]: [&'static AtomicU64; 2]) {
    OF_PROCESS.write_progress(move |done, total| {
        total_word.store(total, Ordering::Relaxed);
        done_word.store(done, Ordering::Relaxed);
    });
}

/// A task starts. `deadline` is 0 for none.
pub(crate) fn begin(number: u32, deadline: u64) {
    OF_PROCESS.begin(number, deadline);
}

/// No task runs.
pub(crate) fn end() {
    OF_PROCESS.end();
}

/// Whether a task runs.
pub(crate) fn is_running() -> bool {
    OF_PROCESS.is_running()
}

/// The host wants this task to stop; an old number hits nobody.
pub(crate) fn cancel(number: u32) {
    OF_PROCESS.cancel(number);
}

impl Words {
    pub(crate) const fn new() -> Words {
        Words {
            running: AtomicU64::new(0),
            cancelled: AtomicU64::new(0),
            asked: (Mutex::new(()), Condvar::new()),
            deadline: AtomicU64::new(0),
            progress: OnceLock::new(),
        }
    }

    /// What runs in this thread asks here from now on.
    pub(crate) fn use_in_this_thread(self: Arc<Words>) {
        OF_THREAD.set(Some(self));
    }

    /// From now on, progress is written there.
    pub(crate) fn write_progress(&self, write: impl Fn(u64, u64) + Send + Sync + 'static) {
        let _ = self.progress.set(Box::new(write));
    }

    #[inline]
    pub(crate) fn begin(&self, number: u32, deadline: u64) {
        self.deadline.store(deadline, Ordering::Relaxed);
        self.running.store(u64::from(number) + 1, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn end(&self) {
        self.running.store(0, Ordering::Relaxed);
    }

    fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed) != 0
    }

    pub(crate) fn cancel(&self, number: u32) {
        self.stop(u64::from(number) + 1);
    }

    /// Whatever runs, now and from now on, should stop.
    pub(crate) fn cancel_all(&self) {
        self.stop(ALL);
    }

    fn stop(&self, running: u64) {
        let _guard = self.asked.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.cancelled.store(running, Ordering::Relaxed);
        self.asked.1.notify_all();
    }

    fn is_cancelled(&self) -> bool {
        let running = self.running.load(Ordering::Relaxed);
        let cancelled = self.cancelled.load(Ordering::Relaxed);
        running != 0 && (cancelled == running || cancelled == ALL)
    }

    fn sleep(&self, duration: Duration) -> bool {
        let (lock, asked) = &self.asked;
        let guard = lock.lock().unwrap_or_else(PoisonError::into_inner);
        let slept = asked.wait_timeout_while(guard, duration, |()| !self.is_cancelled());
        slept.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn deadline(&self) -> Option<Instant> {
        let deadline = self.deadline.load(Ordering::Relaxed);
        if deadline == 0 || !self.is_running() {
            return None;
        }
        let (now, instant) = (monotonic_nanos(), Instant::now());
        if deadline >= now {
            instant.checked_add(Duration::from_nanos(deadline - now))
        } else {
            instant.checked_sub(Duration::from_nanos(now - deadline))
        }
    }

    fn tell_progress(&self, done: u64, total: u64) {
        if let Some(write) = self.progress.get().filter(|_| self.is_running()) {
            write(done, total);
        }
    }
}

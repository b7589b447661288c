//! loom's words in the place of `src/primitive.rs`.

use std::cell::Cell;
use std::io;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use loom::sync::atomic;
use loom::sync::{Condvar, Mutex};

use crate::words;

pub(crate) use loom::sync::MutexGuard;

pub(crate) use loom::sync::atomic::{AtomicBool, Ordering};

pub(crate) use crate::words::{AtomicU64, Word, Word as AtomicU32};

thread_local! {
    /// loom runs all threads of a model on one.
    static FENCES: Cell<bool> = const { Cell::new(true) };
}

/// Runs `model` as if the sources had forgotten their fences, to show that it would notice.
pub(crate) fn without_fences<T>(model: impl FnOnce() -> T) -> T {
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            FENCES.set(true);
        }
    }
    FENCES.set(false);
    let _reset = Reset;
    model()
}

pub(crate) fn fence() {
    if FENCES.get() {
        atomic::fence(Ordering::SeqCst);
    }
}

pub(crate) fn fence_after_update() {
    fence();
}

#[derive(Clone, Copy)]
pub(crate) struct Futex<'a>(pub(crate) &'a Word);

impl Futex<'_> {
    pub(crate) fn load(&self, order: Ordering) -> u32 {
        self.0.load(order)
    }

    /// A swap, because both sides write the word: loom does not know that a plain store comes behind a swap that
    /// did not see it, and would show the swap's value to those who must see the store's.
    pub(crate) fn store(&self, value: u32, order: Ordering) {
        self.0.swap(value, order);
    }

    pub(crate) fn swap(&self, value: u32, order: Ordering) -> u32 {
        self.0.swap(value, order)
    }

    pub(crate) fn wait(&self, expected: u32) {
        words::sleep(&[(self.0, expected)]);
    }

    pub(crate) fn wake(&self) {
        words::wake(self.0, 1);
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A counter that the host sleeps on.
#[derive(Clone)]
pub(crate) struct Doorbell(Arc<(Mutex<u64>, Condvar)>);

impl Doorbell {
    pub(crate) fn new() -> io::Result<Doorbell> {
        Ok(Doorbell(Arc::new((Mutex::new(0), Condvar::new()))))
    }

    pub(crate) fn ring(&self) {
        *lock(&self.0.0) += 1;
        self.0.1.notify_all();
    }

    /// Sleeps until it was rung since the last time.
    pub(crate) fn wait(&self) {
        let mut rings = lock(&self.0.0);
        while *rings == 0 {
            rings = self.0.1.wait(rings).unwrap_or_else(PoisonError::into_inner);
        }
        *rings = 0;
    }
}

/// A moment of a clock that stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Instant {
        Instant(Duration::ZERO)
    }

    pub(crate) fn saturating_duration_since(self, earlier: Instant) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, duration: Duration) -> Instant {
        Instant(self.0 + duration)
    }
}

/// A thread that can be unparked. loom's own would wake from any wait, a lock's included.
#[derive(Clone)]
pub(crate) struct Thread(Arc<(Mutex<bool>, Condvar)>);

loom::thread_local! {
    static CURRENT: Thread = Thread(Arc::new((Mutex::new(false), Condvar::new())));
}

impl Thread {
    pub(crate) fn id(&self) -> usize {
        Arc::as_ptr(&self.0) as usize
    }

    pub(crate) fn unpark(&self) {
        *lock(&self.0.0) = true;
        self.0.1.notify_one();
    }
}

pub(crate) fn current_thread() -> Thread {
    CURRENT.with(Thread::clone)
}

pub(crate) fn park() {
    let Thread(me) = current_thread();
    let mut token = lock(&me.0);
    while !std::mem::take(&mut *token) {
        token = me.1.wait(token).unwrap_or_else(PoisonError::into_inner);
    }
}

/// No model runs out of time.
pub(crate) fn park_timeout(_: Duration) {
    park();
}

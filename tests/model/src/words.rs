//! Words of shared memory, the kernel's queues of those who sleep on them, and threads that die between any two
//! steps.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use loom::sync::atomic::{self, Ordering};
use loom::sync::{Condvar, Mutex};

use crate::primitive::lock;

/// What is left of a thread's life, in steps.
#[derive(Clone, Copy)]
enum Life {
    Endless,
    Left(u32),
    Over,
}

loom::thread_local! {
    static LIFE: Cell<Life> = Cell::new(Life::Endless);
}

struct Died;

/// Runs `body` in this thread until it has done `steps` steps in shared memory. True if it was cut off there:
/// nothing of what it still does then, as its guards are dropped, is seen by anybody.
pub(crate) fn die_after(steps: u32, body: impl FnOnce()) -> bool {
    LIFE.with(|life| life.set(Life::Left(steps)));
    let outcome = catch_unwind(AssertUnwindSafe(body));
    LIFE.with(|life| life.set(Life::Endless));
    match outcome {
        Ok(()) => false,
        Err(panic) if panic.is::<Died>() => true,
        Err(panic) => resume_unwind(panic),
    }
}

/// Before each step: whether the thread lives, and may do it.
fn lives() -> bool {
    let life = LIFE.with(Cell::get);
    match life {
        Life::Endless => true,
        Life::Over => false,
        Life::Left(0) => {
            LIFE.with(|life| life.set(Life::Over));
            resume_unwind(Box::new(Died))
        }
        Life::Left(steps) => {
            LIFE.with(|life| life.set(Life::Left(steps - 1)));
            true
        }
    }
}

/// The operations of a word; a dead thread's do nothing.
macro_rules! operations {
    ($word:ident, $int:ty) => {
        #[allow(dead_code, reason = "a model uses a part of them")]
        impl $word {
            pub(crate) fn load(&self, order: Ordering) -> $int {
                if lives() { self.peek(order) } else { 0 }
            }

            pub(crate) fn store(&self, value: $int, order: Ordering) {
                if lives() {
                    self.value().store(value, order);
                }
            }

            pub(crate) fn swap(&self, value: $int, order: Ordering) -> $int {
                if lives() { self.value().swap(value, order) } else { 0 }
            }

            pub(crate) fn compare_exchange(
                &self,
                expected: $int,
                new: $int,
                order: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                if lives() {
                    self.value().compare_exchange(expected, new, order, failure)
                } else {
                    Ok(expected)
                }
            }

            pub(crate) fn compare_exchange_weak(
                &self,
                expected: $int,
                new: $int,
                order: Ordering,
                failure: Ordering,
            ) -> Result<$int, $int> {
                self.compare_exchange(expected, new, order, failure)
            }

            pub(crate) fn fetch_add(&self, value: $int, order: Ordering) -> $int {
                if lives() { self.value().fetch_add(value, order) } else { 0 }
            }

            pub(crate) fn fetch_sub(&self, value: $int, order: Ordering) -> $int {
                if lives() { self.value().fetch_sub(value, order) } else { 0 }
            }

            pub(crate) fn fetch_and(&self, value: $int, order: Ordering) -> $int {
                if lives() { self.value().fetch_and(value, order) } else { 0 }
            }

            pub(crate) fn fetch_or(&self, value: $int, order: Ordering) -> $int {
                if lives() { self.value().fetch_or(value, order) } else { 0 }
            }
        }
    };
}

#[derive(Debug)]
pub(crate) struct AtomicU64(Arc<atomic::AtomicU64>);

impl AtomicU64 {
    pub(crate) fn new(value: u64) -> AtomicU64 {
        AtomicU64(Arc::new(atomic::AtomicU64::new(value)))
    }

    fn value(&self) -> &atomic::AtomicU64 {
        &self.0
    }

    fn peek(&self, order: Ordering) -> u64 {
        self.0.load(order)
    }

    /// Its lower half, to sleep on.
    pub(crate) fn lower_half(&self) -> Word {
        Word { value: Value::LowerHalf(Arc::clone(&self.0)), sleepers: Mutex::default() }
    }
}

operations!(AtomicU64, u64);
operations!(Word, u32);

/// A word of 32 bits, and the kernel's queue of those who sleep on it.
#[derive(Debug)]
pub(crate) struct Word {
    value: Value,
    sleepers: Mutex<Vec<Arc<Sleeper>>>,
}

#[derive(Debug)]
enum Value {
    Own(atomic::AtomicU32),
    LowerHalf(Arc<atomic::AtomicU64>),
}

/// A thread that sleeps, on one word or more.
#[derive(Debug, Default)]
struct Sleeper {
    woken: Mutex<bool>,
    condvar: Condvar,
}

impl Word {
    pub(crate) fn new(value: u32) -> Word {
        Word { value: Value::Own(atomic::AtomicU32::new(value)), sleepers: Mutex::default() }
    }

    fn value(&self) -> &atomic::AtomicU32 {
        match &self.value {
            Value::Own(value) => value,
            Value::LowerHalf(_) => unreachable!("it is changed as a whole"),
        }
    }

    fn peek(&self, order: Ordering) -> u32 {
        match &self.value {
            Value::Own(value) => value.load(order),
            Value::LowerHalf(value) => value.load(order) as u32,
        }
    }

    fn forget(&self, sleeper: &Arc<Sleeper>) {
        lock(&self.sleepers).retain(|other| !Arc::ptr_eq(other, sleeper));
    }
}

/// Sleeps until one of the words is woken, unless one of them does not hold what is expected. Like the kernel,
/// looks at a word and enters its queue in one step as far as wakers can see.
pub(crate) fn sleep(words: &[(&Word, u32)]) {
    if !lives() {
        return;
    }
    let sleeper = Arc::new(Sleeper::default());
    let differs = words.iter().any(|(word, expected)| {
        let mut sleepers = lock(&word.sleepers);
        let differs = word.peek(Ordering::Relaxed) != *expected;
        if !differs {
            sleepers.push(Arc::clone(&sleeper));
        }
        differs
    });
    if !differs {
        let mut woken = lock(&sleeper.woken);
        while !*woken {
            woken = sleeper.condvar.wait(woken).unwrap_or_else(std::sync::PoisonError::into_inner);
        }
    }
    words.iter().for_each(|(word, _)| word.forget(&sleeper));
}

/// Wakes at most `count` sleepers of a word, those first who came first.
pub(crate) fn wake(word: &Word, count: u32) {
    if !lives() {
        return;
    }
    let woken: Vec<_> = {
        let mut sleepers = lock(&word.sleepers);
        let count = sleepers.len().min(count as usize);
        sleepers.drain(..count).collect()
    };
    for sleeper in woken {
        *lock(&sleeper.woken) = true;
        sleeper.condvar.notify_one();
    }
}

//! Counters that one process keeps and others read, without a lock.
//!
//! Published ones lie in shared memory as a [`Value`] of words, and the processes that work for whoever keeps
//! them as an [`Array`]. Both are written and read word by word as atomics, and never locked: reading costs the
//! keeper nothing, and a reader that dies or stops is noticed by nobody.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::primitive::{AtomicU64, Ordering};

use super::{Array, Value};

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// Starts that a policy ordered.
    Restarts,
    /// The last sign of life, in milliseconds of the monotonic clock; 0 if there was none.
    Heartbeat,
    /// Tasks that gave a value.
    Done,
    /// Tasks that ended with an error.
    Failed,
    /// Workers that died without being told to.
    Crashed,
    /// Attempts that failed and were followed by another one.
    Retried,
    /// Workers that have tasks.
    Busy,
    /// Tasks that were submitted and have not ended.
    Pending,
}

const COUNTS: usize = 8;

/// The counters of one unit or pool. A clone is the same counters.
#[derive(Clone)]
pub(crate) struct Counters(Place);

#[derive(Clone)]
enum Place {
    Own(Arc<Own>),
    Published(Published),
}

/// Counters of this process alone.
struct Own {
    counts: [AtomicU64; COUNTS],
    workers: Box<[AtomicU64]>,
}

/// Counters in shared memory; what travels to readers.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Published {
    counts: Value<[u64; COUNTS]>,
    workers: Option<Array<u64>>,
}

impl Counters {
    /// Counters that nobody else reads, with places for so many workers.
    pub(crate) fn own(places: usize) -> Counters {
        let workers = (0..places).map(|_| AtomicU64::new(0)).collect();
        Counters(Place::Own(Arc::new(Own { counts: Default::default(), workers })))
    }

    /// Counters that other processes can read.
    ///
    /// # Errors
    /// If there is no room in /dev/shm, or no descriptor left.
    pub(crate) fn published(places: usize) -> Result<Counters, Error> {
        let counts = Value::new([0; COUNTS])?;
        let workers = (places > 0).then(|| Array::zeroed(places)).transpose()?;
        Ok(Counters(Place::Published(Published { counts, workers })))
    }

    /// What readers need.
    pub(crate) fn handle(&self) -> Option<&Published> {
        match &self.0 {
            Place::Own(_) => None,
            Place::Published(published) => Some(published),
        }
    }

    /// Whether somebody may look at any moment.
    pub(crate) fn is_published(&self) -> bool {
        self.handle().is_some()
    }

    pub(crate) fn add(&self, count: Count, more: u64) {
        self.count(count).fetch_add(more, Ordering::Relaxed);
    }

    pub(crate) fn set(&self, count: Count, value: u64) {
        self.count(count).store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, count: Count) -> u64 {
        self.count(count).load(Ordering::Relaxed)
    }

    /// Notes which process stands in a place, 0 for none. Places behind the last are not noted.
    pub(crate) fn set_worker(&self, place: usize, pid: u32) {
        if let Some(word) = self.worker(place) {
            word.store(u64::from(pid), Ordering::Relaxed);
        }
    }

    /// The processes that stand in places.
    pub(crate) fn workers(&self) -> Vec<u32> {
        let words = (0..).map_while(|place| self.worker(place));
        words.map(|word| word.load(Ordering::Relaxed) as u32).filter(|pid| *pid != 0).collect()
    }

    fn count(&self, count: Count) -> &AtomicU64 {
        match &self.0 {
            Place::Own(own) => &own.counts[count as usize],
            Place::Published(published) => published.counts.word(count as usize),
        }
    }

    fn worker(&self, place: usize) -> Option<&AtomicU64> {
        match &self.0 {
            Place::Own(own) => own.workers.get(place),
            Place::Published(published) => published.workers.as_ref()?.word(place),
        }
    }
}

impl From<Published> for Counters {
    fn from(published: Published) -> Counters {
        Counters(Place::Published(published))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_here_is_read_through_the_handle() {
        let counters = Counters::published(2).unwrap();
        let handle = serde_json::to_string(counters.handle().unwrap()).unwrap();
        let reader = Counters::from(serde_json::from_str::<Published>(&handle).unwrap());
        counters.add(Count::Done, 3);
        counters.add(Count::Done, 4);
        counters.set(Count::Pending, 9);
        counters.set_worker(1, 77);
        counters.set_worker(2, 78);
        assert_eq!((reader.get(Count::Done), reader.get(Count::Pending)), (7, 9));
        assert_eq!((reader.get(Count::Failed), reader.workers()), (0, vec![77]));
    }

    #[test]
    fn nobody_reads_own_counters_from_outside() {
        let counters = Counters::own(1);
        counters.add(Count::Crashed, 1);
        counters.set_worker(0, 5);
        assert_eq!((counters.get(Count::Crashed), counters.workers()), (1, vec![5]));
        assert!(counters.handle().is_none());
    }
}

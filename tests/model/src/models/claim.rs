//! A worker that claims tasks while its host gives them and takes them back.

use std::sync::Arc;

use loom::thread;

use crate::explore::explore;
use crate::link::claim::{ClaimWord, Ledger};
use crate::primitive::{AtomicU64, Ordering};

struct Claims {
    word: AtomicU64,
    /// What the host wrote for each task before it gave it.
    frames: Vec<AtomicU64>,
}

impl Claims {
    fn new(tasks: usize) -> Arc<Claims> {
        let frames = (0..tasks).map(|_| AtomicU64::new(0)).collect();
        Arc::new(Claims { word: AtomicU64::new(0), frames })
    }

    fn word(&self) -> ClaimWord<'_> {
        ClaimWord(&self.word)
    }

    /// As the worker: looks so many times, and returns the tasks that it owns now.
    fn claim(&self, looks: usize) -> Vec<u32> {
        let claimed: Vec<u32> = (0..looks).filter_map(|_| self.word().claim()).collect();
        for &number in &claimed {
            let written = self.frames[number as usize].load(Ordering::Relaxed);
            assert_eq!(written, u64::from(number) + 1, "a task was given before it was written");
        }
        claimed
    }

    /// As the host: writes tasks and gives them; returns their numbers.
    fn give(&self, ledger: &mut Ledger, count: u32) -> Vec<u32> {
        let numbers: Vec<u32> = (ledger.next()..ledger.next() + count).collect();
        for &number in &numbers {
            self.frames[number as usize].store(u64::from(number) + 1, Ordering::Relaxed);
        }
        ledger.give(self.word(), count).expect("the worker is honest");
        numbers
    }

    /// As the host: takes back what is not claimed of the tasks it gave.
    fn take_back(&self, ledger: &mut Ledger, given: &mut Vec<u32>) -> Vec<u32> {
        let taken = ledger.take_back(self.word()).expect("the worker is honest");
        given.split_off(given.len() - taken as usize)
    }
}

/// Gives two, takes back, gives one more, takes back, against a worker that claims all the while.
pub fn one_owner() -> usize {
    explore(4, || {
        let claims = Claims::new(3);
        let workers = Arc::clone(&claims);
        let worker = thread::spawn(move || workers.claim(4));
        let mut ledger = Ledger::default();
        let mut given = claims.give(&mut ledger, 2);
        let mut taken = claims.take_back(&mut ledger, &mut given);
        given.extend(claims.give(&mut ledger, 1));
        taken.extend(claims.take_back(&mut ledger, &mut given));

        let claimed = worker.join().expect("the worker ends");
        assert_eq!(claimed, given, "the worker owns what the host has not taken back, and that in order");
        assert_eq!(claimed.len() + taken.len(), 3, "each task has an owner");
        assert_eq!(ledger.claimed(claims.word()), Ok(claimed.len() as u32));
    })
}

/// What the host counts while the worker claims is never more than it has claimed, and never a breach.
pub fn a_count_is_honest() -> usize {
    explore(4, || {
        let claims = Claims::new(3);
        let mut ledger = Ledger::default();
        claims.give(&mut ledger, 2);
        let workers = Arc::clone(&claims);
        let worker = thread::spawn(move || workers.claim(3).len() as u32);
        let before = ledger.claimed(claims.word()).expect("the worker is honest");
        claims.give(&mut ledger, 1);
        let after = ledger.claimed(claims.word()).expect("the worker is honest");
        let claimed = worker.join().expect("the worker ends");
        assert!(before <= after && after <= claimed, "{before} {after} {claimed}");
    })
}

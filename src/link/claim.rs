//! Who owns a task that stands in a lane: the packed word `{claimed, limit}`.
//!
//! Tasks of a lane are numbered. The worker takes the next one by moving `claimed`, and never past `limit`;
//! the host gives tasks by raising `limit`, and takes back what has not been claimed by lowering it to
//! `claimed`. Both are halves of one word, so exactly one side wins a task.
//!
//! | word | changed by | to |
//! |---|---|---|
//! | `claimed < limit` | worker | `claimed + 1`: it owns task `claimed` |
//! | any | host | `limit + n`: `n` more tasks stand in the ring |
//! | `claimed < limit` | host | `limit = claimed`: the host owns those tasks again |
//! | `claimed = limit` | host | `{next, next + n}` after a take-back: numbers are never used twice |
//!
//! Numbers wrap; there are never more than 2^31 tasks in a lane.

use std::collections::VecDeque;

use crate::primitive::{AtomicU64, Ordering};

use super::ring::Breach;

/// The word's two halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Halves {
    pub(crate) claimed: u32,
    pub(crate) limit: u32,
}

impl Halves {
    fn unpack(word: u64) -> Halves {
        Halves { claimed: word as u32, limit: (word >> 32) as u32 }
    }

    fn pack(self) -> u64 {
        u64::from(self.claimed) | u64::from(self.limit) << 32
    }

    fn open(self) -> u32 {
        self.limit.wrapping_sub(self.claimed)
    }
}

/// The word itself.
#[derive(Clone, Copy)]
pub(crate) struct ClaimWord<'a>(pub(crate) &'a AtomicU64);

impl ClaimWord<'_> {
    /// Worker: whether a task could be claimed now.
    #[inline]
    pub(crate) fn has_open(self) -> bool {
        Halves::unpack(self.0.load(Ordering::Relaxed)).open() != 0
    }

    /// Host: whether the worker has claimed task `mark`, or has none to claim.
    pub(crate) fn has_reached(self, mark: u32) -> bool {
        let halves = Halves::unpack(self.0.load(Ordering::Relaxed));
        halves.open() == 0 || halves.claimed.wrapping_sub(mark) as i32 > 0
    }

    /// Worker: takes the next task, if there is one.
    #[inline]
    pub(crate) fn claim(self) -> Option<u32> {
        let mut word = self.0.load(Ordering::Acquire);
        loop {
            let halves = Halves::unpack(word);
            if halves.open() == 0 {
                return None;
            }
            let next = Halves { claimed: halves.claimed.wrapping_add(1), ..halves }.pack();
            // Acquire: what the host wrote into the ring before it raised the limit is seen.
            match self.0.compare_exchange_weak(word, next, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(halves.claimed),
                Err(now) => word = now,
            }
        }
    }
}

/// Numbers given and not settled: `first..end`.
#[derive(Clone, Copy, Debug)]
struct Given {
    first: u32,
    end: u32,
}

impl Given {
    fn count(self) -> u32 {
        self.end.wrapping_sub(self.first)
    }
}

/// The host's side: what it gave and has no result of, and what it knows of the word.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// In order; a take-back leaves a gap behind the range that was being worked on.
    given: VecDeque<Given>,
    limit: u32,
    /// The number of the next task to be given; ahead of `limit` after a take-back.
    next: u32,
}

impl Ledger {
    /// The number that the next given task will have.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Whether exactly one task is in flight.
    pub(crate) fn is_single(&self) -> bool {
        self.given.len() == 1 && self.given[0].count() == 1
    }

    /// The oldest task that has no result.
    pub(crate) fn front(&self) -> Option<u32> {
        self.given.front().map(|given| given.first)
    }

    /// How many tasks were given and have no result.
    pub(crate) fn in_flight(&self) -> u32 {
        self.given.iter().map(|given| given.count()).sum()
    }

    /// Gives `count` tasks, which stand in the ring already. Their numbers begin at `next()`.
    pub(crate) fn give(&mut self, word: ClaimWord<'_>, count: u32) -> Result<(), Breach> {
        let (first, end) = (self.next, self.next.wrapping_add(count));
        if first == self.limit {
            word.0.fetch_add(u64::from(count) << 32, Ordering::AcqRel);
        } else {
            // After a take-back the worker has claimed all up to the limit and can claim nothing until this.
            let stood = Halves { claimed: self.limit, limit: self.limit }.pack();
            let stands = Halves { claimed: first, limit: end }.pack();
            word.0
                .compare_exchange(stood, stands, Ordering::AcqRel, Ordering::Acquire)
                .map_err(|_| Breach("the worker changed the word of its claims"))?;
        }
        match self.given.back_mut() {
            Some(last) if last.end == first => last.end = end,
            _ => self.given.push_back(Given { first, end }),
        }
        self.limit = end;
        self.next = end;
        Ok(())
    }

    /// Whether a result may come that says that its task's number ends in `number`: that of the oldest one.
    #[inline]
    pub(crate) fn expect(&self, number: u16) -> Result<(), Breach> {
        match self.front() {
            None => Err(Breach("a result came for a task that was not given")),
            Some(front) if front as u16 != number => Err(Breach("a result came out of turn")),
            Some(_) => Ok(()),
        }
    }

    /// The result of the oldest task has come, and says that its number ends in `number`.
    #[inline]
    pub(crate) fn settle(&mut self, number: u16) -> Result<(), Breach> {
        self.expect(number)?;
        self.settle_run(1);
        Ok(())
    }

    /// How many tasks follow the oldest one without a gap, itself included, and its number.
    #[inline]
    pub(crate) fn run(&self) -> (u32, u32) {
        self.given.front().map_or((0, 0), |given| (given.first, given.count()))
    }

    /// The results of the oldest `count` tasks have come; no more than `run` says.
    #[inline]
    pub(crate) fn settle_run(&mut self, count: u32) {
        if let Some(front) = self.given.front_mut() {
            front.first = front.first.wrapping_add(count);
            if front.first == front.end {
                self.given.pop_front();
            }
        }
    }

    /// How many of the tasks in flight the worker has claimed.
    pub(crate) fn claimed(&self, word: ClaimWord<'_>) -> Result<u32, Breach> {
        self.claimed_at(Halves::unpack(word.0.load(Ordering::Acquire)))
    }

    fn claimed_at(&self, halves: Halves) -> Result<u32, Breach> {
        if halves.limit != self.limit {
            return Err(Breach("the worker changed the limit of its claims"));
        }
        let mut before = 0;
        for given in &self.given {
            let into = halves.claimed.wrapping_sub(given.first);
            if into < given.count() {
                return Ok(before + into);
            }
            before += given.count();
        }
        if halves.claimed == self.limit {
            Ok(before)
        } else {
            Err(Breach("the worker claimed what was not given"))
        }
    }

    /// Takes back every task that is not claimed, and returns how many: the last ones given.
    pub(crate) fn take_back(&mut self, word: ClaimWord<'_>) -> Result<u32, Breach> {
        let mut now = word.0.load(Ordering::Acquire);
        let claimed = loop {
            let halves = Halves::unpack(now);
            let claimed = self.claimed_at(halves)?;
            let lowered = Halves { limit: halves.claimed, ..halves };
            match word.0.compare_exchange_weak(now, lowered.pack(), Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => {
                    self.limit = lowered.limit;
                    break claimed;
                }
                Err(changed) => now = changed,
            }
        };
        let taken = self.in_flight() - claimed;
        self.drop_last(taken);
        Ok(taken)
    }

    fn drop_last(&mut self, mut count: u32) {
        while let Some(last) = self.given.back_mut().filter(|_| count > 0) {
            let here = last.count().min(count);
            last.end = last.end.wrapping_sub(here);
            count -= here;
            if last.count() == 0 {
                self.given.pop_back();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_taken_back_is_never_claimed_and_its_number_never_used_again() {
        let word = AtomicU64::new(0);
        let word = ClaimWord(&word);
        let mut ledger = Ledger::default();
        ledger.give(word, 3).unwrap();
        assert_eq!(word.claim(), Some(0));
        assert_eq!(ledger.take_back(word), Ok(2));
        assert_eq!((word.claim(), ledger.in_flight()), (None, 1));
        ledger.give(word, 2).unwrap();
        assert_eq!(ledger.claimed(word), Ok(1));
        assert_eq!((word.claim(), word.claim(), word.claim()), (Some(3), Some(4), None));
        assert_eq!(ledger.claimed(word), Ok(3));
        for number in [0, 3, 4] {
            ledger.settle(number).unwrap();
        }
        assert_eq!((ledger.in_flight(), ledger.claimed(word)), (0, Ok(0)));
    }

    #[test]
    fn all_can_be_taken_back_from_a_worker_that_claimed_nothing() {
        let word = AtomicU64::new(0);
        let mut ledger = Ledger::default();
        for _ in 0..3 {
            ledger.give(ClaimWord(&word), 5).unwrap();
            assert_eq!(ledger.take_back(ClaimWord(&word)), Ok(5));
            assert_eq!(ledger.in_flight(), 0);
        }
        assert_eq!(ledger.take_back(ClaimWord(&word)), Ok(0));
    }

    #[test]
    fn numbers_wrap() {
        let word = AtomicU64::new(Halves { claimed: u32::MAX, limit: u32::MAX }.pack());
        let word = ClaimWord(&word);
        let mut ledger = Ledger { limit: u32::MAX, next: u32::MAX, ..Ledger::default() };
        ledger.give(word, 2).unwrap();
        assert_eq!((word.claim(), word.claim(), word.claim()), (Some(u32::MAX), Some(0), None));
        ledger.settle(u16::MAX).unwrap();
        ledger.settle(0).unwrap();
        assert_eq!(ledger.in_flight(), 0);
    }

    #[test]
    fn a_word_that_no_worker_writes_is_a_breach() {
        let word = AtomicU64::new(0);
        let mut ledger = Ledger::default();
        ledger.give(ClaimWord(&word), 5).unwrap();
        for scribble in
            [0, u64::MAX, Halves { claimed: 6, limit: 5 }.pack(), Halves { claimed: 0, limit: 6 }.pack()]
        {
            word.store(scribble, Ordering::Relaxed);
            assert!(ledger.claimed(ClaimWord(&word)).is_err(), "{scribble:#x}");
            assert!(ledger.take_back(ClaimWord(&word)).is_err(), "{scribble:#x}");
        }
    }

    #[test]
    fn a_result_out_of_turn_is_a_breach() {
        let word = AtomicU64::new(0);
        let mut ledger = Ledger::default();
        assert!(ledger.settle(0).is_err());
        ledger.give(ClaimWord(&word), 2).unwrap();
        assert!(ledger.settle(1).is_err());
        assert!(ledger.settle(0).is_ok());
    }
}

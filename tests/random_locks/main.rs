//! Random operations on shared objects, by threads and processes that die, beside a simple reference model.
//!
//! One operation is begun at a time, and then everybody comes to the end that the model foresees: who has to go
//! on goes on, with the answer that it has to get, and who has to wait is seen to wait.
//!
//! 300 operations a round; a few rounds, and hundreds with `WATERTIGHT_LONG=1`.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod actor;
mod reference;
#[path = "../support/mod.rs"]
mod support;

use actor::{Actor, Answer, Operation, Stage};
use reference::Reference;
use support::{Random, is_long};

/// How many take part; every second one is a process.
const ACTORS: usize = 5;

struct Play {
    stage: Stage,
    actors: Vec<Actor>,
    reference: Reference,
    /// What was done, for whoever reads a failure.
    log: Vec<String>,
}

impl Play {
    fn begin() -> Play {
        let stage = Stage::set();
        let actors = (0..ACTORS).map(|index| Actor::start(&stage, index)).collect();
        Play { stage, actors, reference: Reference::new(ACTORS), log: Vec::new() }
    }

    /// One random operation, or a death.
    fn step(&mut self, random: &mut Random) {
        let index = random.below(ACTORS as u64) as usize;
        if self.actors[index].is_process() && random.below(25) == 0 {
            self.log.push(format!("{index} dies"));
            self.actors[index].kill();
            self.reference.die(index);
            self.settle();
            self.actors[index] = Actor::start(&self.stage, index);
            return;
        }
        let operation = Operation::ALL[random.below(Operation::ALL.len() as u64) as usize];
        if !self.reference.may(index, operation) {
            return;
        }
        self.log.push(format!("{index} {operation:?}"));
        self.reference.begin(index, operation);
        self.actors[index].begin(operation);
        self.settle();
    }

    /// Everybody comes to the end, processes by being killed.
    fn end(&mut self) {
        for index in (0..ACTORS).filter(|index| *index % 2 == 1) {
            self.actors[index].kill();
            self.reference.die(index);
            self.settle();
        }
        // As one who is always idle.
        use Operation::{Abort, NotifyAll, Release, Set};
        let permits = std::iter::repeat_n(Release, ACTORS);
        for operation in [Abort, Set, NotifyAll].into_iter().chain(permits) {
            self.reference.begin(ACTORS, operation);
            assert!(self.reference.go_on(ACTORS, self.stage.do_at_once(operation)));
            self.settle();
        }
        while let Some((index, operation)) = self.reference.to_give_up() {
            self.reference.begin(index, operation);
            self.actors[index].begin(operation);
            self.settle();
        }
        assert!(self.reference.waiting().is_empty());
        self.actors.iter_mut().for_each(Actor::end);
    }

    /// Until everybody has done what the model foresees.
    fn settle(&mut self) {
        while let Some(candidates) = self.reference.next_to_go_on() {
            let (index, answer) = self.first_of(&candidates);
            self.log.push(format!("  {index} -> {answer:?}"));
            let foreseen = self.reference.go_on(index, answer);
            assert!(foreseen, "{:#?}\n{:#?}", self.log, self.reference);
        }
        for index in self.reference.waiting() {
            if let Err(answer) = self.actors[index].is_seen_to_wait() {
                let right = self.reference.was_told(index, answer);
                assert!(right, "{index} says {answer:?}: {:#?}\n{:#?}", self.log, self.reference);
            }
        }
        self.reference.settled();
    }

    fn first_of(&mut self, candidates: &[usize]) -> (usize, Answer) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            for index in candidates {
                if let Some(answer) = self.actors[*index].answer() {
                    return (*index, answer);
                }
            }
            let late = std::time::Instant::now() > deadline;
            assert!(!late, "one of {candidates:?} should go on: {:#?}\n{:#?}", self.log, self.reference);
            std::thread::yield_now();
        }
    }
}

#[watertight::test(timeout = "3600s")]
fn whatever_is_done_in_whatever_order_is_answered_as_the_model_foresees() {
    let mut random = Random::new();
    for _ in 0..if is_long() { 300 } else { 4 } {
        let mut play = Play::begin();
        for _ in 0..300 {
            play.step(&mut random);
        }
        play.end();
    }
}

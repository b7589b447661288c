//! Parties at a barrier.

use std::sync::Arc;

use super::process;
use crate::explore::{explore, explore_deaths};
use crate::primitive::{AtomicU64, Ordering};
use crate::roster::{become_process, killed_after};
use crate::shm::segment::Segment;
use crate::sync::barrier::{Barrier, BarrierError};

struct Gate {
    barrier: Barrier,
    count: AtomicU64,
}

fn gate(parties: u32) -> Arc<Gate> {
    let barrier = Barrier::new(parties).expect("there is memory");
    Arc::new(Gate { barrier, count: AtomicU64::new(0) })
}

fn is_broken(outcome: &Result<u32, BarrierError>) -> bool {
    matches!(outcome, Err(BarrierError::Broken))
}

/// Two parties, two rounds.
pub fn in_lockstep() -> usize {
    explore(2, || {
        let gate = gate(2);
        let pass = |gate: &Gate| {
            (1..=2)
                .map(|round| {
                    gate.count.fetch_add(1, Ordering::Relaxed);
                    let index = gate.barrier.wait().expect("nobody dies");
                    assert!(gate.count.load(Ordering::Relaxed) >= 2 * round, "one went on alone");
                    index
                })
                .collect::<Vec<u32>>()
        };
        let other = process(2, &gate, pass);
        let here = pass(&gate);
        let there = other.join().expect("the other one ends");
        here.iter().zip(&there).for_each(|(one, other)| assert_eq!(one + other, 1));
    })
}

/// Two threads at a barrier of one party: each has a round of its own, and runs the action.
pub fn during_the_action() -> usize {
    explore(2, || {
        let gate = gate(1);
        let pass = |gate: &Gate| {
            let index = gate.barrier.wait_with(|| _ = gate.count.fetch_add(1, Ordering::Relaxed));
            assert_eq!(index.expect("nobody dies"), 0);
        };
        let other = process(2, &gate, pass);
        pass(&gate);
        other.join().expect("the other one ends");
        assert_eq!(gate.count.load(Ordering::Relaxed), 2);
    })
}

/// One waits, another one aborts and mends; who waited is told all the same.
pub fn broken_and_mended() -> usize {
    explore(2, || {
        let gate = gate(2);
        let waiter = process(2, &gate, |gate| gate.barrier.wait());
        let waited = gate.barrier.waiting_count() == 1;
        gate.barrier.abort().expect("there is room");
        gate.barrier.reset().expect("there is room");
        gate.barrier.reset().expect("there is room");
        if !waited {
            // It may have come before, or between, or still be coming.
            gate.barrier.abort().expect("there is room");
        }
        let outcome = waiter.join().expect("the waiter ends");
        assert!(is_broken(&outcome), "nobody else came: {outcome:?}");
    })
}

/// Both come; then the barrier is broken before one of them has looked.
pub fn passed_and_broken() -> usize {
    explore(2, || {
        let gate = gate(2);
        let waiter = process(2, &gate, |gate| gate.barrier.wait());
        let here = gate.barrier.wait().expect("nobody dies");
        gate.barrier.abort().expect("there is room");
        let there = waiter.join().expect("the waiter ends").expect("all came");
        assert_eq!(here + there, 1);
    })
}

/// One of two parties dies after any number of steps.
pub fn a_party_dies_anywhere() -> usize {
    explore_deaths(1, 1, |steps| {
        let gate = gate(2);
        let party = process(2, &gate, move |gate| {
            let mut passed = false;
            let cut_off = killed_after(steps, || passed = gate.barrier.wait().is_ok());
            (cut_off, passed)
        });
        let here = gate.barrier.wait();
        let (cut_off, passed) = party.join().expect("the party ends");
        assert!(here.is_ok() || is_broken(&here));
        assert!(cut_off || passed == here.is_ok());
        // Whatever it was, its death is dealt with.
        gate.barrier.reset().expect("there is room");
        let other = process(3, &gate, |gate| gate.barrier.wait().is_ok());
        assert!(gate.barrier.wait().is_ok());
        assert!(other.join().expect("the other one ends"));
        cut_off
    })
}

/// A party dies, and somebody who has nothing to do with the barrier counts that while another one waits.
pub fn a_stranger_counts() -> usize {
    explore(2, || {
        let gate = gate(2);
        let other = process(2, &gate, |_| {
            killed_after(0, || ());
            become_process(3);
            Segment::only().settle();
        });
        assert!(is_broken(&gate.barrier.wait()));
        other.join().expect("the other one ends");
    })
}

/// A party has died, and somebody is still settling that while another one mends the barrier: it stays mended.
pub fn mended_while_a_stranger_counts() -> usize {
    explore(3, || {
        let gate = gate(1);
        let other = process(2, &gate, |gate| {
            killed_after(0, || ());
            become_process(3);
            gate.count.store(1, Ordering::SeqCst);
            Segment::only().settle();
        });
        if gate.count.load(Ordering::SeqCst) == 1 {
            gate.barrier.reset().expect("there is room");
            assert!(gate.barrier.wait().is_ok(), "a death that was dealt with");
        }
        other.join().expect("the other one ends");
    })
}

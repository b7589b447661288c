//! A ring with its writer and its reader.

use std::sync::Arc;

use loom::thread;

use crate::explore::explore;
use crate::link::ring::{Consumer, Producer, RingView};
use crate::primitive::AtomicU64;

struct Ring {
    words: Vec<AtomicU64>,
    head: AtomicU64,
    tail: AtomicU64,
}

impl Ring {
    fn new(words: usize) -> Arc<Ring> {
        let words = (0..words).map(|_| AtomicU64::new(u64::MAX)).collect();
        Arc::new(Ring { words, head: AtomicU64::new(0), tail: AtomicU64::new(0) })
    }

    fn view(&self) -> RingView<'_> {
        RingView { words: &self.words, head: &self.head, tail: &self.tail }
    }
}

/// Writes words that count up from `first`, in one frame, and waits for room where there is none.
fn write(ring: RingView<'_>, producer: &mut Producer, first: u64, count: u64) {
    loop {
        if let Some(mut reservation) = producer.reserve(ring, count as usize).expect("the reader is honest") {
            (first..first + count).for_each(|word| reservation.word(word));
            return reservation.commit();
        }
        thread::yield_now();
    }
}

/// Reads so many words, and checks that they count up.
fn read(ring: RingView<'_>, count: usize) {
    let (mut consumer, mut seen) = (Consumer::default(), Vec::new());
    while seen.len() < count {
        let here = consumer.look(ring).expect("the writer is honest");
        if here == 0 {
            thread::yield_now();
            continue;
        }
        consumer.append(ring, here, &mut seen);
        consumer.release(ring);
    }
    assert!(seen.iter().copied().eq(0..count as u64), "{seen:?}");
}

/// Frames of one and two words through a ring of two, several times round.
pub fn whole_and_in_order() -> usize {
    explore(3, || {
        let ring = Ring::new(2);
        let writers = Arc::clone(&ring);
        let writer = thread::spawn(move || {
            let (ring, mut producer) = (writers.view(), Producer::default());
            write(ring, &mut producer, 0, 1);
            write(ring, &mut producer, 1, 2);
            write(ring, &mut producer, 3, 1);
            write(ring, &mut producer, 4, 2);
        });
        read(ring.view(), 6);
        writer.join().expect("the writer ends");
    })
}

/// A writer that dies behind its first word of a second frame.
pub fn death_of_the_writer() -> usize {
    explore(3, || {
        let ring = Ring::new(2);
        let writers = Arc::clone(&ring);
        let writer = thread::spawn(move || {
            let (ring, mut producer) = (writers.view(), Producer::default());
            write(ring, &mut producer, 0, 1);
            let room = producer.reserve(ring, 1).expect("the reader is honest");
            room.expect("a ring of two has room for two").word(99);
        });
        let (mut consumer, mut seen) = (Consumer::default(), Vec::new());
        let here = consumer.look(ring.view()).expect("the writer is honest");
        consumer.append(ring.view(), here, &mut seen);
        writer.join().expect("the writer ends");
        let here = consumer.look(ring.view()).expect("the writer was honest");
        consumer.append(ring.view(), here, &mut seen);
        assert_eq!(seen, [0]);
    })
}

//! The ring and the claim word, by one thread: what they cost when nobody else touches their cache lines.

use divan::{Bencher, counter::BytesCount, counter::ItemsCount};

use crate::link::claim::{ClaimWord, Ledger};
use crate::link::ring::{Consumer, Producer, RingView, words_for};
use crate::primitive::AtomicU64;

/// Words of the ring.
const WORDS: usize = 16 * 1024;

struct Memory {
    words: Vec<AtomicU64>,
    head: AtomicU64,
    tail: AtomicU64,
}

impl Memory {
    fn new() -> Memory {
        let words = (0..WORDS).map(|_| AtomicU64::new(0)).collect();
        Memory { words, head: AtomicU64::new(0), tail: AtomicU64::new(0) }
    }

    fn ring(&self) -> RingView<'_> {
        RingView { words: &self.words, head: &self.head, tail: &self.tail }
    }
}

/// Writes a frame and reads it again.
#[divan::bench(args = [8, 64, 1024, 65536])]
fn ring_write_and_read(bencher: Bencher<'_, '_>, bytes: usize) {
    let memory = Memory::new();
    let (mut producer, mut consumer) = (Producer::default(), Consumer::default());
    let payload = vec![7_u8; bytes];
    let mut out = Vec::with_capacity(words_for(bytes));
    bencher.counter(BytesCount::new(bytes)).bench_local(|| {
        let room = producer.reserve(memory.ring(), words_for(bytes));
        let mut room = room.expect("a sane reader").expect("an empty ring");
        room.bytes(&payload);
        room.commit();
        out.clear();
        let words = consumer.look(memory.ring()).expect("a sane writer");
        consumer.append(memory.ring(), words, &mut out);
        consumer.release(memory.ring());
        out.len()
    });
}

/// Gives tasks, claims each and settles each.
#[divan::bench(args = [1, 1000])]
fn give_claim_and_settle(bencher: Bencher<'_, '_>, tasks: u32) {
    let word = AtomicU64::new(0);
    let claims = ClaimWord(&word);
    let mut ledger = Ledger::default();
    bencher.counter(ItemsCount::new(tasks)).bench_local(|| {
        ledger.give(claims, tasks).expect("a sane worker");
        while let Some(number) = claims.claim() {
            ledger.settle(number as u16).expect("results in their turn");
        }
    });
}

//! What a worker may write into its lane, against the host's end: errors only.
//!
//! A hundred thousand broken frames by default, ten million with `WATERTIGHT_LONG` in the environment.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes as Buffer;

use super::claim::ClaimWord;
use super::frame::{Coding, DownHead, DownKind, UpHead, UpKind};
use super::host_end::HostEnd;
use super::lane::{Lane, RING_WORDS};
use super::layout::{BLACK_BOX, BLACK_BOX_END, CLAIM, RINGS};
use super::reading::lines;
use super::request::{Greeting, Hello};
use super::ring::{Breach, Producer, words_for};
use crate::sys::crash;
use crate::sys::memory::Mapping;
use crate::task::error::Panic;

/// Numbers as good as random, the same in each run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.roll() % end as u64) as usize
    }

    /// A number where numbers go wrong: small, at a power of two, or anything.
    fn odd(&mut self) -> u64 {
        match self.below(4) {
            0 => self.roll() % 8,
            1 => (1 << self.below(64)) - self.roll() % 2,
            2 => u64::MAX - self.roll() % 8,
            _ => self.roll(),
        }
    }
}

const LARGEST: u64 = 2000;

/// A host, and a worker that can write what it likes.
struct Pair {
    host: HostEnd,
    /// The worker's side of the same words.
    worker: Arc<Lane>,
    /// The same again, seen as words.
    words: Mapping,
    producer: Producer,
    memory: OwnedFd,
    /// The number of the next task that the worker answers.
    number: u32,
}

impl Pair {
    fn new(largest: u64) -> Pair {
        let (host, memory) = HostEnd::create("fuzz", RING_WORDS, largest).unwrap();
        let worker = Arc::clone(host.lane());
        let words = Mapping::new(memory.as_fd()).unwrap();
        Pair { host, worker, words, producer: Producer::default(), memory, number: 0 }
    }

    /// Starts anew over the same memory, which is what takes the time.
    fn renew(&mut self, largest: u64) {
        self.words.words()[CLAIM..RINGS].iter().for_each(|word| word.store(0, Ordering::Relaxed));
        self.worker.set_read(0);
        self.worker.await_room(None);
        self.host = HostEnd::over(Arc::clone(&self.worker), largest).expect("a descriptor is free");
        (self.producer, self.number) = (Producer::default(), 0);
    }

    /// Gives tasks without arguments.
    fn give(&mut self, count: u32) -> Result<(), Breach> {
        let line = vec![0; 4 * count as usize];
        let head = DownHead {
            kind: DownKind::Tasks,
            coding: Coding::Offset,
            parts: 0,
            count,
            first: 0,
            line: 0,
            function: 0,
            timeout: 0,
        };
        self.host.send(head, &line, &[], || Buffer::copy_from_slice(&line))?;
        self.host.publish()
    }

    /// As an honest worker: claims a task and answers it.
    fn answer(&mut self, line: &[u8]) {
        assert!(self.worker.claims().claim().is_some());
        let head = self.value(line.len());
        self.write(&[head.to_word()], line);
        self.number += 1;
    }

    fn value(&self, line: usize) -> UpHead {
        let number = self.number as u16;
        UpHead { kind: UpKind::Value, measured: false, parts: 0, number, line: line as u32 }
    }

    fn write(&mut self, head: &[u64], line: &[u8]) {
        let words = head.len() + words_for(line.len());
        let room = self.producer.reserve(self.worker.up(), words).expect("the host is honest");
        let mut room = room.expect("what fits into the ring was read");
        head.iter().for_each(|word| room.word(*word));
        room.bytes(line);
        room.commit();
    }

    /// As the host: reads everything, by runs or one by one, and hands over each value's bytes.
    fn read(&mut self, by_runs: bool, mut value: impl FnMut(&[u8])) -> Result<(), Breach> {
        let mut reading = self.host.begin_reading()?;
        loop {
            let mut words = Vec::new();
            if by_runs && self.host.read_run(&mut reading, u32::MAX, &mut words)? > 0 {
                lines(&words).for_each(&mut value);
                continue;
            }
            let whole = self.host.read_any(&mut reading, |arrival| {
                if arrival.kind == UpKind::Value {
                    value(arrival.line.bytes());
                }
            })?;
            if !whole {
                return self.host.end_reading(reading);
            }
        }
    }
}

/// The worker writes a frame that is wrong somewhere, or was right until something else was written over.
fn break_something(pair: &mut Pair, dice: &mut Dice) {
    let size = if dice.below(4) == 0 { dice.below(3000) } else { dice.below(64) };
    let line = vec![dice.roll() as u8; size];
    let good = pair.value(size).to_word();
    match dice.below(8) {
        0 => pair.write(&[good ^ (1 << dice.below(64))], &line),
        1 => pair.write(&[dice.odd()], &line),
        // Parts and measures that may not be there.
        2 => pair.write(&[good | (dice.roll() & 0xff) << 40 | 0x80 << 32, dice.odd(), dice.odd()], &line),
        3 => {
            let parts = 1 + dice.below(255);
            let sizes: Vec<u64> = (0..parts).map(|_| dice.odd()).collect();
            let head = UpHead { parts: parts as u8, ..pair.value(size) };
            pair.write(&[&[head.to_word()][..], &sizes].concat(), &line);
        }
        // A frame that announces more than comes.
        4 => pair.write(&[pair.value(dice.below(1 << 31)).to_word()], &line),
        5 => {
            pair.write(&[good], &line);
            scribble_on_control(pair, dice);
        }
        6 => {
            pair.write(&[good], &line);
            scribble_on_control(pair, dice);
            scribble_on_control(pair, dice);
        }
        _ => {
            pair.write(&[good], &line);
            let words = pair.worker.up().words;
            words[dice.below(16)].store(dice.odd(), Ordering::Relaxed);
        }
    }
}

/// Positions, claims, bells, marks, even the host's own words: all before the rings, or one of them.
fn scribble_on_control(pair: &Pair, dice: &mut Dice) {
    let (up, down) = (pair.worker.up(), pair.worker.down());
    let ClaimWord(claims) = pair.worker.claims();
    let known = [up.head, up.tail, down.head, down.tail, claims];
    let word = match dice.below(6) {
        5.. => &pair.words.words()[dice.below(RINGS)],
        index => known[index],
    };
    match dice.below(3) {
        0 => word.store(dice.odd(), Ordering::Relaxed),
        1 => drop(word.fetch_add(dice.roll() % 4, Ordering::Relaxed)),
        _ => drop(word.fetch_xor(1 << dice.below(64), Ordering::Relaxed)),
    }
}

/// As a pool does with a worker that it knows nothing of.
fn carry_on(pair: &mut Pair, dice: &mut Dice, largest: u64) -> Result<(), Breach> {
    for _ in 0..2 {
        pair.read(dice.below(2) == 0, |value| assert!(value.len() as u64 <= largest))?;
        pair.host.lane().has_news();
        match dice.below(4) {
            0 => drop(pair.host.take_back()?),
            1 => pair.give(1 + dice.below(3) as u32)?,
            2 => drop(pair.host.claimed()?),
            _ => {
                let (_, mark) = pair.host.mark(true);
                pair.host.lane().has_reached(mark);
            }
        }
        pair.host.publish()?;
    }
    Ok(())
}

/// How many broken frames to write.
fn rounds() -> usize {
    if std::env::var_os("WATERTIGHT_LONG").is_some() { 10_000_000 } else { 100_000 }
}

/// Writes so many broken frames, each behind a few good results, which must come as they were written.
fn fuzz(seed: u64, rounds: usize, largest: u64) -> usize {
    let (mut dice, mut breaches, mut pair) = (Dice(seed), 0, Pair::new(largest));
    for _ in 0..rounds {
        pair.renew(largest);
        let good: Vec<Vec<u8>> =
            (0..dice.below(4)).map(|_| vec![dice.roll() as u8; dice.below(100)]).collect();
        pair.give(good.len() as u32 + 1 + dice.below(3) as u32).expect("the lane is fresh");
        good.iter().for_each(|line| pair.answer(line));
        let mut come = Vec::new();
        let by_runs = dice.below(2) == 0;
        if dice.below(2) == 0 {
            pair.read(by_runs, |value| come.push(value.to_vec())).expect("the worker was honest until now");
            assert_eq!(come, good);
        }
        break_something(&mut pair, &mut dice);
        breaches += usize::from(carry_on(&mut pair, &mut dice, largest).is_err());
    }
    breaches
}

#[test]
fn whatever_a_worker_writes_is_an_error_and_nothing_worse() {
    let rounds = rounds();
    let halves: Vec<usize> = std::thread::scope(|scope| {
        let halves: Vec<_> = [1, 2].map(|seed| scope.spawn(move || fuzz(seed, rounds / 2, LARGEST))).into();
        halves.into_iter().map(|half| half.join().expect("no frame makes the host panic")).collect()
    });
    let breaches: usize = halves.iter().sum();
    assert!(breaches > rounds / 3 && breaches < rounds, "{breaches} of {rounds} were noticed");
}

#[test]
fn a_size_that_is_announced_is_not_allocated() {
    // No machine has what these frames announce, and no maximum forbids it.
    fuzz(3, rounds() / 10, u64::MAX);
}

#[test]
fn values_above_the_maximum_are_refused_alone_and_in_runs() {
    for by_runs in [false, true] {
        let mut pair = Pair::new(LARGEST);
        pair.give(3).unwrap();
        pair.answer(&[1; LARGEST as usize]);
        pair.answer(&[2; LARGEST as usize + 1]);
        let mut sizes = Vec::new();
        let breach = pair.read(by_runs, |value| sizes.push(value.len()));
        assert_eq!(breach, Err(Breach("a result is larger than the pool allows")), "by runs: {by_runs}");
        assert_eq!(sizes, [LARGEST as usize]);
    }
}

#[test]
fn what_was_committed_counts_whatever_becomes_of_the_claims() {
    let mut pair = Pair::new(LARGEST);
    pair.give(3).unwrap();
    pair.answer(b"one");
    pair.answer(b"two");
    pair.worker.claims().0.store(u64::MAX, Ordering::Relaxed);
    let mut come = Vec::new();
    assert!(pair.read(true, |value| come.push(value.to_vec())).is_err());
    assert_eq!(come, [b"one", b"two"]);
}

#[test]
fn a_result_that_nobody_waits_for_is_refused_at_its_head() {
    let mut pair = Pair::new(LARGEST);
    pair.give(1).unwrap();
    pair.answer(&[]);
    // The first piece of a frame of many, for a task that was never given.
    pair.write(&[pair.value(LARGEST as usize).to_word()], &[0; 8]);
    assert!(pair.read(false, |_| ()).is_err());
}

#[test]
fn scribbles_between_good_results_do_not_change_what_was_read() {
    let mut dice = Dice(4);
    for _ in 0..rounds() / 100 {
        let mut pair = Pair::new(LARGEST);
        pair.give(40).unwrap();
        let (mut come, mut written) = (Vec::new(), Vec::new());
        for number in 0..40 {
            let line = vec![number as u8; dice.below(60)];
            pair.answer(&line);
            written.push(line);
            let by_runs = dice.below(2) == 0;
            pair.read(by_runs, |value| come.push(value.to_vec())).expect("nothing unread was touched");
            // What has been read, and what the worker may write at any time.
            let up = pair.worker.up();
            let read = up.tail.load(Ordering::Relaxed) as usize;
            up.words[dice.below(read)].store(dice.odd(), Ordering::Relaxed);
            up.words[read + 1 + dice.below(1000)].store(dice.odd(), Ordering::Relaxed);
        }
        assert_eq!(come, written);
    }
}

/// Writes over the lane until told to stop: frames, positions, claims.
fn scribble(lane: &Lane, words: &Mapping, stop: &AtomicBool, mut dice: Dice) {
    let up = lane.up();
    let ClaimWord(claims) = lane.claims();
    while !stop.load(Ordering::Relaxed) {
        match dice.below(16) {
            0 => drop(up.head.fetch_add(dice.roll() % 40, Ordering::Relaxed)),
            1 => drop(claims.fetch_add(1, Ordering::Relaxed)),
            2 => drop(claims.fetch_sub(1, Ordering::Relaxed)),
            3 => words.words()[dice.below(1024)].store(dice.odd(), Ordering::Relaxed),
            4..8 => up.words[dice.below(64)].store(dice.odd(), Ordering::Relaxed),
            _ => {
                let number = dice.roll() as u16 % 64;
                let line = dice.roll() as u32 % 80;
                let head = UpHead { kind: UpKind::Value, measured: false, parts: 0, number, line };
                up.words[dice.below(64)].store(head.to_word(), Ordering::Relaxed);
            }
        }
    }
}

#[test]
fn a_worker_that_writes_while_the_host_reads_is_an_error_and_nothing_worse() {
    let mut dice = Dice(5);
    let mut breaches = 0;
    for _ in 0..rounds() / 100 {
        let mut pair = Pair::new(LARGEST);
        pair.give(64).unwrap();
        pair.answer(b"good");
        let mut come = Vec::new();
        pair.read(true, |value| come.push(value.to_vec())).expect("the worker was honest until now");
        let (lane, words) = (Arc::clone(&pair.worker), Mapping::new(pair.memory.as_fd()).unwrap());
        let (stop, seed) = (AtomicBool::new(false), dice.roll());
        std::thread::scope(|scope| {
            scope.spawn(|| scribble(&lane, &words, &stop, Dice(seed)));
            let broken = (0..50).any(|_| carry_on(&mut pair, &mut dice, LARGEST).is_err());
            stop.store(true, Ordering::Relaxed);
            breaches += usize::from(broken);
        });
        assert_eq!(come, [b"good"]);
    }
    assert!(breaches > 0, "the host saw nothing of what was written");
}

#[test]
fn whatever_stands_in_a_black_box_is_a_hint_or_nothing() {
    let (mut dice, pair) = (Dice(6), Pair::new(LARGEST));
    let panic = Panic { message: "m".repeat(500), location: Some("a.rs:1:1".into()), backtrace: None };
    let (words, notes) = (Mapping::new(pair.memory.as_fd()).unwrap(), pair.host.lane().black_box());
    for _ in 0..rounds() / 10 {
        notes.note_panic(&panic);
        notes.crash_note().store(crash::PANIC, Ordering::Relaxed);
        for _ in 0..dice.below(4) {
            words.words()[BLACK_BOX + dice.below(80)].store(dice.odd(), Ordering::Relaxed);
        }
        let told = notes.fatal_panic().map_or(0, |panic| panic.message.len());
        assert!(told <= 8 * (BLACK_BOX_END - BLACK_BOX));
        let _ = (notes.death_detail(), notes.elapsed(dice.odd()), notes.progress());
    }
}

#[test]
fn whatever_an_executable_says_first_is_a_greeting_or_none() {
    let mut dice = Dice(7);
    let hello =
        Hello { version: "1.2.3".into(), build_id: 7, single_threaded: true, folder: Ok("/run/x".into()) };
    let good = hello.encode().unwrap();
    for _ in 0..rounds() / 10 {
        let mut bytes = good.clone();
        for _ in 0..dice.below(4) {
            let at = 8 + dice.below(bytes.len() - 8);
            bytes[at] = dice.odd() as u8;
        }
        bytes.truncate(bytes.len() - dice.below(3));
        if let Greeting::Hello(hello) = Hello::decode(&bytes) {
            assert!(hello.version.len() <= bytes.len());
        }
    }
}

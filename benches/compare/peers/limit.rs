//! The machine's limit: threads in place of processes, memory in place of messages, forks without a library.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier, Mutex};

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::shared::{numbers, sum_of_squares};
use super::{Side, median_of, p50_of_batches, pin_to, rate, seconds, square};
use crate::answer::Answer;
use crate::program::Program;
use crate::work::{INCREMENTS, NUMBERS, PARTS, Work};

pub(super) struct Limit;

const SINGLE_TASKS: i64 = 2_000_000;
const CHUNKED_TASKS: i64 = 8_000_000;
const COPIED: usize = 64 << 20;

impl Side for Limit {
    type Held = ();

    fn measure(work: Work) -> Answer {
        let program = |program: Program| program.measure().map_or(Answer::Never, Answer::Value);
        match work {
            Work::Apply => Answer::Value(one_word()),
            Work::MapSingle => rayon(SINGLE_TASKS, 1),
            Work::MapChunks | Work::Imap => rayon(CHUNKED_TASKS, usize::MAX),
            Work::Bytes | Work::Vector => copy(),
            Work::SpawnJoin => program(Program::Fork),
            Work::FirstWorker => median_of(|| Program::Nothing.lifetime()),
            Work::KilledIdle | Work::KilledBusy => program(Program::KillAndFork),
            Work::Start64 => program(Program::ForkMany),
            Work::Increments => increments(),
            Work::Lock => lock_and_unlock(),
            Work::SquaresFirst | Work::Squares => squares(),
            Work::IdleWakes | Work::IdleMemory => Answer::Absent,
        }
    }

    fn hold() -> Option<()> {
        None
    }
}

/// A round trip of one word between two threads that do nothing but look at it.
fn one_word() -> f64 {
    let word = Arc::new(AtomicU64::new(0));
    let answers = Arc::clone(&word);
    let alone = watertight::cpu_count() == 1;
    let wait = move || if alone { std::thread::yield_now() } else { std::hint::spin_loop() };
    const END: u64 = u64::MAX;
    let other = std::thread::spawn(move || {
        loop {
            match answers.load(Ordering::Acquire) {
                END => return,
                question if question % 2 == 1 => answers.store(question + 1, Ordering::Release),
                _ => wait(),
            }
        }
    });
    let mut question = 1;
    let seconds = p50_of_batches(100, || {
        word.store(question, Ordering::Release);
        while word.load(Ordering::Acquire) == question {
            wait();
        }
        question += 2;
    });
    word.store(END, Ordering::Release);
    other.join().expect("the other thread");
    seconds
}

fn rayon(tasks: i64, largest: usize) -> Answer {
    rate(tasks as usize, || {
        let inputs: Vec<i64> = (0..tasks).collect();
        inputs.into_par_iter().with_max_len(largest).map(square).collect::<Vec<i64>>()
    })
}

fn copy() -> Answer {
    let from = vec![7_u8; COPIED];
    let mut to = vec![1_u8; COPIED];
    rate(COPIED, || std::hint::black_box(&mut to).copy_from_slice(std::hint::black_box(&from)))
}

/// Two threads count under one lock, each on a processor of its own if there are two.
fn increments() -> Answer {
    let (count, start) = (Mutex::new(0_u64), Barrier::new(2));
    let (count, start) = (&count, &start);
    let work = |place: usize| {
        move || {
            pin_to(place).expect("the right to choose a processor");
            start.wait();
            seconds(|| (0..INCREMENTS).for_each(|_| *count.lock().expect("no panic") += 1))
        }
    };
    let times = std::thread::scope(|scope| {
        [0, 1].map(|place| scope.spawn(work(place))).map(|thread| thread.join().expect("a time"))
    });
    let slower = times.into_iter().fold(0.0, f64::max);
    assert_eq!(count.lock().map(|count| *count).ok(), Some(u64::from(2 * INCREMENTS)));
    Answer::Value(slower)
}

fn lock_and_unlock() -> Answer {
    let lock = Mutex::new(());
    Answer::Value(p50_of_batches(1000, || drop(std::hint::black_box(&lock).lock())))
}

fn squares() -> Answer {
    let numbers: Vec<f64> = numbers().collect();
    let pass = || -> f64 {
        let parts: Vec<&[f64]> = numbers.chunks(NUMBERS / PARTS).collect();
        parts.into_par_iter().map(sum_of_squares).sum()
    };
    pass();
    Answer::Value(seconds(pass))
}

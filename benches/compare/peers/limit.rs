//! The machine's limit: threads in place of processes, memory in place of messages, forks without a library.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rayon::iter::{IndexedParallelIterator, IntoParallelIterator, ParallelIterator};

use super::{Side, median_of, p50_of_batches, rate, square};
use crate::answer::Answer;
use crate::program::Program;
use crate::work::Work;

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

//! The peers that are written in Rust, as processes that do what they are asked on stdin.

mod limit;
mod procspawn;
mod shared;
mod watertight;

use std::io::BufRead;
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

use crate::answer::Answer;
use crate::contender::{Peer, Placement};
use crate::work::Work;

/// One side of the comparison.
trait Side {
    /// An idle pool.
    type Held;

    /// Does the work once and says how long it took, or how fast it went.
    fn measure(work: Work) -> Answer;

    /// Starts a pool of `MANY` workers that have all answered.
    fn hold() -> Option<Self::Held>;
}

/// The work of most rows.
pub(crate) fn square(x: i64) -> i64 {
    std::hint::black_box(x).wrapping_mul(x)
}

/// A task that is the end of its worker.
pub(crate) fn die(_: i64) -> i64 {
    let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGKILL);
    0
}

/// Answers until the input ends.
pub(crate) fn serve(peer: Peer, placement: Placement) {
    if placement == Placement::Pinned {
        pin_to(0).expect("the right to choose a processor");
    }
    match peer {
        Peer::Watertight => answer_all::<watertight::Watertight>(),
        Peer::Procspawn => answer_all::<procspawn::Procspawn>(),
        Peer::Limit => answer_all::<limit::Limit>(),
        // It is a script of its own.
        Peer::Python => {}
    }
}

fn answer_all<S: Side>() {
    let mut held = None;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match line.as_str() {
            "hold" => {
                held = S::hold();
                if held.is_some() { Answer::Held } else { Answer::Absent }
            }
            "release" => {
                held = None;
                Answer::Absent
            }
            key => Work::from_key(key).map_or(Answer::Absent, S::measure),
        };
        println!("{}", answer.to_line());
    }
    drop(held);
}

/// Binds the calling thread, and all that it starts, to one of the processors that it may use, counted from
/// zero and around.
fn pin_to(index: usize) -> nix::Result<()> {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this)?;
    let allowed: Vec<_> = (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
    let mut one = CpuSet::new();
    one.set(allowed.get(index % allowed.len().max(1)).copied().unwrap_or(0))?;
    sched_setaffinity(this, &one)
}

/// So long is a short operation repeated.
const REPEAT: Duration = Duration::from_millis(200);

/// The median time of an operation, in seconds; a tenth of the repetitions warms up.
pub(crate) fn p50(operation: impl FnMut()) -> f64 {
    p50_of_batches(1, operation)
}

/// As `p50`, for operations that are too short for a clock: the median of batches.
fn p50_of_batches(batch: u32, mut operation: impl FnMut()) -> f64 {
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 20 || begin.elapsed() < REPEAT {
        let start = Instant::now();
        (0..batch).for_each(|_| operation());
        times.push(start.elapsed());
    }
    let mut times = times.split_off(times.len() / 10);
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() / f64::from(batch)
}

/// Seconds that `work` takes.
fn seconds<T>(work: impl FnOnce() -> T) -> f64 {
    let start = Instant::now();
    std::hint::black_box(work());
    start.elapsed().as_secs_f64()
}

/// How many of `count` are done in a second.
fn rate<T>(count: usize, work: impl FnOnce() -> T) -> Answer {
    Answer::Value(count as f64 / seconds(work))
}

/// The median of a few fresh programs.
fn median_of(mut sample: impl FnMut() -> Option<f64>) -> Answer {
    let mut samples: Vec<f64> = (0..9).filter_map(|_| sample()).collect();
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).map_or(Answer::Never, |seconds| Answer::Value(*seconds))
}

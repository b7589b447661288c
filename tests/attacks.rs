//! A worker that writes into its lane what no worker writes. The worst it can do is to fail its own tasks.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "a hostile worker does not ask")]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use watertight::{Pool, TaskError, TaskErrorKind};

/// The words of this process's lane, found as any code in the process could find them.
fn lane() -> &'static [AtomicU64] {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let line = maps.lines().find(|line| line.contains("/memfd:") && line.contains("rw-s")).unwrap();
    let (start, end) = line.split(' ').next().unwrap().split_once('-').unwrap();
    let address = |text| usize::from_str_radix(text, 16).unwrap();
    let (start, end) = (address(start), address(end));
    unsafe { std::slice::from_raw_parts(start as *const AtomicU64, (end - start) / 8) }
}

// Where the layout of a lane puts them.
const CLAIM: usize = 16;
const DOWN_BEHIND: usize = 48;
const UP_AHEAD: usize = 64;
const UP_BEHIND: usize = 80;
const READY: usize = 128;
const CONTROL: usize = 1024;

fn scramble(words: &[AtomicU64], mut seed: u64) {
    for word in words {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        word.store(seed, Ordering::Relaxed);
    }
}

const ATTACKS: [fn(&'static [AtomicU64]); 10] = [
    // The host's own position: there seems to be something to read for ever.
    |lane| _ = lane[UP_BEHIND].fetch_add(5, Ordering::SeqCst),
    |lane| _ = lane[UP_AHEAD].fetch_add(5, Ordering::SeqCst),
    |lane| _ = lane[UP_AHEAD].fetch_add(1 << 40, Ordering::SeqCst),
    // More is claimed than was given, or everything, or all is gone.
    |lane| _ = lane[CLAIM].fetch_add(1000, Ordering::SeqCst),
    |lane| lane[CLAIM].store(u64::MAX, Ordering::SeqCst),
    |lane| lane[DOWN_BEHIND].store(1 << 50, Ordering::SeqCst),
    // As if it had died before it ever was ready.
    |lane| {
        lane[READY].store(0, Ordering::SeqCst);
        std::process::abort();
    },
    |lane| scramble(&lane[..CONTROL], 1),
    |lane| scramble(&lane[CONTROL..], 2),
    // All of it, and on and on.
    |lane| {
        std::thread::spawn(|| {
            (0..u64::MAX).for_each(|seed| scramble(&lane[..CONTROL], seed));
        });
        std::thread::sleep(Duration::from_millis(20));
    },
];

/// Squares `x`, but does its worst on the way if `x` says so.
fn square((attack, at, x): (usize, u64, u64)) -> u64 {
    if x == at {
        ATTACKS[attack](lane());
    }
    x * x
}

fn right(outcomes: &[Result<u64, TaskError>]) -> usize {
    (0..).zip(outcomes).filter(|(x, outcome)| outcome.as_ref().is_ok_and(|value| *value == x * x)).count()
}

/// Two workers, one of which attacks at its turn. All tasks have an outcome, most are right, and the pool goes on.
fn survive(attack: usize, tasks: u64) {
    // A worker that has destroyed its own word of claims may just sit there: that is a task that hangs.
    let pool = Pool::builder().workers(2).timeout(Duration::from_secs(1)).start().unwrap();
    let outcomes = pool.outcomes(square, (0..tasks).map(|x| (attack, tasks / 3, x)));
    assert_eq!(outcomes.len() as u64, tasks);
    let wrong = outcomes.len() - right(&outcomes);
    assert!(wrong as u64 <= tasks / 2, "attack {attack}: {wrong} of {tasks} went wrong");
    let after = pool.outcomes(square, (0..1000).map(|x| (0, u64::MAX, x)));
    // What is left of the hostile worker may cost tasks of its own, once.
    assert!(right(&after) >= 500, "attack {attack}: {:?}", after.iter().find(|outcome| outcome.is_err()));
}

#[watertight::test]
fn a_worker_that_scribbles_on_its_lane_harms_itself_alone() {
    (0..ATTACKS.len()).for_each(|attack| survive(attack, 30));
}

#[watertight::test]
fn a_worker_with_plenty_to_do_that_scribbles_on_its_lane_harms_itself_alone() {
    (0..ATTACKS.len()).for_each(|attack| survive(attack, 6000));
}

#[watertight::test]
fn a_worker_that_denies_that_it_was_ready_does_not_end_the_pool() {
    let pool = Pool::builder().workers(1).chunk_size(1).start().unwrap();
    let denying = ATTACKS.len() - 4;
    for x in 0..20 {
        let error = pool.apply(square, ((denying, x, x),)).unwrap_err();
        assert_eq!(error.signal(), Some(watertight::Signal::SIGABRT), "{error}");
    }
    assert_eq!(pool.apply(square, ((denying, 0, 5),)).unwrap(), 25);
}

/// Takes back its own claim: as if it had never taken the task.
fn deny(lane: &[AtomicU64]) {
    lane[CLAIM].fetch_sub(1, Ordering::SeqCst);
}

/// Squares `x`, but if it is a multiple of ten dies as if it had never seen it, and never been ready.
fn unseen(x: u64) -> u64 {
    if x.is_multiple_of(10) {
        deny(lane());
        lane()[READY].store(0, Ordering::SeqCst);
        std::process::abort();
    }
    x * x
}

#[watertight::test]
fn a_task_whose_workers_deny_it_and_that_they_were_ready_is_ended_and_no_other() {
    for workers in 1..=2 {
        let pool = Pool::builder().workers(workers).chunk_size(1).start().unwrap();
        for (x, outcome) in (1..).zip(pool.outcomes(unseen, 1..=30)) {
            match outcome {
                Ok(value) => assert_eq!((value, x % 10 != 0), (x * x, true)),
                Err(error) => {
                    // The host may look between the lie and the death.
                    let caught = matches!(error.kind(), TaskErrorKind::Breach { .. });
                    assert!(caught || error.signal() == Some(watertight::Signal::SIGABRT), "{error}");
                    assert_eq!(x % 10, 0, "{error}");
                }
            }
        }
        // Each of the three is suspected nine times at most, and given to a worker in doubt before each.
        assert!(pool.stats().crashed <= 3 * 2 * 9, "{:?}", pool.stats());
    }
}

#[watertight::test]
fn a_task_that_is_denied_and_hangs_has_timed_out() {
    let pool = Pool::builder().workers(1).timeout(Duration::from_millis(500)).start().unwrap();
    let denied = |hangs: bool| {
        if hangs {
            deny(lane());
            std::thread::sleep(Duration::from_secs(600));
        }
        hangs
    };
    let error = pool.apply(denied, (true,)).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::TimedOut { .. }), "{error}");
    assert!(!pool.apply(denied, (false,)).unwrap());
}

fn says(x: u64) -> u64 {
    assert!(x != 3, "{}", "no ".repeat(300));
    x
}

fn long(_: u64) -> String {
    "x".repeat(1000)
}

#[watertight::test]
fn a_small_maximum_for_results_does_not_cut_what_went_wrong() {
    let pool = Pool::builder().workers(1).largest_result(10).start().unwrap();
    assert_eq!(pool.apply(says, (1,)).unwrap(), 1);
    let error = pool.apply(says, (3,)).unwrap_err();
    assert!(
        matches!(error.kind(), TaskErrorKind::Panicked(panic) if panic.message.starts_with("no no")),
        "{error}"
    );
    let error = pool.apply(long, (1,)).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Encoding { .. }), "{error}");
    assert_eq!(pool.apply(says, (2,)).unwrap(), 2);
}

#[watertight::test]
fn a_panic_with_a_message_of_megabytes_is_told_cut() {
    let pool = Pool::builder().workers(1).start().unwrap();
    let error = pool.apply(|size: usize| -> u8 { panic!("{}", "y".repeat(size)) }, (3 << 20,)).unwrap_err();
    let TaskErrorKind::Panicked(panic) = error.kind() else { panic!("{error}") };
    assert!(panic.message.len() > 100_000 && panic.message.bytes().all(|byte| byte == b'y'));
}

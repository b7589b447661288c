//! The parent trusts no worker's bytes (P6): whatever a worker writes into its lane, it fails its own tasks only.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "hostile workers do unsafe things")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::time::Duration;

use serde::ser::SerializeTuple;
use serde::{Deserialize, Serialize, Serializer};
use watertight::{Encoding, Pool, PoolBuilder, Process, TaskErrorKind, Value};

/// The parts of this process's lane, as the kernel shows them: where it is mapped, and how much.
fn lane() -> Vec<(usize, usize)> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let lines = maps.lines().filter(|line| line.contains("/memfd:") && line.contains(" rw-s "));
    let range = |line: &str| {
        let (start, end) = line.split(' ').next()?.split_once('-')?;
        let address = |text| usize::from_str_radix(text, 16).ok();
        Some((address(start)?, address(end)?))
    };
    lines.filter_map(range).collect()
}

/// Numbers that look like nothing, and like everything.
fn numbers(mut seed: u64) -> impl Iterator<Item = u64> {
    std::iter::repeat_with(move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        match seed >> 61 {
            0 => 0,
            1 => u64::MAX,
            2 => seed >> 50,
            3 => 1 << (seed >> 58),
            _ => seed.rotate_left(17),
        }
    })
}

/// Writes over its lane: all of it, or every so many words.
fn scribble(seed: u64) -> u64 {
    let mut numbers = numbers(seed);
    let stride = [1, 7, 64, 513, 4099][(seed % 5) as usize];
    for (start, end) in lane() {
        let words = (start..end).step_by(8 * stride);
        words.for_each(|address| unsafe { (address as *mut u64).write_volatile(numbers.next().unwrap()) });
    }
    seed
}

fn is_hostile(x: u64) -> bool {
    x % 20 == 7
}

/// Values, and now and then an attack.
fn work(x: u64) -> u64 {
    if is_hostile(x) { scribble(x) } else { x * x }
}

/// A worker whose own words say that there is nothing to do sleeps, as one that sleeps on purpose does.
fn with_a_time_out(builder: PoolBuilder) -> Pool {
    builder.timeout(Duration::from_secs(2)).grace(Duration::from_millis(1)).start().unwrap()
}

#[watertight::test]
fn a_worker_has_one_lane_and_no_other_shared_memory_with_its_host() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.map(|_: u32| lane().len(), 0..10).unwrap(), [1; 10]);
    assert!(pool.map(|_: u32| std::process::id(), 0..10).is_ok());
}

#[watertight::test(timeout = "120s")]
fn a_worker_that_writes_over_its_lane_fails_its_own_tasks_only() {
    let innocent = Pool::new(1).unwrap();
    let pool = with_a_time_out(Pool::builder().workers(2).chunk_size(1));
    // What is written does harm or not, as host and worker happen to look; there are five attacks in a round.
    for round in (0..50).take_while(|round| *round < 5 || pool.stats().crashed == 0) {
        let later = innocent.map_async(|x: u64| x * x, 0..1000).unwrap();
        // A worker may lie about all that it was given, but it gives each an end.
        let outcomes = pool.outcomes(work, round * 100..round * 100 + 100);
        assert_eq!(outcomes.len(), 100);
        for error in outcomes.into_iter().filter_map(Result::err) {
            let own = matches!(
                error.kind(),
                TaskErrorKind::Breach { .. }
                    | TaskErrorKind::TimedOut { .. }
                    | TaskErrorKind::Died { .. }
                    | TaskErrorKind::Encoding { .. }
                    | TaskErrorKind::UnknownTask { .. }
                    | TaskErrorKind::Panicked(_)
            );
            assert!(own, "{error}");
        }
        let squares = later.get().unwrap();
        assert!(squares.iter().enumerate().all(|(x, square)| *square == (x * x) as u64));
    }
    assert!(pool.stats().crashed > 0, "lies are noticed");
    pool.terminate();
    pool.join().unwrap();
}

#[watertight::test(timeout = "120s")]
fn a_process_that_writes_over_its_lane_is_an_error_or_a_value() {
    for seed in 0..60 {
        let outcome = Process::spawn(scribble, (seed,)).unwrap().join_timeout(Duration::from_secs(60));
        drop(outcome.expect("its end is noticed"));
    }
}

#[watertight::test]
fn a_claim_of_a_huge_result_is_no_allocation() {
    let pool = with_a_time_out(Pool::builder().workers(1).largest_result(1 << 20));
    for seed in 0..20 {
        let _ = pool.apply(scribble, (seed * 5,));
    }
    let usage = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).unwrap();
    assert!(usage.max_rss() < 300 << 10, "{} KiB", usage.max_rss());
}

/// A value whose memory nobody but its maker can lock.
fn withheld(x: i64) -> Value<i64> {
    let value = Value::new(x).unwrap();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        let named = std::fs::read_link(entry.path()).is_ok_and(|path| path.starts_with("/dev/shm"));
        let number: i32 = entry.file_name().to_str().unwrap().parse().unwrap();
        if named {
            unsafe { libc::flock(number, libc::LOCK_EX | libc::LOCK_NB) };
        }
    }
    value
}

#[watertight::test]
fn a_worker_that_withholds_what_its_result_speaks_of_stops_nobody() {
    let pool = Pool::new(2).unwrap();
    let later = pool.apply_async(withheld, (7,)).unwrap();
    let error = later.get().unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Encoding { what: Encoding::DecodeResult, .. }), "{error}");
    assert_eq!(pool.map(|x: u64| x * x, 0..4).unwrap(), [0, 1, 4, 9]);
    let outcome = Process::spawn(withheld, (7,)).unwrap().join_timeout(Duration::from_secs(60));
    drop(outcome.expect("its end is noticed"));
}

/// A list whose encoding goes deeper and deeper, as no list of this type does.
#[derive(Deserialize)]
struct Abyss(#[expect(dead_code, reason = "only its depth counts")] Option<Box<Abyss>>);

impl Serialize for Abyss {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut ones = serializer.serialize_tuple(4 << 20)?;
        (0..4 << 20).try_for_each(|_| ones.serialize_element(&1_u8))?;
        ones.end()
    }
}

/// Says that it holds more than anybody could count, and needs no bytes for it.
#[derive(Deserialize)]
struct Nothings(#[expect(dead_code, reason = "only their number counts")] Vec<()>);

impl Serialize for Nothings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(1 << 60)
    }
}

fn message<R>(outcome: Result<R, watertight::TaskError>, expected: Encoding) -> String {
    match outcome.err().expect("it is an error").kind() {
        TaskErrorKind::Encoding { what, message } if *what == expected => message.clone(),
        other => panic!("{other:?}"),
    }
}

#[watertight::test]
fn a_result_that_is_nested_without_end_is_the_error_of_its_task() {
    let pool = Pool::new(1).unwrap();
    let outcome = pool.apply(|| Abyss(None), ());
    assert_eq!(message(outcome, Encoding::DecodeResult), "it is nested deeper than 256 levels");
    assert_eq!(pool.apply(|| 1, ()).unwrap(), 1);
}

#[watertight::test]
fn an_argument_that_is_nested_without_end_costs_no_worker() {
    let pool = Pool::new(1).unwrap();
    let outcome = pool.apply(|_: Abyss| (), (Abyss(None),));
    assert_eq!(message(outcome, Encoding::DecodeArguments), "it is nested deeper than 256 levels");
    assert_eq!(pool.stats().crashed, 0);
}

#[watertight::test]
fn a_result_of_endlessly_many_nothings_is_the_error_of_its_task() {
    let pool = Pool::new(1).unwrap();
    let outcome = pool.apply(|| Nothings(Vec::new()), ());
    assert_eq!(
        message(outcome, Encoding::DecodeResult),
        "it claims more than 4194304 bytes of items that need none"
    );
    assert_eq!(pool.apply(|| vec![(); 100_000], ()).unwrap().len(), 100_000);
}

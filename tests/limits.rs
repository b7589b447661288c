//! Limits and second chances of a pool's tasks.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "real faults cannot be had safely")]
#![allow(clippy::print_stdout, reason = "a test says what it could not do")]

mod common;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use common::{Gate, note, notes, stop_at, until};
use watertight::{Bytes, Encoding, Pool, Signal, TaskErrorKind, Value, task};

/// Longer than a short task is kept waiting on a busy machine.
const MOMENT: Duration = Duration::from_millis(500);
const FOR_EVER: Duration = Duration::from_secs(3600);

fn hang_on_3(x: i64) -> i64 {
    if x == 3 {
        loop {
            std::thread::park();
        }
    }
    x
}

fn note_and_panic(path: PathBuf, times: usize) -> usize {
    note(&path, "ran");
    let ran = notes(&path).len();
    assert!(ran > times, "not yet");
    ran
}

/// Whether this machine lets us mount something of our own, for a shell.
fn has_own_mounts() -> bool {
    let unshare = Command::new("unshare").args(["--map-root-user", "--mount", "true"]).output();
    unshare.is_ok_and(|output| output.status.success())
}

/// Runs an ignored test of this file where /dev/shm is another one.
fn with_dev_shm(options: &str, test: &str) -> Output {
    let script =
        format!("mount -t tmpfs -o {options} tmpfs /dev/shm && exec \"$0\" --ignored --exact {test}");
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", &script]).arg(std::env::current_exe().unwrap());
    command.env("RUST_BACKTRACE", "0").output().unwrap()
}

#[watertight::test]
#[ignore = "for another test"]
fn a_pool_works_and_a_value_is_made_or_an_error() {
    let pool = Pool::new(2).unwrap();
    assert_eq!(pool.map(|x: i64| x * x, 1..=3).unwrap(), [1, 4, 9]);
    match Value::new(1_i64) {
        Ok(value) => {
            let add = |value: Value<i64>| *value.lock().unwrap() += 1;
            pool.apply(add, (value.clone(),)).unwrap();
            assert_eq!(value.get().unwrap(), 2);
        }
        Err(error) => assert!(error.is_shared_memory(), "{error}"),
    }
}

#[test]
fn a_dev_shm_that_is_tiny_full_or_read_only_is_a_clear_error_or_none() {
    if !has_own_mounts() {
        return println!("SKIPPED: this machine gives no mount namespace");
    }
    for options in ["size=64k", "size=4k,nr_inodes=1", "ro"] {
        let output = with_dev_shm(options, "a_pool_works_and_a_value_is_made_or_an_error");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{options}: {said}");
    }
}

#[watertight::test]
fn a_task_that_hangs_is_timed_out_and_costs_itself_alone() {
    for chunk in [1, 10] {
        let builder = Pool::builder().workers(2).timeout(MOMENT).grace(Duration::from_millis(1));
        let pool = builder.chunk_size(chunk).start().unwrap();
        let outcomes = pool.outcomes(hang_on_3, 0..30);
        for (index, outcome) in outcomes.iter().enumerate() {
            match outcome {
                Ok(value) => assert_eq!(*value, index as i64),
                Err(error) => {
                    assert!(index == 3 && error.is_timeout(), "{error}");
                    assert!(error.to_string().contains("timed out (0.5 s allowed)"), "{error}");
                    assert!(error.elapsed().unwrap() >= MOMENT);
                }
            }
        }
        assert!(outcomes[3].is_err());
    }
}

#[watertight::test]
fn the_time_of_a_task_begins_when_it_does() {
    // Each of them waits longer in the queue than it may run.
    let pool = Pool::builder().workers(1).timeout(Duration::from_secs(1)).start().unwrap();
    let nap = |x: u64| {
        std::thread::sleep(Duration::from_millis(60));
        x
    };
    assert_eq!(pool.map(nap, 0..25).unwrap(), (0..25).collect::<Vec<_>>());
}

#[watertight::test]
fn a_task_past_its_time_may_stop_by_itself_and_spares_its_worker() {
    fn patient() -> bool {
        let deadline = task::deadline().unwrap();
        while !task::cancelled() {
            std::thread::yield_now();
        }
        Instant::now() >= deadline
    }
    let pool = Pool::builder().workers(1).timeout(MOMENT).grace(FOR_EVER).start().unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    let error = pool.apply(patient, ()).unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(pool.apply(std::process::id, ()).unwrap(), pid);
    assert_eq!(pool.stats().crashed, 0);
}

#[watertight::test]
fn a_deadline_is_there_only_where_there_is_a_time_out() {
    let pool = Pool::new(1).unwrap();
    assert!(pool.apply(|| task::deadline().is_none() && !task::cancelled(), ()).unwrap());
    let pool = Pool::builder().workers(1).timeout(FOR_EVER).start().unwrap();
    let left = || task::deadline().map(|deadline| deadline.duration_since(Instant::now()));
    let left = pool.apply(left, ()).unwrap().unwrap();
    assert!(left <= FOR_EVER && left > FOR_EVER / 2, "{left:?}");
    assert!(task::deadline().is_none() && !task::cancelled(), "no task of a pool runs here");
}

#[watertight::test]
fn a_stopped_worker_is_ended_by_the_time_out() {
    let pool = Pool::builder().workers(1).timeout(MOMENT).grace(Duration::from_millis(1)).start().unwrap();
    let stop = || {
        unsafe { libc::raise(libc::SIGSTOP) };
    };
    assert!(pool.apply(stop, ()).unwrap_err().is_timeout());
    assert_eq!(pool.apply(|x: i32| x, (1,)).unwrap(), 1);
}

fn send(pid: u32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid as i32), signal).unwrap();
}

#[watertight::test]
fn a_time_out_ends_a_task_although_the_keeper_is_stopped() {
    let pool = Pool::builder().workers(1).timeout(MOMENT).grace(Duration::from_millis(1)).start().unwrap();
    let worker = pool.apply(std::process::id, ()).unwrap();
    let keeper = pool.apply(std::os::unix::process::parent_id, ()).unwrap();
    common::until(|| pool.pids() == [worker]);
    send(keeper, nix::sys::signal::SIGSTOP);
    assert!(pool.apply(hang_on_3, (3,)).unwrap_err().is_timeout());
    common::until(|| !common::runs(worker) && !common::runs(keeper));
    assert_eq!(pool.apply(hang_on_3, (4,)).unwrap(), 4, "there is another keeper");
}

#[watertight::test]
fn a_task_is_tried_as_often_as_it_may_be() {
    let folder = tempfile::tempdir().unwrap();
    let builder = || Pool::builder().workers(2).backoff(Duration::from_millis(2));
    let pool = builder().attempts(4).start().unwrap();
    assert_eq!(pool.apply(note_and_panic, (folder.path().join("a"), 3)).unwrap(), 4);
    assert_eq!(pool.stats().retried, 3);
    let error = pool.apply(note_and_panic, (folder.path().join("b"), 100)).unwrap_err();
    assert_eq!((error.attempt(), notes(&folder.path().join("b")).len()), ((4, 4), 4));
    assert!(error.to_string().ends_with("attempt 4 of 4"), "{error}");
    let pool = builder().start().unwrap();
    let error = pool.apply(note_and_panic, (folder.path().join("c"), 1)).unwrap_err();
    assert_eq!((error.attempt(), notes(&folder.path().join("c")).len()), ((1, 1), 1));
}

#[watertight::test]
fn crashes_and_time_outs_are_tried_again_and_the_others_do_not_wait_for_them() {
    fn once(path: PathBuf, how: u8) -> u8 {
        note(&path, "ran");
        match (notes(&path).len(), how) {
            (1, 0) => std::process::abort(),
            (1, 1) => std::process::exit(1),
            (1, 2) => loop {
                std::thread::park();
            },
            _ => how,
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let builder = Pool::builder().workers(2).attempts(2).timeout(Duration::from_secs(2));
    let pool = builder.grace(Duration::from_millis(1)).start().unwrap();
    let inputs = (0..20_u8).map(|how| (folder.path().join(how.to_string()), how));
    assert_eq!(pool.starmap(once, inputs).unwrap(), (0..20).collect::<Vec<u8>>());
    assert_eq!(pool.stats().retried, 3);
}

#[watertight::test]
fn attempts_are_further_and_further_apart() {
    let folder = tempfile::tempdir().unwrap();
    let pool = Pool::builder().workers(1).attempts(4).backoff(Duration::from_millis(20)).start().unwrap();
    let start = Instant::now();
    pool.apply(note_and_panic, (folder.path().join("a"), 3)).unwrap();
    // 20, 40 and 80 ms; how much more is the machine's business.
    assert!(start.elapsed() >= Duration::from_millis(140));
}

#[watertight::test]
fn what_cannot_get_better_is_not_tried_again() {
    let pool = Pool::builder().workers(1).attempts(5).largest_result(1000).start().unwrap();
    let error = pool.apply(|| "x".repeat(2000), ()).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Encoding { what: Encoding::EncodeResult, .. }), "{error}");
    assert_eq!((error.attempt().0, pool.stats().retried), (1, 0));
}

#[watertight::test]
fn memory_has_a_limit_and_the_next_task_a_fresh_worker() {
    let pool = Pool::builder().workers(1).memory_limit(64 << 20).start().unwrap();
    let allocate = |mib: usize| vec![1_u8; mib << 20].iter().map(|byte| usize::from(*byte)).sum::<usize>();
    assert_eq!(pool.apply(allocate, (16,)).unwrap(), 16 << 20);
    let error = pool.apply(allocate, (256,)).unwrap_err();
    assert!(error.is_memory_limit() && error.is_death(), "{error}");
    assert!(error.to_string().contains("ran out of its 64 MiB of memory"), "{error}");
    assert_eq!(pool.apply(allocate, (16,)).unwrap(), 16 << 20);
}

#[watertight::test]
fn processor_time_is_counted_for_each_task_alone() {
    let pool = Pool::builder().workers(1).cpu_limit(Duration::from_millis(300)).start().unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    let spin = |milliseconds: u64| {
        let mut used = 0;
        while used < milliseconds {
            let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
            unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
            used = time.tv_sec as u64 * 1000 + time.tv_nsec as u64 / 1_000_000;
        }
        std::process::id()
    };
    // Together they use more than one may.
    for round in 1..=8 {
        assert_eq!(pool.apply(spin, (round * 80,)).unwrap(), pid);
    }
    let error = pool.apply(spin, (1_000_000,)).unwrap_err();
    assert!(error.is_cpu_limit(), "{error}");
    assert!(error.to_string().contains("used up its 0.3 s of processor time"), "{error}");
    // Sleeping uses none.
    let sleep = || std::thread::sleep(Duration::from_millis(400));
    pool.apply(sleep, ()).unwrap();
}

#[watertight::test]
fn arguments_and_results_have_a_largest_size() {
    let pool = Pool::builder().workers(1).largest_argument(10_000).largest_result(5_000).start().unwrap();
    let length = |text: String| text.len();
    let repeat = |count: usize| "x".repeat(count);
    assert_eq!(pool.apply(length, ("x".repeat(9_000),)).unwrap(), 9_000);
    let error = pool.apply(length, ("x".repeat(11_000),)).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Encoding { what: Encoding::EncodeArguments, .. }));
    assert!(error.to_string().contains("larger than 10000 bytes"), "{error}");
    assert_eq!(pool.apply(repeat, (4_000,)).unwrap().len(), 4_000);
    let pid = pool.apply(std::process::id, ()).unwrap();
    let error = pool.apply(repeat, (6_000,)).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Encoding { what: Encoding::EncodeResult, .. }));
    assert!(error.to_string().contains("larger than 5000 bytes"), "{error}");
    let buffers = |count: usize| Bytes::from(vec![0; count]);
    assert!(pool.apply(buffers, (100_000,)).is_err());
    assert!(pool.apply(|bytes: Bytes| bytes.len(), (Bytes::from(vec![0; 100_000]),)).is_err());
    assert_eq!(pool.apply(std::process::id, ()).unwrap(), pid, "the worker survives all of it");
    let outcomes = pool.outcomes(length, [5, 20_000, 7].map(|count| "x".repeat(count)));
    assert_eq!(outcomes.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
}

#[watertight::test]
fn a_worker_is_replaced_after_as_many_tasks_as_it_may_run() {
    let pool = Pool::builder().workers(1).max_tasks_per_worker(3).start().unwrap();
    let pids = pool.map(|_: u32| std::process::id(), 0..10).unwrap();
    for chunk in pids.chunks(3) {
        assert!(chunk.iter().all(|pid| *pid == chunk[0]), "{pids:?}");
    }
    assert_eq!(pids.iter().collect::<BTreeSet<_>>().len(), 4);
    assert_eq!(pool.stats().crashed, 0);
    let pool = Pool::builder().workers(2).max_tasks_per_worker(2).chunk_size(5).start().unwrap();
    let pids = pool.map(|_: u32| std::process::id(), 0..20).unwrap();
    for pid in &pids {
        assert!(pids.iter().filter(|other| *other == pid).count() <= 2, "{pids:?}");
    }
    until(|| pool.stats().in_flight == 0);
}

#[watertight::test]
fn a_task_that_was_not_begun_when_its_worker_ended_runs_elsewhere_once() {
    let (gate, folder) = (Gate::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("ran");
    let pool = Pool::builder().workers(2).chunk_size(50).start().unwrap();
    let work = |gate: Option<PathBuf>, path: PathBuf, x: u32| {
        if let Some(gate) = gate {
            stop_at(&gate);
            std::process::abort();
        }
        note(&path, &x.to_string());
    };
    let inputs = (0..100).map(|x| ((x == 0).then(|| gate.path()), path.clone(), x));
    let later = pool.starmap_async(work, inputs).unwrap();
    drop(gate.wait_for_task());
    let error = later.get().unwrap_err();
    assert_eq!((error.failed(), error.first().index()), (1, Some(0)));
    assert_eq!(error.first().signal(), Some(Signal::SIGABRT));
    assert_eq!(notes(&path).len(), 99);
    assert_eq!(notes(&path).iter().collect::<BTreeSet<_>>().len(), 99);
}

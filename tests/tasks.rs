//! What a task sees, and what its caller is told.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test says what it saw")]

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::until;
use serde::{Deserialize, Serialize};
use watertight::{
    Absent, Bytes, Encoding, ExitStatus, Output, Pool, RemoteError, Shared, Signal, TaskError, TaskErrorKind,
    isolate,
};

#[watertight::test]
fn a_panic_costs_the_task_and_not_the_worker() {
    let pool = Pool::builder().workers(1).env("RUST_BACKTRACE", "1").start().unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    // A worker may answer before its keeper says who it is.
    until(|| pool.pids() == [pid]);
    let error = pool.apply(|x: i32| -> i32 { panic!("number {x}") }, (7,)).unwrap_err();
    let panic = error.panic().unwrap();
    assert_eq!(panic.message, "number 7");
    assert!(panic.location.as_ref().unwrap().starts_with("tests/tasks.rs:"));
    assert!(panic.backtrace.as_ref().unwrap().contains("tasks::"));
    assert!(format!("{error:?}").contains("tasks::"), "a test that unwraps shows the backtrace");
    assert_eq!((error.pid(), error.attempt(), error.index()), (Some(pid), (1, 1), None));
    assert_eq!(error.usage(), Err(Absent::WorkerLivesOn));
    assert_eq!(pool.apply(std::process::id, ()).unwrap(), pid);
    let pool = Pool::builder().workers(1).env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
    let error = pool.start().unwrap().apply(|| -> i32 { panic!("no") }, ()).unwrap_err();
    assert_eq!(error.panic().unwrap().backtrace, None);
}

#[watertight::test]
fn an_error_names_the_workers_pid_or_none_and_never_a_wrong_one() {
    let tell = || -> i32 { panic!("{}", std::process::id()) };
    for _ in 0..30 {
        // The first task may be through before the host hears who runs it.
        let pool = Pool::builder().workers(1).env_remove("RUST_BACKTRACE").env_remove("RUST_LIB_BACKTRACE");
        let error = pool.start().unwrap().apply(tell, ()).unwrap_err();
        let pid: u32 = error.panic().unwrap().message.parse().unwrap();
        assert!(error.pid().is_none_or(|named| named == pid), "{error}");
        assert!(!error.to_string().contains("worker 0"), "{error}");
    }
}

#[watertight::test]
fn a_panic_of_any_kind_is_an_error_of_its_task() {
    /// Its destructor panics when the payload is dropped.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }
    fn any(kind: u8) {
        match kind {
            0 => std::panic::panic_any(7),
            1 => std::panic::panic_any(Bomb),
            2 => std::panic::resume_unwind(Box::new("thrown")),
            3 => panic!("{}", "long ".repeat(100_000)),
            _ => panic!("two\nlines"),
        }
    }
    let pool = Pool::new(1).unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    let errors: Vec<TaskError> = pool.outcomes(any, 0..5).into_iter().map(Result::unwrap_err).collect();
    let messages: Vec<&str> = errors.iter().map(|error| error.panic().unwrap().message.as_str()).collect();
    assert_eq!(messages[..3], ["(its payload is no text)", "(its payload is no text)", "thrown"]);
    assert_eq!(messages[3].len(), 500_000);
    assert_eq!(errors[4].to_string().lines().count(), 1, "an error is one line");
    assert_eq!(pool.apply(std::process::id, ()).unwrap(), pid);
}

#[watertight::test]
fn a_death_is_told_with_all_that_is_known() {
    fn dies() {
        eprintln!("the first line\nthe last line");
        let mut hoard = vec![0_u8; 32 << 20];
        hoard.iter_mut().for_each(|byte| *byte = 1);
        std::hint::black_box(hoard);
        std::process::abort()
    }
    let pool = Pool::builder().workers(1).stderr(Output::Null).start().unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    let error = pool.map(|_: i32| dies(), [1]).unwrap_err().first().clone();
    assert_eq!(error.pid(), Some(pid));
    assert_eq!(error.exit_status().unwrap().signal(), Some(Signal::SIGABRT));
    assert_eq!((error.index(), error.attempt(), error.word()), (Some(0), (1, 1), "signal"));
    assert_eq!(error.stderr(), Ok("the first line\nthe last line\n"));
    let usage = error.usage().unwrap();
    assert!(usage.max_rss > 32 << 20 && usage.max_rss < 200 << 20, "{usage:?}");
    assert!(usage.user_time + usage.system_time > Duration::ZERO);
    assert!(error.elapsed().is_some());
    let text = error.to_string();
    assert!(text.starts_with("task 0 (tasks::a_death_is_told_with_all_that_is_known"), "{text}");
    assert!(text.contains(&format!("worker {pid} killed by SIGABRT")) && text.ends_with(", attempt 1 of 1"));
    assert!(format!("{error:?}").ends_with("stderr of the worker:\nthe first line\nthe last line\n"));
    let json = serde_json::to_string(&error).unwrap();
    assert_eq!(serde_json::from_str::<TaskError>(&json).unwrap(), error);
}

#[watertight::test]
fn a_failure_is_told_with_what_its_task_said_just_before() {
    fn says_and_panics(number: u32) -> u32 {
        eprintln!("why {number}");
        panic!("number {number}")
    }
    let pool = Pool::builder().workers(2).stderr(Output::Null).start().unwrap();
    for number in 0..200 {
        let error = pool.apply(says_and_panics, (number,)).unwrap_err();
        let last = error.stderr().unwrap().lines().last();
        assert_eq!(last, Some(&*format!("why {number}")), "{error:?}");
    }
    let threads = Pool::threads(1).unwrap();
    let error = threads.apply(says_and_panics, (0,)).unwrap_err();
    assert_eq!(error.stderr(), Err(Absent::IsThread));
}

#[watertight::test]
fn what_an_error_shows_of_stderr_is_passed_on_once() {
    let outcome = isolate(|| {
        let says_and_panics = |number: u32| -> u32 {
            eprintln!("why {number}");
            panic!("number {number}")
        };
        let pool = Pool::new(1).unwrap();
        assert_eq!(pool.map(says_and_panics, 0..100).unwrap_err().failed(), 100);
    });
    let outcome = outcome.run();
    assert_eq!(outcome.result, Ok(()));
    let expected: String = (0..100).map(|number| format!("why {number}\n")).collect();
    assert_eq!(outcome.stderr(), expected);
}

#[watertight::test]
fn a_failure_is_told_with_the_time_that_its_own_task_took() {
    const MOMENT: Duration = Duration::from_millis(30);
    fn fails_after(moment: Duration) {
        let start = Instant::now();
        until(|| start.elapsed() >= moment);
        panic!("after a moment")
    }
    for pool in [Pool::new(1).unwrap(), Pool::threads(1).unwrap()] {
        for _ in 0..5 {
            let error = pool.apply(fails_after, (MOMENT,)).unwrap_err();
            assert!(error.elapsed().unwrap() >= MOMENT, "{error}");
            // Others stand behind it, and have begun by the time that somebody reads what became of it.
            let moments = [MOMENT, Duration::ZERO, Duration::ZERO];
            let error = pool.map(fails_after, moments).unwrap_err();
            assert!(error.first().elapsed().unwrap() >= MOMENT, "{}", error.first());
        }
    }
}

#[watertight::test]
fn only_the_last_lines_of_stderr_are_kept() {
    fn chatters() {
        (0..50_000).for_each(|line| eprintln!("line {line}"));
        std::process::exit(9);
    }
    let pool = Pool::builder().workers(1).stderr(Output::Null).start().unwrap();
    let error = pool.apply(chatters, ()).unwrap_err();
    assert_eq!(error.exit_status(), Some(ExitStatus::Code(9)));
    let stderr = error.stderr().unwrap();
    assert!(stderr.len() <= 8 * 1024 && stderr.ends_with("line 49999\n"), "{}", stderr.len());
    assert!(stderr.starts_with("line "), "whole lines");
}

#[watertight::test]
fn printing_breaks_nothing_and_goes_where_it_is_sent() {
    let outcome = isolate(|| {
        let pool = Pool::new(1).unwrap();
        let print = |x: i32| {
            println!("out {x}");
            eprintln!("err {x}");
            x
        };
        assert_eq!(pool.map(print, 0..3).unwrap(), [0, 1, 2]);
        drop(pool);
        let pool = Pool::builder().workers(1).stdout(Output::Null).stderr(Output::Null).start().unwrap();
        assert_eq!(pool.map(print, 5..7).unwrap(), [5, 6]);
        drop(pool);
        let pool = Pool::builder().workers(1).stdout(Output::Stderr).start().unwrap();
        assert_eq!(pool.map(print, [9]).unwrap(), [9]);
    });
    let outcome = outcome.run();
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(outcome.stdout(), "out 0\nout 1\nout 2\n");
    assert_eq!(outcome.stderr(), "err 0\nerr 1\nerr 2\nout 9\nerr 9\n");
}

#[watertight::test]
fn stdin_of_a_pools_worker_is_empty() {
    let pool = Pool::new(1).unwrap();
    let read = || std::io::read_to_string(std::io::stdin()).unwrap();
    assert_eq!(pool.apply(read, ()).unwrap(), "");
}

#[watertight::test]
fn a_grandchild_that_holds_the_pipes_delays_nobody() {
    let pool = Pool::builder().workers(1).stderr(Output::Null).start().unwrap();
    fn leaves_one() {
        // It leaves the process group, and so outlives the worker.
        let mut command = std::process::Command::new("setsid");
        command.args(["sleep", "1000"]).spawn().unwrap();
        eprintln!("last words");
        std::process::exit(4);
    }
    let error = pool.apply(leaves_one, ()).unwrap_err();
    assert_eq!(error.exit_status(), Some(ExitStatus::Code(4)));
    assert_eq!(error.stderr(), Ok("last words\n"));
    assert_eq!(pool.apply(|x: i32| x, (1,)).unwrap(), 1);
}

#[watertight::test]
fn the_token_is_gone_before_user_code_runs() {
    let ours = || -> Vec<String> {
        std::env::vars().map(|(name, _)| name).filter(|name| name.contains("WATERTIGHT")).collect()
    };
    for method in [watertight::StartMethod::Fork, watertight::StartMethod::Exec] {
        let pool = Pool::builder().workers(1).start_method(method).start().unwrap();
        assert_eq!(pool.apply(ours, ()).unwrap(), Vec::<String>::new());
        let in_the_kernel = || std::fs::read("/proc/self/environ").unwrap();
        let _ = pool.apply(in_the_kernel, ()).unwrap();
    }
}

#[watertight::test]
fn a_result_that_cannot_be_encoded_is_its_tasks_error() {
    #[derive(Deserialize)]
    struct Never;
    impl Serialize for Never {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("it cannot be told"))
        }
    }
    #[derive(Deserialize)]
    struct Panics;
    impl Serialize for Panics {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            panic!("while encoding")
        }
    }
    let pool = Pool::new(1).unwrap();
    let pid = pool.apply(std::process::id, ()).unwrap();
    let error = pool.apply(|| Never, ()).map(drop).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Encoding { what: Encoding::EncodeResult, .. }));
    assert!(error.to_string().contains("cannot encode the result: it cannot be told"), "{error}");
    let error = pool.apply(|| Panics, ()).map(drop).unwrap_err();
    assert_eq!(error.panic().unwrap().message, "while encoding");
    assert_eq!(pool.apply(std::process::id, ()).unwrap(), pid);
}

#[watertight::test]
fn values_that_one_side_cannot_read_are_told_from_both_sides() {
    /// Reads back nothing that it wrote.
    #[derive(Serialize, Debug)]
    struct OneWay(u8);
    impl<'de> Deserialize<'de> for OneWay {
        fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<OneWay, D::Error> {
            let byte = u8::deserialize(deserializer)?;
            Err(serde::de::Error::custom(format_args!("no {byte} wanted")))
        }
    }
    let pool = Pool::new(1).unwrap();
    let error = pool.apply(|_: OneWay| (), (OneWay(5),)).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Encoding { what: Encoding::DecodeArguments, .. }));
    assert!(error.to_string().contains("no 5 wanted"), "{error}");
    let error = pool.apply(|| OneWay(6), ()).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Encoding { what: Encoding::DecodeResult, .. }));
    assert!(error.to_string().contains("no 6 wanted"), "{error}");
}

#[watertight::test]
fn a_tasks_own_error_is_a_value_and_any_error_can_travel() {
    fn open(path: String) -> Result<u64, RemoteError> {
        let file = std::fs::File::open(&path).map_err(|error| RemoteError::from(error).context(path))?;
        Ok(file.metadata()?.len())
    }
    let pool = Pool::builder().workers(1).env("RUST_BACKTRACE", "1").start().unwrap();
    let error = pool.apply(open, ("/no/such/file".to_owned(),)).unwrap().unwrap_err();
    assert_eq!(format!("{error:#}"), "/no/such/file: No such file or directory (os error 2)");
    assert_eq!((error.message(), error.sources().len()), ("/no/such/file", 1));
    assert!(error.backtrace().unwrap().contains("tasks::"));
    assert!(pool.apply(open, ("/dev/null".to_owned(),)).unwrap().is_ok());
    assert_eq!(pool.stats().failed, 0);
}

static DECODED: AtomicU32 = AtomicU32::new(0);
static ENCODED: AtomicU32 = AtomicU32::new(0);

/// Counts how often it is written and read in this process.
struct Counted(Vec<u32>);

impl Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ENCODED.fetch_add(1, Ordering::Relaxed);
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Counted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Counted, D::Error> {
        DECODED.fetch_add(1, Ordering::Relaxed);
        Vec::deserialize(deserializer).map(Counted)
    }
}

#[watertight::test]
fn a_shared_value_is_encoded_once_and_decoded_once_in_each_worker() {
    let look = |table: Shared<Counted>, index: usize| {
        (table.0[index], std::process::id(), DECODED.load(Ordering::Relaxed))
    };
    let pool = Pool::new(2).unwrap();
    let table = Shared::new(Counted((0..1000).collect()));
    let found = pool.starmap(look, (0..1000).map(|index| (table.clone(), index))).unwrap();
    assert!(found.iter().enumerate().all(|(index, (value, ..))| *value == index as u32));
    assert!(found.iter().all(|(_, _, decoded)| *decoded == 1), "decoded once a worker");
    assert_eq!(ENCODED.load(Ordering::Relaxed), 1);
    // A worker that takes the place of another one gets it too.
    assert!(pool.apply(|x: i32| -> i32 { if x > 0 { std::process::abort() } else { x } }, (1,)).is_err());
    let again = pool.starmap(look, (0..100).map(|index| (table.clone(), index))).unwrap();
    assert!(again.iter().all(|(_, _, decoded)| *decoded == 1));
    assert_eq!(ENCODED.load(Ordering::Relaxed), 1);
}

#[watertight::test]
fn shared_values_come_and_go_in_any_number() {
    let pool = Pool::new(2).unwrap();
    let sum = |a: Shared<Vec<u64>>, b: Shared<String>, c: Shared<Bytes>| a.len() + b.len() + c.len();
    for round in 1..100_usize {
        let (a, b) = (Shared::new(vec![1; round]), Shared::new("x".repeat(round)));
        let c = Shared::new(Bytes::from(vec![0; round * 1000]));
        let expected = round * 1002;
        assert_eq!(pool.starmap(sum, [(a.clone(), b.clone(), c.clone()), (a, b, c)]).unwrap(), [expected; 2]);
    }
    // A result may hold one, and what it holds can travel on.
    let made = pool.apply(|| Shared::new(vec![3_u64, 4]), ()).unwrap();
    assert_eq!(pool.apply(|made: Shared<Vec<u64>>| made.iter().sum::<u64>(), (made.clone(),)).unwrap(), 7);
    assert_eq!(*made, [3, 4]);
}

#[watertight::test]
fn buffers_travel_whole_whatever_their_size() {
    let pool = Pool::new(2).unwrap();
    let echo = |buffers: Vec<Bytes>| buffers;
    for size in [0, 1, 16_383, 16_384, 16_385, 70_000, 300_000, 5_000_000] {
        let buffers: Vec<Bytes> = (0..3_u8).map(|i| Bytes::from(vec![i; size])).collect();
        assert_eq!(pool.apply(echo, (buffers.clone(),)).unwrap(), buffers, "{size}");
    }
    let many: Vec<Bytes> = (0..300_u32).map(|i| Bytes::from(vec![i as u8; 20_000])).collect();
    assert_eq!(pool.apply(echo, (many.clone(),)).unwrap(), many);
}

#[watertight::test]
fn a_task_runs_where_and_with_what_the_pool_says() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    for method in [watertight::StartMethod::Fork, watertight::StartMethod::Exec] {
        let builder = Pool::builder().workers(1).name("kitchen").current_dir(&folder).start_method(method);
        let pool = builder.env("COLOUR", "blue").env_remove("PATH").start().unwrap();
        assert_eq!(pool.apply(|| std::env::current_dir().unwrap(), ()).unwrap(), folder);
        let read = || (std::env::var("COLOUR").ok(), std::env::var("PATH").ok());
        assert_eq!(pool.apply(read, ()).unwrap(), (Some("blue".to_owned()), None));
        let name = || std::fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(pool.apply(name, ()).unwrap(), "kitchen-1\n");
        let name = || watertight::current_process().name;
        assert_eq!(pool.apply(name, ()).unwrap(), "kitchen-1");
        let pool = Pool::builder().workers(1).env_clear().env("ONLY", "this").start_method(method);
        let all = || std::env::vars().collect::<Vec<_>>();
        let all = pool.start().unwrap().apply(all, ()).unwrap();
        assert_eq!(all, [("ONLY".to_owned(), "this".to_owned())]);
    }
}

#[watertight::test]
fn a_folder_that_is_not_there_is_an_error_that_says_so() {
    let pool = Pool::builder().workers(1).current_dir("/no/such/folder").start().unwrap();
    let error = pool.apply(|| 1, ()).unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::NoWorker { .. }), "{error}");
    assert!(error.to_string().contains("cannot enter the working directory: No such file"), "{error}");
}

#[watertight::test]
fn changes_of_the_hosts_surroundings_reach_later_workers() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().canonicalize().unwrap();
    let read = || (std::env::current_dir().unwrap(), std::env::var("LATER").ok());
    let before = Pool::new(1).unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(before.apply(read, ()).unwrap(), (here.clone(), None));
    std::env::set_current_dir(&folder).unwrap();
    let after = Pool::new(1).unwrap();
    assert_eq!(after.apply(read, ()).unwrap(), (folder, None));
    std::env::set_current_dir(here).unwrap();
}

#[watertight::test]
fn pools_nest_to_a_depth_and_no_deeper() {
    fn descend(levels: u32) -> Result<u32, String> {
        if levels == 0 {
            return Ok(watertight::current_process().depth);
        }
        let pool = Pool::new(1).map_err(|error| format!("{} {error}", error.is_too_deep()))?;
        pool.apply(descend, (levels - 1,)).unwrap()
    }
    let here = watertight::current_process().depth;
    assert_eq!(descend(3), Ok(here + 3));
    assert_eq!(descend(10 - here), Ok(10));
    let error = descend(11 - here).unwrap_err();
    assert_eq!(error, "true workers are nested 10 deep, which is the limit");
}

#[watertight::test]
fn a_workers_own_pool_dies_with_it() {
    fn nest() -> Vec<u32> {
        let pool = Pool::new(2).unwrap();
        common::until(|| pool.pids().len() == 2);
        let pids = pool.pids();
        std::mem::forget(pool);
        pids
    }
    let pool = Pool::new(1).unwrap();
    let pids = pool.apply(nest, ()).unwrap();
    assert!(pids.iter().all(|pid| common::runs(*pid)));
    assert!(pool.apply(|x: i32| -> i32 { if x > 0 { std::process::abort() } else { x } }, (1,)).is_err());
    common::until(|| !pids.iter().any(|pid| common::runs(*pid)));
}

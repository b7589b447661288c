//! SIGKILL of a host: its keeper ends everything that was started for it, and removes every name.
//!
//! The host is this very executable, run as a program of its own with one test by name.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it saw")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use support::{Random, Target, processes};
use watertight::{Pool, Process};
use watertight_faults::Fault;

/// Tells the host what its workers do.
const LIFE: &str = "WATERTIGHT_TEST_LIFE";

/// Every process of a round carries this in its environment.
const MARK: &str = "WATERTIGHT_TEST_MARK";

/// How many workers a host has.
const WORKERS: usize = 3;

/// What is promised is a second; a loaded machine gets more.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the workers of a host do when it dies.
const LIVES: [&str; 7] = ["spin", "hang", "stop", "children", "strangers", "nested", "crash"];

/// Says on stdout that this process has come so far.
fn say_up() {
    println!("up");
    std::io::stdout().flush().unwrap();
}

#[expect(clippy::zombie_processes, reason = "not to wait for it is the fault")]
fn start_stranger() {
    // It leaves the group and the session.
    Command::new("setsid").args(["sleep", "1000"]).stdout(Stdio::null()).spawn().unwrap();
}

/// Lives as told.
fn live(life: String) {
    match life.as_str() {
        "children" => drop(Fault::LeakChild.strike()),
        "strangers" => start_stranger(),
        "nested" => {
            let pool = Pool::new(2).unwrap();
            let inner = pool.map_async(live, ["spin".to_owned(), "stop".to_owned()]).unwrap();
            inner.get().unwrap();
        }
        "crash" => {
            // One after the other dies; the first few say that it has begun.
            say_up();
            Fault::Segv.strike();
        }
        _ => {}
    }
    say_up();
    match life.as_str() {
        "spin" => drop(Fault::Spin.strike()),
        "stop" => drop(Fault::Stop.strike()),
        _ => drop(Fault::Hang.strike()),
    }
}

/// Not a test: the host that the tests kill.
#[test]
#[ignore = "the other tests run it as a program of its own"]
fn host() {
    watertight::test_init!();
    let Ok(life) = std::env::var(LIFE) else { return };
    let pool = Pool::builder().workers(WORKERS).stderr(watertight::Output::Null).start().unwrap();
    if life == "crash" {
        loop {
            pool.outcomes(live, vec![life.clone(); WORKERS]);
        }
    }
    let process = Process::spawn(live, (life.clone(),)).unwrap();
    pool.outcomes(live, vec![life; WORKERS]);
    drop(process);
}

fn start_host(life: &str, mark: &str, folder: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["host", "--exact", "--ignored", "--nocapture"])
        .envs([(LIFE, life), (MARK, mark)])
        .envs([("XDG_RUNTIME_DIR", folder), ("TMPDIR", folder)])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Waits until so many of a host's workers have begun.
fn wait_until_up(host: &mut Child, workers: usize) {
    let lines = BufReader::new(host.stdout.as_mut().unwrap()).lines();
    let ups = lines.map(Result::unwrap).filter(|line| line.ends_with("up"));
    assert_eq!(ups.take(workers).count(), workers, "the host ended");
}

/// The living processes of a round.
fn marked(mark: &str) -> Vec<u32> {
    let mark = format!("{MARK}={mark}");
    let carries = |pid: &u32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    processes().filter(carries).collect()
}

/// Waits until no process of a round lives.
fn all_end(mark: &str) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let left = marked(mark);
        if left.is_empty() {
            return;
        }
        for pid in left {
            let ended = Target::open(pid).is_none_or(|target| target.ends_by(deadline));
            let line = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            assert!(ended, "left behind: {}", line());
        }
    }
}

fn entries(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().flatten();
    names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Kills a host, early or late, and looks for what it leaves.
fn kill_one(round: usize, random: &mut Random) {
    let folder = tempfile::tempdir().unwrap();
    let life = LIVES[round % LIVES.len()];
    let mark = format!("{}-{round}", std::process::id());
    let mut host = start_host(life, &mark, folder.path());
    let pid = host.id();
    let moment = if round.is_multiple_of(2) {
        // Everything runs.
        let process = if life == "crash" { 0 } else { 1 };
        let nested = if life == "nested" { 2 } else { 1 };
        wait_until_up(&mut host, (WORKERS + process) * nested);
        random.below(5_000)
    } else {
        random.below(80_000)
    };
    let target = Target::open(pid).unwrap();
    let ended = target.ends_by(Instant::now() + Duration::from_micros(moment));
    assert!(!ended, "round {round}, {life}: the host ended by itself");
    host.kill().unwrap();
    host.wait().unwrap();
    let killed = Instant::now();
    all_end(&mark);
    println!("round {round}, {life}: nothing left after {:?}", killed.elapsed());
    assert_eq!(entries(folder.path()), [""; 0], "round {round}, {life}");
    let shared = entries(Path::new("/dev/shm"));
    let own = shared.iter().filter(|name| name.contains(&format!("-{pid}-"))).collect::<Vec<_>>();
    assert_eq!(own, [""; 0], "round {round}, {life}");
}

#[watertight::test(timeout = "240s")]
fn a_host_that_is_killed_leaves_no_process_and_no_name() {
    let mut random = Random::new();
    for round in 0..50 {
        kill_one(round, &mut random);
    }
}

//! What a map prints when all goes well.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::thread;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use super::{piped, run, run_with};

#[watertight::test]
fn five_squares_come_one_a_line_and_in_order() {
    let run = run(&["map", "square", "1", "2", "3", "4", "5"]);
    assert_eq!(run.lines(), ["1", "4", "9", "16", "25"]);
    assert_eq!((run.code, run.complaints().len()), (Some(0), 0), "{}", run.stderr);
}

#[watertight::test]
fn a_summary_closes_the_run_unless_it_is_to_be_quiet() {
    assert!(run(&["map", "square", "1"]).stderr.contains("1 task in "));
    assert_eq!(run(&["map", "--quiet", "square", "1"]).stderr, "");
}

#[watertight::test]
fn strings_are_printed_as_text_and_the_rest_as_json() {
    assert_eq!(run(&["map", "greet", "Ada"]).lines().len(), 1);
    assert!(!run(&["map", "greet", "Ada"]).stdout.contains('"'));
    let run = run(&["map", "sum-squares", "[1, 2, 3]"]);
    assert_eq!(run.lines(), ["14.0"]);
}

#[watertight::test]
fn results_are_in_order_although_the_first_takes_longest() {
    let slow = run(&["map", "-j", "2", "sleep", "0.3", "0", "0", "0", "--json"]);
    let numbers: Vec<_> = slow.records().iter().map(|record| record["seq"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2, 3]);
}

#[watertight::test]
fn unordered_results_come_as_they_are_done() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("go");
    mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let waits = format!("read x < {}", fifo.display());
    let mut child = piped(&["map", "-j", "2", "--unordered", "--json", "run", &waits, "echo done"]);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> serde_json::Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["seq"], 1);
    fs::write(&fifo, "go\n").unwrap();
    assert_eq!(next()["seq"], 0);
    assert!(child.wait().unwrap().success());
}

#[watertight::test]
fn a_json_record_tells_everything_of_a_task() {
    let run = run(&["map", "--json", "square", "7"]);
    let record = &run.records()[0];
    assert_eq!((&record["seq"], &record["input"], &record["ok"]), (&0.into(), &"7".into(), &true.into()));
    assert_eq!((&record["value"], &record["attempts"]), (&49.into(), &1.into()));
    assert!(record["max_rss"].as_u64().unwrap() > 4096);
    assert!(record["pid"].as_u64().unwrap() > 1);
    assert!(record["seconds"].as_f64().unwrap() >= 0.0);
    assert!(record["start"].as_str().unwrap().ends_with('Z'));
    assert!(record.get("error").is_none());
}

#[watertight::test(timeout = "240s")]
fn a_hundred_thousand_lines_are_a_hundred_thousand_results() {
    let input: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    let run = run_with(&["map", "square"], input.as_bytes());
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let mut expected = (0..100_000_u64).map(|number| (number * number).to_string());
    assert!(run.stdout.lines().all(|line| expected.next().as_deref() == Some(line)));
    assert_eq!(expected.next(), None);
}

/// The most memory in KiB that a map has used when it has printed the results of so many lines of a kilobyte, and
/// waits for more.
fn peak(count: usize) -> u64 {
    let name = |number: usize| format!("{number:01000}");
    let mut child = piped(&["map", "-j", "2", "greet"]);
    let stdin = child.stdin.take().unwrap();
    let writer = thread::spawn(move || {
        let mut stdin = BufWriter::new(stdin);
        (0..count).for_each(|number| writeln!(stdin, "{}", name(number)).unwrap());
        stdin.into_inner().unwrap()
    });
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 0..count {
        assert!(lines.next().unwrap().unwrap().contains(&name(number)), "{number}");
    }
    let stdin = writer.join().unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success() && lines.next().is_none());
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().strip_suffix(" kB").unwrap().parse().unwrap()
}

#[watertight::test(timeout = "240s")]
fn a_map_of_many_lines_needs_no_more_memory_than_one_of_few() {
    let (few, many) = (peak(2_000), peak(20_000));
    // Either the inputs or the outputs would be twice as much.
    assert!(many < few + 9 * 1024, "{few} KiB for 2,000 lines, {many} KiB for 20,000");
}

#[watertight::test]
fn no_input_at_all_is_no_task() {
    let run = run_with(&["map", "square"], b"");
    assert_eq!((run.code, run.stdout.as_str()), (Some(0), ""));
    assert!(run.stderr.contains("0 tasks in"), "{}", run.stderr);
}

#[watertight::test]
fn the_tasks_of_a_worker_are_listed_with_their_types() {
    let list = run(&["tasks"]);
    assert!(list.lines().contains(&"square(x: i64) -> Result<i64, RemoteError>"), "{}", list.stdout);
    assert!(list.lines().iter().any(|line| line.starts_with("    ")));
    let tasks = run(&["tasks", "--json"]).records();
    assert_eq!(tasks.len() * 2, list.lines().len());
    let square = tasks.iter().find(|task| task["name"].as_str().unwrap().ends_with("::square")).unwrap();
    assert_eq!(square["parameters"], serde_json::json!([{ "name": "x", "type": "i64" }]));
}

//! What a map tells of tasks that fail, and of command lines that cannot work.

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use super::{run, watertight};

#[watertight::test]
fn a_crash_costs_one_task_and_is_told_in_one_line() {
    let run = run(&["map", "fault", "segv", "none", "abort"]);
    assert_eq!((run.lines(), run.code), (vec!["unharmed"], Some(1)));
    let complaints = run.complaints();
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(complaints[0].starts_with("task 0 (\"segv\"): worker "), "{complaints:?}");
    assert!(complaints[0].contains(" killed by SIGSEGV ") && complaints[0].ends_with(", attempt 1 of 1"));
    assert!(complaints[1].starts_with("task 2 (\"abort\"): worker ") && complaints[1].contains(" SIGABRT "));
    assert!(run.stderr.contains("2 workers crashed"));
}

fn failure(arguments: &[&str]) -> serde_json::Value {
    let run = run(&[&["map", "--json", "-v"], arguments].concat());
    assert_eq!(run.code, Some(1), "{}{}", run.stdout, run.stderr);
    run.records()[0]["error"].clone()
}

#[watertight::test]
fn every_kind_of_failure_has_its_word_in_json() {
    let panic = failure(&["fault", "panic"]);
    assert_eq!(panic["kind"], "panic");
    assert!(panic["location"].as_str().unwrap().contains(".rs:"));
    let exit = failure(&["fault", "exit"]);
    assert_eq!((&exit["kind"], &exit["code"]), (&"exit".into(), &3.into()));
    let kill = failure(&["fault", "kill"]);
    assert_eq!((&kill["kind"], &kill["signal"]), (&"signal".into(), &"SIGKILL".into()));
    let overflow = failure(&["fault", "stack-overflow"]);
    assert!(overflow["message"].as_str().unwrap().contains("stack overflow"));
    assert_eq!(failure(&["--timeout", "300ms", "fault", "hang"])["kind"], "timeout");
    assert_eq!(failure(&["--memory", "64MiB", "fault", "out-of-memory"])["kind"], "memory");
    assert_eq!(failure(&["--cpu-time", "100ms", "fault", "spin"])["kind"], "cpu");
    assert_eq!(failure(&["square", "x"])["kind"], "encoding");
    assert_eq!(failure(&["sha256", "/missing"])["kind"], "failed");
}

#[watertight::test]
fn a_tasks_own_error_is_a_failure_too() {
    let run = run(&["map", "sha256", "/missing"]);
    assert_eq!((run.stdout.as_str(), run.code), ("", Some(1)));
    assert!(run.complaints()[0].contains("failed: "), "{}", run.stderr);
}

#[watertight::test]
fn a_json_record_of_a_failure_is_measured_like_one_of_a_value() {
    for arguments in [["fault", "panic"], ["sha256", "/missing"], ["fault", "abort"]] {
        let before = SystemTime::now();
        let run = run(&[&["map", "--json", "--jobs", "1"][..], &arguments].concat());
        let record = &run.records()[0];
        assert_eq!(record["ok"], false);
        assert!(record["max_rss"].as_u64().unwrap() > 4096, "{record}");
        assert!(record["pid"].as_u64().unwrap() > 1, "{record}");
        let start = humantime::parse_rfc3339(record["start"].as_str().unwrap()).unwrap();
        let end = start + Duration::from_secs_f64(record["seconds"].as_f64().unwrap());
        assert!(before <= start && end <= SystemTime::now(), "{record}");
    }
}

#[watertight::test]
fn attempts_are_made_and_counted() {
    let run = run(&["map", "--attempts", "3", "--json", "fault", "kill"]);
    assert_eq!(run.records()[0]["attempts"], 3);
    assert!(run.stderr.contains("2 attempts repeated"), "{}", run.stderr);
}

#[watertight::test]
fn a_worker_is_replaced_after_its_number_of_tasks() {
    // A shell that a task starts knows its parent.
    let inputs = ["echo $PPID; true"; 6];
    let run = run(&[&["map", "-j1", "--max-tasks-per-worker", "2", "run"][..], &inputs].concat());
    let mut pids = run.lines();
    pids.dedup();
    assert_eq!((pids.len(), run.code), (3, Some(0)), "{pids:?}");
}

#[watertight::test]
fn an_unknown_task_is_a_usage_error_with_the_nearest_name() {
    let run = run(&["map", "sqaure", "1"]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("no task `sqaure`; the nearest: square"), "{}", run.stderr);
}

#[watertight::test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    for wrong in [
        &["map"][..],
        &["map", "square", "--jobs", "0", "1"],
        &["map", "square", "--timeout", "soon", "1"],
        &["map", "square", "--memory", "lots", "1"],
        &["map", "square", "--inputs", "file", "1"],
        &["fly"],
        &[],
    ] {
        let run = run(wrong);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(!run.stderr.is_empty());
    }
}

#[watertight::test]
fn a_worker_that_is_none_is_told_as_such() {
    let folder = tempfile::tempdir().unwrap();
    let plain = folder.path().join("plain");
    fs::write(&plain, "no program").unwrap();
    let script = folder.path().join("script");
    fs::write(&script, "#!/bin/sh\necho from the script >&2\nexit 4\n").unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let text = |path: &std::path::Path| path.to_str().unwrap().to_owned();
    for (path, said) in [
        (text(&folder.path().join("missing")), "No such file"),
        (text(&plain), "Permission denied"),
        (text(folder.path()), "Permission denied"),
        (text(&script), "from the script"),
        ("/bin/true".to_owned(), "is it built with watertight"),
    ] {
        for command in [&["map", "--worker", &path, "square", "1"][..], &["tasks", "--worker", &path]] {
            let run = run(command);
            assert_eq!(run.code, Some(3), "{path}");
            assert!(run.stderr.contains(said) && run.stderr.contains(&path), "{}", run.stderr);
        }
    }
}

#[watertight::test]
fn workers_that_cannot_start_end_a_map_whose_input_stays_open() {
    let mut child = super::piped(&["map", "--memory", "1", "square"]);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"3\n").unwrap();
    let run = super::Run::of(child.wait_with_output().unwrap());
    assert_eq!((run.code, run.stdout.as_str()), (Some(3), ""), "{}", run.stderr);
    assert!(
        run.stderr.contains("task 0 (\"3\"): not run: ") && run.stderr.contains("; gave up"),
        "{}",
        run.stderr
    );
    drop(stdin);
}

#[watertight::test]
fn a_missing_stock_worker_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("watertight");
    fs::copy(super::program(), &alone).unwrap();
    let run = |path: &str| {
        let mut command = std::process::Command::new(&alone);
        super::Run::of(command.args(["map", "square", "3"]).env("PATH", path).output().unwrap())
    };
    let missing = run("/nowhere");
    assert_eq!(missing.code, Some(3));
    assert!(missing.stderr.contains("--worker"), "{}", missing.stderr);
    let beside = super::program().parent().unwrap().to_str().unwrap().to_owned();
    assert_eq!(run(&beside).lines(), ["9"]);
}

#[watertight::test]
fn a_full_disk_is_an_error() {
    let mut command = watertight(&["map", "square", "1"]);
    command.stdout(fs::OpenOptions::new().write(true).open("/dev/full").unwrap());
    let run = super::Run::of(command.output().unwrap());
    assert_eq!(run.code, Some(1));
    assert!(run.stderr.contains("cannot write to stdout: No space left"), "{}", run.stderr);
}

#[watertight::test]
fn events_are_told_to_those_who_ask() {
    assert!(run(&["map", "-v", "fault", "segv"]).stderr.contains("worker died"));
    assert!(!run(&["map", "fault", "segv"]).stderr.contains("worker died"));
}

//! How inputs are read and what they mean.

use std::fs;

use super::{run, run_with};

#[watertight::test]
fn a_line_of_stdin_is_an_input() {
    let run = run_with(&["map", "square"], b"1\n2\n3");
    assert_eq!(run.lines(), ["1", "4", "9"]);
}

#[watertight::test]
fn inputs_come_from_a_file_too() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("numbers");
    fs::write(&file, "5\n6\n").unwrap();
    let found = run(&["map", "square", "--inputs", file.to_str().unwrap()]);
    assert_eq!(found.lines(), ["25", "36"]);
    let missing = run(&["map", "square", "--inputs", "/missing"]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.stderr.contains("cannot read /missing"), "{}", missing.stderr);
}

#[watertight::test]
fn inputs_that_end_with_nul_may_hold_lines() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("two\nlines");
    fs::write(&file, "a b\n").unwrap();
    let input = format!("{}\0", file.display());
    let run = run_with(&["map", "-0", "word-count"], input.as_bytes());
    let count: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!((run.code, &count["words"]), (Some(0), &2.into()));
}

#[watertight::test]
fn what_is_no_json_counts_as_a_string_where_json_is_wanted() {
    assert_eq!(run(&["map", "fault", "none"]).lines(), ["unharmed"]);
    assert_eq!(run(&["map", "fault", "\"none\""]).lines(), ["unharmed"]);
}

#[watertight::test]
fn text_is_taken_as_it_is_where_text_is_wanted() {
    let quoted = run(&["map", "greet", "\"Ada\""]);
    assert!(quoted.stdout.contains("\"Ada\""), "{}", quoted.stdout);
}

#[watertight::test]
fn an_input_that_the_task_does_not_take_fails_alone() {
    let run = run(&["map", "square", "2", "two", "{}", "3"]);
    assert_eq!((run.lines(), run.code), (vec!["4", "9"], Some(1)));
    let complaints = run.complaints();
    assert!(complaints[0].starts_with("task 1 (\"two\"): "), "{complaints:?}");
    assert!(complaints[1].starts_with("task 2 (\"{}\"): "), "{complaints:?}");
    assert!(complaints.iter().all(|line| line.contains("cannot decode the arguments")), "{complaints:?}");
}

#[watertight::test]
fn an_input_that_is_not_utf8_fails_alone() {
    let run = run_with(&["map", "greet"], b"Ada\n\xff\nBob\n");
    assert_eq!((run.lines().len(), run.code), (2, Some(1)));
    let complaints = run.complaints();
    assert!(complaints[0].contains("the input is not UTF-8"), "{complaints:?}");
}

#[watertight::test]
fn a_result_follows_its_line_at_once() {
    use std::io::{BufRead, BufReader, Write};
    let mut child = super::piped(&["map", "square"]);
    let mut stdin = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for number in 1..=3_u32 {
        writeln!(stdin, "{number}").unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), (number * number).to_string());
    }
    drop(stdin);
    assert!(lines.next().is_none() && child.wait().unwrap().success());
}

#[watertight::test]
fn a_line_without_end_is_one_failure_and_not_all_of_memory() {
    let mut input = vec![b'x'; 65 << 20];
    input.extend_from_slice(b"\nAda\n");
    let run = run_with(&["map", "greet"], &input);
    assert_eq!((run.lines().len(), run.code), (1, Some(1)));
    let complaints = run.complaints();
    assert!(complaints[0].contains("the input is longer than 64 MiB"), "{complaints:?}");
}

//! The progress bar, on a real terminal.

use std::fs::File;
use std::io::Read;
use std::process::Stdio;

use nix::pty::{Winsize, openpty};

use super::{run, watertight};

/// Runs it with stderr on a terminal, and gives what the terminal got.
fn on_terminal(arguments: &[&str]) -> (String, String) {
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).unwrap();
    let mut command = watertight(arguments);
    command.env("TERM", "xterm").stderr(Stdio::from(terminal.slave)).stdout(Stdio::piped());
    let child = command.spawn().unwrap();
    // The command holds the terminal's other end, too.
    drop(command);
    let mut shown = Vec::new();
    // A terminal whose programs have gone gives EIO.
    let _ = File::from(terminal.master).read_to_end(&mut shown);
    let output = child.wait_with_output().unwrap();
    (String::from_utf8_lossy(&shown).into_owned(), String::from_utf8(output.stdout).unwrap())
}

#[watertight::test]
fn a_terminal_shows_how_far_it_is_and_results_stay_clean() {
    let (shown, results) = on_terminal(&["map", "-j1", "sleep", "0", "0.3", "0", "0.3"]);
    assert!(shown.contains("/4 "), "{shown:?}");
    assert!(shown.contains("4 tasks in"), "{shown:?}");
    assert_eq!(results.lines().count(), 4);
    assert!(!results.contains('\u{1b}'), "{results:?}");
}

#[watertight::test]
fn failures_stand_above_the_bar() {
    let (shown, _) = on_terminal(&["map", "-j1", "fault", "none", "segv", "none"]);
    assert!(shown.contains("task 1 (\"segv\")"), "{shown:?}");
}

#[watertight::test]
fn nothing_is_drawn_where_there_is_no_terminal_or_when_told_not_to() {
    let plain = run(&["map", "sleep", "0", "0.2"]);
    assert!(!plain.stderr.contains('\u{1b}') && plain.complaints().is_empty(), "{}", plain.stderr);
    let (shown, _) = on_terminal(&["map", "--progress", "never", "sleep", "0", "0.2"]);
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[watertight::test]
fn progress_is_told_in_lines_where_it_is_wanted_without_a_terminal() {
    let run = run(&["map", "--progress", "always", "square", "1", "2"]);
    assert!(run.stderr.contains("2/2 done"), "{}", run.stderr);
}

//! The stock worker executable of watertight, and the template for your own.
//!
//! A worker is an ordinary program whose `main` begins with `watertight::init()`, and whose functions carry
//! `#[watertight::task]`. To make your own, start a package that depends on `watertight` and `serde`, copy
//! this file, and put your functions where these are. Whatever they do to their process, the program that
//! uses the worker lives on.

#![warn(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

mod commands;
mod faults;
mod files;
mod hello;
mod images;
mod numbers;
mod slow;
mod web;

use std::process::ExitCode;

/// The exit code of a worker that nobody wanted to work for.
const STARTED_BY_HAND: u8 = 2;

fn main() -> ExitCode {
    // Does not return in a process that was started as a worker.
    watertight::init();
    explain();
    ExitCode::from(STARTED_BY_HAND)
}

#[expect(clippy::print_stderr, reason = "the program was started by hand, and somebody reads this")]
fn explain() {
    eprintln!(
        "watertight-worker {} runs tasks for other programs and does nothing by itself.\n\
         `watertight tasks` lists its tasks; `watertight map TASK INPUT...` runs one.",
        env!("CARGO_PKG_VERSION")
    );
}

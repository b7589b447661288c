//! What `#[watertight::test]` runs: the body in a process of its own, under a time-out, with its output in
//! the test's, and nothing left behind.

use std::fmt::Debug;
use std::time::Duration;

use crate::task::arguments::Task;

use super::isolate::isolate;
use super::leftovers::Inventory;

/// What a test's body may return.
pub trait TestResult {
    /// The text of a failure.
    fn failure(self) -> Option<String>;
}

impl TestResult for () {
    fn failure(self) -> Option<String> {
        None
    }
}

impl<T, E: Debug> TestResult for Result<T, E> {
    fn failure(self) -> Option<String> {
        self.err().map(|error| format!("{error:?}"))
    }
}

/// Options of `#[watertight::test]`.
#[derive(Clone, Copy, Debug)]
pub struct TestOptions {
    /// How long the body may run.
    pub timeout: Duration,
}

/// Runs a body in its process, and says what is wrong.
pub fn in_process<T: TestResult>(body: impl FnOnce() -> T, leftovers_fail: bool) -> Result<(), String> {
    let before = Inventory::take();
    if let Some(failure) = body().failure() {
        return Err(failure);
    }
    let left = if leftovers_fail { before.leftovers() } else { Vec::new() };
    if left.is_empty() { Ok(()) } else { Err(format!("the test left behind: {}", left.join(", "))) }
}

/// Runs a test; `body` calls `in_process`.
///
/// # Panics
/// If the test fails.
#[track_caller]
#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the harness shows the output of a test that fails"
)]
pub fn run_test<F>(body: F, options: TestOptions)
where
    F: Task<(), Output = Result<(), String>>,
{
    let outcome = isolate(body).timeout(options.timeout).run();
    print!("{}", outcome.stdout());
    eprint!("{}", outcome.stderr());
    match outcome.result {
        Ok(Ok(())) => {}
        Ok(Err(failure)) => panic!("{failure}"),
        Err(error) => match error.panic() {
            // The panic's own text, so that `should_panic(expected = ..)` works.
            Some(panic) => panic!("{}", panic.message),
            None => panic!("{error}"),
        },
    }
}

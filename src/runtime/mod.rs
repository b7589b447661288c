//! What runs inside a worker: the control thread, the task loop, panics as data.
//!
//! Invariant: this is the only part of the crate that changes its process — handlers, the panic hook — and it
//! does so only after the process has become a worker.

pub(crate) mod context;
mod control;
mod panic;
pub(crate) mod thread;
mod worker;

use crate::keeper::identity;
use crate::keeper::launch;
use crate::keeper::server::{self, Served};
use crate::link::token::{KEEPER_HOST, KEEPER_SOCKET, Token};
use crate::sys::{child, fd, signal};

/// Makes this executable able to be its own worker. To be called first in `main`.
///
/// In a program that was started by hand it returns at once. In a process that was started as a keeper or a
/// worker it never returns.
///
/// Not needed in a program whose pools all name another executable as worker.
///
/// ```
/// fn main() -> watertight::Result<()> {
///     watertight::init();
///     let pool = watertight::Pool::new(2)?;
///     assert_eq!(pool.map(|x: i64| x * x, 1..=3).unwrap(), [1, 4, 9]);
///     Ok(())
/// }
/// ```
pub fn init() {
    match Token::take() {
        None => identity::allow_workers(),
        Some(token) => {
            // A worker that cannot start says so on its own stderr, which the host shows in its error.
            let error = match become_what(token) {
                Ok(never) => match never {},
                Err(error) => error,
            };
            report_and_exit(&error);
        }
    }
}

/// What `init` does, for an executable whose `main` is not ours: a test or doctest harness. Called by the
/// constructor that `test_init!` and `#[watertight::test]` put into the executable.
pub fn init_before_main() {
    if Token::is_pending() {
        // std's start-up has not run yet.
        let _ = signal::ignore_broken_pipes();
    }
    init();
}

/// The exit code of a worker that could not start.
const CANNOT_START: i32 = 70;

fn become_what(token: Token) -> std::io::Result<std::convert::Infallible> {
    let inheritance = match token {
        Token::Keeper { .. } => match server::serve(fd::adopt(KEEPER_SOCKET)?, fd::adopt(KEEPER_HOST)?)? {
            Served::Finished => child::exit_at_once(0),
            Served::Worker(mut inheritance) => {
                inheritance.settle()?;
                *inheritance
            }
        },
        Token::Worker => launch::take_up()?,
        Token::Foreign => {
            let text = "it was started by another version of watertight";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, text));
        }
    };
    worker::run(inheritance)
}

#[expect(clippy::print_stderr, reason = "the process is ours alone, and its stderr is where its host looks")]
fn report_and_exit(error: &std::io::Error) -> ! {
    eprintln!("watertight worker: {error}");
    child::exit_at_once(CANNOT_START)
}

//! Python's `multiprocessing` for Rust, made crash-proof.
//!
//! Functions run in worker processes: real processes of the operating system, started in a fraction of a
//! millisecond and fed over shared memory. Whatever one of them does to its process (a segfault, an exit, a
//! leak, an endless loop) costs the one task that it was running, as an `Err` that says what happened.
//!
//! ```
//! use watertight::Pool;
//!
//! fn square(x: i64) -> i64 {
//!     x * x
//! }
//!
//! fn main() -> watertight::Result<()> {
//!     watertight::init();
//!     let pool = Pool::new(4)?;
//!     assert_eq!(pool.map(square, 1..=5)?, [1, 4, 9, 16, 25]);
//!     Ok(())
//! }
//! ```
//!
//! # Where to begin
//!
//! - [`init`] comes first in `main`, or [`#[watertight::main]`](macro@main) does: the same executable is
//!   started as the worker. A program whose pools all name [another executable](PoolBuilder::worker) needs
//!   neither.
//! - [`Pool`] runs many tasks: [`map`](Pool::map), [`imap`](Pool::imap), [`apply`](Pool::apply),
//!   [`apply_async`](Pool::apply_async) and their kin. [`Pool::builder`] has the options: time-outs, attempts,
//!   memory and CPU limits, an initializer.
//! - [`Pool::threads`] is the same front over threads, to compare or to switch.
//! - [`Process`] runs one function in a process of its own.
//! - [`Value`], [`Array`] and the locks of [`sync`] live in shared memory and outlive their holders; [`SharedMemory`] is
//!   the bare bytes.
//! - [`supervisor::Supervisor`] keeps programs, functions and pools alive by policy, as `watertight up` does.
//! - [`#[watertight::test]`](macro@test), [`assert_dies!`] and [`isolate`] are for tests whose code may die.
//!
//! # Tasks
//!
//! A task is an `fn` or a closure without captures, of up to six arguments. Arguments and results are
//! [whatever serde can write and read](Transfer); they are copied, not shared. Three types help with large
//! ones: [`Bytes`] is not walked byte by byte, [`Shared`] is encoded once and decoded once in each worker, and
//! [`RemoteError`] lets a task use `?` on errors that do not serialize.
//!
//! A user's `Result` is just a value. What a *task* can fail with beside it is a [`TaskError`]: it panicked,
//! died by a signal, exited, timed out, ran out of memory or processor time, was cancelled. It prints as one
//! line and holds what is known: the attempt, the worker's pid, what the process used, the last lines of its
//! stderr.
//!
//! Inside a task, [`task::cancelled`], [`task::deadline`], [`task::progress`], [`task::sleep`] and
//! [`worker::state`] tell and ask.
//!
//! # What runs where
//!
//! Beside this program and its workers there is a *keeper*: the worker executable, started once, which forks
//! the workers, reaps them, and ends everything should this program die. It was started anew, so what `main` has set
//! in statics is not there in workers: an [initializer](PoolBuilder::initializer) sets it there. The crate starts one
//! thread per pool (and one more for completion callbacks and events, if there are any), one for all shared objects as soon
//! as a lock is waited for, and those of a supervisor; it installs no signal handler, reaps no child but the keeper, and
//! prints nothing.
//!
//! Events go to [`tracing`](https://docs.rs/tracing): a worker that started, is ready, replaced another one, exited or died;
//! a task that is tried again, or is quarantined because it failed in each of its attempts. A pool has them told by the
//! thread that also runs callbacks, so the subscriber has to be the global one; it may be slow, and may use the pool. If
//! 1024 events wait for it, further ones are only counted.
//!
//! Forking *this* program while a pool is open is not supported: parent and child would share its sockets.
//! Spawning other programs is.
//!
//! # Features
//!
//! `cli` (on by default): the binary `watertight` and the packages that it alone needs.
//!
#![doc = include_str!("../docs/python.md")]
// Examples and tests may.
#![warn(clippy::print_stdout, clippy::print_stderr, clippy::unwrap_used)]

#[cfg(not(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64"))))]
compile_error!("watertight runs on Linux, on x86_64 and aarch64");

/// The README's code is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
mod error;
mod keeper;
mod link;
mod pool;
mod primitive;
mod process;
mod roster;
mod runtime;
mod shm;
pub mod supervisor;
pub mod sync;
#[allow(unsafe_code, reason = "the kernel's interface; tests/layers.rs holds the list of such files")]
mod sys;
pub mod task;

pub use crate::error::{Error, Result, TimedOut};
pub use crate::link::request::StartMethod;
pub use crate::pool::{AsyncResult, MapError, MapResult, Outcomes, Output, Pool, PoolBuilder, Stats};
pub use crate::process::{
    CurrentProcess, Dies, Isolate, Isolated, ParentProcess, Process, ProcessBuilder, ProcessHandle, Stdio,
    active_children, current_process, isolate, parent_process,
};
pub use crate::runtime::init;
pub use crate::shm::SharedMemory;
pub use crate::sync::{Array, Value};
pub use crate::sys::cpu::cpu_count;
pub use crate::sys::exit::{ExitStatus, ResourceUsage};
pub use crate::sys::signal::{ParseSignalError, Signal};
pub use crate::task::arguments::{Task, Transfer};
pub use crate::task::buffer::Bytes;
pub use crate::task::error::{Absent, DeathDetail, Encoding, Panic, TaskError, TaskErrorKind};
pub use crate::task::registry::{Parameter, TaskDescription};
pub use crate::task::remote_error::RemoteError;
pub use crate::task::shared::Shared;
pub use bytemuck;
pub use ipc_channel;
pub use watertight_macros::{main, task, test};

/// What a worker has besides its tasks.
pub mod worker {
    pub use crate::task::state::state;
}

/// What the macros use; not for people.
#[doc(hidden)]
pub mod __private {
    pub use crate::process::dies::assert_dies;
    pub use crate::process::harness::{TestOptions, in_process, run_test};
    pub use crate::runtime::init_before_main;
    pub use crate::task::identity::descriptor_of;
    pub use crate::task::registry::{
        Code, DebuggedError, DisplayedError, Entry, Outcome, Parameter, PlainValue, TASKS,
        arguments_from_json, function_type,
    };
    pub use linkme;
}

/// Makes a test executable able to be its own worker: one line anywhere in a file of tests that use pools
/// and processes in plain `#[test]` functions. `#[watertight::test]` brings it along.
///
/// A `main` that is yours calls [`init`] instead.
#[macro_export]
macro_rules! test_init {
    () => {
        const _: () = {
            extern "C" fn init() {
                $crate::__private::init_before_main();
            }
            #[used]
            #[unsafe(link_section = ".init_array")]
            static INIT: extern "C" fn() = init;
        };
    };
}

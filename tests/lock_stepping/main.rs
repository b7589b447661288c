//! A process is killed at every point of every operation on a shared object: nobody hangs, nobody is told
//! wrongly, and all counts are right.
//!
//! Every point means: after each store into shared memory and after each system call, and in each call that
//! sleeps. A death between two of them cannot be told from one at the first: what others see of a process is
//! the memory that it shares with them, which only its own stores change, and what the kernel keeps for it (its
//! descriptors, locks on files, names, threads, places in queues), which only its system calls change. All
//! else is its own, and dies with it. So some dozens of deaths stand for those after all of thousands of
//! instructions. With `WATERTIGHT_LONG=1` the argument is tested as well: short operations are stepped by single
//! instructions, and killed after each.
//!
//! The test is the victim's debugger (`support/tripwire.rs`). Each victim dies in the very run in which its point was
//! counted, so nothing has to happen twice in the same way; the points end where a victim comes to the end
//! before its number. A mark, a signal that is ignored by whoever is not debugged, shows where the operation begins
//! and ends. What comes before a sleep, and what comes after it, are operations of their own.
//!
//! The victim's other threads are not debugged. The one that watches for deaths stores into shared memory when it
//! rings bells, and the process dies if that is where its memory is guarded; such a run is repeated.

#![cfg(target_arch = "x86_64")]
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it saw")]

#[path = "../common/mod.rs"]
mod common;
mod conditions;
#[path = "../support/debugger.rs"]
mod debugger;
mod gates;
mod kill;
mod locks;
mod memory;
mod newcomers;
mod permits;
mod sleepers;
mod stage;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tripwire.rs"]
mod tripwire;
#[path = "../support/waiting.rs"]
mod waiting;

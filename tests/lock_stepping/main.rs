//! A process is stepped through an operation on a shared object, one instruction after the other, and killed
//! after each: nobody hangs, nobody is told wrongly, and all counts are right.
//!
//! 1500 kills are spread over each operation with `WATERTIGHT_LONG=1`, and a few otherwise; a short
//! operation is then tried at every instruction.
//!
//! The test is the victim's debugger. A mark, a signal that is ignored by whoever is not debugged, shows where
//! the operation begins and ends.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test says what it saw")]

mod conditions;
#[path = "../support/debugger.rs"]
mod debugger;
mod gates;
mod locks;
mod memory;
mod permits;
mod stage;
#[path = "../support/mod.rs"]
mod support;

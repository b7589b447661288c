//! The machine, event by event, without a process.
//!
//! `bench.rs` is a machine with a clock of its own; `world.rs` a driver and workers that are pretended, for
//! sequences of events that nobody has thought of (`sequences.rs`).

mod appetite;
mod bench;
mod cancelling;
mod choices;
mod deaths;
mod dispatching;
mod farewells;
mod sequences;
mod table;
mod timing;
mod world;

//! The machine, event by event, without a process.
//!
//! `bench.rs` is a machine with a clock of its own. `world.rs` is a driver that is pretended, with `workers.rs`;
//! `reference.rs` says what must hold, for every event in every state (`table.rs`) and for sequences of events
//! that nobody has thought of (`sequences.rs`).

mod appetite;
mod bench;
mod cancelling;
mod choices;
mod deaths;
mod dispatching;
mod farewells;
mod killing;
mod reference;
mod sequences;
mod table;
mod timing;
mod workers;
mod world;

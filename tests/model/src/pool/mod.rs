//! The library's own source of who reads the lanes, over a pool that does nothing else.

pub(crate) mod core;
pub mod hand_over;
pub(crate) mod machine;
#[path = "../../../../src/pool/reader.rs"]
mod reader;
pub(crate) mod state;

//! What `src/primitive.rs` offers, as far as the measured files use it.

pub(crate) use std::sync::atomic::{AtomicU64, Ordering};

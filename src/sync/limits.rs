//! How much room there is in an object.

/// How many threads can wait for one condition at a time.
pub(super) const MOST_WAITERS: usize = 128;

/// How many threads can own permits of one semaphore at a time.
pub(super) const MOST_OWNERS: usize = 256;

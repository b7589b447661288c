//! The library's own sources.

#[path = "../../../../src/link/bell.rs"]
pub(crate) mod bell;
#[path = "../../../../src/link/claim.rs"]
pub(crate) mod claim;
#[path = "../../../../src/link/ring.rs"]
pub(crate) mod ring;

//! Files of `src/link`.

#[path = "../../src/link/claim.rs"]
pub(crate) mod claim;
#[path = "../../src/link/ring.rs"]
pub(crate) mod ring;

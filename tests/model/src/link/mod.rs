//! The library's own sources, but for three files: where the words lie, how long to look before sleeping, and
//! what is noted for the time after a death.

#[path = "../../../../src/link/bell.rs"]
pub(crate) mod bell;
pub(crate) mod black_box;
#[path = "../../../../src/link/claim.rs"]
pub(crate) mod claim;
#[path = "../../../../src/link/frame.rs"]
pub(crate) mod frame;
#[path = "../../../../src/link/host_end.rs"]
pub(crate) mod host_end;
#[path = "../../../../src/link/lane.rs"]
pub(crate) mod lane;
pub(crate) mod layout;
pub(crate) mod patience;
#[path = "../../../../src/link/reading.rs"]
pub(crate) mod reading;
#[path = "../../../../src/link/ring.rs"]
pub(crate) mod ring;
#[path = "../../../../src/link/stream.rs"]
pub(crate) mod stream;
#[path = "../../../../src/link/worker_end.rs"]
pub(crate) mod worker_end;

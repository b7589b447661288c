//! What the included sources use of the kernel.

pub(crate) mod memory;

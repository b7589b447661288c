//! What the included source uses of the machine.

pub(crate) type JobKey = usize;

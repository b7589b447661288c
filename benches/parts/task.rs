//! Files of `src/task`.

#[path = "../../src/task/buffer.rs"]
pub(crate) mod buffer;
#[path = "../../src/task/codec.rs"]
pub(crate) mod codec;

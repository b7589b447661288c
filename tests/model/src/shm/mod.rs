//! One piece of shared memory of loom's words.

pub(crate) mod glance;
#[path = "../../../../src/shm/life.rs"]
pub(crate) mod life;
#[path = "../../../../src/shm/mask.rs"]
pub(crate) mod mask;
pub(crate) mod name;
pub(crate) mod object;
pub(crate) mod segment;
pub(crate) mod transit;

use std::io;
use std::sync::Arc;

use name::SegmentId;
use object::{Object, Shape};

pub(crate) fn make(_: SegmentId, shape: Shape) -> io::Result<Arc<Object>> {
    Ok(Object::make(shape))
}

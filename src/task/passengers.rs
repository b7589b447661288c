//! Shared objects whose handles travel in a value: they stay alive as long as the value's bytes do.
//!
//! They go as one more buffer beside the value, which lists the handles. In the sender the buffer owns its
//! share of the objects. A host that receives one opens the objects at once, before the value is decoded, and
//! lets its copy of the buffer own that share; so a worker may end as soon as its result has been read, and a
//! result that nobody decodes leaves nothing behind.

use std::sync::Arc;

use bytes::Bytes as Buffer;

use crate::shm::object::{Handle, Object};

/// Stands at the head of such a buffer.
const MAGIC: &[u8; 16] = b"WT passengers 1\0";

/// The bytes of the list, and what they keep alive.
struct Passengers {
    bytes: Vec<u8>,
    _objects: Vec<Arc<Object>>,
}

impl AsRef<[u8]> for Passengers {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The buffer for some objects; `None` for none.
pub(super) fn board(objects: Vec<Arc<Object>>) -> Option<Buffer> {
    if objects.is_empty() {
        return None;
    }
    let handles: Vec<Handle> = objects.iter().map(|object| object.handle()).collect();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(super::codec::encode_plain(&handles)?);
    Some(Buffer::from_owner(Passengers { bytes, _objects: objects }))
}

/// Whether a buffer is such a list.
pub(crate) fn is_list(buffer: &Buffer) -> bool {
    buffer.starts_with(MAGIC)
}

/// Receiver: opens what such buffers list. What cannot be opened is told when the value is decoded.
pub(crate) fn take_on(parts: &mut [Buffer]) {
    for part in parts.iter_mut() {
        let Some(list) = part.strip_prefix(MAGIC) else { continue };
        let handles: Vec<Handle> = super::codec::decode_line(list).unwrap_or_default();
        let objects = handles.iter().filter_map(|handle| Object::open(handle).ok()).collect();
        *part = Buffer::from_owner(Passengers { bytes: part.to_vec(), _objects: objects });
    }
}

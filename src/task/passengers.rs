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

/// The most handles of one value. A host opens all of them at once, whatever a worker says.
const MOST: usize = 1 << 16;

/// A value speaks of more objects than travel.
#[derive(Debug, thiserror::Error)]
#[error("it holds handles of {0} shared objects, and {MOST} is the most")]
pub(super) struct TooMany(usize);

/// The list of some objects, to stand behind all other buffers of their value. `None` if nothing has to be said:
/// there are none, and the buffer that is `last` now is not taken for a list.
pub(super) fn board(objects: Vec<Arc<Object>>, last: Option<&Buffer>) -> Result<Option<Buffer>, TooMany> {
    if objects.len() > MOST {
        return Err(TooMany(objects.len()));
    }
    // A user's own bytes may begin as a list does. Then a list of nothing follows.
    if objects.is_empty() && !last.is_some_and(is_list) {
        return Ok(None);
    }
    let handles: Vec<Handle> = objects.iter().map(|object| object.handle()).collect();
    let mut bytes = MAGIC.to_vec();
    bytes.extend(super::codec::encode_plain(&handles).unwrap_or_default());
    Ok(Some(Buffer::from_owner(Passengers { bytes, _objects: objects })))
}

fn is_list(buffer: &Buffer) -> bool {
    buffer.starts_with(MAGIC)
}

/// The list among a value's buffers, if there is one.
pub(crate) fn list(parts: &[Buffer]) -> Option<&Buffer> {
    parts.last().filter(|part| is_list(part))
}

/// Receiver: opens what the list names, of a value whose type can hold handles.
///
/// Whoever wrote it is trusted with nothing: the first handle that leads nowhere ends it. That one is told of when
/// the value is decoded.
pub(crate) fn take_on(parts: &mut [Buffer]) {
    let Some(last) = parts.last_mut() else { return };
    let Some(list) = last.strip_prefix(MAGIC) else { return };
    let handles: Vec<Handle> = super::codec::decode_line(list).unwrap_or_default();
    let objects = handles.iter().take(MOST).map_while(|handle| Object::open(handle).ok()).collect();
    *last = Buffer::from_owner(Passengers { bytes: last.to_vec(), _objects: objects });
}

/// Whether a value of that type can hold handles: what owns nothing has none.
pub(crate) const fn may_board<T>() -> bool {
    std::mem::needs_drop::<T>()
}

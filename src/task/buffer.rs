//! `Bytes`: a payload that is not walked element by element.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::ops::Deref;

use bytes::Bytes as Buffer;
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A byte buffer that travels to and from workers at the speed of memory.
///
/// serde walks a `Vec<u8>` byte by byte. A `Bytes` of 16 KiB or more is not even encoded: it travels beside
/// the other arguments and is copied twice in all, into the lane and out of it. Cloning shares the buffer.
///
/// In a human-readable format it is a sequence of numbers.
///
/// ```
/// use watertight::Bytes;
/// let image = Bytes::from(vec![0_u8; 1 << 20]);
/// assert_eq!(image.len(), 1 << 20);
/// ```
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(Buffer);

/// Smaller buffers are cheaper in line.
const SMALLEST_PART: usize = 16 * 1024;

/// The most buffers that travel beside one value, without the list of its passengers and the mark of its luggage;
/// the rest goes in line.
pub(crate) const MAX_PARTS: usize = u8::MAX as usize - 2;

/// How a buffer stands among the encoded bytes.
#[derive(Serialize, Deserialize)]
enum Place {
    InLine,
    Part(u32),
}

thread_local! {
    /// Whether large buffers may leave the line now: only while our own codec encodes.
    static COLLECTING: Cell<Collecting> = const { Cell::new(Collecting::Off) };
    /// The buffers that left the line, or, while decoding, those that came beside it.
    static PARTS: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
}

/// Kept apart from the list, so that a value without large buffers costs two moves of a word.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Collecting {
    Off,
    Nothing,
    Something,
}

/// A panic in a user's `Serialize` or `Deserialize` must not leave anything behind.
struct Reset;

impl Drop for Reset {
    fn drop(&mut self) {
        if COLLECTING.replace(Collecting::Off) == Collecting::Something {
            PARTS.take();
        }
    }
}

/// Runs `encode` and returns the buffers that it left out of the line.
#[inline]
pub(crate) fn collecting<T>(encode: impl FnOnce() -> T) -> (T, Option<Vec<Buffer>>) {
    COLLECTING.set(Collecting::Nothing);
    let _reset = Reset;
    let result = encode();
    let collected = COLLECTING.get() == Collecting::Something;
    (result, collected.then(|| PARTS.take()))
}

/// Runs `decode` with the buffers that came beside the line.
pub(crate) fn providing<T>(parts: Vec<Buffer>, decode: impl FnOnce() -> T) -> T {
    PARTS.set(parts);
    COLLECTING.set(Collecting::Something);
    let _reset = Reset;
    decode()
}

/// Runs an encoding or decoding inside another one, whose buffers are set aside meanwhile.
pub(crate) fn nested<T>(code: impl FnOnce() -> T) -> T {
    struct Restore(Collecting, Vec<Buffer>);
    impl Drop for Restore {
        fn drop(&mut self) {
            COLLECTING.set(self.0);
            PARTS.set(std::mem::take(&mut self.1));
        }
    }
    let _restore = Restore(COLLECTING.get(), PARTS.take());
    code()
}

impl Bytes {
    /// A buffer that borrows from the executable and costs nothing.
    pub const fn from_static(bytes: &'static [u8]) -> Bytes {
        Bytes(Buffer::from_static(bytes))
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bytes({} bytes)", self.len())
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        Bytes(bytes.into())
    }
}

impl From<&[u8]> for Bytes {
    fn from(bytes: &[u8]) -> Bytes {
        Bytes(Buffer::copy_from_slice(bytes))
    }
}

impl From<Buffer> for Bytes {
    fn from(bytes: Buffer) -> Bytes {
        Bytes(bytes)
    }
}

impl From<Bytes> for Buffer {
    fn from(bytes: Bytes) -> Buffer {
        bytes.0
    }
}

impl From<Bytes> for Vec<u8> {
    fn from(bytes: Bytes) -> Vec<u8> {
        bytes.0.into()
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_bytes(self);
        }
        let full = || PARTS.with_borrow(|parts| parts.len() >= MAX_PARTS);
        if self.len() < SMALLEST_PART || COLLECTING.get() == Collecting::Off || full() {
            return (Place::InLine, InLine(&self.0)).serialize(serializer);
        }
        COLLECTING.set(Collecting::Something);
        let index = PARTS.with_borrow_mut(|parts| {
            parts.push(self.0.clone());
            parts.len() as u32 - 1
        });
        (Place::Part(index), InLine(&[])).serialize(serializer)
    }
}

struct InLine<'a>(&'a [u8]);

impl Serialize for InLine<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        if deserializer.is_human_readable() {
            return deserializer.deserialize_byte_buf(Owned).map(Bytes::from);
        }
        let (place, line) = <(Place, OwnedLine)>::deserialize(deserializer)?;
        match place {
            Place::InLine => Ok(Bytes::from(line.0)),
            Place::Part(index) => {
                let part = PARTS.with_borrow(|parts| parts.get(index as usize).cloned());
                part.map(Bytes).ok_or_else(|| de::Error::custom("a byte buffer is missing beside the value"))
            }
        }
    }
}

struct OwnedLine(Vec<u8>);

impl<'de> Deserialize<'de> for OwnedLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OwnedLine, D::Error> {
        deserializer.deserialize_byte_buf(Owned).map(OwnedLine)
    }
}

struct Owned;

impl<'de> Visitor<'de> for Owned {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }

    fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
        Ok(bytes)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Vec<u8>, E> {
        Ok(text.as_bytes().to_vec())
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut sequence: A) -> Result<Vec<u8>, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = sequence.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes)
    }
}

//! `Shared<T>`: a large read-only argument, encoded once and decoded once per worker.
//!
//! The caller's side gives each value a number. A lane carries the value down once, before the first task
//! that refers to it, and tells the worker when the last handle is gone.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use bytes::Bytes as Buffer;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser};

use super::arguments::Transfer;
use super::codec;

/// A large read-only argument that is encoded once, however many tasks take it, and decoded once in each
/// worker.
///
/// Cloning shares it. As a result it travels like its value.
///
/// ```
/// use watertight::{Pool, Shared};
///
/// fn lookup(table: Shared<Vec<String>>, index: usize) -> String {
///     table[index].clone()
/// }
///
/// # fn main() -> watertight::Result<()> {
/// watertight::init();
/// let pool = Pool::new(2)?;
/// let table = Shared::new(vec!["zero".to_string(), "one".to_string(), "two".to_string()]);
/// let names = pool.starmap(lookup, (0..3).map(|index| (table.clone(), index))).unwrap();
/// assert_eq!(names, ["zero", "one", "two"]);
/// # Ok(())
/// # }
/// ```
pub struct Shared<T>(Arc<Value<T>>);

struct Value<T> {
    value: T,
    encoded: OnceLock<Arc<Encoded>>,
}

/// A value's bytes under its number.
#[derive(Debug)]
pub(crate) struct Encoded {
    pub(crate) number: u64,
    pub(crate) line: Buffer,
    pub(crate) parts: Vec<Buffer>,
}

impl<T> Shared<T> {
    /// Wraps a value; it is encoded when it first travels.
    pub fn new(value: T) -> Shared<T> {
        Shared(Arc::new(Value { value, encoded: OnceLock::new() }))
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Shared<T> {
        Shared(Arc::clone(&self.0))
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Shared").field(&self.0.value).finish()
    }
}

thread_local! {
    /// Whether values may be replaced by their numbers now: only while arguments are encoded for a lane.
    static NUMBERING: Cell<Numbering> = const { Cell::new(Numbering::Off) };
    /// The values that were.
    static REFERRED: RefCell<Vec<Arc<Encoded>>> = const { RefCell::new(Vec::new()) };
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbering {
    Off,
    Nothing,
    Something,
}

/// Runs `encode`, of arguments `A`, and returns the shared values that it refers to by number.
#[inline]
pub(crate) fn numbering<A, T>(encode: impl FnOnce() -> T) -> (T, Vec<Arc<Encoded>>) {
    // Arguments that own nothing hold no shared values.
    if !std::mem::needs_drop::<A>() {
        return (encode(), Vec::new());
    }
    /// A panic in a user's `Serialize` must not leave anything behind.
    struct Reset;
    impl Drop for Reset {
        fn drop(&mut self) {
            if NUMBERING.replace(Numbering::Off) == Numbering::Something {
                REFERRED.take();
            }
        }
    }
    NUMBERING.set(Numbering::Nothing);
    let _reset = Reset;
    let result = encode();
    let referred = if NUMBERING.get() == Numbering::Something { REFERRED.take() } else { Vec::new() };
    (result, referred)
}

impl<T: Transfer> Serialize for Shared<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return self.0.value.serialize(serializer);
        }
        if NUMBERING.get() == Numbering::Off {
            return (0_u64, Some(&self.0.value)).serialize(serializer);
        }
        let encoded = self.encoded().map_err(ser::Error::custom)?;
        let number = encoded.number;
        NUMBERING.set(Numbering::Something);
        REFERRED.with_borrow_mut(|referred| {
            if referred.iter().all(|other| other.number != number) {
                referred.push(encoded);
            }
        });
        (number, None::<&T>).serialize(serializer)
    }
}

impl<T: Transfer> Shared<T> {
    fn encoded(&self) -> Result<Arc<Encoded>, codec::EncodeError> {
        static NUMBERS: AtomicU64 = AtomicU64::new(1);
        if let Some(encoded) = self.0.encoded.get() {
            return Ok(Arc::clone(encoded));
        }
        let (mut line, mut parts) = (Vec::new(), Vec::new());
        // This runs inside the encoding of another value, whose buffers are set aside meanwhile.
        super::buffer::nested(|| codec::encode(&self.0.value, &mut line, &mut parts, codec::MAX_LINE))?;
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let encoded = Arc::new(Encoded { number, line: line.into(), parts });
        Ok(Arc::clone(self.0.encoded.get_or_init(|| encoded)))
    }
}

impl<'de, T: Transfer + Send + Sync> Deserialize<'de> for Shared<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Shared<T>, D::Error> {
        if deserializer.is_human_readable() {
            return T::deserialize(deserializer).map(Shared::new);
        }
        match <(u64, Option<T>)>::deserialize(deserializer)? {
            (_, Some(value)) => Ok(Shared::new(value)),
            (number, None) => find(number).map_err(de::Error::custom),
        }
    }
}

/// What a worker holds under a number.
struct Held {
    line: Buffer,
    parts: Vec<Buffer>,
    decoded: Option<Arc<dyn Any + Send + Sync>>,
}

/// The values that came down this process's lane.
static HELD: Mutex<Option<HashMap<u64, Held>>> = Mutex::new(None);

thread_local! {
    /// The values that came down the lane of a worker that is this thread.
    static HELD_HERE: RefCell<Option<HashMap<u64, Held>>> = const { RefCell::new(None) };
}

/// This thread is a worker with values of its own.
pub(crate) fn use_in_this_thread() {
    HELD_HERE.set(Some(HashMap::new()));
}

fn held<T>(with: impl FnOnce(&mut HashMap<u64, Held>) -> T) -> T {
    if HELD_HERE.with_borrow(Option::is_some) {
        return HELD_HERE.with_borrow_mut(|values| with(values.get_or_insert_default()));
    }
    with(HELD.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default())
}

/// Worker: a value came.
pub(crate) fn put(number: u64, line: Buffer, parts: Vec<Buffer>) {
    held(|values| values.insert(number, Held { line, parts, decoded: None }));
}

/// Worker: no task refers to it any more.
pub(crate) fn drop_value(number: u64) {
    let value = held(|values| values.remove(&number));
    drop(value);
}

fn find<T: Transfer + Send + Sync>(number: u64) -> Result<Shared<T>, String> {
    let (line, parts, decoded) = held(|values| {
        let value = values.get(&number)?;
        Some((value.line.clone(), value.parts.clone(), value.decoded.clone()))
    })
    .ok_or_else(|| format!("shared value {number} has not come"))?;
    if let Some(value) = decoded.and_then(|any| any.downcast::<Value<T>>().ok()) {
        return Ok(Shared(value));
    }
    let value =
        super::buffer::nested(|| codec::decode::<T>(&line, parts)).map_err(|error| error.to_string())?;
    let value = Arc::new(Value { value, encoded: OnceLock::new() });
    let any: Arc<dyn Any + Send + Sync> = Arc::clone(&value) as _;
    held(|values| {
        if let Some(held) = values.get_mut(&number) {
            held.decoded = Some(any);
        }
    });
    Ok(Shared(value))
}

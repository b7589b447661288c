//! `ShareableList`: a few values of different types in fixed places.

use crate::error::{Error, Kind as ErrorKind};
use crate::shm::object::{Kind, Shape};

use super::error::LockError;
use super::face::handle;
use super::hold::{Abandoned, Hold};
use super::raw::Patience;
use super::shared::Shared;

/// Bytes of the count at the beginning, and of each place's record.
const COUNT: usize = 8;
const RECORD: usize = 16;

/// A list of a fixed length in shared memory: Python's `ShareableList`.
///
/// An item may be replaced by one of any type, but by none that is longer than what the place was made for:
/// numbers have eight bytes, texts and bytes what they had at first, rounded up to eight.
///
/// ```
/// use watertight::sync::{Item, ShareableList};
///
/// # fn main() -> watertight::Result<()> {
/// let list = ShareableList::new([Item::from("howdy"), 273.15.into(), 42.into(), true.into(), Item::None])?;
/// list.set(2, "answer")?;
/// assert_eq!(list.get(2)?, Some(Item::from("answer")));
/// assert!(list.set(0, "a text that is too long").is_err());
/// # Ok(())
/// # }
/// ```
pub struct ShareableList {
    shared: Shared,
}

handle!(ShareableList, fits);

/// Whether a shape is a list's, with room for its count.
fn fits(shape: Shape) -> bool {
    let words = shape.size as usize / 8;
    words * 8 >= COUNT && Some(shape) == Shape::of::<u64>(Kind::List, words)
}

/// What a place of a [`ShareableList`] holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Item {
    /// Nothing.
    None,
    /// A truth value.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A floating-point number.
    Float(f64),
    /// A text.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

/// One conversion for each type.
macro_rules! items {
    ($($type:ty => $variant:ident)*) => {$(
        impl From<$type> for Item {
            fn from(value: $type) -> Item {
                Item::$variant(value.into())
            }
        }
    )*};
}

items! { bool => Bool i64 => Int i32 => Int f64 => Float &str => Text String => Text &[u8] => Bytes Vec<u8> => Bytes }

impl Item {
    fn tag(&self) -> u32 {
        match self {
            Item::None => 0,
            Item::Bool(_) => 1,
            Item::Int(_) => 2,
            Item::Float(_) => 3,
            Item::Text(_) => 4,
            Item::Bytes(_) => 5,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        match self {
            Item::None => Vec::new(),
            Item::Bool(value) => vec![u8::from(*value)],
            Item::Int(value) => value.to_le_bytes().to_vec(),
            Item::Float(value) => value.to_le_bytes().to_vec(),
            Item::Text(text) => text.as_bytes().to_vec(),
            Item::Bytes(bytes) => bytes.clone(),
        }
    }

    fn decode(tag: u32, bytes: Vec<u8>) -> Option<Item> {
        match tag {
            0 => Some(Item::None),
            1 => bytes.first().map(|byte| Item::Bool(*byte != 0)),
            2 => bytes.as_slice().try_into().ok().map(|bytes| Item::Int(i64::from_le_bytes(bytes))),
            3 => bytes.as_slice().try_into().ok().map(|bytes| Item::Float(f64::from_le_bytes(bytes))),
            4 => String::from_utf8(bytes).ok().map(Item::Text),
            5 => Some(Item::Bytes(bytes)),
            _ => None,
        }
    }
}

/// Where a place's bytes lie, and how many of them are in use.
struct Record {
    tag: u32,
    length: usize,
    capacity: usize,
    offset: usize,
}

impl ShareableList {
    /// Makes a list of these items.
    ///
    /// # Errors
    /// If they are four gigabytes or more; if there is no room in /dev/shm, or no descriptor left.
    pub fn new(items: impl IntoIterator<Item = Item>) -> Result<ShareableList, Error> {
        let items: Vec<Item> = items.into_iter().collect();
        let room = |item: &Item| item.bytes().len().next_multiple_of(8).max(8);
        let data = COUNT + items.len() * RECORD;
        let size = data + items.iter().map(room).sum::<usize>();
        if size > u32::MAX as usize {
            return Err(ErrorKind::Option("the items are too large for a list".to_owned()).into());
        }
        let list = ShareableList { shared: Shared::make(Shape::of::<u64>(Kind::List, size / 8))? };
        list.shared.object().write(0, &(items.len() as u64).to_le_bytes());
        let mut offset = data;
        for (index, item) in items.iter().enumerate() {
            let record = Record { tag: 0, length: 0, capacity: room(item), offset };
            list.put(index, &record, item);
            offset += record.capacity;
        }
        Ok(list)
    }

    /// How many items it has.
    pub fn len(&self) -> usize {
        let mut count = [0; COUNT];
        self.shared.object().read(0, &mut count);
        let most = (self.shared.object().shape().size as usize - COUNT) / RECORD;
        (u64::from_le_bytes(count) as usize).min(most)
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of one item; `None` behind the end.
    ///
    /// # Errors
    /// If its lock is not given, or the memory was scribbled over.
    #[track_caller]
    pub fn get(&self, index: usize) -> Result<Option<Item>, Error> {
        let _hold = self.hold()?;
        if index < self.len() { self.item(index).map(Some) } else { Ok(None) }
    }

    /// Puts another item in one's place.
    ///
    /// # Errors
    /// If there is no such place, or the item is longer than that; otherwise as [`get`](ShareableList::get).
    #[track_caller]
    pub fn set(&self, index: usize, item: impl Into<Item>) -> Result<(), Error> {
        let item = item.into();
        let _hold = self.hold()?;
        if index >= self.len() {
            return Err(Error::shared(format!("a list of {} items has none at {index}", self.len())));
        }
        let record = self.record(index)?;
        let length = item.bytes().len();
        if length > record.capacity {
            let room = record.capacity;
            return Err(Error::shared(format!("{length} bytes do not fit into a place of {room} in a list")));
        }
        self.put(index, &record, &item);
        Ok(())
    }

    /// A copy of all items.
    ///
    /// # Errors
    /// As [`get`](ShareableList::get).
    #[track_caller]
    pub fn to_vec(&self) -> Result<Vec<Item>, Error> {
        let _hold = self.hold()?;
        (0..self.len()).map(|index| self.item(index)).collect()
    }

    /// How often an item is in it.
    ///
    /// # Errors
    /// As [`get`](ShareableList::get).
    #[track_caller]
    pub fn count(&self, item: &Item) -> Result<usize, Error> {
        Ok(self.to_vec()?.iter().filter(|other| *other == item).count())
    }

    /// Where an item is first.
    ///
    /// # Errors
    /// As [`get`](ShareableList::get).
    #[track_caller]
    pub fn index(&self, item: &Item) -> Result<Option<usize>, Error> {
        Ok(self.to_vec()?.iter().position(|other| other == item))
    }

    #[track_caller]
    fn hold(&self) -> Result<Hold<'_>, LockError> {
        let location = std::panic::Location::caller();
        loop {
            if let Some(hold) = Hold::take(&self.shared, Patience::Forever, Abandoned::Refuse, location)? {
                return Ok(hold);
            }
        }
    }

    fn record(&self, index: usize) -> Result<Record, Error> {
        let mut bytes = [0; RECORD];
        self.shared.object().read(COUNT + index * RECORD, &mut bytes);
        let field = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let [length, capacity, offset] = [4, 8, 12].map(|at| field(at) as usize);
        let inside =
            offset.checked_add(capacity).is_some_and(|end| end as u64 <= self.shared.object().shape().size);
        match inside && length <= capacity {
            true => Ok(Record { tag: field(0), length, capacity, offset }),
            false => Err(damaged()),
        }
    }

    fn item(&self, index: usize) -> Result<Item, Error> {
        let record = self.record(index)?;
        let mut bytes = vec![0; record.length];
        self.shared.object().read(record.offset, &mut bytes);
        Item::decode(record.tag, bytes).ok_or_else(damaged)
    }

    fn put(&self, index: usize, record: &Record, item: &Item) {
        let bytes = item.bytes();
        let fields = [item.tag(), bytes.len() as u32, record.capacity as u32, record.offset as u32];
        let fields: Vec<u8> = fields.into_iter().flat_map(u32::to_le_bytes).collect();
        self.shared.object().write(record.offset, &bytes);
        self.shared.object().write(COUNT + index * RECORD, &fields);
    }
}

fn damaged() -> Error {
    Error::shared("the shared list is damaged".to_owned())
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn an_object_without_room_for_the_count_is_no_list() {
        let shape = |words| Shape::of::<u64>(Kind::List, words).unwrap();
        assert!(!fits(shape(0)) && fits(shape(1)) && fits(shape(7)));
        assert!(!fits(Shape { size: 7, ..shape(1) }) && !fits(Shape { kind: Kind::Array, ..shape(7) }));
    }
}

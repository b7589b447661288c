//! `SharedMemory`: bytes under a name of the user's choice.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Kind};
use crate::sys::named::Named;

use super::name;

/// Bytes in shared memory under a name: Python's `multiprocessing.shared_memory.SharedMemory`.
///
/// Any process of the same user can open it by its name. The memory is there as long as somebody has it; the
/// name goes with the last one, also if that is killed, or with [`unlink`](SharedMemory::unlink).
///
/// There is no lock: [`read`](SharedMemory::read) and [`write`](SharedMemory::write) copy, and what another
/// process writes at the same time may be seen in part. For more use [`Value`](crate::Value) and
/// [`Array`](crate::Array).
///
/// The name is this library's: the file is `/dev/shm/watertight-named-NAME`, for programs in other languages.
///
/// A handle travels to workers as its name, and does not keep the memory alive on its way.
///
/// ```
/// use watertight::SharedMemory;
///
/// # fn main() -> watertight::Result<()> {
/// let name = format!("example-{}", std::process::id());
/// let memory = SharedMemory::create(&name, 4096)?;
/// memory.write(100, b"hello")?;
/// let other = SharedMemory::open(&name)?;
/// let mut bytes = [0; 5];
/// other.read(100, &mut bytes)?;
/// assert_eq!(&bytes, b"hello");
/// # Ok(())
/// # }
/// ```
pub struct SharedMemory {
    memory: Named,
    name: String,
    size: usize,
}

/// The longest name, in bytes: what a file name has room for.
const LONGEST: usize = 200;

impl SharedMemory {
    /// Makes `size` bytes of zeros under a name that is not taken.
    ///
    /// # Errors
    /// If the name is taken, empty, longer than 200 bytes, or has a slash or NUL in it; if `size` is zero; if
    /// there is no room in /dev/shm.
    pub fn create(name: &str, size: usize) -> Result<SharedMemory, Error> {
        let file = file_name(name)?;
        if size == 0 {
            return Err(Kind::Option("shared memory needs at least one byte".to_owned()).into());
        }
        let whole = size.checked_next_multiple_of(8).unwrap_or(usize::MAX);
        let memory = Named::create(&file, whole).map_err(|error| failed("make", name, &error))?;
        Ok(SharedMemory { memory, name: name.to_owned(), size })
    }

    /// Makes `size` bytes of zeros under a new name.
    ///
    /// # Errors
    /// As [`create`](SharedMemory::create).
    pub fn create_unnamed(size: usize) -> Result<SharedMemory, Error> {
        SharedMemory::create(&format!("{}-{:016x}", std::process::id(), name::random()), size)
    }

    /// Opens what has that name. Its size is that of the file: whole words.
    ///
    /// # Errors
    /// If nothing has that name, or it cannot be one.
    pub fn open(name: &str) -> Result<SharedMemory, Error> {
        let memory = Named::open(&file_name(name)?).map_err(|error| failed("open", name, &error))?;
        let size = memory.len();
        Ok(SharedMemory { memory, name: name.to_owned(), size })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.size
    }

    /// Never: there is at least one byte.
    pub fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Copies bytes out, from `offset` on.
    ///
    /// # Errors
    /// If they lie behind the end.
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), Error> {
        self.check(offset, into.len())?;
        self.memory.read(offset, into);
        Ok(())
    }

    /// Copies bytes in, from `offset` on.
    ///
    /// # Errors
    /// If they lie behind the end.
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), Error> {
        self.check(offset, from.len())?;
        self.memory.write(offset, from);
        Ok(())
    }

    /// Takes the name away now. Whoever has the memory keeps it.
    pub fn unlink(&self) {
        self.memory.remove();
    }

    fn check(&self, offset: usize, length: usize) -> Result<(), Error> {
        match offset.checked_add(length).is_some_and(|end| end <= self.size) {
            true => Ok(()),
            false => Err(Error::shared(format!(
                "{length} bytes at {offset} lie behind the end of {} bytes of shared memory",
                self.size
            ))),
        }
    }
}

fn failed(what: &str, name: &str, error: &std::io::Error) -> Error {
    Error::shared(format!("cannot {what} shared memory `{name}`: {error}"))
}

fn file_name(name: &str) -> Result<String, Error> {
    let sound = !name.is_empty() && name.len() <= LONGEST && !name.contains(['/', '\0']);
    match sound {
        true => Ok(name::of_user(name)),
        false => Err(Kind::Option(format!("{name:?} is no name for shared memory")).into()),
    }
}

impl fmt::Debug for SharedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedMemory").field("name", &self.name).field("len", &self.size).finish()
    }
}

impl Serialize for SharedMemory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (&self.name, self.size as u64).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SharedMemory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SharedMemory, D::Error> {
        let (name, size) = <(String, u64)>::deserialize(deserializer)?;
        let opened = SharedMemory::open(&name).map_err(de::Error::custom)?;
        match usize::try_from(size) {
            Ok(size) if size <= opened.size => Ok(SharedMemory { size, ..opened }),
            _ => Err(de::Error::custom("the shared memory is smaller than its handle says")),
        }
    }
}

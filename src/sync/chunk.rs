//! Parts of an array that travel to workers: `Chunk` to be read, `ChunkMut` to be changed.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut, Range};
use std::panic::Location;

use bytemuck::Pod;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::shm::object::MOST_PARTS;

use super::array;
use super::division::{self, Division, Manner};
use super::error::LockError;
use super::face::{guard, lockable};
use super::guard::Part;
use super::hold::{Abandoned, Hold};
use super::raw::Patience;
use super::shared::{self, Shared};

/// What travels beside the array's handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    part: u32,
    parts: u32,
    generation: u32,
}

impl Place {
    /// The elements of this part, of `length` in all.
    fn range(self, length: usize) -> Range<usize> {
        let (part, parts) = (self.part as usize, self.parts as usize);
        let (each, rest) = (length / parts, length % parts);
        // The first ones are longer by one where it does not come out even.
        let start = part * each + part.min(rest);
        start..start + each + usize::from(part < rest)
    }
}

/// The two types differ in what their guards allow.
macro_rules! chunk {
    ($(#[$text:meta])* $type:ident, $(#[$guard_text:meta])* $guard:ident) => {
        $(#[$text])*
        pub struct $type<T: Pod> {
            shared: Shared,
            place: Place,
            element: PhantomData<fn() -> T>,
        }

        $(#[$guard_text])*
        #[must_use = "the part is given up when the guard is dropped"]
        pub struct $guard<'a, T: Pod> {
            part: Part<'a, T>,
        }

        lockable!($type<T: Pod>, $guard<'_, T>);
        guard!($guard<'_, T>, part.hold, T: Pod);

        impl<T: Pod> $type<T> {
            pub(super) fn new(shared: Shared, part: usize, division: Division) -> Self {
                let Division { parts, generation } = division;
                let place = Place { part: part as u32, parts: parts as u32, generation };
                Self { shared, place, element: PhantomData }
            }

            /// Which elements of the array these are.
            pub fn range(&self) -> Range<usize> {
                let bytes = self.shared.object().shape().size as usize;
                self.place.range(bytes.checked_div(size_of::<T>()).unwrap_or(0))
            }

            /// How many elements it has.
            pub fn len(&self) -> usize {
                self.range().len()
            }

            /// Whether it has none.
            pub fn is_empty(&self) -> bool {
                self.range().is_empty()
            }

            #[inline]
            fn take_at_once(&self, _: &'static Location<'static>) -> Option<$guard<'_, T>> {
                None
            }

            fn take(
                &self,
                patience: Patience,
                abandoned: Abandoned,
                location: &'static Location<'static>,
            ) -> Result<Option<$guard<'_, T>>, LockError> {
                let manner = Manner { patience, abandoned, location };
                let Place { part, parts, generation } = self.place;
                let division = Division { parts: parts as usize, generation };
                let hold = division::take_part(&self.shared, part as usize, division, manner)?;
                Ok(hold.map(|hold: Hold<'_>| {
                    let range = self.range();
                    $guard { part: Part::new(hold, range.start, range.len()) }
                }))
            }
        }

        impl<T: Pod> Clone for $type<T> {
            /// Another handle on the same part.
            fn clone(&self) -> Self {
                Self { shared: self.shared.clone(), place: self.place, element: PhantomData }
            }
        }

        impl<T: Pod> std::fmt::Debug for $type<T> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($type)).field("range", &self.range()).finish_non_exhaustive()
            }
        }

        impl<T: Pod> Serialize for $type<T> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                (&self.shared, self.place).serialize(serializer)
            }
        }

        impl<'de, T: Pod> Deserialize<'de> for $type<T> {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let (Opened(shared, _), place) = <(Opened<T>, Place)>::deserialize(deserializer)?;
                let sound = place.part < place.parts && place.parts as usize <= MOST_PARTS;
                if !sound {
                    return Err(de::Error::custom("the handle is damaged"));
                }
                Ok(Self { shared, place, element: PhantomData })
            }
        }

        impl<T: Pod> Deref for $guard<'_, T> {
            type Target = [T];

            #[inline]
            fn deref(&self) -> &[T] {
                &self.part
            }
        }
    };
}

chunk! {
    /// A part of an [`Array`](crate::Array), to be read in place: what [`chunks`](crate::Array::chunks) gives.
    ///
    /// A handle, which travels to workers. Its elements are reached through [`lock`](Chunk::lock), by one
    /// process at a time. If that dies, the next one is told.
    Chunk,
    /// A held [`Chunk`]: its elements.
    ChunkGuard
}

chunk! {
    /// A part of an [`Array`](crate::Array), to be changed in place: what
    /// [`chunks_mut`](crate::Array::chunks_mut) gives.
    ///
    /// A handle, which travels to workers. Its elements are reached through [`lock`](ChunkMut::lock), by one
    /// process at a time. If that dies, the next one is told.
    ChunkMut,
    /// A held [`ChunkMut`]: its elements.
    ChunkMutGuard
}

impl<T: Pod> DerefMut for ChunkMutGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.part
    }
}

/// An array of `T` that was opened from its handle.
struct Opened<T>(Shared, PhantomData<fn() -> T>);

impl<'de, T: Pod> Deserialize<'de> for Opened<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        shared::deserialize(deserializer, array::fits::<T>).map(|shared| Opened(shared, PhantomData))
    }
}

//! `Array`: plain elements in shared memory, with a lock, and parts that can be held apart.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use bytemuck::Pod;

use crate::error::{Error, Kind as ErrorKind};
use crate::primitive::AtomicU64;
use crate::shm::object::{Kind, MOST_PARTS, Shape};

use super::chunk::{Chunk, ChunkMut};
use super::division::{self, Division, Manner};
use super::error::{HolderDied, LockError};
use super::face::{handle, lockable};
use super::guard::Part;
use super::hold::{Abandoned, Held, Hold};
use super::raw::Patience;
use super::shared::Shared;

/// Elements in shared memory with their lock: Python's `multiprocessing.Array`.
///
/// The elements are plain data, as in a [`Value`](crate::Value). The lock's guard is a slice.
/// [`chunks_mut`](Array::chunks_mut) divides the array into parts that travel to workers and are changed
/// there in place, each by one process at a time.
///
/// ```
/// use watertight::{Array, Process, sync::ChunkMut};
///
/// fn square(part: ChunkMut<f64>) -> f64 {
///     let mut part = part.lock().unwrap();
///     part.iter_mut().for_each(|x| *x *= *x);
///     part.iter().sum()
/// }
///
/// fn main() -> watertight::Result<()> {
///     watertight::init();
///     let array = Array::from_items((0..1000).map(f64::from))?;
///     let pool = watertight::Pool::new(2)?;
///     let sums = pool.map(square, array.chunks_mut(4)?)?;
///     assert_eq!(sums.iter().sum::<f64>(), 332_833_500.0);
///     assert_eq!(array.get(3)?, Some(9.0));
///     Ok(())
/// }
/// ```
pub struct Array<T: Pod> {
    shared: Shared,
    element: PhantomData<fn() -> T>,
}

handle!(Array<T: Pod>, fits::<T>);
lockable!(Array<T: Pod>, ArrayGuard<'_, T>);

/// Whether a shape is an array's of `T`, of any length.
pub(super) fn fits<T: Pod>(shape: Shape) -> bool {
    let count = (shape.size as usize).checked_div(size_of::<T>()).unwrap_or(0);
    Some(shape) == Shape::of::<T>(Kind::Array, count)
}

/// A locked [`Array`]: all of its elements. The lock is given up when it is dropped.
#[must_use = "the lock is given up when the guard is dropped"]
pub struct ArrayGuard<'a, T: Pod> {
    part: Part<'a, T>,
    shared: &'a Shared,
}

impl<T: Pod> Array<T> {
    /// An array of `length` elements of zeros.
    ///
    /// # Errors
    /// If there is no room in /dev/shm, or no descriptor left.
    pub fn zeroed(length: usize) -> Result<Array<T>, Error> {
        if size_of::<T>() == 0 {
            return Err(ErrorKind::Option("an array's elements must have a size".to_owned()).into());
        }
        Ok(Array { shared: Shared::make(Shape::of::<T>(Kind::Array, length))?, element: PhantomData })
    }

    /// An array with a copy of `elements`.
    ///
    /// # Errors
    /// As [`zeroed`](Array::zeroed).
    pub fn from_slice(elements: &[T]) -> Result<Array<T>, Error> {
        let array = Array::zeroed(elements.len())?;
        array.shared.object().write(0, bytemuck::cast_slice(elements));
        Ok(array)
    }

    /// An array of what an iterator gives.
    ///
    /// # Errors
    /// As [`zeroed`](Array::zeroed).
    pub fn from_items(items: impl IntoIterator<Item = T>) -> Result<Array<T>, Error> {
        Array::from_slice(&items.into_iter().collect::<Vec<T>>())
    }

    /// How many elements it has.
    pub fn len(&self) -> usize {
        self.shared.object().shape().size as usize / size_of::<T>()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A copy of one element; `None` behind the end.
    ///
    /// # Errors
    /// As [`lock`](Array::lock).
    #[track_caller]
    pub fn get(&self, index: usize) -> Result<Option<T>, LockError> {
        let _guard = self.lock()?;
        if index >= self.len() {
            return Ok(None);
        }
        let mut element = T::zeroed();
        self.shared.object().read(index * size_of::<T>(), bytemuck::bytes_of_mut(&mut element));
        Ok(Some(element))
    }

    /// Puts another element in one's place. False behind the end.
    ///
    /// # Errors
    /// As [`lock`](Array::lock).
    #[track_caller]
    pub fn set(&self, index: usize, element: T) -> Result<bool, LockError> {
        let _guard = self.lock()?;
        if index >= self.len() {
            return Ok(false);
        }
        self.shared.object().write(index * size_of::<T>(), bytemuck::bytes_of(&element));
        Ok(true)
    }

    /// A copy of all elements.
    ///
    /// # Errors
    /// As [`lock`](Array::lock).
    #[track_caller]
    pub fn to_vec(&self) -> Result<Vec<T>, LockError> {
        let _guard = self.lock()?;
        let mut elements = vec![T::zeroed(); self.len()];
        self.shared.object().read(0, bytemuck::cast_slice_mut(&mut elements));
        Ok(elements)
    }

    /// Divides it into `parts` parts of nearly the same length, to be read.
    ///
    /// `parts` is how many, not how long, as it is in `slice::chunks`.
    ///
    /// Parts are handles; a part's elements are reached with its lock held, by one process at a time, and
    /// while no part is held, the whole array can be locked. Dividing an array into another number of parts
    /// makes the earlier parts stale.
    ///
    /// # Errors
    /// As [`lock`](Array::lock): it waits until nobody holds the array or a part. If `parts` is zero or more
    /// than 64.
    #[track_caller]
    pub fn chunks(&self, parts: usize) -> Result<Vec<Chunk<T>>, Error> {
        let division = self.divide(parts, Location::caller())?;
        Ok((0..parts).map(|part| Chunk::new(self.shared.clone(), part, division)).collect())
    }

    /// Divides it into `parts` parts of nearly the same length, to be changed in place.
    ///
    /// As [`chunks`](Array::chunks) otherwise. Dividing into the same number of parts gives the same parts.
    ///
    /// # Errors
    /// As [`chunks`](Array::chunks).
    #[track_caller]
    pub fn chunks_mut(&self, parts: usize) -> Result<Vec<ChunkMut<T>>, Error> {
        let division = self.divide(parts, Location::caller())?;
        Ok((0..parts).map(|part| ChunkMut::new(self.shared.clone(), part, division)).collect())
    }

    /// One of its words as an atomic, without the lock; `None` behind the end.
    pub(crate) fn word(&self, index: usize) -> Option<&AtomicU64> {
        self.shared.object().payload_word(index)
    }

    fn divide(&self, parts: usize, location: &'static Location<'static>) -> Result<Division, Error> {
        if !(1..=MOST_PARTS).contains(&parts) {
            let text = format!("an array is divided into 1 to {MOST_PARTS} parts, not {parts}");
            return Err(ErrorKind::Option(text).into());
        }
        let manner = Manner { patience: Patience::Forever, abandoned: Abandoned::Refuse, location };
        loop {
            if let Some(_hold) = division::take_whole(&self.shared, manner)? {
                return Ok(division::divide(&self.shared, parts));
            }
        }
    }

    #[inline]
    fn take_at_once(&self, location: &'static Location<'static>) -> Option<ArrayGuard<'_, T>> {
        let hold = Hold::at_once(&self.shared, location)?;
        // A divided array's parts are looked at on the long way.
        division::is_undivided(&self.shared).then(|| self.guard(hold))
    }

    fn take(
        &self,
        patience: Patience,
        abandoned: Abandoned,
        location: &'static Location<'static>,
    ) -> Result<Option<ArrayGuard<'_, T>>, LockError> {
        let hold = division::take_whole(&self.shared, Manner { patience, abandoned, location })?;
        Ok(hold.map(|hold| self.guard(hold)))
    }

    fn guard<'a>(&'a self, hold: Hold<'a>) -> ArrayGuard<'a, T> {
        ArrayGuard { part: Part::new(hold, 0, self.len()), shared: &self.shared }
    }
}

impl<T: Pod> ArrayGuard<'_, T> {
    /// Who died while holding the array or one of its parts, as long as that is marked with it.
    pub fn holder_died(&self) -> Option<HolderDied> {
        self.part.holder_died().or_else(|| division::holder_of_a_part_died(self.shared))
    }

    /// All is well again with the elements: takes the marks of dead holders away, of the parts too.
    pub fn mark_consistent(&mut self) {
        division::mark_parts_consistent(self.shared);
        self.part.hold().mark_consistent();
    }
}

impl<T: Pod> Deref for ArrayGuard<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        &self.part
    }
}

impl<T: Pod> DerefMut for ArrayGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.part
    }
}

impl<T: Pod> std::fmt::Debug for ArrayGuard<'_, T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ArrayGuard").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T: Pod> Held for ArrayGuard<'_, T> {
    fn suspended(
        &mut self,
        location: &'static Location<'static>,
        meanwhile: &mut dyn FnMut(),
    ) -> Result<(), LockError> {
        self.part.hold().suspended(location, meanwhile)?;
        division::wait_for_parts(self.shared, location)
    }
}

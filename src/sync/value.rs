//! `Value`: one plain value in shared memory, with its lock.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;

use bytemuck::Pod;

use crate::error::Error;
use crate::primitive::AtomicU64;
use crate::shm::object::{Kind, Shape};

use super::error::LockError;
use super::face::{guard, handle, held, lockable};
use super::guard::{One, Whole};
use super::hold::{Abandoned, Hold};
use super::raw::Patience;
use super::shared::Shared;

/// A value in shared memory with its lock: Python's `multiprocessing.Value`.
///
/// What may live there is plain data: numbers, arrays of them, and structs that derive
/// [`Pod`](crate::bytemuck::Pod). A clone is another handle on the same value; a handle travels to workers as
/// an argument, a field or a result, and is opened there.
///
/// [`lock`](Value::lock) gives a guard that is the value. [`get`](Value::get), [`set`](Value::set) and
/// [`update`](Value::update) lock for a moment and copy. Unlike Python's, the lock is not recursive: while this thread
/// has a guard, they are [`Deadlock`](crate::sync::Deadlock) errors.
///
/// ```
/// use watertight::{Process, Value};
///
/// fn count(counter: Value<i64>) {
///     for _ in 0..1000 {
///         *counter.lock().unwrap() += 1;
///     }
/// }
///
/// fn main() -> watertight::Result<()> {
///     watertight::init();
///     let counter = Value::new(0_i64)?;
///     let process = Process::spawn(count, (counter.clone(),))?;
///     count(counter.clone());
///     process.join()?;
///     assert_eq!(counter.get()?, 2000);
///     Ok(())
/// }
/// ```
///
/// What owns memory of its own cannot be shared so:
///
/// ```compile_fail
/// watertight::Value::new(String::from("text")).unwrap();
/// ```
///
/// Nor can a reference leave the guard:
///
/// ```compile_fail
/// let value = watertight::Value::new(1_i64).unwrap();
/// let inside: &i64 = {
///     let guard = value.lock().unwrap();
///     &*guard
/// };
/// println!("{inside}");
/// ```
pub struct Value<T: Pod> {
    shared: Whole<T>,
    element: PhantomData<fn() -> T>,
}

handle!(Value<T: Pod>, |shape| Some(shape) == Shape::of::<T>(Kind::Value, 1));
lockable!(Value<T: Pod>, ValueGuard<'_, T>);
guard!(ValueGuard<'_, T>, one.hold, T: Pod);
held!(ValueGuard<'_, T>, one.hold, T: Pod);

/// A locked [`Value`]; the lock is given up when it is dropped.
#[must_use = "the lock is given up when the guard is dropped"]
pub struct ValueGuard<'a, T: Pod> {
    one: One<'a, T>,
}

impl<T: Pod> Value<T> {
    /// Puts a value into shared memory.
    ///
    /// # Errors
    /// If there is no room in /dev/shm, or no descriptor left.
    pub fn new(value: T) -> Result<Value<T>, Error> {
        let shared = Shared::make(Shape::of::<T>(Kind::Value, 1))?;
        shared.object().write(0, bytemuck::bytes_of(&value));
        Ok(Value { shared: shared.into(), element: PhantomData })
    }

    /// A copy of the value.
    ///
    /// # Errors
    /// As [`lock`](Value::lock).
    #[track_caller]
    pub fn get(&self) -> Result<T, LockError> {
        let _guard = self.lock()?;
        Ok(self.read())
    }

    /// Puts another value in its place.
    ///
    /// # Errors
    /// As [`lock`](Value::lock).
    #[track_caller]
    pub fn set(&self, value: T) -> Result<(), LockError> {
        let _guard = self.lock()?;
        self.shared.object().write(0, bytemuck::bytes_of(&value));
        Ok(())
    }

    /// Replaces the value by what `change` makes of it, under one lock, and returns that.
    ///
    /// If `change` panics, the value is as it was.
    ///
    /// # Errors
    /// As [`lock`](Value::lock).
    #[track_caller]
    pub fn update(&self, change: impl FnOnce(T) -> T) -> Result<T, LockError> {
        let _guard = self.lock()?;
        let value = change(self.read());
        self.shared.object().write(0, bytemuck::bytes_of(&value));
        Ok(value)
    }

    /// One of its words as an atomic, without the lock.
    ///
    /// # Panics
    /// If it has no such word.
    pub(crate) fn word(&self, index: usize) -> &AtomicU64 {
        self.shared.object().payload_word(index).expect("a word of the value")
    }

    fn read(&self) -> T {
        let mut value = T::zeroed();
        self.shared.object().read(0, bytemuck::bytes_of_mut(&mut value));
        value
    }

    #[inline]
    fn take_at_once(&self, location: &'static Location<'static>) -> Option<ValueGuard<'_, T>> {
        self.shared.at_once(location).map(|one| ValueGuard { one })
    }

    fn take(
        &self,
        patience: Patience,
        abandoned: Abandoned,
        location: &'static Location<'static>,
    ) -> Result<Option<ValueGuard<'_, T>>, LockError> {
        let hold = Hold::take(&self.shared, patience, abandoned, location)?;
        Ok(hold.map(|hold| ValueGuard { one: self.shared.under(hold) }))
    }
}

impl<T: Pod> Deref for ValueGuard<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.one
    }
}

impl<T: Pod> DerefMut for ValueGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        &mut self.one
    }
}

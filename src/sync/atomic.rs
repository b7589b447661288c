//! `Atomic`: an integer in shared memory that needs no lock.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::atomic;

use crate::error::Error;
use crate::shm::object::{Kind, Shape};

use super::face::handle;
use super::guard;
use super::shared::Shared;

/// An integer that threads of any processes change without a lock: for plain counting.
///
/// It derefs to std's atomic of its type, with all of its operations.
///
/// ```
/// use std::sync::atomic::Ordering;
/// use watertight::sync::Atomic;
///
/// # fn main() -> watertight::Result<()> {
/// let hits = Atomic::new(0_u64)?;
/// hits.fetch_add(3, Ordering::Relaxed);
/// assert_eq!(hits.load(Ordering::Relaxed), 3);
/// # Ok(())
/// # }
/// ```
pub struct Atomic<T: Integer> {
    shared: Shared,
    element: PhantomData<fn() -> T>,
}

handle!(Atomic<T: Integer>, |shape| Some(shape) == Shape::of::<T>(Kind::Atomic, 1));

/// An integer that has an atomic in std: `i8` to `i64`, `u8` to `u64`, `isize` and `usize`.
pub trait Integer: bytemuck::Pod + fmt::Debug + sealed::Sealed {
    /// Its atomic in std.
    type Atomic: 'static;
}

mod sealed {
    pub trait Sealed {}
}

/// One implementation for each integer and its atomic.
macro_rules! integers {
    ($($integer:ident $atomic:ident)*) => {$(
        impl sealed::Sealed for $integer {}
        impl Integer for $integer {
            type Atomic = atomic::$atomic;
        }
        const _: () = assert!(size_of::<$integer>() == size_of::<atomic::$atomic>());
        const _: () = assert!(align_of::<$integer>() == align_of::<atomic::$atomic>());
    )*};
}

integers! {
    i8 AtomicI8 i16 AtomicI16 i32 AtomicI32 i64 AtomicI64 isize AtomicIsize
    u8 AtomicU8 u16 AtomicU16 u32 AtomicU32 u64 AtomicU64 usize AtomicUsize
}

impl<T: Integer> Atomic<T> {
    /// Puts an integer into shared memory.
    ///
    /// # Errors
    /// If there is no room in /dev/shm, or no descriptor left.
    pub fn new(value: T) -> Result<Atomic<T>, Error> {
        let shared = Shared::make(Shape::of::<T>(Kind::Atomic, 1))?;
        shared.object().write(0, bytemuck::bytes_of(&value));
        Ok(Atomic { shared, element: PhantomData })
    }
}

impl<T: Integer> Deref for Atomic<T> {
    type Target = T::Atomic;

    #[inline]
    fn deref(&self) -> &T::Atomic {
        guard::atomic::<T>(self.shared.object())
    }
}

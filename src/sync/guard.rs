//! Plain data in shared memory: the guards that give references to it, and copies that need no trust.
//!
//! A guard trusts the other processes of the tree with the *contents*: as long as they use this library, the
//! lock keeps them away, and any bytes are a valid value of a `Pod` type. One that writes past the lock can
//! make a value wrong.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::panic::Location;
use std::ptr::NonNull;

use bytemuck::Pod;

use crate::shm::object::{Kind, Object, Shape};

use super::atomic::Integer;
use super::error::HolderDied;
use super::hold::Hold;
use super::shared::Shared;

/// Exclusive access to elements in shared memory; given up when it is dropped.
#[must_use = "the lock is given up when the guard is dropped"]
pub(crate) struct Part<'a, T: Pod> {
    hold: Hold<'a>,
    start: NonNull<T>,
    length: usize,
    elements: PhantomData<&'a mut [T]>,
}

impl<'a, T: Pod> Part<'a, T> {
    /// Elements `first..first + length` of the payload, under a lock that protects them.
    ///
    /// # Panics
    /// If the object has no such elements.
    #[inline]
    pub(super) fn new(hold: Hold<'a>, first: usize, length: usize) -> Part<'a, T> {
        let object = hold.shared().object();
        let shape = object.shape();
        let end = first.checked_add(length).and_then(|end| end.checked_mul(size_of::<T>()));
        let fits = end.is_some_and(|end| end as u64 <= shape.size) && shape.align as usize >= align_of::<T>();
        assert!(fits, "elements outside of a shared object");
        // SAFETY: the elements lie in the payload (checked), which is mapped for as long as the object, which
        // the hold borrows, is there.
        let start = unsafe { object.payload().cast::<T>().add(first) };
        Part { hold, start, length, elements: PhantomData }
    }

    pub(super) fn hold(&mut self) -> &mut Hold<'a> {
        &mut self.hold
    }

    /// Who died while holding them, or the whole that they are a part of.
    pub(super) fn holder_died(&self) -> Option<HolderDied> {
        let shared = self.hold.shared();
        self.hold
            .holder_died()
            .or_else(|| shared.lock().is_marked().then(|| shared.holder_died(shared.lock())))
    }
}

impl<T: Pod> Deref for Part<'_, T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: `new` has checked that the elements are there; their address is a multiple of the payload's
        // alignment, which the shape's is; any bytes are a `T`; and the lock that is held keeps every other
        // guard of every process away from them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl<T: Pod> DerefMut for Part<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.length) }
    }
}

/// An object whose payload is one value.
pub(crate) struct Whole<T: Pod> {
    shared: Shared,
    value: PhantomData<fn() -> T>,
}

impl<T: Pod> From<Shared> for Whole<T> {
    /// # Panics
    /// If the object is not that of a value of this type.
    fn from(shared: Shared) -> Whole<T> {
        let shape = shared.object().shape();
        assert!(Some(shape) == Shape::of::<T>(Kind::Value, 1), "another value than the object's");
        Whole { shared, value: PhantomData }
    }
}

impl<T: Pod> Deref for Whole<T> {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.shared
    }
}

impl<T: Pod> Whole<T> {
    /// The value, if there is nothing to the lock that protects it.
    #[inline]
    pub(super) fn at_once(&self, location: &'static Location<'static>) -> Option<One<'_, T>> {
        // Before the lock is held: what comes behind a locked instruction waits for it.
        let value = self.address();
        let hold = Hold::at_once(&self.shared, location)?;
        Some(One { hold, value, element: PhantomData })
    }

    /// The value, under the lock that protects it.
    ///
    /// # Panics
    /// If it is another object's lock.
    pub(super) fn under<'a>(&'a self, hold: Hold<'a>) -> One<'a, T> {
        assert!(std::ptr::eq(hold.shared(), &self.shared), "the lock of another object");
        One { hold, value: self.address(), element: PhantomData }
    }

    #[inline]
    fn address(&self) -> NonNull<T> {
        self.shared.object().one::<T>()
    }
}

/// Exclusive access to one value in shared memory; given up when it is dropped.
#[must_use = "the lock is given up when the guard is dropped"]
pub(crate) struct One<'a, T: Pod> {
    hold: Hold<'a>,
    value: NonNull<T>,
    element: PhantomData<&'a mut T>,
}

impl<'a, T: Pod> One<'a, T> {
    pub(super) fn hold(&mut self) -> &mut Hold<'a> {
        &mut self.hold
    }

    /// Who died while holding it.
    pub(super) fn holder_died(&self) -> Option<HolderDied> {
        self.hold.holder_died()
    }
}

impl<T: Pod> Deref for One<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: `Whole` has checked that the payload is a `T` there, aligned, which stays mapped as long as the hold
        // borrows its object; any bytes are a `T`; and the lock that is held keeps every other guard of every
        // process away from it.
        unsafe { self.value.as_ref() }
    }
}

impl<T: Pod> DerefMut for One<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`, and `self` is borrowed mutably.
        unsafe { self.value.as_mut() }
    }
}

/// The integer that an object holds, as std's atomic.
///
/// # Panics
/// If the object holds something else.
pub(super) fn atomic<T: Integer>(object: &Object) -> &T::Atomic {
    let shape = object.shape();
    assert!(shape.kind == Kind::Atomic && shape.size == size_of::<T>() as u64, "no integer");
    // SAFETY: the payload is as large as the integer and aligned for it, as `integers!` has checked for every
    // `Integer` and its atomic; it is mapped as long as the object is borrowed; and an object of this kind is
    // reached by atomics alone.
    unsafe { object.payload().cast::<T::Atomic>().as_ref() }
}

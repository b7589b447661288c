//! How a function is named between two processes that run the same executable.
//!
//! Each function that is passed as a task has a `Descriptor`, a constant in the executable's image. What
//! travels is its offset from where the image lies, which is the same for every process of one build; both
//! sides have shown their build ids before. A code address would not do: identical functions share one.

#![allow(unsafe_code, reason = "tests/layers.rs holds the list of such files")]

use std::marker::PhantomData;

use super::arguments::{Task, Transfer};
use super::call::{self, Call, CallFailure};
use crate::sys::image::Image;

/// What a worker needs to run a function.
pub struct Descriptor {
    /// Read by address alone.
    #[allow(dead_code, reason = "`at` reads it before it knows that there is a descriptor")]
    magic: u128,
    pub(crate) call: fn(&mut Call<'_>) -> Result<(), CallFailure>,
    pub(crate) name: fn() -> &'static str,
}

/// Stands at the head of every descriptor; random, so that no other constant looks like one.
const MAGIC: u128 = 0x6d9e_41b5_8a0c_4f27_93d1_7ce5_02fb_6a38;

/// Why a function cannot be named, or a name means no function.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum IdentityError {
    #[error("the function is not part of the main executable (a library that was loaded at run time has it)")]
    OutsideTheExecutable,
    #[error("offset {0:#x} is no task of this executable")]
    NotATask(u64),
}

/// Gives each function and argument tuple its descriptor.
struct Described<F, A>(PhantomData<(F, A)>);

impl<F, A> Described<F, A>
where
    F: Task<A>,
    A: Transfer,
    F::Output: Transfer,
{
    const DESCRIPTOR: &'static Descriptor = {
        assert!(
            size_of::<F>() == 0,
            "a task must be a function or a closure without captures; pass what it captures as an argument"
        );
        &Descriptor { magic: MAGIC, call: Self::call, name: std::any::type_name::<F> }
    };

    fn call(call: &mut Call<'_>) -> Result<(), CallFailure> {
        // SAFETY: `F` is `Copy` and has no size (asserted above), so every value of it is the same nothing,
        // and one existed in the process that named this descriptor.
        let function = unsafe { std::ptr::NonNull::<F>::dangling().read() };
        call::run::<F, A>(function, call)
    }
}

/// The descriptor of a function.
pub fn descriptor_of<F, A>(_: F) -> &'static Descriptor
where
    F: Task<A>,
    A: Transfer,
    F::Output: Transfer,
{
    Described::<F, A>::DESCRIPTOR
}

/// Gives each initializer its descriptor. Its value stays in the worker.
struct DescribedInitializer<F, A>(PhantomData<(F, A)>);

impl<F, A> DescribedInitializer<F, A>
where
    F: Task<A>,
    A: Transfer,
    F::Output: Send + Sync + 'static,
{
    const DESCRIPTOR: &'static Descriptor = {
        assert!(size_of::<F>() == 0, "an initializer must be a function or a closure without captures");
        &Descriptor { magic: MAGIC, call: Self::call, name: std::any::type_name::<F> }
    };

    fn call(call: &mut Call<'_>) -> Result<(), CallFailure> {
        // SAFETY: as in `Described::call`.
        let function = unsafe { std::ptr::NonNull::<F>::dangling().read() };
        call::initialize::<F, A>(function, call)
    }
}

/// The descriptor of a function whose value is kept as the worker's state.
pub(crate) fn descriptor_of_initializer<F, A>(_: F) -> &'static Descriptor
where
    F: Task<A>,
    A: Transfer,
    F::Output: Send + Sync + 'static,
{
    DescribedInitializer::<F, A>::DESCRIPTOR
}

impl Descriptor {
    /// Its offset in the executable's image.
    pub(crate) fn offset(&'static self) -> Result<u64, IdentityError> {
        let (image, address) = (Image::own(), std::ptr::from_ref(self) as usize);
        if !image.contains(address, size_of::<Descriptor>()) {
            return Err(IdentityError::OutsideTheExecutable);
        }
        Ok((address - image.base) as u64)
    }

    /// The descriptor at an offset that came from a process of the same build.
    pub(crate) fn at(offset: u64) -> Result<&'static Descriptor, IdentityError> {
        let (image, error) = (Image::own(), IdentityError::NotATask(offset));
        let address = image.base.checked_add(offset as usize).ok_or(error)?;
        let aligned = address.is_multiple_of(align_of::<Descriptor>());
        if !aligned || !image.contains(address, size_of::<Descriptor>()) {
            return Err(error);
        }
        // SAFETY: the address is aligned and lies, for its whole length, in a segment of the main executable,
        // which is mapped and readable for the life of the process. An integer may hold any bytes.
        let magic =
            unsafe { std::ptr::read((address + std::mem::offset_of!(Descriptor, magic)) as *const u128) };
        if magic != MAGIC {
            return Err(error);
        }
        // SAFETY: as above, and behind this magic number stands a `Descriptor` and nothing else.
        Ok(unsafe { &*(address as *const Descriptor) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(x: i64) -> i64 {
        2 * x
    }

    fn twice(x: i64) -> i64 {
        2 * x
    }

    fn run(descriptor: &Descriptor, argument: i64) -> i64 {
        let (mut result, mut result_parts) = (Vec::new(), Vec::new());
        let line = argument.to_le_bytes();
        let mut call = Call {
            line: &line,
            parts: &mut Vec::new(),
            result: &mut result,
            result_parts: &mut result_parts,
            largest_result: 1000,
            only: false,
        };
        (descriptor.call)(&mut call).unwrap();
        i64::from_le_bytes(result.try_into().unwrap())
    }

    #[test]
    fn a_function_is_found_again_by_its_offset() {
        let offset = descriptor_of::<_, (i64,)>(double).offset().unwrap();
        let found = Descriptor::at(offset).unwrap();
        assert_eq!(run(found, 21), 42);
        assert!((found.name)().ends_with("double"));
    }

    #[test]
    fn identical_functions_keep_their_own_names() {
        let other = Descriptor::at(descriptor_of::<_, (i64,)>(twice).offset().unwrap()).unwrap();
        assert!((other.name)().ends_with("twice"));
    }

    #[test]
    fn closures_generics_and_foreign_functions_are_found() {
        fn generic<T: std::ops::Add<Output = T> + Copy>(x: T) -> T {
            x + x
        }
        for descriptor in [
            descriptor_of::<_, (i64,)>(|x: i64| x + 1),
            descriptor_of::<_, (i64,)>(generic::<i64>),
            descriptor_of::<_, (i64,)>(i64::abs),
        ] {
            let found = Descriptor::at(descriptor.offset().unwrap()).unwrap();
            assert_eq!(found.call as usize, descriptor.call as usize);
        }
    }

    #[test]
    fn what_is_no_descriptor_is_refused() {
        let offset = descriptor_of::<_, (i64,)>(double).offset().unwrap();
        for wrong in [0, offset + 1, offset + 16, u64::MAX, 1 << 40, u64::MAX - 7] {
            assert!(Descriptor::at(wrong).is_err(), "offset {wrong:#x}");
        }
    }
}

//! Functions of up to six arguments, called with a tuple of them.

use serde::{Serialize, de::DeserializeOwned};

/// A value that can travel to another process and back: whatever serde can write and read.
///
/// Implemented for every such type; there is nothing to do for it.
///
/// A value has a depth: no more than 256 options, enum variants, lists and maps may stand inside each other. What is
/// nested deeper is an error for whoever decodes it, as bytes from a process that went wrong could otherwise
/// overflow the stack of this one. What takes more than a mebibyte of stack to write is an error for whoever encodes it.
///
/// An end of an ipc-channel is a descriptor, which only serde inside of ipc-channel can write. It can be an argument
/// of a [`Process`](crate::Process), and is refused as an argument of a pool's task and as a value: tasks move from
/// worker to worker and may be tried again, and a receiver cannot. A pool refuses types that show such an end; one
/// that is hidden in a structure makes its task panic in ipc-channel.
pub trait Transfer: Serialize + DeserializeOwned + 'static {}

impl<T: Serialize + DeserializeOwned + 'static> Transfer for T {}

/// A function that a worker can run: an `fn` or a closure without captures, of up to six arguments.
///
/// `Args` is the tuple of its arguments: `fn(i64) -> i64` is a `Task<(i64,)>`. Implemented for every such
/// function; a closure that captures something is refused when the program is built.
///
/// ```compile_fail
/// # fn main() -> watertight::Result<()> {
/// let offset = 3;
/// let pool = watertight::Pool::new(1)?;
/// pool.map(move |x: i64| x + offset, 1..=5).unwrap(); // pass `offset` as an argument instead
/// # Ok(())
/// # }
/// ```
pub trait Task<Args>: Copy + Send + 'static {
    /// What the function returns.
    type Output;

    /// Calls it.
    fn run(self, arguments: Args) -> Self::Output;
}

/// One implementation for each number of arguments.
macro_rules! tasks {
    ($(($($argument:ident)*))*) => {$(
        impl<Function, Output, $($argument,)*> Task<($($argument,)*)> for Function
        where
            Function: Fn($($argument),*) -> Output + Copy + Send + 'static,
        {
            type Output = Output;

            #[allow(non_snake_case, reason = "the type's letter names its value too")]
            fn run(self, ($($argument,)*): ($($argument,)*)) -> Output {
                self($($argument),*)
            }
        }
    )*};
}

tasks! { () (A) (A B) (A B C) (A B C D) (A B C D E) (A B C D E F) }

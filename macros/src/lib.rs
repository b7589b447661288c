//! The attribute macros of `watertight`. Documented where they are re-exported, in that crate.

use proc_macro::TokenStream;

mod main_fn;
mod task_fn;
mod test_fn;

/// Makes a function callable by name in a worker executable, from other programs and from the command line.
///
/// The name is crate, modules and function, and any end of it that is unique will do. `name = ".."` sets
/// another. Arguments and result must be serde's `Serialize` and `Deserialize`.
///
/// A function without a body only declares a task of another executable, so that it can be passed to a pool
/// whose worker is that executable.
///
/// ```
/// /// The square of a number.
/// #[watertight::task]
/// fn square(x: i64) -> i64 {
///     x * x
/// }
///
/// #[watertight::task(name = "thumbs::thumbnail")]
/// fn thumbnail(path: String, width: u32) -> Result<u64, watertight::RemoteError>;
/// # assert_eq!(square(3), 9);
/// ```
#[proc_macro_attribute]
pub fn task(options: TokenStream, item: TokenStream) -> TokenStream {
    task_fn::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// Calls `watertight::init()` before anything else in `main`.
///
/// ```
/// #[watertight::main]
/// fn main() -> watertight::Result<()> {
///     let pool = watertight::Pool::new(2)?;
///     assert_eq!(pool.map(|x: i64| x + 1, 1..=3)?, [2, 3, 4]);
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn main(options: TokenStream, item: TokenStream) -> TokenStream {
    main_fn::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

/// A test whose body runs in a process of its own: it may crash, exit, leak or hang, and the test run goes
/// on. It fails if it runs for longer than a minute, or leaves a child process, a descriptor, a thread or a
/// name in /dev/shm behind.
///
/// `timeout = "5s"` sets another time, in `ms` or `s`; `leftovers = "allow"` lets things stay. Other
/// attributes (`#[ignore]`, `#[should_panic]`) work as with `#[test]`. Works under `cargo test` and nextest.
///
/// ```no_run
/// use watertight::{Signal, assert_dies};
///
/// #[watertight::test(timeout = "10s")]
/// fn an_abort_is_survived() {
///     assert_dies!(Signal::SIGABRT, || std::process::abort());
/// }
/// ```
#[proc_macro_attribute]
pub fn test(options: TokenStream, item: TokenStream) -> TokenStream {
    test_fn::expand(options.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}

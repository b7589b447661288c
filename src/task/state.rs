//! What a pool's initializer made, for the tasks of the same worker.

use std::any::Any;
use std::sync::OnceLock;

static STATE: OnceLock<Box<dyn Any + Send + Sync>> = OnceLock::new();

/// What this worker's initializer returned, if it has that type.
///
/// ```
/// use watertight::{Pool, worker};
///
/// struct Model {
///     weight: i64,
/// }
///
/// fn load(weight: i64) -> Model {
///     Model { weight }
/// }
///
/// fn predict(x: i64) -> i64 {
///     worker::state::<Model>().expect("the pool loads it").weight * x
/// }
///
/// fn main() -> watertight::Result<()> {
///     watertight::init();
///     let pool = Pool::builder().workers(2).initializer(load, (3,)).start()?;
///     assert_eq!(pool.map(predict, 1..=3)?, [3, 6, 9]);
///     Ok(())
/// }
/// ```
pub fn state<T: Send + Sync + 'static>() -> Option<&'static T> {
    STATE.get()?.downcast_ref()
}

/// Keeps what the initializer made; the first one counts.
pub(crate) fn keep<T: Send + Sync + 'static>(state: T) {
    let _ = STATE.set(Box::new(state));
}

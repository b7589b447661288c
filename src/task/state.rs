//! What a pool's initializer made, for the tasks of the same worker.

use std::any::Any;
use std::cell::Cell;
use std::sync::OnceLock;

static STATE: OnceLock<Box<dyn Any + Send + Sync>> = OnceLock::new();

thread_local! {
    /// Of a worker that is this thread.
    static OF_THREAD: Cell<OfThread> = const { Cell::new(OfThread::NoWorker) };
}

#[derive(Clone, Copy)]
enum OfThread {
    NoWorker,
    Nothing,
    Kept(&'static (dyn Any + Send + Sync)),
}

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
    match OF_THREAD.try_with(Cell::get) {
        Ok(OfThread::Kept(state)) => state.downcast_ref(),
        Ok(OfThread::Nothing) => None,
        Ok(OfThread::NoWorker) | Err(_) => STATE.get()?.downcast_ref(),
    }
}

/// This thread is a worker with a state of its own.
pub(crate) fn use_in_this_thread() {
    OF_THREAD.set(OfThread::Nothing);
}

/// Keeps what the initializer made; the first one counts.
pub(crate) fn keep<T: Send + Sync + 'static>(state: T) {
    match OF_THREAD.get() {
        // Tasks get it for ever, so it is never dropped.
        OfThread::Nothing => OF_THREAD.set(OfThread::Kept(Box::leak(Box::new(state)))),
        OfThread::Kept(_) => {}
        OfThread::NoWorker => drop(STATE.set(Box::new(state))),
    }
}

//! How far a model is explored.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Runs `model` in every order in which its threads lose the processor against their will at most `preemptions`
/// times, and returns how many orders there were.
pub(crate) fn explore(preemptions: usize, model: impl Fn() + Send + Sync + 'static) -> usize {
    let orders = Arc::new(AtomicUsize::new(0));
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 10_000;
    let counter = Arc::clone(&orders);
    builder.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        model();
    });
    orders.load(Ordering::Relaxed)
}

/// Explores `model` for each number of steps after which a process of it dies, a `stride` apart, until it always
/// comes to its end. The model says whether it was cut off.
pub(crate) fn explore_deaths(
    preemptions: usize,
    stride: u32,
    model: impl Fn(u32) -> bool + Clone + Send + Sync + 'static,
) -> usize {
    let mut orders = 0;
    for steps in (0..).step_by(stride as usize) {
        let cut_off = Arc::new(AtomicUsize::new(0));
        let (model, count) = (model.clone(), Arc::clone(&cut_off));
        orders +=
            explore(preemptions, move || _ = count.fetch_add(usize::from(model(steps)), Ordering::Relaxed));
        if cut_off.load(Ordering::Relaxed) == 0 {
            assert!(steps > stride, "there is no step to die after");
            break;
        }
    }
    orders
}

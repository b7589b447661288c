//! Which objects an encoded value speaks of, so that whoever carries it can keep them alive.

use std::cell::RefCell;
use std::sync::Arc;

use super::object::Object;

thread_local! {
    /// The objects of the encoding that runs in this thread; `None` while none does.
    static OBJECTS: RefCell<Option<Vec<Arc<Object>>>> = const { RefCell::new(None) };
}

/// Runs `encode`, and returns the objects whose handles it wrote.
#[inline]
pub(crate) fn collecting<T>(encode: impl FnOnce() -> T) -> (T, Vec<Arc<Object>>) {
    /// An encoding may run inside another one, and may panic.
    struct Restore(Option<Option<Vec<Arc<Object>>>>);
    impl Drop for Restore {
        fn drop(&mut self) {
            if let Some(before) = self.0.take() {
                OBJECTS.set(before);
            }
        }
    }
    let mut restore = Restore(Some(OBJECTS.replace(Some(Vec::new()))));
    let result = encode();
    let objects = OBJECTS.replace(restore.0.take().flatten()).unwrap_or_default();
    (result, objects)
}

/// A handle on `object` has been written.
pub(crate) fn note(object: &Arc<Object>) {
    OBJECTS.with_borrow_mut(|objects| {
        if let Some(objects) = objects
            && objects.iter().all(|other| !Arc::ptr_eq(other, object))
        {
            objects.push(Arc::clone(object));
        }
    });
}

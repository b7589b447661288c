//! What a panic threw.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a panic that was caught says.
pub(crate) fn into_message(payload: Box<dyn Any + Send>) -> String {
    let message = message(payload.as_ref());
    // A payload whose destructor panics must not take along who has just caught it.
    if let Err(again) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(again);
    }
    message
}

/// What a panic says.
pub(crate) fn message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "(its payload is no text)".to_owned())
}

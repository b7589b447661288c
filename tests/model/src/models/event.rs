//! A flag that is waited for.

use std::sync::Arc;

use super::process;
use crate::explore::explore;
use crate::sync::event::Event;

/// Set, and cleared before anybody can look; who waited goes on, and who did not sees the second setting.
pub fn set_and_cleared() -> usize {
    explore(3, || {
        let event = Arc::new(Event::new().expect("there is memory"));
        let waiter = process(2, &event, |event| {
            event.wait().expect("there is room");
            event.wait().expect("there is room");
        });
        event.set();
        event.clear();
        event.set();
        waiter.join().expect("the waiter ends");
        assert!(event.is_set());
    })
}

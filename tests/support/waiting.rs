//! Waiting for others without a guess how long they take.
#![allow(dead_code, unreachable_pub, reason = "a module of several tests, each of which uses a part")]

use std::time::Duration;

use watertight::sync::waiters;

/// Longer than any test may take; a wait that ends before shows what was promised.
pub const LONG: Duration = Duration::from_secs(50);

/// As long as somebody waits for what does not come.
pub const SHORT: Duration = Duration::from_millis(1);

/// Waits until `reached` says so; others are given the processor, and after some looks a millisecond of it.
pub fn until(mut reached: impl FnMut() -> bool) {
    let mut looks = 0;
    while !reached() {
        looks += 1;
        match looks {
            0..100 => std::thread::yield_now(),
            _ => std::thread::park_timeout(SHORT),
        }
    }
}

/// A name that nobody else gives to anything: the tests of one program are one tree, in which all see who waits.
pub fn own(name: &str) -> String {
    format!("{name} of {}", std::process::id())
}

/// Waits until that many threads wait for something that has this name as this process's own.
pub fn until_waiting(count: usize, name: &str) {
    let name = format!("`{}`", own(name));
    until(|| waiters().unwrap().iter().filter(|waiter| waiter.object == name).count() >= count);
}

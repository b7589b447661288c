//! How long to look before sleeping.
//!
//! A wake-up across processors costs 20–50 µs and a look costs nanoseconds, so a waiter looks for a while.
//! It gives its processor away in between, because the other side may need exactly this one; but beside
//! foreign busy processes a yield can cost a whole time slice, so one that took long forbids yields for a
//! while. On one processor looking is useless: yield twice, then sleep.

use std::time::Duration;

use crate::sys::clock::monotonic_nanos;
use crate::sys::cpu;

/// How long a waiter looks before it sleeps.
const LOOKING: u64 = 50_000;

/// How long it looks between two yields.
const SPIN: u64 = 1_000;

/// A yield that takes longer has given the processor to a stranger.
const LONG_YIELD: u64 = 200_000;

const SHORTEST_BAN: Duration = Duration::from_millis(50);
const LONGEST_BAN: Duration = Duration::from_secs(3);

/// One waiter's experience.
#[derive(Debug)]
pub(crate) struct Patience {
    processors: usize,
    /// Until when not to yield, and how long the ban was.
    banned_until: u64,
    ban: Duration,
}

impl Patience {
    /// Asks once how many processors there are.
    pub(crate) fn new() -> Patience {
        Patience { processors: cpu::allowed(), banned_until: 0, ban: Duration::ZERO }
    }

    /// Asks again how many processors there are; a mask can change while a process lives.
    pub(crate) fn refresh(&mut self) {
        self.processors = cpu::allowed();
    }

    /// Looks until `ready`, and true then; false when it is time to sleep. Call with `woke` if this side has
    /// just woken the other, which then may be waiting for this very processor.
    pub(crate) fn look(&mut self, woke: bool, mut ready: impl FnMut() -> bool) -> bool {
        if ready() {
            return true;
        }
        if self.processors == 1 {
            return (0..2).any(|_| {
                std::thread::yield_now();
                ready()
            });
        }
        let start = monotonic_nanos();
        if woke {
            self.give_way(start);
        }
        loop {
            let now = monotonic_nanos();
            if spin(now + SPIN, &mut ready) {
                self.forgive();
                return true;
            }
            if now - start > LOOKING {
                return false;
            }
            self.give_way(now);
        }
    }

    fn give_way(&mut self, now: u64) {
        if now < self.banned_until {
            return;
        }
        std::thread::yield_now();
        let after = monotonic_nanos();
        if after - now > LONG_YIELD {
            self.ban = (self.ban * 2).clamp(SHORTEST_BAN, LONGEST_BAN);
            self.banned_until = after + self.ban.as_nanos() as u64;
        }
    }

    /// A ban that is long over is forgotten.
    fn forgive(&mut self) {
        if self.ban > Duration::ZERO && monotonic_nanos() > self.banned_until + LONGEST_BAN.as_nanos() as u64
        {
            self.ban = Duration::ZERO;
        }
    }
}

fn spin(until: u64, ready: &mut impl FnMut() -> bool) -> bool {
    loop {
        for _ in 0..16 {
            if ready() || ready() {
                return true;
            }
            std::hint::spin_loop();
        }
        if monotonic_nanos() >= until {
            return false;
        }
    }
}

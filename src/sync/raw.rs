//! The lock itself: one word that names its holder.
//!
//! | word | meaning |
//! |---|---|
//! | 0 | free |
//! | owner | held by that thread |
//! | owner, waiters | held, and somebody may sleep: wake one when it becomes free |
//! | nobody in particular | held on purpose by no thread: whoever calls `release` frees it |
//! | any of these, marked | a holder has died since, and nobody has said that all is well again |
//!
//! It is taken by one compare-and-swap and given up by one swap, so a death at any instruction leaves it held
//! by the dead or free. `README.md` tells who notices what.

use std::time::Duration;

use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::roster::{Ending, Link, Owner, Roster, Target, Wait, deadline};
use crate::sys::{cpu, futex};

/// Somebody may sleep on the word.
pub(crate) const WAITERS: u32 = 1 << 31;
/// A holder has died.
pub(crate) const MARKED: u32 = 1 << 30;

/// Looks before sleeping, on more than one processor.
const LOOKS: u32 = 100;

/// The words of one lock.
#[derive(Clone, Copy)]
pub(crate) struct RawLock<'a> {
    pub(crate) word: &'a AtomicU32,
    /// Where the holder took it.
    pub(crate) site: &'a AtomicU32,
    /// The last holder that died: its process in the upper half, its owner word in the lower.
    pub(crate) abandoned: &'a AtomicU64,
    /// Where that one had taken it.
    pub(crate) abandoned_site: &'a AtomicU32,
}

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    No,
    /// Nanoseconds of the monotonic clock.
    Until(u64),
    /// Until it is free, or the wait would close a circle.
    Forever,
    /// Until it is free: another one in the circle has to give up.
    Insist,
}

/// Who asks, and how.
pub(crate) struct Request<'a> {
    pub(crate) roster: &'a Roster,
    pub(crate) me: Owner,
    pub(crate) site: u32,
    pub(crate) target: Target,
    pub(crate) patience: Patience,
}

/// Why the lock was not taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Held, and there was no time to wait, or not enough.
    Busy,
    Circle(Vec<Link>),
}

impl Patience {
    /// Waits at most that long; for ever, if the clock does not reach so far.
    pub(crate) fn of(timeout: Duration) -> Patience {
        deadline(Some(timeout)).map_or(Patience::Forever, Patience::Until)
    }

    pub(crate) fn ending(self) -> Ending {
        match self {
            Patience::No => Ending::AtLast(0),
            Patience::Until(deadline) => Ending::AtLast(deadline),
            Patience::Forever => Ending::ByCircle,
            Patience::Insist => Ending::Never,
        }
    }
}

impl RawLock<'_> {
    /// Takes it if it is free and nothing is the matter with it.
    #[inline]
    pub(crate) fn take(self, me: Owner) -> bool {
        self.word.compare_exchange(0, me.bits(), Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Whether anybody holds it.
    pub(crate) fn is_held(self) -> bool {
        Owner::in_word(self.word.load(Ordering::Acquire)).is_some()
    }

    /// Whether a holder has died since all was well.
    pub(crate) fn is_marked(self) -> bool {
        self.word.load(Ordering::Relaxed) & MARKED != 0
    }

    /// In the holder: all is well again.
    pub(crate) fn unmark(self) {
        self.word.fetch_and(!MARKED, Ordering::Relaxed);
    }

    /// Whether the calling thread holds it.
    #[inline]
    pub(crate) fn is_held_by(self, me: Owner) -> bool {
        Owner::in_word(self.word.load(Ordering::Relaxed)) == Some(me)
    }

    /// Takes it, waiting if need be. True if it is marked.
    #[cold]
    pub(crate) fn acquire(self, request: &Request<'_>) -> Result<bool, Refusal> {
        let mut seen = self.look();
        let mut slept = 0;
        let mut wait: Option<Wait<'_>> = None;
        loop {
            let Some(holder) = Owner::in_word(seen) else {
                let taken = request.me.bits() | (seen & (WAITERS | MARKED)) | slept;
                match self.exchange(seen, taken) {
                    Ok(()) => return Ok(seen & MARKED != 0),
                    Err(now) => seen = now,
                }
                continue;
            };
            if request.patience == Patience::No {
                match self.inherit(request, seen, holder) {
                    Some(Ok(())) => return Ok(true),
                    Some(Err(now)) => seen = now,
                    None => return Err(Refusal::Busy),
                }
                continue;
            }
            let wait = wait.get_or_insert_with(|| request.begin_wait());
            let bell = wait.arm();
            let step = self.before_sleep(request, wait, seen, holder);
            match step {
                Step::Taken => return Ok(true),
                Step::Changed(now) => seen = now,
                Step::Refused(refusal) => {
                    if slept != 0 {
                        self.give_on();
                    }
                    return Err(refusal);
                }
                Step::Sleep => {
                    wait.sleep(self.word, seen | WAITERS, bell);
                    slept = WAITERS;
                    seen = self.word.load(Ordering::Relaxed);
                }
            }
        }
    }

    /// What has to be looked at between arming the bell and sleeping.
    fn before_sleep(self, request: &Request<'_>, wait: &Wait<'_>, seen: u32, holder: Owner) -> Step {
        match self.inherit(request, seen, holder) {
            Some(Ok(())) => return Step::Taken,
            Some(Err(now)) => return Step::Changed(now),
            None => {}
        }
        if wait.is_over() {
            return Step::Refused(Refusal::Busy);
        }
        if seen & WAITERS == 0
            && let Err(now) = self.exchange(seen, seen | WAITERS)
        {
            return Step::Changed(now);
        }
        match request.patience {
            Patience::Forever | Patience::Insist => match wait.circle() {
                Some(circle) => Step::Refused(Refusal::Circle(circle)),
                None => Step::Sleep,
            },
            Patience::No | Patience::Until(_) => Step::Sleep,
        }
    }

    /// Takes it from a holder that is dead. `None` if that lives.
    fn inherit(self, request: &Request<'_>, seen: u32, holder: Owner) -> Option<Result<(), u32>> {
        if request.roster.is_alive(holder) {
            return None;
        }
        // Others may sleep whose waker has died before it woke them.
        let taken = self.exchange(seen, request.me.bits() | MARKED | WAITERS);
        if taken.is_ok() {
            let pid = request.roster.describe(holder).pid;
            self.abandoned_site.store(self.site.load(Ordering::Relaxed), Ordering::Relaxed);
            self.abandoned.store(u64::from(pid) << 32 | u64::from(holder.bits()), Ordering::Relaxed);
        }
        Some(taken)
    }

    fn exchange(self, seen: u32, new: u32) -> Result<(), u32> {
        self.word.compare_exchange(seen, new, Ordering::Acquire, Ordering::Relaxed).map(drop)
    }

    /// Looks for a moment whether it becomes free.
    fn look(self) -> u32 {
        let looks = if cpu::is_alone() { 0 } else { LOOKS };
        for _ in 0..looks {
            let seen = self.word.load(Ordering::Relaxed);
            if Owner::in_word(seen).is_none() || seen & WAITERS != 0 {
                return seen;
            }
            std::hint::spin_loop();
        }
        self.word.load(Ordering::Relaxed)
    }

    /// Leaves without the lock. If a wake-up was meant for this thread, another one gets it.
    fn give_on(self) {
        let mut seen = self.word.load(Ordering::Relaxed);
        while Owner::in_word(seen).is_some() {
            if seen & WAITERS != 0 {
                return;
            }
            match self.word.compare_exchange(seen, seen | WAITERS, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(now) => seen = now,
            }
        }
        futex::wake(self.word, 1);
    }

    /// Turns the calling thread's hold into one that belongs to nobody.
    pub(crate) fn disown(self, marked: bool) {
        let disowned = Owner::NOBODY_IN_PARTICULAR.bits() | if marked { MARKED } else { 0 };
        let mut seen = self.word.load(Ordering::Relaxed);
        // Nothing but the waiters' bit changes in a lock that is held.
        while let Err(now) = self.word.compare_exchange(
            seen,
            disowned | (seen & WAITERS),
            Ordering::Release,
            Ordering::Relaxed,
        ) {
            seen = now;
        }
    }

    /// Frees a hold that belongs to nobody. False if there is none.
    pub(crate) fn release(self) -> bool {
        let mut seen = self.word.load(Ordering::Relaxed);
        while Owner::in_word(seen) == Some(Owner::NOBODY_IN_PARTICULAR) {
            match self.word.compare_exchange(seen, seen & MARKED, Ordering::Release, Ordering::Relaxed) {
                Ok(_) => {
                    if seen & WAITERS != 0 {
                        futex::wake(self.word, 1);
                    }
                    return true;
                }
                Err(now) => seen = now,
            }
        }
        false
    }
}

/// Gives a lock up. A mark that the holder found stays, unless somebody has taken it away meanwhile.
#[inline]
pub(crate) fn give_up(word: &AtomicU32, marked: bool) {
    let before = match marked {
        true => word.fetch_and(MARKED, Ordering::Release),
        false => word.swap(0, Ordering::Release),
    };
    if before & WAITERS != 0 {
        futex::wake(word, 1);
    }
}

/// What follows a look.
enum Step {
    Taken,
    Changed(u32),
    Refused(Refusal),
    Sleep,
}

impl Request<'_> {
    fn begin_wait(&self) -> Wait<'_> {
        self.roster.begin_wait(self.me, self.target, self.site, self.patience.ending())
    }
}

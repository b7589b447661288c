//! What a thread remembers of itself, so that a free lock is taken without a look at the roster.

use std::cell::Cell;
use std::panic::Location;

use super::owner::Owner;

/// Source lines that are remembered.
const SITES: usize = 16;

thread_local! {
    /// Without a destructor in the way.
    pub(super) static KNOWN: Known = const { Known::new() };
}

/// The calling thread's place in one joining of a roster.
pub(super) struct Known {
    /// Zero is no roster's.
    instance: Cell<u64>,
    /// Of no meaning without an instance.
    owner: Cell<Owner>,
    /// Lines that this thread has used lately, by where their locations lie, and their numbers.
    sites: [Cell<(usize, u32)>; SITES],
}

impl Known {
    const fn new() -> Known {
        let sites = [const { Cell::new((0, 0)) }; SITES];
        Known { instance: Cell::new(0), owner: Cell::new(Owner::NOBODY_IN_PARTICULAR), sites }
    }

    /// The thread has a slot now. What it knows of another roster is of no use any more.
    pub(super) fn begin(&self, instance: u64, owner: Owner) {
        self.sites.iter().for_each(|site| site.set((0, 0)));
        self.owner.set(owner);
        self.instance.set(instance);
    }

    /// The thread has no slot any more.
    pub(super) fn forget(&self, instance: u64) {
        if self.instance.get() == instance {
            self.instance.set(0);
        }
    }

    #[inline]
    pub(super) fn owner(&self, instance: u64) -> Option<Owner> {
        (self.instance.get() == instance).then(|| self.owner.get())
    }

    /// The number of a source line.
    #[inline]
    pub(super) fn site(&self, instance: u64, location: &'static Location<'static>) -> Option<u32> {
        let (known, number) = self.place(location).get();
        let is_known = self.instance.get() == instance && known == address(location);
        is_known.then_some(number)
    }

    pub(super) fn remember(&self, instance: u64, location: &'static Location<'static>, number: u32) {
        if self.instance.get() == instance {
            self.place(location).set((address(location), number));
        }
    }

    #[inline]
    fn place(&self, location: &'static Location<'static>) -> &Cell<(usize, u32)> {
        &self.sites[(address(location) >> 3) % SITES]
    }
}

#[inline]
fn address(location: &'static Location<'static>) -> usize {
    std::ptr::from_ref(location) as usize
}

/// The calling thread in one joining of a roster, and the number of its line, if it has taken a lock there before.
#[inline]
pub(crate) fn known(instance: u64, location: &'static Location<'static>) -> Option<(Owner, u32)> {
    KNOWN.with(|known| Some((known.owner(instance)?, known.site(instance, location)?)))
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_line_is_known_in_the_roster_that_numbered_it_and_in_no_other() {
        let (known, here) = (Known::new(), Location::caller());
        known.begin(1, Owner::new(1, 1));
        assert_eq!(known.site(1, here), None);
        known.remember(1, here, 7);
        assert_eq!((known.site(1, here), known.site(2, here)), (Some(7), None));
        known.remember(2, here, 8);
        assert_eq!((known.site(1, here), known.site(2, here)), (Some(7), None));
        known.begin(2, Owner::new(1, 2));
        assert_eq!((known.site(1, here), known.site(2, here)), (None, None));
    }

    #[test]
    fn lines_that_share_a_place_are_told_apart() {
        let (known, lines) = (Known::new(), [(); 2 * SITES].map(|()| line()));
        known.begin(1, Owner::new(1, 1));
        for (line, number) in lines.into_iter().zip(1..) {
            known.remember(1, line, number);
            assert_eq!(known.site(1, line), Some(number));
        }
        let remembered =
            lines.into_iter().zip(1..).filter_map(|(line, number)| Some((known.site(1, line)?, number)));
        assert!(remembered.into_iter().all(|(known, number)| known == number));
    }

    /// A line that is like no other one.
    fn line() -> &'static Location<'static> {
        Box::leak(Box::new(*Location::caller()))
    }

    #[test]
    fn a_thread_that_has_left_is_not_known() {
        let known = Known::new();
        known.begin(3, Owner::new(5, 1));
        known.forget(2);
        assert_eq!(known.owner(3), Some(Owner::new(5, 1)));
        known.forget(3);
        assert_eq!(known.owner(3), None);
    }
}

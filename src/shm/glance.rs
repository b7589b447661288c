//! A look into a segment that this process need not use.
//!
//! Who looks for a circle of locks, or lists who waits, reads words that may lie in other processes' memory. A user of
//! that memory is locked to its file; whoever did so only to look would keep the name although its last user
//! leaves meanwhile. So the file is read, and not mapped: what has ended reads as zeros, whereas a mapped page
//! that is gone would have to be made anew, and with a full /dev/shm that is the end of whoever looks.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::primitive::Ordering;
use crate::sys::named;

use super::header;
use super::mapped::mapped;
use super::name::SegmentId;
use super::segment::Segment;
use super::shape::{AT_NAME, NAME};
use super::text;

/// A segment, as it is seen from outside. Nothing in it is believed: that the kernel copies a word in one piece is
/// nowhere promised, and who acts on what it saw looks twice.
pub(crate) enum Glance {
    /// This process uses it anyway.
    Used(Arc<Segment>),
    Other(File),
}

impl Glance {
    /// `None` if there is no such segment.
    pub(crate) fn at(id: SegmentId) -> Option<Glance> {
        let used = mapped().find(id);
        used.map(Glance::Used).or_else(|| Glance::from_outside(id))
    }

    fn from_outside(id: SegmentId) -> Option<Glance> {
        let file = named::look(&id.name()).ok()?;
        let length = file.metadata().ok().filter(|file| file.is_file())?.len();
        let word = |offset: usize| {
            let mut word = [0; 8];
            file.read_exact_at(&mut word, offset as u64).ok()?;
            Some(u64::from_ne_bytes(word))
        };
        header::is_of(id, length, word).then_some(Glance::Other(file))
    }

    /// The two halves of the word at an offset, which may be anything.
    pub(crate) fn half_words(&self, offset: usize) -> Option<[u32; 2]> {
        let mut halves = [0; 8];
        match self {
            _ if !offset.is_multiple_of(8) => return None,
            Glance::Used(segment) => {
                let inside = offset.checked_add(8).is_some_and(|end| end <= segment.bytes());
                return inside
                    .then(|| [offset, offset + 4].map(|at| segment.half_word(at).load(Ordering::SeqCst)));
            }
            Glance::Other(file) => file.read_exact_at(&mut halves, offset as u64).ok()?,
        }
        let (first, second) = halves.split_at(4);
        Some([first, second].map(|half| u32::from_ne_bytes(half.try_into().expect("four bytes"))))
    }

    /// The name of the object at an offset, which may be anything.
    pub(crate) fn name(&self, offset: usize) -> Option<String> {
        let at = offset.checked_add(AT_NAME)?;
        let mut bytes = [0; NAME];
        match self {
            Glance::Used(segment) => {
                at.checked_add(NAME).filter(|end| *end <= segment.bytes())?;
                segment.read(at, &mut bytes);
            }
            Glance::Other(file) => file.read_exact_at(&mut bytes, at as u64).ok()?,
        }
        Some(text::in_bytes(&bytes)).filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::super::object::{self, HEAD};
    use super::*;
    use crate::shm::segment::DATA;

    /// A segment with something in it, and a look at it from another process.
    fn looked_at() -> (Arc<Segment>, Glance) {
        let segment = Segment::create(SegmentId::new(), 4096).unwrap();
        text::write(&segment, DATA + AT_NAME, NAME, "mine");
        segment.half_word(DATA + HEAD).store(7, Ordering::Relaxed);
        segment.half_word(DATA + HEAD + 4).store(9, Ordering::Relaxed);
        mapped().forget(segment.id());
        let glance = Glance::at(segment.id()).unwrap();
        mapped().enter(segment.id(), &segment);
        (segment, glance)
    }

    #[test]
    fn whoever_looks_from_outside_sees_what_the_users_see() {
        let (segment, outside) = looked_at();
        let inside = Glance::at(segment.id()).unwrap();
        assert!(matches!((&outside, &inside), (Glance::Other(_), Glance::Used(_))));
        for glance in [outside, inside] {
            assert_eq!(glance.half_words(DATA + HEAD), Some([7, 9]));
            assert_eq!(glance.name(DATA), object::read_name(&segment, DATA));
            assert_eq!(glance.name(DATA).as_deref(), Some("mine"));
            for nowhere in [segment.bytes() - 4, segment.bytes(), DATA + 1, usize::MAX - 7] {
                assert_eq!(glance.half_words(nowhere), None);
            }
            assert_eq!((glance.name(segment.bytes() - 8), glance.name(usize::MAX)), (None, None));
        }
    }

    #[test]
    fn whoever_only_looks_keeps_no_name_and_no_memory() {
        let (segment, glance) = looked_at();
        let id = segment.id();
        drop(segment);
        assert!(named::look(&id.name()).is_err() && Glance::at(id).is_none());
        // A page that is gone reads as zeros.
        assert_eq!((glance.half_words(DATA + HEAD), glance.name(DATA)), (Some([0, 0]), None));
    }

    #[test]
    fn what_is_no_segment_of_that_name_is_not_looked_into() {
        assert!(Glance::at(SegmentId::new()).is_none());
        let id = SegmentId::new();
        let path = std::path::Path::new("/dev/shm").join(id.name());
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(Glance::at(id).is_none());
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, [7; 20_000]).unwrap();
        assert!(Glance::at(id).is_none());
        std::fs::remove_file(&path).unwrap();
    }
}

//! One segment: a header, a table of the processes that use it, and the objects behind that.
//!
//! A process maps a segment once, whatever many objects of it it knows. It enters itself into the table of
//! users; an object's mask says which of them hold it. So a death gives back that process's share: whoever
//! finds a user dead takes its bit out of every object.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use rustc_hash::FxHashMap;

use crate::primitive::{AtomicU32, AtomicU64, Ordering};
use crate::sys::named::{Named, Window};

use super::allocator::{Allocator, LINE};
use super::header::{self, AT_FREED, AT_STARTS, STARTS};
use super::mapped::mapped;
use super::name::SegmentId;
use super::object::{self, Object};
use super::user::User;

pub(crate) use super::header::{DATA, MAX_USERS};

/// In a user's entry: the process is taking the shares of the dead one that stood here.
const SETTLING: u64 = 1 << 63;

/// Why a segment could not be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error("its memory is gone")]
    Gone,
    #[error("its memory is not of this version of watertight")]
    Foreign,
    #[error("{MAX_USERS} processes use its memory, which is the limit")]
    Full,
    #[error("its memory cannot be opened: {0}")]
    System(io::Error),
}

impl From<io::Error> for OpenError {
    fn from(error: io::Error) -> OpenError {
        match error.kind() {
            io::ErrorKind::NotFound => OpenError::Gone,
            _ => OpenError::System(error),
        }
    }
}

/// A mapped segment. Dropped with the process's last object in it.
pub(crate) struct Segment {
    id: SegmentId,
    tree: SegmentId,
    memory: Arc<Named>,
    /// This process's place in the table.
    user: usize,
    /// What this process knows in it, by offset.
    objects: Mutex<FxHashMap<usize, Weak<Object>>>,
    /// In the process that made it: what is free.
    allocator: Option<Mutex<Allocator>>,
}

impl Segment {
    /// Makes a segment with room for `bytes` bytes of objects, which only this process fills.
    pub(crate) fn create(tree: SegmentId, bytes: usize) -> io::Result<Arc<Segment>> {
        let id = SegmentId::new();
        let total = DATA.checked_add(bytes).ok_or_else(|| io::Error::from(nix::errno::Errno::EFBIG))?;
        let memory = Named::create(&id.name(), total)?;
        let user = header::begin(&memory, id, tree);
        let allocator = Some(Mutex::new(Allocator::new(DATA, total)));
        let memory = Arc::new(memory);
        let segment = Arc::new(Segment { id, tree, memory, user, objects: Mutex::default(), allocator });
        mapped().enter(id, &segment);
        Ok(segment)
    }

    /// The segment of that identity, mapped if this process has not yet.
    ///
    /// Waits for nobody, since the identity may come from a process that is trusted with nothing.
    pub(crate) fn open(id: SegmentId) -> Result<Arc<Segment>, OpenError> {
        let mut mapped = mapped();
        if let Some(segment) = mapped.find(id) {
            return Ok(segment);
        }
        let memory = match mapped.wake(id) {
            Some(memory) => memory,
            None => Arc::new(alive(Named::open_at_once(&id.name())?)?),
        };
        let tree = header::check(&memory, id)?;
        let segment = Arc::new(Segment::enter(id, tree, memory)?);
        mapped.enter(id, &segment);
        Ok(segment)
    }

    /// The segment of that identity, made by whoever comes first. It holds no objects.
    pub(crate) fn join(id: SegmentId, bytes: usize) -> Result<Segment, OpenError> {
        loop {
            match Named::open(&id.name()).and_then(alive) {
                Ok(memory) => {
                    header::check(&memory, id)?;
                    return Segment::enter(id, id, Arc::new(memory));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
            // Filled in under another name: under its own it is ready for everybody.
            let mut memory = Named::create(&SegmentId::new().name(), DATA + bytes)?;
            let user = header::begin(&memory, id, id);
            match memory.rename(&id.name()) {
                Ok(()) => {
                    return Ok(Segment {
                        id,
                        tree: id,
                        memory: Arc::new(memory),
                        user,
                        objects: Mutex::default(),
                        allocator: None,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(OpenError::System(error)),
            }
        }
    }

    /// Enters this process into the table of users.
    fn enter(id: SegmentId, tree: SegmentId, memory: Arc<Named>) -> Result<Segment, OpenError> {
        let objects = Mutex::default();
        let mut segment = Segment { id, tree, memory, user: MAX_USERS, objects, allocator: None };
        let place = segment.take_place().or_else(|| {
            segment.settle();
            segment.take_place()
        });
        segment.user = place.ok_or(OpenError::Full)?;
        Ok(segment)
    }

    fn take_place(&self) -> Option<usize> {
        let own = User::own().to_word();
        (0..MAX_USERS).find(|index| {
            let entry = self.user_at(*index);
            entry.compare_exchange(0, own, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        })
    }

    pub(crate) fn id(&self) -> SegmentId {
        self.id
    }

    /// The tree of processes whose roster the locks in here use.
    pub(crate) fn tree(&self) -> SegmentId {
        self.tree
    }

    /// This process's place in the table of users.
    pub(crate) fn user(&self) -> usize {
        self.user
    }

    pub(crate) fn bytes(&self) -> usize {
        self.memory.len()
    }

    /// The word at a byte offset.
    #[inline]
    pub(crate) fn word(&self, offset: usize) -> &AtomicU64 {
        debug_assert!(offset.is_multiple_of(8));
        &self.memory.words()[offset / 8]
    }

    /// The 32 bits at a byte offset.
    #[inline]
    pub(crate) fn half_word(&self, offset: usize) -> &AtomicU32 {
        self.memory.half_word(offset)
    }

    /// Copies bytes out.
    pub(crate) fn read(&self, offset: usize, into: &mut [u8]) {
        self.memory.read(offset, into);
    }

    /// Copies bytes in.
    pub(crate) fn write(&self, offset: usize, from: &[u8]) {
        self.memory.write(offset, from);
    }

    /// A part of it.
    pub(super) fn window(&self, offset: usize, length: usize) -> Window {
        Window::new(Arc::clone(&self.memory), offset, length)
    }

    pub(super) fn allocator(&self) -> Option<MutexGuard<'_, Allocator>> {
        self.allocator.as_ref().map(|allocator| allocator.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn objects(&self) -> MutexGuard<'_, FxHashMap<usize, Weak<Object>>> {
        self.objects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often an object in here lost its last holder.
    pub(super) fn freed(&self) -> &AtomicU64 {
        self.word(AT_FREED)
    }

    /// The entry of one user.
    pub(crate) fn user_at(&self, index: usize) -> &AtomicU64 {
        header::user_at(&self.memory, index)
    }

    /// Notes whether an object begins at an offset. In the maker.
    pub(super) fn mark_start(&self, offset: usize, is_object: bool) {
        let line = (offset - DATA) / LINE;
        if line >= STARTS * 8 {
            return;
        }
        let word = self.word(AT_STARTS + line / 64 * 8);
        match is_object {
            true => word.fetch_or(1 << (line % 64), Ordering::AcqRel),
            false => word.fetch_and(!(1 << (line % 64)), Ordering::AcqRel),
        };
    }

    /// The offsets of all objects, as far as a head has room there.
    fn starts(&self) -> impl Iterator<Item = usize> {
        let words = (0..STARTS / 8).map(|index| (index, self.word(AT_STARTS + index * 8)));
        let lines = words.flat_map(|(index, word)| {
            let bits = word.load(Ordering::Acquire);
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| index * 64 + bit)
        });
        lines.map(|line| DATA + line * LINE).filter(|offset| offset + object::HEAD <= self.bytes())
    }

    /// Whether the user in that place has died, and its shares are being taken.
    pub(super) fn is_being_settled(&self, index: usize) -> bool {
        self.user_at(index).load(Ordering::Acquire) & SETTLING != 0
    }

    /// Takes the shares of users that have died out of every object, and frees their places.
    ///
    /// One process settles one dead user: it first puts itself in its place. Should it die over that, the
    /// next one takes it from there.
    pub(crate) fn settle(&self) {
        self.settle_those(|_| true, |_| ());
    }

    /// As `settle`, for a process whose handles have all arrived: what only it had is over.
    pub(super) fn settle_for_good(&self, pid: u32) {
        self.settle_those(|user| user.pid == pid, |offset| object::retire(self, offset));
    }

    fn settle_those(&self, which: impl Fn(User) -> bool, after: impl Fn(usize)) {
        // Asked for once: it costs a call into the kernel, and barriers settle each round.
        let claim = SETTLING | User::own().to_word();
        for index in (0..MAX_USERS).filter(|index| *index != self.user) {
            let entry = self.user_at(index);
            let word = entry.load(Ordering::Acquire);
            let user = User::from_word(word & !SETTLING).filter(|user| which(*user));
            let claimed = || entry.compare_exchange(word, claim, Ordering::AcqRel, Ordering::Relaxed).is_ok();
            if user.is_some_and(|user| !user.is_alive()) && claimed() {
                self.starts().filter(|at| object::give_back(self, *at, index)).for_each(&after);
                entry.store(0, Ordering::Release);
            }
        }
    }
}

/// What has ended is as good as not there. Its last user was killed before it took the name away; whoever comes
/// across it and leaves it last does that.
fn alive(memory: Named) -> io::Result<Named> {
    if memory.has_ended() { Err(io::Error::from(io::ErrorKind::NotFound)) } else { Ok(memory) }
}

impl Drop for Segment {
    fn drop(&mut self) {
        // It never got a place, and whoever opens it holds the table of what is mapped.
        if self.user == MAX_USERS {
            return;
        }
        self.user_at(self.user).store(0, Ordering::Release);
        mapped().leave(self.id, &self.memory);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_with_too_many_users_is_an_error() {
        let segment = Segment::create(SegmentId::new(), 4096).unwrap();
        // As another process sees it, which has not mapped it.
        mapped().forget(segment.id());
        (0..MAX_USERS)
            .for_each(|index| segment.user_at(index).store(User::own().to_word(), Ordering::Relaxed));
        assert!(matches!(Segment::open(segment.id()), Err(OpenError::Full)));
        segment.user_at(7).store(0, Ordering::Relaxed);
        assert_eq!(Segment::open(segment.id()).unwrap().user(), 7);
    }
}

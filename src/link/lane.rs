//! The memory that one worker shares with its host, seen as what its words are.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use crate::primitive::{AtomicBool, AtomicU64, Futex, Ordering};
use crate::sys::memory::{self, Mapping};

use super::bell::Bell;
use super::black_box::BlackBox;
use super::claim::ClaimWord;
use super::layout::{
    BLACK_BOX, BLACK_BOX_END, CLAIM, DOWN_AHEAD, DOWN_BEHIND, HOST_BELL, HOST_MARK, RINGS, UP_AHEAD,
    UP_BEHIND, WORKER_BELL,
};
use super::ring::RingView;

pub(crate) use super::layout::RING_WORDS;

const MAGIC: u64 = 0x5754_4c41_4e45_0001;

/// A lane in this process's memory.
pub(crate) struct Lane {
    mapping: Mapping,
    down: usize,
    up: usize,
    /// Of this process alone: how far the host has read; its word in the lane is for the worker.
    read: AtomicU64,
    /// Likewise: where the worker's reading stood when the host found no room, or `NO_WAIT`.
    awaited: AtomicU64,
    /// Likewise, and seen by a worker only if it is a thread: nothing more will be written, not even the rest of a
    /// frame.
    shut: AtomicBool,
}

/// The host waits for no room.
const NO_WAIT: u64 = u64::MAX;

impl Lane {
    /// Words of the ring down to a pool's worker: 1 MiB. A large argument goes through in pieces of at most this,
    /// and each piece may cost two wake-ups. Memory that is never written is never there.
    pub(crate) const WIDE: usize = 128 * 1024;

    /// Host: makes a lane whose ring down has at least `down` words. The descriptor is for the worker.
    pub(crate) fn create(name: &str, down: usize) -> io::Result<(OwnedFd, Lane)> {
        let (down, up) = (down.next_power_of_two(), RING_WORDS);
        let (fd, mapping) = memory::create_and_map(name, RINGS + down + up)?;
        let words = mapping.words();
        words[1].store(down as u64, Ordering::Relaxed);
        words[2].store(up as u64, Ordering::Relaxed);
        words[0].store(MAGIC, Ordering::Release);
        Ok((fd, Lane::new(mapping, down, up)))
    }

    /// Worker: maps the lane that the host made.
    pub(crate) fn open(fd: BorrowedFd<'_>) -> io::Result<Lane> {
        let mapping = Mapping::new(fd)?;
        let words = mapping.words();
        let size = |at: usize| words.get(at).map_or(0, |word| word.load(Ordering::Relaxed) as usize);
        let (magic, down, up) = (size(0) as u64, size(1), size(2));
        let fits = down.is_power_of_two() && up.is_power_of_two() && words.len() == RINGS + down + up;
        if magic != MAGIC || !fits {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the shared memory is no lane of this version",
            ));
        }
        Ok(Lane::new(mapping, down, up))
    }

    fn new(mapping: Mapping, down: usize, up: usize) -> Lane {
        let (read, awaited, shut) = (AtomicU64::new(0), AtomicU64::new(NO_WAIT), AtomicBool::new(false));
        Lane { mapping, down, up, read, awaited, shut }
    }

    /// From host to worker.
    pub(crate) fn down(&self) -> RingView<'_> {
        let words = self.mapping.words();
        RingView {
            words: &words[RINGS..RINGS + self.down],
            head: &words[DOWN_AHEAD],
            tail: &words[DOWN_BEHIND],
        }
    }

    /// From worker to host.
    pub(crate) fn up(&self) -> RingView<'_> {
        let words = self.mapping.words();
        let start = RINGS + self.down;
        RingView { words: &words[start..start + self.up], head: &words[UP_AHEAD], tail: &words[UP_BEHIND] }
    }

    /// Host: whether there is anything to read, or room for what waits for it. Believes nothing, and can be
    /// asked by any thread.
    #[inline]
    pub(crate) fn has_news(&self) -> bool {
        if self.up().head.load(Ordering::Relaxed) != self.read.load(Ordering::Relaxed) {
            return true;
        }
        let awaited = self.awaited.load(Ordering::Relaxed);
        awaited != NO_WAIT && self.down().tail.load(Ordering::Relaxed) != awaited
    }

    /// Host: has read up to there.
    #[inline]
    pub(super) fn set_read(&self, position: u64) {
        self.read.store(position, Ordering::Relaxed);
    }

    /// Host: the worker's reading stood there, and there was no room; or all has been written.
    pub(super) fn await_room(&self, tail: Option<u64>) {
        self.awaited.store(tail.unwrap_or(NO_WAIT), Ordering::Relaxed);
    }

    /// Host: nothing more will be written.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::Release);
    }

    /// Worker: whether the host has said so, if both are one process.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::Acquire)
    }

    /// Who owns which task.
    pub(crate) fn claims(&self) -> ClaimWord<'_> {
        ClaimWord(&self.mapping.words()[CLAIM])
    }

    /// Rung for the worker, which sleeps on the word itself.
    pub(crate) fn worker_bell(&self) -> Bell<'_> {
        Bell(Futex(self.mapping.half_word(WORKER_BELL)))
    }

    /// Rung for the host, which sleeps on a descriptor.
    pub(crate) fn host_bell(&self) -> Bell<'_> {
        Bell(Futex(self.mapping.half_word(HOST_BELL)))
    }

    /// Host: wants to be rung when the worker begins task `mark` or has none, not at its next commit.
    pub(crate) fn set_mark(&self, mark: u32) {
        self.mapping.words()[HOST_MARK].store(u64::from(mark), Ordering::Relaxed);
    }

    /// Worker: directly after it claimed task `number`, whether the host has to be rung. True once.
    #[inline]
    pub(super) fn host_is_waiting(&self, number: u32) -> bool {
        let bell = self.host_bell();
        bell.is_waiting_after_update() && {
            let mark = self.mapping.words()[HOST_MARK].load(Ordering::Relaxed) as u32;
            number.wrapping_sub(mark) as i32 > 0 && bell.take_turn()
        }
    }

    /// Host: whether the worker has begun task `mark`, or has none.
    pub(crate) fn has_reached(&self, mark: u32) -> bool {
        self.claims().has_reached(mark)
    }

    /// What the worker notes down.
    pub(crate) fn black_box(&self) -> BlackBox<'_> {
        BlackBox::new(&self.mapping.words()[BLACK_BOX..BLACK_BOX_END])
    }

    /// The word that the crash handlers write, for as long as the process lives.
    pub(crate) fn crash_note(lane: &'static Lane) -> &'static AtomicU64 {
        lane.black_box().crash_note()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn both_sides_see_one_lane() {
        let (fd, host) = Lane::create("test", RING_WORDS).unwrap();
        let worker = Lane::open(fd.as_fd()).unwrap();
        host.up().words[RING_WORDS - 1].store(3, Ordering::Relaxed);
        assert_eq!(worker.up().words[RING_WORDS - 1].load(Ordering::Relaxed), 3);
        assert_eq!(worker.down().words.len(), RING_WORDS);
        worker.host_bell().arm();
        assert!(host.host_bell().answer() && !host.host_bell().answer());
    }

    #[test]
    fn memory_that_is_no_lane_is_refused() {
        let fd = memory::create("test", 4096).unwrap();
        assert!(Lane::open(fd.as_fd()).is_err());
    }
}

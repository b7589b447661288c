//! A roster of three threads.

pub(crate) const AT_TICKETS: usize = 0;
pub(crate) const AT_JOINS: usize = 8;

pub(crate) const MAX_THREADS: usize = 3;
const THREAD: usize = 88;
pub(crate) const BYTES: usize = 16 + (MAX_THREADS + 1) * THREAD;

pub(super) const IN_STATE: usize = 0;
pub(super) const IN_BELL: usize = 8;
pub(super) const IN_SLEEPING: usize = 12;
pub(super) const IN_TICKET: usize = 16;
pub(super) const IN_SEGMENT: usize = 24;
pub(super) const IN_OBJECT: usize = 40;
pub(super) const IN_WORD: usize = 48;
pub(super) const IN_SINCE: usize = 56;
pub(super) const IN_SITE: usize = 64;

pub(super) fn thread(slot: usize) -> usize {
    16 + slot * THREAD
}

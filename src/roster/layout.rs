//! Where everything stands in the roster's segment.

use crate::shm::segment::{DATA, MAX_USERS};

/// Byte offsets of what stands once.
pub(super) const AT_TICKETS: usize = DATA;
pub(super) const AT_JOINS: usize = DATA + 8;
pub(super) const AT_NEXT_THREAD: usize = DATA + 16;
pub(super) const AT_SITES: usize = DATA + 24;

/// Names of processes, by their place in the table of users.
const PROCESSES: usize = DATA + 64;
pub(super) const PROCESS_NAME: usize = 64;

/// Threads, from 1 on.
const THREADS: usize = PROCESSES + MAX_USERS * PROCESS_NAME;
const THREAD: usize = 128;
pub(super) const MAX_THREADS: usize = 2046;

/// Source lines, from 1 on.
const SITES: usize = THREADS + (MAX_THREADS + 1) * THREAD;
pub(super) const SITE: usize = 64;
pub(super) const MAX_SITES: usize = 1023;

/// Bytes of all of it.
pub(super) const BYTES: usize = SITES + (MAX_SITES + 1) * SITE - DATA;

/// Byte offsets in a thread's entry.
pub(super) const IN_STATE: usize = 0;
pub(super) const IN_IDS: usize = 8;
pub(super) const IN_BELL: usize = 16;
pub(super) const IN_SLEEPING: usize = 20;
pub(super) const IN_TICKET: usize = 24;
pub(super) const IN_SEGMENT: usize = 32;
pub(super) const IN_OBJECT: usize = 48;
pub(super) const IN_WORD: usize = 56;
pub(super) const IN_SINCE: usize = 64;
pub(super) const IN_SITE: usize = 72;
pub(super) const IN_NAME: usize = 80;
pub(super) const THREAD_NAME: usize = THREAD - IN_NAME;

pub(super) fn process_name(user: usize) -> usize {
    PROCESSES + user * PROCESS_NAME
}

pub(super) fn thread(slot: usize) -> usize {
    THREADS + slot * THREAD
}

pub(super) fn site(number: usize) -> usize {
    SITES + number * SITE
}

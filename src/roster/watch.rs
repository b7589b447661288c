//! How a process that waits learns of deaths: it watches every other process of the tree itself.
//!
//! One thread, started with the first wait that really sleeps, sits in one epoll of process descriptors. So
//! nobody has to be alive to tell: not the keeper, not the host, not another waiter. When a process ends, every
//! sleeper of this process looks again: at a holder that may have died, and at a lock that may be free because
//! the one who was woken for it has died.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64 as LocalWord, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::shm::segment::MAX_USERS;
use crate::shm::user::{Life, User};
use crate::sys::{pidfd, signal};

use super::bells::{Bells, Whose};

/// Whom this process watches.
pub(super) struct Watch {
    bells: Arc<Bells>,
    table: Arc<Mutex<Table>>,
    /// How many joins the table knows, once somebody has waited.
    seen: LocalWord,
    has_waited: AtomicBool,
    thread: Mutex<Option<Running>>,
}

struct Running {
    epoll: Arc<Epoll>,
    stop: EventFd,
    thread: JoinHandle<()>,
}

/// What is known of processes, by their place in the table of users.
#[derive(Default)]
struct Table(HashMap<usize, Watched>);

struct Watched {
    word: u64,
    /// None once it has ended.
    process: Option<OwnedFd>,
}

/// Whether every death will be noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coverage {
    Complete,
    /// Some process cannot be watched: look at it now and then.
    Partial,
}

const STOP: u64 = u64::MAX;

impl Watch {
    pub(super) fn new(bells: Arc<Bells>) -> Watch {
        let (seen, has_waited) = (LocalWord::new(0), AtomicBool::new(false));
        Watch { bells, table: Arc::default(), seen, has_waited, thread: Mutex::new(None) }
    }

    /// Sees to it that every process that has joined is watched.
    pub(super) fn cover(&self) -> Coverage {
        let joins = self.bells.joins().load(Ordering::SeqCst);
        if self.has_waited.swap(true, Ordering::AcqRel) && self.seen.load(Ordering::Acquire) == joins {
            return Coverage::Complete;
        }
        match self.extend() {
            Ok(true) => {
                self.seen.store(joins, Ordering::Release);
                Coverage::Complete
            }
            Ok(false) | Err(_) => Coverage::Partial,
        }
    }

    /// Watches whoever is not watched yet. False if that is not possible for somebody.
    fn extend(&self) -> io::Result<bool> {
        let segment = self.bells.segment();
        let others = (0..MAX_USERS).filter(|index| *index != segment.user());
        let others = others.map(|index| (index, segment.user_at(index).load(Ordering::Acquire)));
        let mut table = lock(&self.table);
        let new: Vec<_> = others
            .filter(|(index, word)| table.0.get(index).is_none_or(|known| known.word != *word))
            .filter_map(|(index, word)| Some((index, word, User::from_word(word)?)))
            .collect();
        let mut complete = true;
        for (index, word, user) in new {
            match user.look() {
                Life::Alive(process) => self.watch(&mut table, index, word, process)?,
                Life::Ended => _ = table.0.insert(index, Watched { word, process: None }),
                Life::Unknown => complete = false,
            }
        }
        Ok(complete)
    }

    /// Whether the process in that place lives now. If it does, and somebody waits, it is watched: whatever the
    /// roster says of who has joined.
    pub(super) fn is_alive(&self, index: usize, word: u64) -> bool {
        let mut table = lock(&self.table);
        if let Some(known) = table.0.get(&index).filter(|known| known.word == word) {
            return known.process.as_ref().is_some_and(|process| !has_ended(process));
        }
        match User::from_word(word).map(User::look) {
            None | Some(Life::Ended) => false,
            Some(Life::Unknown) => true,
            Some(Life::Alive(process)) => {
                if self.has_waited.load(Ordering::Acquire) {
                    // If that fails, so did the look at all of them, and sleepers look up now and then.
                    let _ = self.watch(&mut table, index, word, process);
                }
                true
            }
        }
    }

    fn watch(&self, table: &mut Table, index: usize, word: u64, process: OwnedFd) -> io::Result<()> {
        self.epoll()?.add(&process, EpollEvent::new(EpollFlags::EPOLLIN, index as u64))?;
        table.0.insert(index, Watched { word, process: Some(process) });
        Ok(())
    }

    /// The epoll of the watching thread, which is started if it does not run.
    fn epoll(&self) -> io::Result<Arc<Epoll>> {
        let mut running = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*running {
            return Ok(Arc::clone(&running.epoll));
        }
        let epoll = Arc::new(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        let stop = EventFd::from_flags(EfdFlags::EFD_CLOEXEC)?;
        epoll.add(&stop, EpollEvent::new(EpollFlags::EPOLLIN, STOP))?;
        let (bells, table) = (Arc::clone(&self.bells), Arc::clone(&self.table));
        let theirs = Arc::clone(&epoll);
        let thread = std::thread::Builder::new()
            .name("watertight-watch".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || run(&theirs, &bells, &table))?;
        *running = Some(Running { epoll: Arc::clone(&epoll), stop, thread });
        Ok(epoll)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let running = self.thread.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Running { stop, thread, .. }) = running {
            let _ = stop.write(1);
            let _ = thread.join();
        }
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

fn has_ended(process: &OwnedFd) -> bool {
    pidfd::wait_for_end(process.as_fd(), Some(Duration::ZERO)).unwrap_or(false)
}

/// The watching thread.
fn run(epoll: &Epoll, bells: &Bells, table: &Mutex<Table>) {
    signal::block_all_in_this_thread();
    loop {
        let mut events = [EpollEvent::empty(); 16];
        let count = match epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR) => continue,
            Err(_) => return,
        };
        for event in &events[..count] {
            if event.data() == STOP {
                return;
            }
            if let Some(watched) = lock(table).0.get_mut(&(event.data() as usize)) {
                // Somebody else may be in its place by now, who has not ended.
                watched.process.take_if(|process| has_ended(process));
            }
        }
        bells.ring(Whose::Own);
    }
}

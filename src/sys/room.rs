//! Waiting for room at a descriptor that somebody else reads.

use std::os::fd::BorrowedFd;

use nix::sys::epoll::{Epoll, EpollEvent, EpollFlags};

/// Whether a set of descriptors wakes its owner when one of them has room. That one is in the set only while
/// something waits to be written: as long as it is there the kernel tells of its reader's end, again and again,
/// whatever it was asked for.
#[derive(Debug)]
pub(crate) struct RoomWatch {
    token: u64,
    watching: bool,
}

impl RoomWatch {
    pub(crate) fn new(token: u64) -> RoomWatch {
        RoomWatch { token, watching: false }
    }

    /// Watches `target` or does not, which is always the same one. False if it cannot be watched.
    pub(crate) fn set(&mut self, events: &Epoll, target: BorrowedFd<'_>, wanted: bool) -> bool {
        if wanted != self.watching {
            let done = match wanted {
                true => events.add(target, EpollEvent::new(EpollFlags::EPOLLOUT, self.token)),
                false => events.delete(target),
            };
            self.watching = wanted && done.is_ok();
        }
        self.watching == wanted
    }
}

/// Whether what a watched descriptor tells is that its reader is gone.
pub(crate) fn is_gone(events: EpollFlags) -> bool {
    events.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP)
}

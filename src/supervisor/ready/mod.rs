//! How programs say, or are asked, whether they are ready and alive.
//!
//! Nothing here waits: whoever drives these parts has their descriptors in its epoll, and their deadlines in
//! its one timer. What a program sends is bounded and believed only as far as its own readiness goes.

mod line;
mod notify;
mod schedule;
mod target;
mod visit;

pub(crate) use line::{FdLine, Said, has_text};
pub(crate) use notify::{Notice, NotifySocket, Sender};
pub(crate) use schedule::{Due, Schedule};
pub(crate) use target::{address, url};
pub(crate) use visit::{Interest, Progress, Visit, places};

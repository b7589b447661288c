//! Panics as data: what the hook saw, handed to whoever catches.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};

use crate::task::context::is_running;
use crate::task::error::Panic;
use crate::task::payload;

use super::context;

thread_local! {
    /// What the hook saw last in this thread.
    static LAST: RefCell<Option<Panic>> = const { RefCell::new(None) };
}

/// Where panics of tasks are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Printing {
    /// In the error alone.
    Error,
    /// In the error and on stderr, as a program's own panic is.
    ErrorAndStderr,
}

/// Puts our hook before the one that is there, for this process's life.
pub(super) fn install(printing: Printing) {
    let previous = std::panic::take_hook();
    let task_thread = std::thread::current().id();
    std::panic::set_hook(Box::new(move |info| {
        let panic = describe(info);
        // Should the process abort of it, the host finds it there.
        if let Some(lane) = context::lane() {
            lane.black_box().note_panic(&panic);
        }
        // A task's panic is the host's news and not stderr's.
        let in_task = is_running() && std::thread::current().id() == task_thread;
        if in_task {
            LAST.set(Some(panic));
        }
        if !in_task || printing == Printing::ErrorAndStderr {
            previous(info);
        }
    }));
}

/// Runs a task, and returns its panic as data.
pub(super) fn catch<T>(task: impl FnOnce() -> T) -> Result<T, Panic> {
    catch_unwind(AssertUnwindSafe(task)).map_err(|payload| {
        let message = payload::into_message(payload);
        // A task that resumes a panic, or replaced the hook, panics past ours, and then this is an older one.
        let seen = LAST.take().filter(|panic| panic.message == message);
        seen.unwrap_or(Panic { message, location: None, backtrace: None })
    })
}

fn describe(info: &PanicHookInfo<'_>) -> Panic {
    let backtrace = Backtrace::capture();
    Panic {
        message: payload::message(info.payload()),
        location: info.location().map(ToString::to_string),
        backtrace: (backtrace.status() == BacktraceStatus::Captured).then(|| backtrace.to_string()),
    }
}

//! How a pool grows, shrinks and comes to its end.

use std::time::{Duration, Instant};

use crate::error::{Error, Kind};

use super::machine::{self, Event};
use super::options::check_count;
use super::{Pool, callbacks};

/// How long the end of a pool may take, when its keeper has to be killed too.
const LONGEST_FAREWELL: Duration = Duration::from_secs(30);

impl Pool {
    /// Changes the number of workers. Fewer: idle ones go, then those that are done with what they run;
    /// what they had not begun goes to others.
    ///
    /// # Errors
    /// If it is zero or more than 4096, or the pool is closed.
    pub fn resize(&self, workers: usize) -> Result<(), Error> {
        if workers == 0 {
            return Err(Kind::Option("a pool needs at least one worker".to_owned()).into());
        }
        check_count("workers", workers)?;
        let mut state = self.core.lock();
        self.core.check_open(&state)?;
        state.run(Event::Resize { workers });
        self.core.release(state);
        Ok(())
    }

    /// Takes no more tasks. What was submitted is still done, as are all inputs of a `map` that has begun;
    /// `join` waits for that. What a lazy iterator has not pulled by then is not done.
    pub fn close(&self) {
        let mut state = self.core.lock();
        state.run(Event::Close);
        self.core.release(state);
        // Without a worker to be told, nothing else tells the driver.
        self.core.kick();
    }

    /// Ends everything at once: what is not done ends with [`Terminated`](crate::TaskErrorKind::Terminated), and
    /// the workers are killed.
    pub fn terminate(&self) {
        let mut state = self.core.lock();
        state.drain_all();
        state.run(Event::Terminate);
        self.core.release(state);
        self.core.kick();
    }

    /// Waits until all is done and every worker is gone.
    ///
    /// # Errors
    /// If the pool is still open: `close` or `terminate` it first, or this would wait for ever. Likewise in a
    /// completion callback of the pool, which its end waits for.
    pub fn join(&self) -> Result<(), Error> {
        self.join_until(None).map(drop)
    }

    /// As `join`, but waits no longer than `timeout`. True if the pool has come to its end.
    ///
    /// # Errors
    /// As `join`.
    pub fn join_timeout(&self, timeout: Duration) -> Result<bool, Error> {
        self.join_until(Instant::now().checked_add(timeout))
    }

    fn join_until(&self, deadline: Option<Instant>) -> Result<bool, Error> {
        let state = self.core.lock();
        let refused = if state.machine.stage() == machine::Stage::Open {
            Some("the pool is still open: close or terminate it before `join`")
        } else if callbacks::is_calling(&self.core) && !state.ended {
            Some("the pool's end waits for its callbacks, so they cannot wait for it")
        } else {
            None
        };
        match refused {
            Some(text) => Err(Kind::Option(text.to_owned()).into()),
            None => Ok(self.core.wait_for_end(state, deadline)),
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.terminate();
        // A callback may drop the last handle; the driver waits for callbacks, so it is not waited for then.
        if callbacks::is_calling(&self.core) {
            return;
        }
        let ended = self.core.wait_for_end(self.core.lock(), Instant::now().checked_add(LONGEST_FAREWELL));
        if let Some(driver) = self.driver.take().filter(|_| ended) {
            // It only panics by a bug of ours, and has said so then.
            let _ = driver.join();
        }
    }
}

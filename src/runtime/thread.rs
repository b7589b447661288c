//! A worker that is a thread of its host: the same loop over the same lane, without the isolation.
//!
//! Nobody can kill it. Its host asks it to stop, and waits for what runs.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes as Buffer;

use crate::link::command::Command;
use crate::link::lane::Lane;
use crate::link::request::Role;
use crate::link::worker_end::WorkerEnd;
use crate::primitive::Doorbell;
use crate::task::context::Words;
use crate::task::{shared, state};

use super::worker::{Terms, Worker};

/// What the host holds of such a worker.
pub(crate) struct Station {
    lane: Arc<Lane>,
    words: Arc<Words>,
    retiring: AtomicBool,
}

/// Told when the thread has ended, with the objects in results that may not have been read yet.
pub(crate) type Farewell = Box<dyn FnOnce(Vec<Buffer>) + Send>;

impl Station {
    /// Starts the thread.
    pub(crate) fn start(
        name: String,
        lane: Arc<Lane>,
        doorbell: Doorbell,
        largest_result: u64,
        farewell: Farewell,
    ) -> io::Result<Arc<Station>> {
        let words = Arc::new(Words::new());
        let told = Arc::clone(&lane);
        words.write_progress(move |done, total| told.black_box().tell_progress(done, total));
        let station = Arc::new(Station { lane, words, retiring: AtomicBool::new(false) });
        let own = Arc::clone(&station);
        let terms = Terms { role: Role::Pool, measured: false, largest_result };
        std::thread::Builder::new().name(name).spawn(move || own.serve(doorbell, terms, farewell))?;
        Ok(station)
    }

    /// Does what the host says.
    pub(crate) fn obey(&self, command: Command) {
        match command {
            Command::Attach | Command::Luggage(_) => {}
            Command::Cancel { number } => self.words.cancel(number),
            Command::Retire => {
                self.retiring.store(true, Ordering::Release);
                self.lane.worker_bell().ring();
            }
        }
    }

    /// Asks what runs to stop, and lets nothing follow. The host has taken back what has not begun.
    pub(crate) fn stop(&self) {
        self.obey(Command::Retire);
        self.words.cancel_all();
    }

    fn serve(&self, doorbell: Doorbell, terms: Terms, farewell: Farewell) {
        let mut leaving = Leaving { farewell: Some(farewell), passengers: Vec::new() };
        Arc::clone(&self.words).use_in_this_thread();
        state::use_in_this_thread();
        shared::use_in_this_thread();
        let mut end = WorkerEnd::new(&self.lane, doorbell);
        let Ok(mut worker) = Worker::new(terms, None) else { return };
        self.lane.black_box().set_ready();
        // A breach would be a bug of ours; the task that runs is told to be lost then.
        while let Ok(true) = end.next(&self.retiring) {
            if worker.run_in_thread(&self.lane, &mut end, &self.words).is_err() {
                break;
            }
        }
        leaving.passengers = end.into_passengers();
    }
}

/// Says farewell however the thread ends.
struct Leaving {
    farewell: Option<Farewell>,
    passengers: Vec<Buffer>,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        if let Some(farewell) = self.farewell.take() {
            farewell(std::mem::take(&mut self.passengers));
        }
    }
}

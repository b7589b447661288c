//! The thread that reads inputs and submits them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustc_hash::FxHashMap;

use crate::pool::stream::JsonFeed;
use crate::task::error::{Encoding, TaskErrorKind};

use super::convert::Shape;
use super::inputs::{Input, Inputs, LONGEST};

/// Calls travel together up to so many bytes.
const BATCH_BYTES: usize = 64 * 1024;

/// The texts of inputs whose outcomes are still to be printed: as many as the stream lets run ahead.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts(Arc<Mutex<FxHashMap<u64, Box<[u8]>>>>);

/// So much of an input that is too long is kept, to be shown.
const SHOWN: usize = 256;

impl Texts {
    fn put(&self, number: u64, text: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, text.into());
    }

    pub(super) fn take(&self, number: u64) -> Box<[u8]> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&number).unwrap_or_default()
    }
}

/// What the thread is given.
pub(super) struct Feed {
    pub(super) inputs: Inputs,
    pub(super) shape: Shape,
    pub(super) calls: JsonFeed,
    pub(super) texts: Texts,
}

impl Feed {
    /// Starts the thread. It ends with the inputs, or when the stream is stopped and it has noticed: it may
    /// be reading a terminal then, so nobody should wait for it.
    pub(super) fn start(self) -> io::Result<JoinHandle<io::Result<()>>> {
        thread::Builder::new().name("feed".to_owned()).spawn(move || self.run())
    }

    fn run(mut self) -> io::Result<()> {
        loop {
            let room = self.calls.room();
            if room == 0 {
                return Ok(());
            }
            for _ in 0..room {
                let Some(input) = self.inputs.next().transpose()? else { return Ok(()) };
                self.take(input);
                if !self.inputs.is_ready() || self.calls.bytes() >= BATCH_BYTES {
                    self.calls.flush();
                }
            }
            self.calls.flush();
        }
    }

    fn take(&mut self, input: Input) {
        let number = self.calls.next_number();
        let refuse = |message| TaskErrorKind::Encoding { what: Encoding::EncodeArguments, message };
        match input {
            Input::TooLong(start) => {
                self.texts.put(number, &start[..SHOWN]);
                self.calls.reject(refuse(format!("the input is longer than {} MiB", LONGEST >> 20)));
            }
            Input::Text(text) => {
                self.texts.put(number, &text);
                match self.shape.arguments(&text) {
                    Ok(arguments) => self.calls.call(&arguments),
                    Err(message) => self.calls.reject(refuse(message)),
                }
            }
        }
    }
}

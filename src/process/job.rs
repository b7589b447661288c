//! A function and its arguments, encoded: all that a process needs to be given.

use std::sync::Arc;

use bytes::Bytes as Buffer;

use crate::error::{Error, Kind};
use crate::link::frame::{Coding, DOWN_HEAD, DownHead, DownKind};
use crate::link::ring::words_for;
use crate::task::arguments::{Task, Transfer};
use crate::task::codec;
use crate::task::error::Encoding;
use crate::task::identity::{Descriptor, descriptor_of, descriptor_of_initializer};
use crate::task::luggage::{self, Luggage};
use crate::task::passengers::may_board;
use crate::task::shared::{self, Encoded};

/// A function and its arguments, encoded.
pub(crate) struct Job {
    pub(crate) name: String,
    pub(crate) head: DownHead,
    pub(crate) line: Vec<u8>,
    pub(crate) parts: Vec<Buffer>,
    pub(crate) shared: Vec<Arc<Encoded>>,
    /// Its value may hold handles of shared objects.
    pub(crate) boards: bool,
}

impl Job {
    /// Encodes a function and its arguments for one worker of the same executable, and packs the ends of
    /// ipc-channels among them.
    pub(crate) fn encode<F, A>(function: F, arguments: A) -> Result<(Job, Option<Luggage>), Error>
    where
        F: Task<A>,
        A: Transfer,
        F::Output: Transfer,
    {
        let (job, luggage) = Job::encode_for(descriptor_of::<F, A>(function), arguments)?;
        Ok((Job { boards: may_board::<F::Output>(), ..job }, luggage))
    }

    /// Encodes an initializer and its arguments.
    pub(crate) fn encode_initializer<F, A>(function: F, arguments: A) -> Result<Job, Error>
    where
        F: Task<A>,
        A: Transfer,
        F::Output: Send + Sync + 'static,
    {
        match Job::encode_for(descriptor_of_initializer::<F, A>(function), arguments)? {
            (job, None) => Ok(job),
            // Each worker gets the same bytes, and an end is for one.
            (_, Some(_)) => {
                let message = luggage::HoldsEnds.to_string();
                Err(Kind::Encoding { what: Encoding::EncodeArguments, message }.into())
            }
        }
    }

    fn encode_for<A: Transfer>(
        descriptor: &'static Descriptor,
        arguments: A,
    ) -> Result<(Job, Option<Luggage>), Error> {
        let offset = descriptor.offset().map_err(|error| Kind::Task(error.to_string()))?;
        let (mut line, mut parts) = (vec![0; 4], Vec::new());
        let mut encode = || {
            shared::numbering::<A, _>(|| codec::encode(&arguments, &mut line, &mut parts, codec::MAX_LINE))
        };
        let refused = |message| Kind::Encoding { what: Encoding::EncodeArguments, message };
        let ((encoded, shared), luggage) = match std::mem::needs_drop::<A>() {
            true => luggage::pack(encode).map_err(|error| refused(error.to_string()))?,
            // What owns nothing holds no ends.
            false => (encode(), None),
        };
        encoded.map_err(|error| refused(error.to_string()))?;
        parts.extend(luggage.is_some().then(luggage::mark));
        let length = (line.len() - 4) as u32;
        line[..4].copy_from_slice(&length.to_le_bytes());
        let head = DownHead {
            kind: DownKind::Tasks,
            coding: Coding::Offset,
            parts: parts.len() as u8,
            count: 1,
            first: 0,
            line: line.len() as u64,
            function: offset,
            timeout: 0,
        };
        let name = (descriptor.name)().to_owned();
        Ok((Job { name, head, line, parts, shared, boards: false }, luggage))
    }

    /// Words of all its frames.
    pub(super) fn words(&self) -> usize {
        let frame = |line: usize, parts: &[Buffer]| {
            let parts: usize = parts.iter().map(|part| 1 + words_for(part.len())).sum();
            DOWN_HEAD + words_for(line) + parts
        };
        let shared: usize = self.shared.iter().map(|value| frame(value.line.len(), &value.parts)).sum();
        shared + frame(self.line.len(), &self.parts)
    }
}

//! One call of a task: bytes in, bytes out.

use bytes::Bytes as Buffer;

use super::arguments::{Task, Transfer};
use super::{codec, luggage, state};

/// The arguments of one call as they came, and where its result goes.
pub(crate) struct Call<'a> {
    pub(crate) line: &'a [u8],
    pub(crate) parts: &'a mut Vec<Buffer>,
    pub(crate) result: &'a mut Vec<u8>,
    pub(crate) result_parts: &'a mut Vec<Buffer>,
    pub(crate) largest_result: u64,
    /// Whether the process has this one call, so that a look for ends in its result does not matter.
    pub(crate) only: bool,
}

/// Why a call has no value, other than a panic or a death.
#[derive(Debug)]
pub enum CallFailure {
    /// The bytes are no arguments of this task.
    Arguments(String),
    /// The value could not be encoded.
    Result(String),
    /// The task returned an `Err` of its own. Only calls by name with JSON tell it from other values.
    Own(String),
}

/// Decodes, runs and encodes: the whole life of a call in the worker.
pub(crate) fn run<F, A>(function: F, call: &mut Call<'_>) -> Result<(), CallFailure>
where
    F: Task<A>,
    A: Transfer,
    F::Output: Transfer,
{
    let arguments = arguments(call)?;
    let value = function.run(arguments);
    let mut encode = || codec::encode(&value, call.result, call.result_parts, call.largest_result);
    let encoded = match call.only && std::mem::needs_drop::<F::Output>() {
        true => luggage::without_ends(encode).map_err(|error| CallFailure::Result(error.to_string()))?,
        false => encode(),
    };
    encoded.map_err(|error| CallFailure::Result(error.to_string()))
}

/// Decodes, runs, and keeps the value for the worker's tasks.
pub(crate) fn initialize<F, A>(function: F, call: &mut Call<'_>) -> Result<(), CallFailure>
where
    F: Task<A>,
    A: Transfer,
    F::Output: Send + Sync + 'static,
{
    let arguments = arguments(call)?;
    state::keep(function.run(arguments));
    Ok(())
}

#[inline]
fn arguments<A: Transfer>(call: &mut Call<'_>) -> Result<A, CallFailure> {
    let decoded = match call.parts.is_empty() {
        true => codec::decode_line(call.line),
        false => with_parts(call.line, std::mem::take(call.parts))?,
    };
    decoded.map_err(|error| CallFailure::Arguments(error.to_string()))
}

fn with_parts<A: Transfer>(
    line: &[u8],
    parts: Vec<Buffer>,
) -> Result<Result<A, codec::DecodeError>, CallFailure> {
    if !luggage::is_announced(&parts) {
        return Ok(codec::decode(line, parts));
    }
    let gone = || CallFailure::Arguments("their ends of ipc-channels did not come".to_owned());
    Ok(luggage::claim().ok_or_else(gone)?.decode(line, parts))
}

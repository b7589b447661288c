//! Values as bytes. The one place that knows bincode.
//!
//! bincode is complete and no longer maintained (RUSTSEC-2025-0141), so everything that the rest of the crate
//! wants of an encoding is these two functions, and another one can take its place here. It writes; `decode`
//! reads, because a limit of bytes is all that bincode's own reader knows.
//!
//! Invariant: what is decoded is bounded by the bytes that are there. Integers have a fixed width, so a value
//! claims no more than it brings, and trailing bytes are an error.

use std::any::Any;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bincode::config::{self, Configuration, Fixint, Limit, LittleEndian};
use bincode::enc::write::Writer;
use bytes::Bytes as Buffer;
use serde::{Serialize, de::DeserializeOwned};

use crate::shm::transit;

use super::decode::Source;
use super::{buffer, passengers, payload};

/// The largest encoding of one value, without the buffers beside it: places in a line have 32 bits, and others may
/// stand before it.
pub(crate) const MAX_LINE: u64 = (1 << 32) - (1 << 20);

/// Why a value could not be encoded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EncodeError {
    #[error("it is larger than {0} bytes")]
    TooLarge(u64),
    #[error("{0}")]
    Serde(String),
}

/// Why bytes are no value of the type.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("{0} bytes are left over")]
    Trailing(usize),
    #[error("bytes are missing")]
    Missing,
    #[error("{0} is neither true nor false")]
    Flag(u8),
    #[error(transparent)]
    Text(#[from] std::str::Utf8Error),
    #[error("it is nested deeper than {0} levels")]
    TooDeep(u32),
    #[error("it claims more than {0} bytes of items that need none")]
    FromNothing(usize),
    #[error("its type asks the format what it holds, which only JSON and its like can tell")]
    Untold,
    #[error("{0}")]
    Serde(String),
    #[error("reading it panicked: {0}")]
    Panicked(String),
}

impl serde::de::Error for DecodeError {
    #[cold]
    fn custom<T: Display>(text: T) -> DecodeError {
        DecodeError::Serde(text.to_string())
    }
}

/// Appends the encoding of `value` to `line` and its large buffers to `parts`. On an error both are as they
/// were.
pub(crate) fn encode<T: Serialize + 'static>(
    value: &T,
    line: &mut Vec<u8>,
    parts: &mut Vec<Buffer>,
    largest: u64,
) -> Result<(), EncodeError> {
    let (start, most) = (line.len(), largest.min(MAX_LINE));
    if let Some(bytes) = byte_vector(value) {
        let length = bytes.len() as u64;
        if length + 8 > most {
            return Err(EncodeError::TooLarge(most));
        }
        line.extend_from_slice(&length.to_le_bytes());
        line.extend_from_slice(bytes);
        return Ok(());
    }
    let end = start + most as usize;
    // What owns nothing holds no buffers, and has no depth.
    if !std::mem::needs_drop::<T>() {
        let mut writer = LineWriter::<false> { line, end, floor: 0 };
        let written = bincode::serde::encode_into_writer(value, &mut writer, configuration::<1>());
        return written.map_err(|error| undo(error, writer, start, most));
    }
    let mut writer = LineWriter::<true> { line, end, floor: stack_address().saturating_sub(DEEPEST) };
    let write = || bincode::serde::encode_into_writer(value, &mut writer, configuration::<1>());
    let ((result, collected), objects) = transit::collecting(|| buffer::collecting(write));
    if let Err(error) = result {
        return Err(undo(error, writer, start, most));
    }
    if collected.is_none() && objects.is_empty() {
        return Ok(());
    }
    let collected = collected.unwrap_or_default();
    let passengers = passengers::board(objects, collected.last()).map_err(|error| {
        line.truncate(start);
        EncodeError::Serde(error.to_string())
    })?;
    let beside: usize = collected.iter().chain(&passengers).map(Buffer::len).sum();
    check_size(line, start, beside as u64, largest)?;
    parts.extend(collected.into_iter().chain(passengers));
    Ok(())
}

/// Cuts the line back to where a value began that could not be written, and says why.
#[cold]
fn undo<const DEEP: bool>(
    error: bincode::error::EncodeError,
    writer: LineWriter<'_, DEEP>,
    start: usize,
    most: u64,
) -> EncodeError {
    let full = writer.line.len() == writer.end;
    writer.line.truncate(start);
    match full {
        true => EncodeError::TooLarge(most),
        false => EncodeError::Serde(encoding_text(error)),
    }
}

/// A value of ours that holds no buffers and no handles of users.
pub(super) fn encode_plain<T: Serialize>(value: &T) -> Option<Vec<u8>> {
    const MOST: usize = 1 << 30;
    bincode::serde::encode_to_vec(value, configuration::<MOST>()).ok()
}

fn check_size(line: &mut Vec<u8>, start: usize, beside: u64, largest: u64) -> Result<(), EncodeError> {
    if (line.len() - start) as u64 + beside <= largest {
        return Ok(());
    }
    line.truncate(start);
    Err(EncodeError::TooLarge(largest))
}

/// Reads a value that fills `line` exactly, with the buffers that came beside it.
pub(crate) fn decode<T: DeserializeOwned + 'static>(
    line: &[u8],
    parts: Vec<Buffer>,
) -> Result<T, DecodeError> {
    if parts.is_empty() { decode_line(line) } else { buffer::providing(parts, || decode_line(line)) }
}

/// Reads a value that fills `line` exactly and came alone.
#[inline]
pub(crate) fn decode_line<T: DeserializeOwned + 'static>(line: &[u8]) -> Result<T, DecodeError> {
    match decode_byte_vector(line) {
        Some(result) => result,
        None => decode_whole(line),
    }
}

/// Like `decode`, of what a worker sent: whatever that was, it ends nobody who reads it, and if it takes a panic of the
/// type's own `Deserialize` to refuse it.
pub(crate) fn decode_result<T: DeserializeOwned + 'static>(
    line: &[u8],
    parts: Vec<Buffer>,
) -> Result<T, DecodeError> {
    // A value that was half made is dropped by the panic, and nobody else has seen it.
    catch_unwind(AssertUnwindSafe(|| decode(line, parts))).unwrap_or_else(|payload| Err(panicked(payload)))
}

/// Reading a value panicked.
#[cold]
pub(crate) fn panicked(payload: Box<dyn Any + Send>) -> DecodeError {
    DecodeError::Panicked(payload::into_message(payload))
}

#[inline]
fn decode_whole<T: DeserializeOwned>(line: &[u8]) -> Result<T, DecodeError> {
    let mut source = Source::new(line);
    let value = T::deserialize(source.decoder())?;
    match source.left() {
        0 => Ok(value),
        left => Err(DecodeError::Trailing(left)),
    }
}

/// What an error says, without the name that bincode gives it.
fn encoding_text(error: bincode::error::EncodeError) -> String {
    match error {
        bincode::error::EncodeError::OtherString(text) => text,
        bincode::error::EncodeError::Other(text) => text.to_owned(),
        other => other.to_string(),
    }
}

/// Fixed width: a few bytes more on the wire, and a claim of the encoded length can be believed.
fn configuration<const LIMIT: usize>() -> Configuration<LittleEndian, Fixint, Limit<LIMIT>> {
    config::standard().with_fixed_int_encoding().with_limit::<LIMIT>()
}

/// A `Vec<u8>`, alone or as the only argument, is not walked byte by byte.
fn byte_vector<T: 'static>(value: &T) -> Option<&Vec<u8>> {
    let value: &dyn Any = value;
    value.downcast_ref::<Vec<u8>>().or_else(|| value.downcast_ref::<(Vec<u8>,)>().map(|(bytes,)| bytes))
}

fn decode_byte_vector<T: 'static>(line: &[u8]) -> Option<Result<T, DecodeError>> {
    let mut place: Option<T> = None;
    let any: &mut dyn Any = &mut place;
    if let Some(place) = any.downcast_mut::<Option<Vec<u8>>>() {
        *place = read_byte_vector(line);
    } else if let Some(place) = any.downcast_mut::<Option<(Vec<u8>,)>>() {
        *place = read_byte_vector(line).map(|bytes| (bytes,));
    } else {
        return None;
    }
    Some(place.ok_or_else(|| DecodeError::Serde("its length is not that of its bytes".to_owned())))
}

fn read_byte_vector(line: &[u8]) -> Option<Vec<u8>> {
    let (length, bytes) = line.split_first_chunk::<8>()?;
    (u64::from_le_bytes(*length) == bytes.len() as u64).then(|| bytes.to_vec())
}

/// What is nested so deeply that writing it takes this much stack is an error before it overflows. Whoever reads
/// it allows far less depth, but a type's frames may be large.
const DEEPEST: usize = 1 << 20;

/// About where the stack is now.
#[inline(always)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(&here) as usize
}

/// `DEEP` if the value may hold values of its own type. Each of them writes something: which one it is, or how many
/// follow.
struct LineWriter<'a, const DEEP: bool> {
    line: &'a mut Vec<u8>,
    end: usize,
    /// The stack must not grow below this.
    floor: usize,
}

impl<const DEEP: bool> Writer for LineWriter<'_, DEEP> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> Result<(), bincode::error::EncodeError> {
        if DEEP && stack_address() < self.floor {
            return Err(bincode::error::EncodeError::Other("it is nested too deeply to be written"));
        }
        if bytes.len() > self.end - self.line.len() {
            // Marks the reason for `encode`, which cuts the line back.
            self.line.resize(self.end.min(self.line.len() + bytes.len()), 0);
            return Err(bincode::error::EncodeError::UnexpectedEnd);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::buffer::Bytes;

    fn round_trip<T: Serialize + DeserializeOwned + 'static>(value: &T) -> (T, usize) {
        let (mut line, mut parts) = (Vec::new(), Vec::new());
        encode(value, &mut line, &mut parts, 1 << 30).unwrap();
        let count = parts.len();
        (decode(&line, parts).unwrap(), count)
    }

    #[test]
    fn values_come_back_as_they_went() {
        let value = (1_u8, -2_i64, String::from("drei"), vec![Some(4.5_f64), None], [(); 3], 'ß');
        assert_eq!(round_trip(&value).0, value);
        assert_eq!(round_trip(&vec![1_u8, 2, 3]).0, [1, 2, 3]);
        assert_eq!(round_trip(&(vec![0_u8; 70_000],)).0.0.len(), 70_000);
        assert_eq!(round_trip(&()).0, ());
    }

    #[test]
    fn large_buffers_travel_beside_the_line_and_small_ones_in_it() {
        let large = Bytes::from(vec![7; 100_000]);
        let small = Bytes::from(vec![8; 10]);
        let value = (large.clone(), vec![small.clone()], large);
        let (back, parts) = round_trip(&value);
        assert_eq!((back, parts), (value, 2));
    }

    #[test]
    fn a_foreign_encoder_finds_buffers_in_line() {
        let bytes = Bytes::from(vec![9; 50_000]);
        let line = bincode::serde::encode_to_vec(&bytes, configuration::<{ 1 << 20 }>()).unwrap();
        assert!(line.len() >= 50_000);
        assert_eq!(decode::<Bytes>(&line, Vec::new()).unwrap(), bytes);
        let json = serde_json::to_string(&Bytes::from(vec![1, 2])).unwrap();
        assert_eq!(serde_json::from_str::<Bytes>(&json).unwrap(), Bytes::from(vec![1, 2]));
    }

    #[test]
    fn a_length_that_lies_is_an_error_and_not_an_allocation() {
        let mut line = (1_u64 << 60).to_le_bytes().to_vec();
        line.extend_from_slice(b"abc");
        assert!(decode::<String>(&line, Vec::new()).is_err());
        assert!(decode::<Vec<u64>>(&line, Vec::new()).is_err());
        assert!(decode::<Vec<u8>>(&line, Vec::new()).is_err());
        assert!(decode::<Bytes>(&line, Vec::new()).is_err());
    }

    #[test]
    fn trailing_and_missing_bytes_are_errors() {
        let (mut line, mut parts) = (Vec::new(), Vec::new());
        encode(&5_i64, &mut line, &mut parts, 100).unwrap();
        assert!(matches!(decode::<i32>(&line, Vec::new()), Err(DecodeError::Trailing(4))));
        assert!(decode::<(i64, i64)>(&line, Vec::new()).is_err());
    }

    #[derive(Serialize)]
    struct Link(Option<Box<Link>>);

    impl Link {
        fn chain(depth: usize) -> Link {
            (0..depth).fold(Link(None), |link, _| Link(Some(Box::new(link))))
        }
    }

    /// Dropping it the ordinary way would overflow the stack as well.
    impl Drop for Link {
        fn drop(&mut self) {
            let mut next = self.0.take();
            while let Some(mut link) = next {
                next = link.0.take();
            }
        }
    }

    #[test]
    fn a_value_without_end_is_an_error_and_not_the_end_of_the_program() {
        let encode = |depth| encode(&Link::chain(depth), &mut Vec::new(), &mut Vec::new(), 1 << 30);
        let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
            assert!(encode(256).is_ok());
            let error = encode(1_000_000).unwrap_err().to_string();
            assert_eq!(error, "it is nested too deeply to be written");
        });
        thread.unwrap().join().unwrap();
    }

    #[test]
    fn a_value_over_the_maximum_leaves_line_and_buffers_as_they_were() {
        let (mut line, mut parts) = (vec![1, 2, 3], Vec::new());
        for value in [vec!["x".repeat(1000)], vec!["y".repeat(10); 100]] {
            assert!(matches!(encode(&value, &mut line, &mut parts, 500), Err(EncodeError::TooLarge(500))));
        }
        assert!(encode(&vec![0_u8; 501], &mut line, &mut parts, 500).is_err());
        assert!(encode(&Bytes::from(vec![0; 50_000]), &mut line, &mut parts, 500).is_err());
        assert_eq!((line, parts.len()), (vec![1, 2, 3], 0));
    }

    #[test]
    fn a_line_whose_length_has_more_than_32_bits_is_refused_whatever_is_allowed() {
        let (mut line, mut parts) = (vec![1], Vec::new());
        // Nobody touches them, and so they need no memory.
        let zeros = vec![0_u8; 1 << 32];
        assert!(matches!(
            encode(&zeros, &mut line, &mut parts, u64::MAX),
            Err(EncodeError::TooLarge(MAX_LINE))
        ));
        assert!(matches!(
            encode(&(zeros,), &mut line, &mut parts, u64::MAX),
            Err(EncodeError::TooLarge(MAX_LINE))
        ));
        assert!(encode(&vec!["text"], &mut line, &mut parts, u64::MAX).is_ok());
        assert_eq!(line.len(), 1 + 8 + 8 + 4);
    }

    #[test]
    fn bytes_that_begin_as_a_list_of_handles_are_no_list() {
        let (mut line, mut parts) = (Vec::new(), Vec::new());
        let bytes = Bytes::from([b"WT passengers 1\0".as_slice(), &[1; 50_000]].concat());
        encode(&bytes, &mut line, &mut parts, 1 << 30).unwrap();
        let list = passengers::list(&parts).expect("one of nothing stands behind them");
        assert!(list.len() < 100 && parts.len() == 2, "{} bytes", list.len());
        passengers::take_on(&mut parts);
        assert_eq!(decode::<Bytes>(&line, parts).unwrap(), bytes);
    }
}

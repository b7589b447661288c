//! Short texts in shared memory: a length in the first byte, then UTF-8 as far as there is room.

use crate::primitive::Ordering;

use super::segment::Segment;

/// Writes `text`, cut to `room` bytes with its length. Both offset and room are multiples of eight.
pub(crate) fn write(segment: &Segment, offset: usize, room: usize, text: &str) {
    let mut end = text.len().min(room - 1).min(255);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mut bytes = vec![0; room];
    bytes[0] = end as u8;
    bytes[1..=end].copy_from_slice(&text.as_bytes()[..end]);
    for (at, chunk) in (offset..).step_by(8).zip(bytes.as_chunks::<8>().0) {
        segment.word(at).store(u64::from_le_bytes(*chunk), Ordering::Relaxed);
    }
}

/// Reads a text; whatever stands there, the result is one.
pub(crate) fn read(segment: &Segment, offset: usize, room: usize) -> String {
    let words = (offset..offset + room).step_by(8).map(|at| segment.word(at).load(Ordering::Relaxed));
    let bytes: Vec<u8> = words.flat_map(u64::to_le_bytes).collect();
    in_bytes(&bytes)
}

/// The text that stands in the bytes of its room.
pub(super) fn in_bytes(bytes: &[u8]) -> String {
    let Some((length, text)) = bytes.split_first() else { return String::new() };
    String::from_utf8_lossy(&text[..text.len().min(usize::from(*length))]).into_owned()
}

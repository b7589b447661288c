//! The last output of a unit, for whoever asks.

use std::collections::VecDeque;

use super::source::Stream;
use super::splitter::Chunk;

/// What is kept of a unit's output, in bytes.
const KEPT: usize = 8 * 1024;

/// The last chunks of both streams, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    chunks: VecDeque<(Stream, Vec<u8>)>,
    size: usize,
}

impl Recent {
    /// Costs the same for a line and for thousands of them.
    pub(crate) fn push(&mut self, stream: Stream, chunk: Chunk<'_>) {
        let bytes = last(chunk);
        self.size += bytes.len();
        match self.chunks.back_mut() {
            Some((before, other)) if *before == stream && other.len() + bytes.len() < KEPT / 2 => {
                other.extend_from_slice(&bytes);
            }
            _ => self.chunks.push_back((stream, bytes)),
        }
        while self.size > KEPT && self.chunks.len() > 1 {
            let oldest = self.chunks.pop_front();
            self.size -= oldest.map_or(0, |(_, bytes)| bytes.len());
        }
    }

    /// The lines, and which stream each came from.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (Stream, String)> + '_ {
        self.chunks.iter().flat_map(|(stream, bytes)| {
            let chunk = Chunk { head: &[], body: bytes };
            chunk.lines().map(|line| (*stream, String::from_utf8_lossy(&line).into_owned()))
        })
    }
}

/// The end of a chunk, from the beginning of a line if there is one.
fn last(chunk: Chunk<'_>) -> Vec<u8> {
    if chunk.len() <= KEPT {
        return [chunk.head, chunk.body].concat();
    }
    let end = &chunk.body[chunk.body.len().saturating_sub(KEPT)..];
    match end.iter().position(|byte| *byte == b'\n') {
        Some(at) if at + 1 < end.len() => end[at + 1..].to_vec(),
        _ => end.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_both_streams_are_kept_in_order() {
        let mut recent = Recent::default();
        for number in 0..5000 {
            let stream = if number % 3 == 0 { Stream::Stderr } else { Stream::Stdout };
            recent.push(stream, Chunk { head: b"line ", body: format!("{number}\n").as_bytes() });
        }
        let lines: Vec<_> = recent.lines().collect();
        assert_eq!(lines.last(), Some(&(Stream::Stdout, "line 4999".to_owned())));
        assert_eq!(lines[lines.len() - 2], (Stream::Stderr, "line 4998".to_owned()).clone());
        let kept = lines.len();
        assert!(kept > 100 && recent.size <= KEPT, "{kept}");
        let first: usize = lines[0].1[5..].parse().unwrap();
        assert_eq!(first + kept, 5000);
        recent.push(Stream::Stdout, Chunk { head: &[], body: "0123456\n".repeat(10_000).as_bytes() });
        assert!(recent.size <= KEPT && recent.lines().all(|(_, line)| line == "0123456"));
    }
}

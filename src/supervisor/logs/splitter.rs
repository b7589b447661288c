//! Cuts a stream at ends of lines, in bounded memory.

use std::borrow::Cow;

/// What of an unfinished line is held back. A longer one goes out in pieces.
pub(crate) const LONGEST_HELD: usize = 8 * 1024;

/// Whole lines; or, if the last byte is no line feed, a piece of a line that is too long to hold, or the end
/// of what a program left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Chunk<'a> {
    /// The beginning of its first line, which came earlier.
    pub(crate) head: &'a [u8],
    /// The rest.
    pub(crate) body: &'a [u8],
}

impl<'a> Chunk<'a> {
    pub(crate) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// The lines, without their ends.
    pub(crate) fn lines(&self) -> impl Iterator<Item = Cow<'a, [u8]>> + use<'a> {
        let end = self.body.iter().position(|byte| *byte == b'\n');
        let (first, rest) = match end {
            Some(end) if !self.head.is_empty() => (Some(&self.body[..end]), &self.body[end + 1..]),
            None if !self.head.is_empty() => (Some(self.body), &[][..]),
            _ => (None, self.body),
        };
        let head = self.head;
        let first = first.map(|first| Cow::Owned([head, first].concat()));
        let rest = rest.strip_suffix(b"\n").unwrap_or(rest);
        let some = !rest.is_empty() || (first.is_none() && !self.body.is_empty()) || self.has_empty_rest(end);
        let rest = some.then(|| rest.split(|byte| *byte == b'\n').map(Cow::Borrowed));
        first.into_iter().chain(rest.into_iter().flatten())
    }

    /// Whether what follows the first line is one empty line.
    fn has_empty_rest(&self, end: Option<usize>) -> bool {
        !self.head.is_empty() && end.is_some_and(|end| self.body[end + 1..] == *b"\n")
    }
}

/// Holds the unfinished line of one stream.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    held: Vec<u8>,
}

impl Splitter {
    /// Takes what came, and gives out what is to be written now.
    pub(crate) fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(Chunk<'_>)) {
        let mut rest = bytes;
        if let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') {
            let (lines, unfinished) = bytes.split_at(end + 1);
            emit(Chunk { head: &self.held, body: lines });
            self.held.clear();
            rest = unfinished;
        }
        if self.held.len() + rest.len() > LONGEST_HELD {
            emit(Chunk { head: &self.held, body: rest });
            self.held.clear();
        } else {
            self.held.extend_from_slice(rest);
        }
        if self.held.is_empty() && self.held.capacity() > 0 {
            // A thousand quiet programs hold nothing.
            self.held = Vec::new();
        }
    }

    /// Gives out the unfinished line: its program has ended.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(Chunk<'_>)) {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            emit(Chunk { head: &[], body: &held });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(head: &str, body: &str) -> Vec<String> {
        let chunk = Chunk { head: head.as_bytes(), body: body.as_bytes() };
        chunk.lines().map(|line| String::from_utf8(line.into_owned()).unwrap()).collect()
    }

    #[test]
    fn a_chunk_has_the_lines_that_its_bytes_have() {
        let reference = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
        for head in ["", "h", "head"] {
            for body in ["a", "a\n", "\n", "\n\n", "a\nb\n", "a\n\nb", "\n\n\n", "a\nb", "a\n\n", "\na\n"] {
                assert_eq!(lines(head, body), reference(&format!("{head}{body}")), "{head:?} {body:?}");
            }
        }
    }

    #[test]
    fn bytes_come_out_as_they_went_in_and_lines_stay_whole() {
        let text: String = (0..500).map(|number| format!("{}\n", "x".repeat(number % 37))).collect();
        for size in [1, 2, 7, 64, 1000] {
            let (mut splitter, mut out) = (Splitter::default(), Vec::new());
            for piece in text.as_bytes().chunks(size) {
                splitter.push(piece, |chunk| {
                    assert_eq!(chunk.body.last(), Some(&b'\n'));
                    out.extend([chunk.head, chunk.body].concat());
                });
            }
            splitter.finish(|_| panic!("the text ended with a line"));
            assert_eq!(out, text.as_bytes());
        }
    }

    #[test]
    fn an_endless_line_goes_out_in_pieces_and_holds_little() {
        let (mut splitter, mut out) = (Splitter::default(), 0);
        for _ in 0..10_000 {
            splitter.push(&[b'x'; 1000], |chunk| out += chunk.len());
            assert!(splitter.held.len() <= LONGEST_HELD);
        }
        splitter.finish(|chunk| out += chunk.len());
        assert_eq!(out, 10_000_000);
    }
}

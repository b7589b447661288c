//! The last lines of a stream, for the report of a death.

/// Keeps the last bytes that went by.
#[derive(Clone, Debug)]
pub(crate) struct Tail {
    bytes: Vec<u8>,
    most: usize,
    /// Whether anything was forgotten.
    cut: bool,
}

impl Tail {
    /// Keeps up to `most` bytes.
    pub(crate) fn new(most: usize) -> Tail {
        Tail { bytes: Vec::new(), most, cut: false }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        if bytes.len() > self.most {
            self.bytes.clear();
            self.cut = true;
            // One byte more tells whether the cut is between two lines.
            self.bytes.extend_from_slice(&bytes[bytes.len() - self.most - 1..]);
            return;
        }
        self.bytes.extend_from_slice(bytes);
        // Cut seldom: moving the rest costs.
        if self.bytes.len() > 2 * self.most + 1 {
            self.cut = true;
            self.bytes.drain(..self.bytes.len() - self.most - 1);
        }
    }

    /// Whole lines where a line begins among the bytes, else the last bytes.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(self.last_lines()).into_owned()
    }

    fn last_lines(&self) -> &[u8] {
        if !self.cut && self.bytes.len() <= self.most {
            return &self.bytes;
        }
        let (before, tail) = self.bytes.split_at(self.bytes.len().saturating_sub(self.most));
        if before.last() == Some(&b'\n') {
            return tail;
        }
        match tail.iter().position(|byte| *byte == b'\n') {
            Some(end) if end + 1 < tail.len() => &tail[end + 1..],
            _ => tail,
        }
    }

    /// Forgets all: a new generation begins.
    pub(crate) fn clear(&mut self) {
        *self = Tail::new(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_whole_lines_however_they_came() {
        let text: String = (0..1000).map(|number| format!("line {number}\n")).collect();
        for size in [1, 5, 20, 100, 5000] {
            let mut tail = Tail::new(20);
            text.as_bytes().chunks(size).for_each(|piece| tail.push(piece));
            assert_eq!(tail.text(), "line 998\nline 999\n", "pieces of {size}");
            assert!(tail.bytes.len() <= 41);
            tail.clear();
            assert_eq!(tail.text(), "");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_kept_as_far_as_there_is_room() {
        let mut tail = Tail::new(3);
        tail.push(b"abcdefgh");
        assert_eq!(tail.text(), "fgh");
        tail.push(b"\n");
        assert_eq!(tail.text(), "gh\n");
    }
}

//! Inputs, one by one, from wherever they come.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStringExt;
use std::vec;

use super::arguments::SourceArguments;
use super::{Exit, Failure};

/// The longest input, in bytes. What is longer is that task's failure, and is not held in memory.
pub(super) const LONGEST: usize = 64 << 20;

/// Where inputs come from.
pub(super) enum Inputs {
    Arguments(vec::IntoIter<OsString>),
    Lines(Box<Lines<Box<dyn Read + Send>>>),
}

/// One input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Input {
    Text(Vec<u8>),
    /// The first bytes of one that is longer than it may be.
    TooLong(Vec<u8>),
}

impl Inputs {
    pub(super) fn open(arguments: Vec<OsString>, source: &SourceArguments) -> Result<Inputs, Failure> {
        if !arguments.is_empty() {
            return Ok(Inputs::Arguments(arguments.into_iter()));
        }
        let end = if source.null { 0 } else { b'\n' };
        let stream: Box<dyn Read + Send> = match &source.inputs {
            None => Box::new(io::stdin()),
            Some(path) => Box::new(File::open(path).map_err(|error| {
                Failure::new(Exit::Usage, format!("cannot read {}: {error}", path.display()))
            })?),
        };
        Ok(Inputs::Lines(Box::new(Lines::new(stream, end, LONGEST))))
    }

    /// How many there are, if that is known.
    pub(super) fn total(&self) -> Option<u64> {
        match self {
            Inputs::Arguments(arguments) => Some(arguments.len() as u64),
            Inputs::Lines(_) => None,
        }
    }

    /// Whether the next one is there already, so that it may travel together with the last one.
    pub(super) fn is_ready(&self) -> bool {
        match self {
            Inputs::Arguments(_) => true,
            Inputs::Lines(lines) => lines.is_ready(),
        }
    }

    pub(super) fn next(&mut self) -> Option<io::Result<Input>> {
        match self {
            Inputs::Arguments(arguments) => {
                arguments.next().map(|argument| Ok(Input::Text(argument.into_vec())))
            }
            Inputs::Lines(lines) => lines.next(),
        }
    }
}

/// Pieces of a stream that end with a certain byte.
pub(super) struct Lines<R> {
    stream: BufReader<R>,
    end: u8,
    longest: usize,
}

impl<R: Read> Lines<R> {
    fn new(stream: R, end: u8, longest: usize) -> Lines<R> {
        Lines { stream: BufReader::with_capacity(64 * 1024, stream), end, longest }
    }

    fn is_ready(&self) -> bool {
        self.stream.buffer().contains(&self.end)
    }

    fn next(&mut self) -> Option<io::Result<Input>> {
        let mut line = Vec::new();
        let most = self.longest as u64 + 1;
        match self.stream.by_ref().take(most).read_until(self.end, &mut line) {
            Ok(0) => return None,
            Ok(_) => {}
            Err(error) => return Some(Err(error)),
        }
        if line.last() == Some(&self.end) {
            line.pop();
            return Some(Ok(Input::Text(line)));
        }
        if line.len() <= self.longest {
            // The last one, which lacks its end.
            return Some(Ok(Input::Text(line)));
        }
        Some(self.stream.skip_until(self.end).map(|_| Input::TooLong(line)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, end: u8) -> Vec<Input> {
        let mut lines = Lines::new(text.as_bytes(), end, 4);
        std::iter::from_fn(|| lines.next()).map(Result::unwrap).collect()
    }

    fn text(text: &str) -> Input {
        Input::Text(text.into())
    }

    #[test]
    fn a_line_is_an_input_even_an_empty_one_and_the_last_one_needs_no_end() {
        assert_eq!(all("a\n\nb", b'\n'), [text("a"), text(""), text("b")]);
        assert_eq!(all("a\nb\n", b'\n'), [text("a"), text("b")]);
        assert_eq!(all("", b'\n'), []);
    }

    #[test]
    fn lines_can_end_with_nul() {
        assert_eq!(all("a\nb\0c\0", 0), [text("a\nb"), text("c")]);
    }

    #[test]
    fn a_line_that_is_too_long_is_cut_and_the_next_one_is_whole() {
        assert_eq!(all("abcdefgh\nij\n", b'\n'), [Input::TooLong("abcde".into()), text("ij")]);
        assert_eq!(all("abcd\n", b'\n'), [text("abcd")]);
        assert_eq!(all("abcdefgh", b'\n'), [Input::TooLong("abcde".into())]);
    }
}

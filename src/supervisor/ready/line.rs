//! Readiness by a line: on a descriptor, or among what is printed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::supervisor::logs::Chunk;
use crate::sys::fd;

/// The pipe on which a program writes a line when it is ready.
#[derive(Debug)]
pub(crate) struct FdLine {
    reader: File,
}

/// What came through that pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A whole line: it is ready.
    Line,
    /// Nothing, or a part of a line.
    Nothing,
    /// The program closed it without a line. It cannot become ready any more.
    End,
}

impl FdLine {
    /// The pipe, and its end for one generation of the program.
    pub(crate) fn new() -> io::Result<(FdLine, OwnedFd)> {
        let (reader, writer) = fd::pipe()?;
        Ok((FdLine { reader }, writer))
    }

    /// What to wait at, for reading.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.reader.as_fd()
    }

    /// Reads what is there, a bounded amount.
    pub(crate) fn read(&mut self) -> Said {
        let mut buffer = [0; 4096];
        match self.reader.read(&mut buffer) {
            Ok(0) => Said::End,
            Ok(count) if buffer[..count].contains(&b'\n') => Said::Line,
            Ok(_) => Said::Nothing,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                Said::Nothing
            }
            Err(_) => Said::End,
        }
    }
}

/// Whether a line of `chunk` has `text` in it.
pub(crate) fn has_text(chunk: Chunk<'_>, text: &str) -> bool {
    let length = text.len().max(1);
    chunk.lines().any(|line| line.windows(length).any(|part| part == text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_whole_line_is_readiness_and_an_end_is_none() {
        let (mut line, writer) = FdLine::new().unwrap();
        let mut writer = File::from(writer);
        assert_eq!(line.read(), Said::Nothing);
        writer.write_all(b"almost").unwrap();
        assert_eq!(line.read(), Said::Nothing);
        writer.write_all(b"\nmore").unwrap();
        assert_eq!(line.read(), Said::Line);
        drop(writer);
        assert_eq!(line.read(), Said::End);
    }

    #[test]
    fn a_text_is_found_within_a_line_and_over_the_seam_of_a_chunk() {
        let chunk = Chunk { head: b"server lis", body: b"tening on 80\nother\n" };
        assert!(has_text(chunk, "listening on") && has_text(chunk, "other"));
        assert!(!has_text(chunk, "80other") && !has_text(chunk, "absent"));
    }
}

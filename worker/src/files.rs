//! Tasks that read a file from end to end, a piece at a time.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use watertight::RemoteError;

/// The SHA-256 checksum of a file, in hexadecimal.
#[watertight::task]
fn sha256(path: PathBuf) -> Result<String, RemoteError> {
    let mut hasher = Sha256::new();
    for_each_piece(&path, |piece| hasher.update(piece)).map_err(|error| cannot_read(&path, error))?;
    Ok(hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// How much there is in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Count {
    /// Newlines.
    lines: u64,
    /// Longest runs of bytes that are no white space.
    words: u64,
    bytes: u64,
}

/// The lines, words and bytes of a file, as `wc` counts them.
#[watertight::task]
fn word_count(path: PathBuf) -> Result<Count, RemoteError> {
    let mut count = Count::default();
    let mut in_word = false;
    for_each_piece(&path, |piece| {
        count.bytes += piece.len() as u64;
        for &byte in piece {
            let was_in_word = in_word;
            in_word = !is_space(byte);
            count.words += u64::from(in_word && !was_in_word);
            count.lines += u64::from(byte == b'\n');
        }
    })
    .map_err(|error| cannot_read(&path, error))?;
    Ok(count)
}

/// C's `isspace`, which is `u8::is_ascii_whitespace` and the vertical tab.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn for_each_piece(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    const PIECE: usize = 64 * 1024;
    let mut reader = BufReader::with_capacity(PIECE, File::open(path)?);
    loop {
        let length = match reader.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(piece) => {
                take(piece);
                piece.len()
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        reader.consume(length);
    }
}

fn cannot_read(path: &Path, error: impl fmt::Display) -> RemoteError {
    RemoteError::new(format_args!("cannot read {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn file(content: &[u8]) -> tempfile::NamedTempFile {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        file
    }

    fn count(content: &[u8]) -> (u64, u64, u64) {
        let count = word_count(file(content).path().to_owned()).unwrap();
        (count.lines, count.words, count.bytes)
    }

    #[test]
    fn checksums_are_those_of_the_standard() {
        let sum = |content: &[u8]| sha256(file(content).path().to_owned()).unwrap();
        assert_eq!(sum(b""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(sum(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let million = sum(&b"a".repeat(1_000_000));
        assert_eq!(million, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    }

    #[test]
    fn words_are_counted_as_wc_does() {
        assert_eq!(count(b""), (0, 0, 0));
        assert_eq!(count(b"one two\nthree\n"), (2, 3, 14));
        assert_eq!(count(b"  no newline at the end"), (0, 5, 23));
        assert_eq!(count(b"\x0bvertical\x0ctabs\r\n"), (1, 2, 16));
        assert_eq!(count(b"\xff\xfe \x00\n"), (1, 2, 5));
    }

    #[test]
    fn a_word_across_two_pieces_is_one_word() {
        assert_eq!(count(&b"x".repeat(200_000)), (0, 1, 200_000));
        assert_eq!(count(&b"ab\n".repeat(100_000)), (100_000, 100_000, 300_000));
    }

    #[test]
    fn an_error_names_the_path() {
        let error = sha256("/no/such/file".into()).unwrap_err();
        assert_eq!(error.to_string(), "cannot read /no/such/file: No such file or directory (os error 2)");
        let folder = tempfile::tempdir().unwrap();
        let error = word_count(folder.path().to_owned()).unwrap_err().to_string();
        assert!(error.contains(&folder.path().display().to_string()), "{error}");
    }
}

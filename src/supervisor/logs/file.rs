//! A log file: appended to, put aside when it is full, and never a reason to stop.

use std::fs::{self, File};
use std::io::{self, IoSlice, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::splitter::Chunk;
use crate::supervisor::specification::LogOptions;

/// What happened to a file that its supervisor should tell.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It cannot be written; what comes is lost until it can.
    Broken(io::Error),
    /// It can be written again, after this many bytes were lost.
    Mended(u64),
}

/// Where the output of a program's replicas goes.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    /// `None` if files are not put aside.
    max_size: Option<u64>,
    copies: u32,
    open: Option<Open>,
    /// Bytes that were not written since it broke.
    lost: Option<u64>,
}

#[derive(Debug)]
struct Open {
    file: File,
    size: u64,
    /// Devices have no size, and are not put aside.
    regular: bool,
    /// Whose unfinished line the file ends with.
    unfinished: Option<u64>,
}

impl LogFile {
    /// Opens nothing yet: a folder may come to be writable later.
    pub(crate) fn new(path: &Path, options: &LogOptions) -> LogFile {
        let max_size = options.rotate.then_some(options.max_size.max(1));
        LogFile { path: path.to_owned(), max_size, copies: options.copies, open: None, lost: None }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Appends; `writer` tells the streams apart that share the file. Says so when the file breaks, and when
    /// it is whole again.
    pub(crate) fn write(&mut self, writer: u64, chunk: Chunk<'_>) -> Option<Trouble> {
        let mut written = 0;
        let result = self.mend().and_then(|mended| {
            self.write_all(writer, chunk, &mut written)?;
            Ok(mended)
        });
        match result {
            Ok(mended) => mended.map(Trouble::Mended),
            Err(error) => {
                self.open = None;
                let missed = (chunk.len() - written) as u64;
                let first = self.lost.is_none();
                *self.lost.get_or_insert(0) += missed;
                first.then_some(Trouble::Broken(error))
            }
        }
    }

    /// After a failure: writes how much is missing, if that works again.
    fn mend(&mut self) -> io::Result<Option<u64>> {
        let Some(lost) = self.lost else { return Ok(None) };
        let note = format!("\n[watertight: {lost} bytes were lost here]\n");
        let open = self.opened()?;
        let before = open.size;
        if let Err(error) = open.append(&[note.as_bytes()], &mut 0) {
            // Half a note would be written again and again while a disk is full.
            let _ = open.file.set_len(before);
            return Err(error);
        }
        self.lost = None;
        Ok(Some(lost))
    }

    fn opened(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take() {
            Some(open) => open,
            None => open(&self.path)?,
        };
        Ok(self.open.insert(open))
    }

    fn write_all(&mut self, writer: u64, chunk: Chunk<'_>, written: &mut usize) -> io::Result<()> {
        let open = self.opened()?;
        if open.unfinished.is_some_and(|other| other != writer) {
            open.append(&[b"\n"], &mut 0)?;
        }
        let mut rest = chunk;
        while rest.len() > 0 {
            let max_size = self.max_size;
            let open = self.opened()?;
            let room = max_size.filter(|_| open.regular).map(|most| most.saturating_sub(open.size));
            let count = match room {
                Some(room) => part_for(rest, room as usize, open.size == 0),
                None => rest.len(),
            };
            if count == 0 {
                self.put_aside()?;
                continue;
            }
            let (now, later) = split(rest, count);
            open.append(&[now.head, now.body], written)?;
            let last = now.body.last().or(now.head.last());
            open.unfinished = (last != Some(&b'\n')).then_some(writer);
            rest = later;
        }
        Ok(())
    }

    /// `log` becomes `log.1`, that `log.2`, and the last one goes.
    fn put_aside(&mut self) -> io::Result<()> {
        self.open = None;
        for number in (0..self.copies).rev() {
            match fs::rename(self.copy(number), self.copy(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The name of a copy; number 0 is the file itself.
    fn copy(&self, number: u32) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

fn open(path: &Path) -> io::Result<Open> {
    // A named pipe would make a plain open wait for its reader.
    let flags = libc_flags();
    let file = File::options().append(true).create(true).custom_flags(flags).open(path)?;
    let metadata = file.metadata()?;
    let kind = metadata.file_type();
    if !kind.is_file() && !kind.is_char_device() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    Ok(Open { file, size: metadata.len(), regular: kind.is_file(), unfinished: None })
}

fn libc_flags() -> i32 {
    let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOCTTY;
    flags.bits()
}

impl Open {
    /// Writes all of it, and adds to `written` what was, even if the rest fails.
    fn append(&mut self, parts: &[&[u8]], written: &mut usize) -> io::Result<()> {
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut slices = &mut slices[..];
        let mut rest: usize = parts.iter().map(|part| part.len()).sum();
        while rest > 0 {
            match self.file.write_vectored(slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    self.size += count as u64;
                    *written += count;
                    rest -= count;
                    IoSlice::advance_slices(&mut slices, count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// How many bytes of `chunk` go into a file with `room`: whole lines if possible, and at least one into an
/// empty file.
fn part_for(chunk: Chunk<'_>, room: usize, empty: bool) -> usize {
    if chunk.len() <= room {
        return chunk.len();
    }
    let within = room.saturating_sub(chunk.head.len()).min(chunk.body.len());
    let fits = if room > chunk.head.len() { &chunk.body[..within] } else { &[][..] };
    match fits.iter().rposition(|byte| *byte == b'\n') {
        Some(end) => chunk.head.len() + end + 1,
        None if !empty => 0,
        None => {
            let end =
                chunk.body.iter().position(|byte| *byte == b'\n').map_or(chunk.body.len(), |end| end + 1);
            chunk.head.len() + end
        }
    }
}

/// The first `count` bytes, which include the head, and the rest.
fn split(chunk: Chunk<'_>, count: usize) -> (Chunk<'_>, Chunk<'_>) {
    let (now, later) = chunk.body.split_at(count - chunk.head.len());
    (Chunk { head: chunk.head, body: now }, Chunk { head: &[], body: later })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(text: &str) -> Chunk<'_> {
        Chunk { head: &[], body: text.as_bytes() }
    }

    fn options(max_size: u64, copies: u32) -> LogOptions {
        LogOptions { file: None, max_size, copies, rotate: true }
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    #[test]
    fn full_files_are_put_aside_between_lines_and_the_oldest_goes() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mut log = LogFile::new(&folder.path().join("log"), &options(10, 2));
        for number in 0..8 {
            assert!(log.write(1, chunk(&format!("line {number}\n"))).is_none());
        }
        assert_eq!(read(folder.path(), "log"), "line 7\n");
        assert_eq!(read(folder.path(), "log.1"), "line 6\n");
        assert_eq!(read(folder.path(), "log.2"), "line 5\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
        let head = Chunk { head: b"ab", body: b"cd\nefgh\nijklmnop\n" };
        assert!(log.write(1, head).is_none());
        assert_eq!(read(folder.path(), "log.2"), "line 7\n");
        assert_eq!(read(folder.path(), "log.1"), "abcd\nefgh\n");
        assert_eq!(read(folder.path(), "log"), "ijklmnop\n");
    }

    #[test]
    fn all_that_is_written_is_in_some_file() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mut log = LogFile::new(&folder.path().join("log"), &options(100, 1000));
        let mut all = String::new();
        for number in 0..300 {
            let text: String = (0..number % 7).map(|line| format!("{number} {line}\n")).collect();
            assert!(log.write(1, chunk(&text)).is_none());
            all += &text;
        }
        let newest_first = (1..).map(|number| folder.path().join(format!("log.{number}")));
        let mut texts: Vec<String> = newest_first.map_while(|path| fs::read_to_string(path).ok()).collect();
        assert!(texts.len() > 10 && texts.iter().all(|text| text.len() <= 100));
        texts.reverse();
        assert_eq!(texts.concat() + &read(folder.path(), "log"), all);
    }

    #[test]
    fn a_line_longer_than_a_file_has_a_file_of_its_own() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mut log = LogFile::new(&folder.path().join("log"), &options(5, 3));
        assert!(log.write(1, chunk("a\nbcdefghijkl\nm\n")).is_none());
        assert_eq!(read(folder.path(), "log.2"), "a\n");
        assert_eq!(read(folder.path(), "log.1"), "bcdefghijkl\n");
        assert_eq!(read(folder.path(), "log"), "m\n");
    }

    #[test]
    fn no_copies_means_one_file() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mut log = LogFile::new(&folder.path().join("log"), &options(4, 0));
        (0..9).for_each(|number| assert!(log.write(1, chunk(&format!("{number}\n"))).is_none()));
        assert_eq!(read(folder.path(), "log"), "8\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_unfinished_line_of_one_is_not_continued_by_another() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let mut log = LogFile::new(&folder.path().join("log"), &LogOptions::default());
        for (writer, text) in [(1, "one "), (1, "and more"), (2, "two\n"), (1, "three")] {
            assert!(log.write(writer, chunk(text)).is_none());
        }
        assert_eq!(read(folder.path(), "log"), "one and more\ntwo\nthree");
    }

    #[test]
    fn what_cannot_be_written_is_told_once_and_mends() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let place = folder.path().join("later");
        let mut log = LogFile::new(&place.join("log"), &LogOptions::default());
        let Some(Trouble::Broken(error)) = log.write(1, chunk("12345\n")) else {
            panic!("there is no folder")
        };
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(log.write(1, chunk("678\n")).is_none());
        fs::create_dir(&place).unwrap();
        assert!(matches!(log.write(1, chunk("back\n")), Some(Trouble::Mended(10))));
        assert_eq!(read(&place, "log"), "\n[watertight: 10 bytes were lost here]\nback\n");
    }

    #[test]
    fn a_full_disk_is_trouble_and_no_end() {
        let mut log = LogFile::new(Path::new("/dev/full"), &options(1, 1));
        assert!(
            matches!(log.write(1, chunk("x\n")), Some(Trouble::Broken(error)) if error.kind() == io::ErrorKind::StorageFull)
        );
        assert!(log.write(1, chunk("x\n")).is_none());
        assert!(Path::new("/dev/full").exists());
    }

    #[test]
    fn a_named_pipe_is_refused_and_waits_for_nobody() {
        let folder = tempfile::tempdir_in("/tmp").unwrap();
        let path = folder.path().join("fifo");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut log = LogFile::new(&path, &LogOptions::default());
        assert!(matches!(log.write(1, chunk("x\n")), Some(Trouble::Broken(_))));
    }
}

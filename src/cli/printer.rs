//! What goes to stdout and stderr.

use std::io::{self, BufWriter, Stderr, Stdout, Write};

use super::progress::Progress;

/// Says something to people. There is nobody to tell if stderr is closed.
pub(super) fn complain(text: &str) {
    let _ = writeln!(io::stderr(), "watertight: {text}");
}

/// Lines on their way to stdout and stderr, each group written in one go.
pub(super) struct Printer {
    stdout: BufWriter<Stdout>,
    failures: BufWriter<Stderr>,
}

/// What became of stdout.
#[derive(Debug)]
pub(super) enum Written {
    /// It was written.
    All,
    /// Its reader has left, as `head` does.
    Closed,
    /// It cannot be written: a full disk, say.
    Failed(io::Error),
}

impl Printer {
    pub(super) fn new() -> Printer {
        Printer {
            stdout: BufWriter::with_capacity(64 * 1024, io::stdout()),
            failures: BufWriter::new(io::stderr()),
        }
    }

    /// Writes a line to stdout.
    pub(super) fn result(&mut self, line: &[u8]) -> io::Result<()> {
        self.stdout.write_all(line)?;
        self.stdout.write_all(b"\n")
    }

    /// Writes a line to stderr.
    pub(super) fn failure(&mut self, line: &str) {
        let _ = writeln!(self.failures, "{line}");
    }

    /// Does all that `write` writes, with the progress bar out of the way.
    pub(super) fn group(
        &mut self,
        progress: &Progress,
        write: impl FnOnce(&mut Printer) -> io::Result<()>,
    ) -> Written {
        let result = progress.around_output(|| {
            let result = write(self).and_then(|()| self.stdout.flush());
            let _ = self.failures.flush();
            result
        });
        match result {
            Ok(()) => Written::All,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Written::Closed,
            Err(error) => Written::Failed(error),
        }
    }
}

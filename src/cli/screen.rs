//! A terminal that shows one thing for a while, and is as it was before afterwards.

use std::io::{self, IsTerminal, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGWINCH};
use signal_hook::low_level;

use crate::sys::terminal;

/// To another page, without a cursor, and back.
const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

/// Ctrl-C, where the terminal does not make it a signal.
const INTERRUPT: u8 = 3;

pub(super) struct Screen {
    /// How the terminal was, if there is one to type at.
    before: Option<Termios>,
    /// A byte for each signal to end.
    ends: UnixStream,
    /// A byte for each change of the terminal's size.
    resized: UnixStream,
    registered: Vec<SigId>,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// What was waited for besides has something to read.
    News,
    /// The time is over, or the terminal is another.
    Due,
    /// Somebody wants to see no more.
    Quit,
}

impl Screen {
    /// Takes stdout's terminal.
    pub(super) fn enter() -> io::Result<Screen> {
        let ((ends, end), (resized, resize)) = (UnixStream::pair()?, UnixStream::pair()?);
        ends.set_nonblocking(true)?;
        resized.set_nonblocking(true)?;
        let mut registered = vec![low_level::pipe::register(SIGWINCH, resize)?];
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            registered.push(low_level::pipe::register(signal, end.try_clone()?)?);
        }
        let before = io::stdin().is_terminal().then(|| tcgetattr(io::stdin()).ok()).flatten();
        let screen = Screen { before, ends, resized, registered };
        if let Some(before) = &screen.before {
            tcsetattr(io::stdin(), SetArg::TCSADRAIN, &bare(before))?;
        }
        write(ENTER)?;
        Ok(screen)
    }

    /// Waits for news of `other`, at most for this long.
    pub(super) fn wait(&mut self, other: BorrowedFd<'_>, longest: Duration) -> io::Result<Happened> {
        let stdin = io::stdin();
        let mut waited = vec![
            PollFd::new(other, PollFlags::POLLIN),
            PollFd::new(self.ends.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.resized.as_fd(), PollFlags::POLLIN),
        ];
        if self.before.is_some() {
            waited.push(PollFd::new(stdin.as_fd(), PollFlags::POLLIN));
        }
        match poll(&mut waited, PollTimeout::try_from(longest).unwrap_or(PollTimeout::MAX)) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready: Vec<bool> = waited.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        if ready[1] || (ready.get(3) == Some(&true) && wants_to_quit()) {
            return Ok(Happened::Quit);
        }
        if ready[2] {
            // However many came, it is drawn once.
            let _ = (&self.resized).read(&mut [0; 64]);
        }
        Ok(if ready[0] { Happened::News } else { Happened::Due })
    }

    /// Shows these lines, as far as there is room, in one go.
    pub(super) fn draw(&mut self, lines: &[String]) -> io::Result<()> {
        let (rows, columns) = terminal::size(&io::stdout()).unwrap_or((usize::MAX, usize::MAX));
        let lines = lines.iter().take(rows).map(|line| line.chars().take(columns).collect::<String>());
        // Home, each line cleared to its end, and everything below.
        let page: Vec<String> = lines.map(|line| format!("{line}\x1b[K")).collect();
        write(&format!("\x1b[H{}\x1b[J", page.join("\r\n")))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no care.
        let _ = write(LEAVE);
        if let Some(before) = &self.before {
            let _ = tcsetattr(io::stdin(), SetArg::TCSADRAIN, before);
        }
        for id in self.registered.drain(..) {
            low_level::unregister(id);
        }
    }
}

/// Keys come at once, are not shown, and send no signals.
fn bare(before: &Termios) -> Termios {
    let mut bare = before.clone();
    bare.local_flags &= !(LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG);
    bare.control_chars[SpecialCharacterIndices::VMIN as usize] = 0;
    bare.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
    bare
}

fn wants_to_quit() -> bool {
    let mut keys = [0; 64];
    match nix::unistd::read(io::stdin(), &mut keys) {
        // Without a key although it was readable: whoever typed has hung up.
        Ok(0) => true,
        Ok(length) => keys[..length].iter().any(|key| matches!(*key, b'q' | b'Q' | INTERRUPT)),
        Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => false,
        Err(_) => true,
    }
}

fn write(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    stdout.flush()
}

//! The library's events on stderr, for those who ask for them.

use std::io;

use tracing::level_filters::LevelFilter;

use super::progress::Stderr;

/// Writes events of the level that so many `-v` ask for.
pub(super) fn tell(verbose: u8, stderr: &Stderr) {
    let level = match verbose {
        0 => return,
        1 => LevelFilter::INFO,
        2 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    let stderr = stderr.clone();
    // It fails only if somebody else was first, and nobody is.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .with_writer(move || stderr.clone())
        .try_init();
}

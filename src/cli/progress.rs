//! The progress bar, and a stderr that does not write into it.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::arguments::When;
use super::printer::complain;

const WITH_TOTAL: &str = "{wide_bar} {pos}/{len}  {rate}  {eta} left{msg}";
const WITHOUT_TOTAL: &str = "{pos} done  {rate}  {elapsed}{msg}";

/// How far apart lines of progress are, where there is no terminal for a bar.
const BETWEEN_LINES: Duration = Duration::from_secs(1);

/// How far a map is; perhaps shown.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    lines: Option<Lines>,
}

/// Progress for a log.
#[derive(Debug)]
struct Lines {
    written: Instant,
}

impl Progress {
    /// `total` is the number of tasks, if it is known.
    pub(super) fn new(when: When, total: Option<u64>) -> Progress {
        let terminal = io::stderr().is_terminal();
        let has_bar = terminal && when != When::Never;
        let target = if has_bar { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(total, target);
        let template = if total.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
        // The templates are ours; a test reads them.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.with_key("rate", rate));
        }
        let lines = (when == When::Always && !terminal).then(|| Lines { written: Instant::now() });
        Progress { bar, lines }
    }

    /// So many more tasks have ended, and so many failed in all.
    pub(super) fn advance(&mut self, tasks: u64, failed: u64) {
        if failed > 0 {
            self.bar.set_message(format!("  {failed} failed"));
        }
        self.bar.inc(tasks);
        if let Some(lines) = self.lines.as_mut().filter(|lines| lines.written.elapsed() >= BETWEEN_LINES) {
            lines.written = Instant::now();
            complain(&self.line());
        }
    }

    fn line(&self) -> String {
        let total = self.bar.length().map_or_else(String::new, |total| format!("/{total}"));
        format!("{}{total} done{}", self.bar.position(), self.bar.message())
    }

    /// Does something that writes results and failures, with the bar out of the way.
    pub(super) fn around_output<T>(&self, write: impl FnOnce() -> T) -> T {
        if self.bar.is_hidden() { write() } else { self.bar.suspend(write) }
    }

    /// A stderr whose lines stand above the bar.
    pub(super) fn stderr(&self) -> Stderr {
        Stderr(self.bar.clone())
    }

    /// Takes the bar off the screen.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
        if self.lines.is_some() {
            complain(&self.line());
        }
    }
}

/// Tasks a second, in whole numbers.
fn rate(state: &ProgressState, text: &mut dyn fmt::Write) {
    // Text in memory takes everything.
    let _ = write!(text, "{:.0}/s", state.per_sec());
}

/// See [`Progress::stderr`].
#[derive(Clone, Debug)]
pub(super) struct Stderr(ProgressBar);

impl Write for Stderr {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write_all(text))?;
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_templates_are_templates() {
        assert!(ProgressStyle::with_template(WITH_TOTAL).is_ok());
        assert!(ProgressStyle::with_template(WITHOUT_TOTAL).is_ok());
    }
}

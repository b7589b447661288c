//! Why a task has no value: from what the kernel, the lane and the limits say to the one true kind.

use crate::link::black_box::BlackBox;
use crate::link::frame::UpKind;
use crate::sys::exit::ExitStatus;
use crate::sys::limits::Limits;
use crate::sys::signal::Signal;
use crate::task::codec;
use crate::task::error::{Encoding, Panic, TaskErrorKind};

/// The kind of a death.
pub(crate) fn of_death(
    status: ExitStatus,
    notes: BlackBox<'_>,
    limits: &Limits,
    stderr: Option<&str>,
) -> TaskErrorKind {
    let signal = status.signal();
    if let (Some(Signal::SIGXCPU), Some(limit)) = (signal, limits.cpu_time) {
        return TaskErrorKind::CpuLimit { limit };
    }
    if signal == Some(Signal::SIGABRT) {
        if let Some(panic) = notes.fatal_panic() {
            return TaskErrorKind::Panicked(panic);
        }
        if let Some(limit) = limits.memory.filter(|_| stderr.is_some_and(reports_failed_allocation)) {
            return TaskErrorKind::MemoryLimit { limit, status };
        }
    }
    let fault = matches!(signal, Some(Signal::SIGSEGV | Signal::SIGBUS));
    let detail = if fault { notes.death_detail() } else { None };
    TaskErrorKind::Died { status, detail }
}

/// Whether std reported a failed allocation, which it does in a line of its own before it aborts. There is no
/// other sign of it: the process dies by SIGABRT, as it does for many reasons.
fn reports_failed_allocation(stderr: &str) -> bool {
    let size = |line: &str| {
        line.strip_prefix("memory allocation of ")?.strip_suffix(" bytes failed")?.parse::<u64>().ok()
    };
    stderr.lines().any(|line| size(line).is_some())
}

/// The kind of a result that is no value.
pub(crate) fn of_result(kind: UpKind, line: &[u8]) -> TaskErrorKind {
    let text = || String::from_utf8_lossy(line).into_owned();
    let encoding = |what| TaskErrorKind::Encoding { what, message: text() };
    match kind {
        UpKind::Panic => match codec::decode::<Panic>(line, Vec::new()) {
            Ok(panic) => TaskErrorKind::Panicked(panic),
            Err(error) => TaskErrorKind::Breach { message: format!("its panic cannot be read: {error}") },
        },
        UpKind::BadArguments => encoding(Encoding::DecodeArguments),
        UpKind::BadResult => encoding(Encoding::EncodeResult),
        UpKind::Failed => TaskErrorKind::Failed { message: text() },
        UpKind::UnknownTask => TaskErrorKind::UnknownTask { message: text() },
        UpKind::Value => unreachable!("a value is no error"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::primitive::AtomicU64;
    use std::time::Duration;

    fn killed(signal: Signal) -> ExitStatus {
        ExitStatus::Signal { signal, core_dumped: false }
    }

    #[test]
    fn a_death_is_a_memory_limit_only_with_a_limit_and_stds_last_words() {
        let words: Vec<AtomicU64> = (0..512).map(|_| AtomicU64::new(0)).collect();
        let limits = Limits { memory: Some(1 << 20), ..Limits::default() };
        let verdict = |limits: &Limits, stderr| {
            of_death(killed(Signal::SIGABRT), BlackBox::new(&words), limits, stderr)
        };
        let words_of_std = "hello\nmemory allocation of 8388608 bytes failed\nstack backtrace:\n";
        assert!(
            matches!(verdict(&limits, Some(words_of_std)), TaskErrorKind::MemoryLimit { limit, .. } if limit == 1 << 20)
        );
        assert!(matches!(verdict(&Limits::default(), Some(words_of_std)), TaskErrorKind::Died { .. }));
        assert!(matches!(
            verdict(&limits, Some("my memory allocation of some bytes failed\n")),
            TaskErrorKind::Died { .. }
        ));
        assert!(matches!(verdict(&limits, None), TaskErrorKind::Died { .. }));
    }

    #[test]
    fn sigxcpu_is_the_limit_only_where_there_is_one() {
        let words: Vec<AtomicU64> = (0..512).map(|_| AtomicU64::new(0)).collect();
        let limits = Limits { cpu_time: Some(Duration::from_secs(1)), ..Limits::default() };
        let verdict =
            |limits: &Limits| of_death(killed(Signal::SIGXCPU), BlackBox::new(&words), limits, None);
        assert!(matches!(verdict(&limits), TaskErrorKind::CpuLimit { .. }));
        assert!(matches!(verdict(&Limits::default()), TaskErrorKind::Died { .. }));
    }
}

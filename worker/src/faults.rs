//! The task that does harm on purpose, to try what a pool, a supervisor or a test makes of it.

use watertight_faults::Fault;

/// Does harm to the worker: none, panic, exit, segv, bus, abort, ill, fpe, kill, stop, stack-overflow,
/// out-of-memory, hang, spin, ignore-term or leak-child.
#[watertight::task]
fn fault(kind: Fault) -> String {
    kind.strike()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use watertight::{Dies, Process, ProcessHandle, Signal, TaskError, assert_dies, isolate};

    use super::*;

    /// Long enough for a process to start and strike, short enough for a test to wait.
    const WHILE: Duration = Duration::from_millis(300);

    fn error(kind: Fault) -> TaskError {
        let builder = Process::builder().stderr(watertight::Stdio::Capture);
        builder.spawn(fault, (kind,)).unwrap().join().unwrap_err()
    }

    #[watertight::test]
    fn signals_kill_as_they_are_named() {
        let deadly = [
            (Fault::Segv, Signal::SIGSEGV),
            (Fault::Bus, Signal::SIGBUS),
            (Fault::Abort, Signal::SIGABRT),
            (Fault::Ill, Signal::SIGILL),
            (Fault::Fpe, Signal::SIGFPE),
            (Fault::Kill, Signal::SIGKILL),
        ];
        for (kind, signal) in deadly {
            assert_eq!(error(kind).signal(), Some(signal), "{kind}");
        }
    }

    #[watertight::test]
    fn the_stack_and_the_memory_end() {
        assert_dies!(Dies::StackOverflow, || fault(Fault::StackOverflow));
        assert_dies!(Dies::MemoryLimit(64 << 20), || fault(Fault::OutOfMemory));
    }

    #[watertight::test]
    fn panics_and_exits_are_what_they_are() {
        assert_eq!(error(Fault::Panic).panic().unwrap().message, "struck by the fault `panic`");
        assert_dies!(Dies::Exit(3), || fault(Fault::Exit));
    }

    #[watertight::test]
    fn what_never_ends_is_timed_out() {
        assert_dies!(Dies::TimeOut(WHILE), || fault(Fault::Hang));
        assert_dies!(Dies::TimeOut(WHILE), || fault(Fault::Stop));
        assert_dies!(Dies::TimeOut(WHILE), || fault(Fault::IgnoreTerm));
        assert_dies!(Dies::CpuLimit(Duration::from_millis(50)), || fault(Fault::Spin));
    }

    /// Waits until `/proc` says so of a process; no descriptor tells these things.
    fn until(process: &ProcessHandle, line: &str, holds: impl Fn(&str) -> bool) {
        let path = format!("/proc/{}/status", process.pid());
        let says = |text: String| text.lines().filter_map(|all| all.strip_prefix(line)).any(&holds);
        while !says(std::fs::read_to_string(&path).unwrap()) {
            std::thread::yield_now();
        }
    }

    #[watertight::test]
    fn a_process_that_stopped_can_be_continued() {
        let process = Process::spawn(fault, (Fault::Stop,)).unwrap();
        until(&process, "State:", |state| state.trim().starts_with('T'));
        process.signal(Signal::SIGCONT).unwrap();
        assert_eq!(process.join().unwrap(), "stopped and continued");
    }

    #[watertight::test]
    fn sigterm_is_ignored_and_sigkill_is_not() {
        let process = Process::spawn(fault, (Fault::IgnoreTerm,)).unwrap();
        let ignored = |mask: &str| u64::from_str_radix(mask.trim(), 16).unwrap() & 1 << 14 != 0;
        until(&process, "SigIgn:", ignored);
        process.terminate().unwrap();
        let process = process.join_timeout(WHILE).unwrap_err().into_inner();
        process.kill().unwrap();
        assert_eq!(process.join().unwrap_err().signal(), Some(Signal::SIGKILL));
    }

    #[watertight::test]
    fn no_fault_does_no_harm() {
        assert_eq!(Process::spawn(fault, (Fault::None,)).unwrap().join().unwrap(), "unharmed");
    }

    #[watertight::test]
    fn a_leaked_child_is_there_when_the_task_has_ended() {
        let outcome = isolate(|| {
            let text = fault(Fault::LeakChild);
            let pid = text.split_whitespace().find_map(|word| word.parse::<u32>().ok()).unwrap();
            std::fs::read_link(format!("/proc/{pid}/exe")).unwrap()
        });
        assert!(outcome.run().into_result().unwrap().ends_with("sleep"));
    }

    #[test]
    fn the_documentation_names_every_fault() {
        let source = include_str!("faults.rs").split("#[watertight::task]").next().unwrap();
        let documented = |fault: &&Fault| source.contains(&format!(" {fault}"));
        assert_eq!(Fault::ALL.iter().filter(documented).count(), Fault::ALL.len());
    }
}

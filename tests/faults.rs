//! Every way to die is told truly. Each fault is a real one: the kernel's signal, the real exit, the real limit.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "real faults cannot be had safely")]
#![allow(clippy::print_stdout, clippy::print_stderr, clippy::zombie_processes, reason = "tests of output")]

use std::time::Duration;

use watertight::{Dies, ExitStatus, Process, Signal, TaskErrorKind, assert_dies, isolate};

fn segv() {
    unsafe { std::ptr::null_mut::<u8>().wrapping_add(8).write_volatile(1) }
}

fn bus() {
    // A mapping past the end of its file.
    unsafe {
        let file = libc::memfd_create(c"empty".as_ptr(), 0);
        let page = libc::mmap(std::ptr::null_mut(), 4096, libc::PROT_READ, libc::MAP_SHARED, file, 0);
        std::hint::black_box(page.cast::<u8>().read_volatile());
    }
}

fn ill() {
    #[cfg(target_arch = "x86_64")]
    unsafe {
        std::arch::asm!("ud2")
    }
    #[cfg(target_arch = "aarch64")]
    unsafe {
        std::arch::asm!("udf #0")
    }
}

fn raise(signal: i32) {
    unsafe { libc::raise(signal) };
}

fn overflow(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { overflow(depth + 1) + room[(depth % 64) as usize] }
}

fn eat_memory() {
    let mut hoard = Vec::new();
    loop {
        hoard.push(vec![1_u8; 1 << 20]);
        std::hint::black_box(&hoard);
    }
}

#[watertight::test]
fn signals_are_told_by_name() {
    assert_dies!(Signal::SIGSEGV, segv);
    assert_dies!(Signal::SIGBUS, bus);
    assert_dies!(Signal::SIGILL, ill);
    assert_dies!(Signal::SIGFPE, || raise(libc::SIGFPE));
    assert_dies!(Signal::SIGKILL, || raise(libc::SIGKILL));
    assert_dies!(Signal::SIGTERM, || raise(libc::SIGTERM));
    assert_dies!(Signal::SIGABRT, || std::process::abort());
    assert_dies!(Signal::SIGSEGV, || raise(libc::SIGSEGV));
}

#[watertight::test]
fn exits_are_told_by_code() {
    assert_dies!(Dies::Exit(0), || std::process::exit(0));
    assert_dies!(Dies::Exit(42), || std::process::exit(42));
    assert_dies!(Dies::Exit(7), || unsafe { libc::_exit(7) });
}

#[watertight::test]
fn a_panic_is_told_with_message_place_and_backtrace() {
    let outcome = isolate(|| panic!("number {}", 7)).env("RUST_BACKTRACE", "1").run::<()>();
    let error = outcome.into_result().unwrap_err();
    let panic = error.panic().unwrap();
    assert_eq!(panic.message, "number 7");
    assert!(panic.location.as_ref().unwrap().contains("tests/faults.rs:"));
    assert!(panic.backtrace.as_ref().unwrap().contains("faults"));
    assert!(error.to_string().contains("panicked at tests/faults.rs:"), "{error}");
}

#[watertight::test]
fn a_panic_without_a_text_says_so() {
    let error = isolate(|| std::panic::panic_any(7_u32)).run::<()>().into_result().unwrap_err();
    assert_eq!(error.panic().unwrap().message, "(its payload is no text)");
    let error =
        isolate(|| std::panic::resume_unwind(Box::new("thrown"))).run::<()>().into_result().unwrap_err();
    assert_eq!(
        (error.panic().unwrap().message.as_str(), error.panic().unwrap().location.as_ref()),
        ("thrown", None)
    );
}

#[watertight::test]
fn a_panic_that_aborts_is_told_as_the_panic() {
    /// A second panic while the first unwinds aborts the process.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("the second");
        }
    }
    fn twice() {
        let _bomb = Bomb;
        panic!("the first");
    }
    let error = isolate(twice).run::<()>().into_result().unwrap_err();
    assert!(error.is_panic(), "{error:?}");
}

#[watertight::test]
fn an_abort_after_a_caught_panic_is_not_told_as_the_panic() {
    let outcome = isolate(|| {
        let _ = std::panic::catch_unwind(|| panic!("caught"));
        std::process::abort()
    });
    assert_eq!(outcome.run::<()>().signal(), Some(Signal::SIGABRT));
}

#[watertight::test]
fn a_stack_overflow_is_told_as_one() {
    assert_dies!(Dies::StackOverflow, || overflow(0));
    let error = isolate(|| overflow(0)).run().into_result().unwrap_err();
    assert_eq!(error.signal(), Some(Signal::SIGSEGV));
    assert!(error.to_string().contains("killed by SIGSEGV"), "{error}");
    assert!(error.to_string().contains("(stack overflow)"), "{error}");
}

#[watertight::test]
fn a_fault_elsewhere_is_no_stack_overflow() {
    let error = isolate(segv).run().into_result().unwrap_err();
    assert!(matches!(error.kind(), TaskErrorKind::Died { detail: None, .. }), "{error:?}");
}

#[watertight::test]
fn a_stack_overflow_of_another_thread_is_told_as_one() {
    let outcome = isolate(|| std::thread::spawn(|| overflow(0)).join().unwrap()).run();
    assert_eq!(outcome.signal(), Some(Signal::SIGSEGV));
}

#[watertight::test]
fn memory_has_a_limit() {
    let outcome = isolate(eat_memory).memory_limit(64 << 20).run();
    assert!(outcome.is_memory_limit(), "{outcome:?}");
    assert_eq!(outcome.error().unwrap().exit_status().unwrap().signal(), Some(Signal::SIGABRT));
    let usage = outcome.error().unwrap().usage().unwrap();
    assert!(usage.max_rss > 16 << 20 && usage.max_rss < 100 << 20, "{usage:?}");
}

#[watertight::test]
fn memory_limits_spare_what_does_not_count() {
    let outcome = isolate(|| {
        // A reservation and a shared mapping are no private memory.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
            let reserved = libc::mmap(std::ptr::null_mut(), 1 << 32, libc::PROT_NONE, flags, -1, 0);
            let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
            let shared =
                libc::mmap(std::ptr::null_mut(), 1 << 30, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0);
            reserved != libc::MAP_FAILED && shared != libc::MAP_FAILED
        }
    });
    assert_eq!(outcome.memory_limit(64 << 20).run().into_result(), Ok(true));
}

#[watertight::test]
fn processor_time_has_a_limit_finer_than_a_second() {
    let spin = || {
        loop {
            std::hint::black_box(0);
        }
    };
    let outcome = isolate(spin).cpu_limit(Duration::from_millis(50)).run::<()>();
    assert!(outcome.is_cpu_limit(), "{outcome:?}");
}

#[watertight::test]
fn a_time_out_ends_whoever_ignores_sigterm_or_is_stopped() {
    let limit = Duration::from_millis(100);
    assert_dies!(Dies::TimeOut(limit), || {
        unsafe { libc::signal(libc::SIGTERM, libc::SIG_IGN) };
        std::thread::park()
    });
    assert_dies!(Dies::TimeOut(limit), || raise(libc::SIGSTOP));
}

#[watertight::test]
fn output_is_captured_whole_and_a_child_that_keeps_the_pipe_blocks_nobody() {
    let outcome = isolate(|| {
        println!("to stdout");
        eprintln!("to stderr");
        print!("without an end");
        // It leaves the group, and so outlives the process with the pipe in its hand.
        std::process::Command::new("setsid").args(["sleep", "1000"]).spawn().unwrap();
    });
    let outcome = outcome.timeout(Duration::from_secs(20)).run();
    assert_eq!(outcome.result, Ok(()));
    assert_eq!(outcome.stdout(), "to stdout\nwithout an end");
    assert_eq!(outcome.stderr(), "to stderr\n");
}

#[watertight::test]
fn megabytes_of_output_pass() {
    let outcome = isolate(|| (0..200_000).for_each(|i| println!("line number {i}"))).run();
    assert!(outcome.stdout().ends_with("line number 199999\n"), "{:?}", outcome.result);
}

#[watertight::test]
fn stdin_is_empty() {
    let outcome = isolate(|| std::io::read_to_string(std::io::stdin()).unwrap()).run();
    assert_eq!(outcome.into_result().unwrap(), "");
}

#[watertight::test]
fn a_process_that_panics_exits_with_code_1_as_in_python() {
    let process: Process<()> =
        Process::builder().stderr(watertight::Stdio::Capture).spawn(|| panic!("no"), ()).unwrap();
    let handle = process.handle();
    let error = process.join().unwrap_err();
    assert_eq!(handle.exit_status(), Some(ExitStatus::Code(1)));
    assert!(error.stderr().unwrap().contains("panicked at tests/faults.rs"), "{error:?}");
}

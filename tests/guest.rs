//! A good guest (P7): the library changes nothing in its host, and bears what the host does.
#![allow(unsafe_code, clippy::undocumented_unsafe_blocks, reason = "hosts do unsafe things")]
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::print_stderr, reason = "a test says what it saw")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::Duration;

use common::{Gate, pipe_as_stderr, stop_at, until};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use watertight::{Pool, Process, Signal, StartMethod, TaskErrorKind, isolate, task};

fn square(x: i64) -> i64 {
    x * x
}

/// A pool does all that it should: values, crashes, cancellation by its command channel.
fn check_a_pool() {
    let pool = Pool::builder().workers(2).grace(Duration::from_secs(3600)).start().unwrap();
    assert_eq!(pool.map(square, 0..100).unwrap()[99], 9801);
    let error = pool.apply(|| -> i32 { std::process::abort() }, ()).unwrap_err();
    assert_eq!(error.signal(), Some(Signal::SIGABRT));
    assert!(error.usage().unwrap().max_rss > 0);
    let gate = Gate::new();
    let patient = |gate: PathBuf| {
        stop_at(&gate);
        while !task::cancelled() {
            std::thread::yield_now();
        }
    };
    let later = pool.apply_async(patient, (gate.path(),)).unwrap();
    drop(gate.wait_for_task());
    later.cancel();
    assert!(later.get().unwrap_err().is_cancelled());
    assert_eq!(Process::spawn(square, (5,)).unwrap().join().unwrap(), 25);
}

/// What a process has that a library should not touch.
fn state_of_this_process() -> Vec<String> {
    let status = |field| common::status("thread-self", field);
    let mut state: Vec<String> = ["SigCgt", "SigIgn", "SigBlk", "NoNewPrivs", "Umask"].map(status).into();
    state.push(format!("{:?}", std::env::vars_os().collect::<Vec<_>>()));
    state.push(format!("{:?}", std::env::current_dir()));
    state.push(format!("{:?}", getrlimit(Resource::RLIMIT_NOFILE)));
    state.push(format!("{:?} {:?}", nix::unistd::getpgrp(), nix::unistd::getsid(None)));
    state.push(format!("{:?}", nix::sys::prctl::get_child_subreaper()));
    state.push(format!("{:?}", nix::sys::prctl::get_name()));
    state
}

#[test]
fn nothing_in_the_host_changes() {
    watertight::test_init!();
    let before = state_of_this_process();
    check_a_pool();
    assert_eq!(state_of_this_process(), before);
}

#[watertight::test]
fn nothing_is_printed() {
    let outcome = isolate(|| {
        check_a_pool();
        let pool = Pool::builder().workers(1).attempts(2).timeout(Duration::from_millis(10)).start().unwrap();
        assert!(pool.apply(std::thread::park, ()).unwrap_err().is_timeout());
        let pool = Pool::new(1).unwrap();
        assert!(pool.apply(|| -> i32 { panic!("no") }, ()).unwrap_err().is_panic());
        pool.apply_async(square, (1,)).unwrap().on_complete(|_| ());
    });
    let outcome = outcome.run();
    assert_eq!(outcome.result, Ok(()));
    assert_eq!((&*outcome.stdout(), &*outcome.stderr()), ("", ""));
}

#[watertight::test]
fn threads_of_the_library_leave_the_hosts_signals_alone() {
    let pool = Pool::new(1).unwrap();
    pool.apply_async(square, (1,)).unwrap().on_complete(|_| ());
    pool.apply(square, (2,)).unwrap();
    let threads = || -> Vec<String> {
        let entries = std::fs::read_dir("/proc/self/task").unwrap().flatten();
        let threads = entries.map(|entry| format!("self/task/{}", entry.file_name().to_string_lossy()));
        threads.filter(|thread| common::status(thread, "Name").starts_with("watertight-")).collect()
    };
    // A thread names itself, and blocks them, as the first things it does.
    common::until(|| !threads().is_empty());
    for thread in threads() {
        common::until(|| u64::from_str_radix(&common::status(&thread, "SigBlk"), 16).unwrap() & 1 << 14 != 0);
    }
}

#[watertight::test]
fn a_host_that_ignores_sigchld_is_served() {
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    check_a_pool();
    // Its workers' own children have a fresh start.
    let pool = Pool::new(1).unwrap();
    let code = || std::process::Command::new("false").status().unwrap().code();
    assert_eq!(pool.apply(code, ()).unwrap(), Some(1));
}

#[watertight::test]
fn a_host_that_reaps_every_child_is_served() {
    let pool = Pool::new(1).unwrap();
    let reaper = std::thread::spawn(|| {
        let mut reaped = 0;
        // Blocks until there is no child left.
        while unsafe { libc::waitpid(-1, std::ptr::null_mut(), 0) } > 0 {
            reaped += 1;
        }
        reaped
    });
    check_a_pool();
    drop(pool);
    assert!(reaper.join().unwrap() <= 1, "only the keeper is the host's child, and two wait for it");
    check_a_pool();
}

#[watertight::test]
fn a_host_with_blocked_signals_gives_its_workers_none() {
    let all = nix::sys::signal::SigSet::all();
    all.thread_block().unwrap();
    check_a_pool();
    let pool = Pool::new(1).unwrap();
    let blocked = || common::status("thread-self", "SigBlk");
    assert_eq!(pool.apply(blocked, ()).unwrap(), "0000000000000000");
}

#[watertight::test]
fn a_host_without_standard_streams_is_served() {
    let outcome = isolate(|| {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..3 {
            unsafe { libc::close(number) };
        }
        // From now on the numbers 0 to 2 are free for anybody.
        check_a_pool();
        let pool = Pool::new(1).unwrap();
        let print = |x: i32| {
            println!("a line {x}");
            eprintln!("a line {x}");
            let link = |number: i32| std::fs::read_link(format!("/proc/self/fd/{number}")).unwrap();
            (0..3).map(link).collect::<Vec<PathBuf>>()
        };
        let streams = pool.map(print, 0..50).unwrap();
        let streams: Vec<String> =
            streams[49].iter().map(|path| path.to_string_lossy().into_owned()).collect();
        assert_eq!(streams[0..2], ["/dev/null", "/dev/null"]);
        assert!(streams[2].starts_with("pipe:"), "{streams:?}");
        drop(pool);
        drop(folder);
    });
    assert_eq!(outcome.run().result, Ok(()));
}

#[watertight::test]
fn a_host_whose_stderr_nobody_reads_is_served() {
    let (reader, _own) = pipe_as_stderr();
    drop(reader);
    check_a_pool();
}

#[watertight::test]
fn a_host_without_environment_is_served() {
    for (name, _) in std::env::vars_os().collect::<Vec<_>>() {
        unsafe { std::env::remove_var(name) };
    }
    check_a_pool();
}

#[watertight::test]
fn a_temporary_folder_that_is_missing_unusable_or_deep_is_done_without() {
    let deep = tempfile::tempdir().unwrap();
    let deep_path = deep.path().join("a".repeat(100)).join("b".repeat(100));
    std::fs::create_dir_all(&deep_path).unwrap();
    let no_text = deep.path().join(OsStr::from_bytes(b"\xff"));
    std::fs::create_dir(&no_text).unwrap();
    for folder in
        ["/no/such/folder".into(), "/dev/null".into(), "/proc".into(), "".into(), deep_path, no_text]
    {
        let folder: PathBuf = folder;
        for variable in ["TMPDIR", "XDG_RUNTIME_DIR"] {
            unsafe { std::env::set_var(variable, &folder) };
        }
        let pool = Pool::builder().workers(1).grace(Duration::from_secs(3600)).start().unwrap();
        assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
        let tmpdir = || std::env::var_os("TMPDIR");
        assert_eq!(pool.apply(tmpdir, ()).unwrap(), Some(folder.into_os_string()));
        drop(pool);
        // `TMPDIR` is the host's own affair here.
        unsafe { std::env::remove_var("TMPDIR") };
        check_a_pool();
    }
}

#[watertight::test]
fn the_folder_of_sockets_is_gone_with_the_pool() {
    let base = tempfile::tempdir().unwrap();
    unsafe { std::env::set_var("XDG_RUNTIME_DIR", base.path()) };
    let pool = Pool::new(2).unwrap();
    pool.apply(square, (1,)).unwrap();
    let entries = || std::fs::read_dir(base.path()).unwrap().count();
    assert_eq!(entries(), 1);
    drop(pool);
    assert_eq!(entries(), 0);
    // Also if the keeper is killed, whose worker may have begun the next task before it dies too.
    let pool = Pool::builder().workers(1).attempts(2).start().unwrap();
    let keeper = pool.apply(std::os::unix::process::parent_id, ()).unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper as i32), nix::sys::signal::SIGKILL).unwrap();
    pool.apply(square, (1,)).unwrap();
    drop(pool);
    assert_eq!(entries(), 0);
}

#[watertight::test]
fn a_folder_of_sockets_that_somebody_removes_costs_nothing() {
    let base = tempfile::tempdir().unwrap();
    unsafe { std::env::set_var("XDG_RUNTIME_DIR", base.path()) };
    let entries = || std::fs::read_dir(base.path()).unwrap().flatten().map(|entry| entry.path());
    for method in [StartMethod::Fork, StartMethod::Exec] {
        let pool = Pool::builder().workers(1).start_method(method).max_tasks_per_worker(1).start().unwrap();
        let parent = std::os::unix::process::parent_id;
        let keeper = pool.apply(parent, ()).unwrap();
        // The keeper may be making the next channel in it.
        entries().for_each(|folder| until(|| std::fs::remove_dir_all(&folder).is_ok()));
        assert_eq!(pool.map(move |_: u32| parent(), 0..10).unwrap(), [keeper; 10]);
        assert_eq!(entries().count(), 1, "it was made again");
        drop(pool);
        assert_eq!(entries().count(), 0);
    }
}

#[watertight::test(timeout = "120s")]
fn too_few_descriptors_are_a_clear_error_and_the_host_goes_on() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let mut failures = Vec::new();
    // What a start of two frees is all that they need later; of three it is not.
    for (workers, spare) in [2, 3].into_iter().flat_map(|workers| (0..50).map(move |spare| (workers, spare)))
    {
        setrlimit(Resource::RLIMIT_NOFILE, open + spare, hard).unwrap();
        let result = Pool::new(workers).map_err(|error| error.to_string()).and_then(|pool| {
            pool.map(square, 0..10).map(drop).map_err(|error| match error.first().kind() {
                TaskErrorKind::NoWorker { message } => message.clone(),
                other => panic!("{spare}: {other:?}"),
            })
        });
        let process = Process::spawn(square, (5,)).map(|process| process.join().unwrap());
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        let process = process.map(drop).map_err(|error| error.to_string());
        for error in [result.err(), process.err()].into_iter().flatten() {
            assert!(error.contains("Too many open files"), "{spare}: {error}");
            failures.push(spare);
        }
    }
    assert!(failures.contains(&0) && !failures.contains(&49), "{failures:?}");
    check_a_pool();
}

#[watertight::test(timeout = "120s")]
fn a_descriptor_that_finds_no_number_costs_a_pool_one_worker_and_what_runs_goes_on() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let parent = std::os::unix::process::parent_id;
    for spare in 0..30 {
        let (gate, pool) = (Gate::new(), Pool::builder().workers(4).chunk_size(1).start().unwrap());
        let stop = |gate: PathBuf, x: i64| {
            stop_at(&gate);
            x
        };
        let keeper = pool.apply(parent, ()).unwrap();
        let runs = pool.apply_async(stop, (gate.path(), spare)).unwrap();
        let task = gate.wait_for_task();
        let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
        setrlimit(Resource::RLIMIT_NOFILE, open + spare as u64, hard).unwrap();
        let outcomes = pool.outcomes(|x: i32| if x < 3 { std::process::abort() } else { x }, 0..9);
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
        for error in outcomes.iter().take(3).map(|outcome| outcome.as_ref().unwrap_err()) {
            assert!(error.signal() == Some(Signal::SIGABRT) || is_shortage(error), "{spare}: {error}");
        }
        for error in outcomes.iter().skip(3).filter_map(|outcome| outcome.as_ref().err()) {
            assert!(is_shortage(error), "{spare}: {error}");
        }
        drop(task);
        assert_eq!(runs.get().unwrap(), spare);
        assert_eq!(pool.apply(parent, ()).unwrap(), keeper);
    }
}

/// Whether nobody could run it, for want of descriptors.
fn is_shortage(error: &watertight::TaskError) -> bool {
    match error.kind() {
        TaskErrorKind::NoWorker { message } => message.contains("Too many open files"),
        _ => false,
    }
}

/// What a pool and a process end with, if not well, under a limit that is set meanwhile.
fn failures_under(resource: Resource, limit: u64, reason: &str) -> usize {
    let (soft, hard) = getrlimit(resource).unwrap();
    setrlimit(resource, limit, hard).unwrap();
    let result = Pool::new(2).map_err(|error| error.to_string()).and_then(|pool| {
        pool.map(square, 0..10).map(drop).map_err(|error| match error.first().kind() {
            TaskErrorKind::NoWorker { message } => message.clone(),
            other => panic!("{limit}: {other:?}"),
        })
    });
    let process = Process::spawn(square, (5,)).map_err(|error| error.to_string());
    let process = process.and_then(|process| process.join().map_err(|error| error.to_string()));
    setrlimit(resource, soft, hard).unwrap();
    let errors = [result.err(), process.err()].into_iter().flatten();
    errors.inspect(|error| assert!(error.contains(reason), "{limit}: {error}")).count()
}

/// Makes this process that of a user who has no other ones. False if that cannot be: root alone may, and for root
/// the number of processes has no limit.
fn become_somebody_else() -> bool {
    nix::unistd::Uid::effective().is_root()
        && nix::unistd::setuid(nix::unistd::Uid::from_raw(1_000_000 + std::process::id())).is_ok()
        && nix::sys::prctl::set_dumpable(true).is_ok()
        && Pool::new(1).is_ok()
}

#[watertight::test(timeout = "240s")]
fn too_few_processes_are_a_clear_error_and_the_host_goes_on() {
    if !become_somebody_else() {
        return println!(
            "skipped: only root can become a user without processes, and only where others may run this test"
        );
    }
    let threads = std::fs::read_dir("/proc/self/task").unwrap().count() as u64;
    let failures: Vec<usize> = (0..12)
        .map(|spare| {
            failures_under(Resource::RLIMIT_NPROC, threads + spare, "Resource temporarily unavailable")
        })
        .collect();
    assert!(failures[0] == 2 && failures[11] == 0, "{failures:?}");
    check_a_pool();
}

#[watertight::test]
fn pools_may_be_made_by_many_threads_at_once() {
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..5 {
                    let pool = Pool::new(1).unwrap();
                    assert_eq!(pool.apply(square, (3,)).unwrap(), 9);
                }
            });
        }
    });
}

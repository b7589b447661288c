//! Pools among the programs.

use crate::Up;

#[test]
fn a_pool_takes_calls_until_it_is_stopped() {
    let mut up = Up::start("[pool.sums]\nsize = 1\n[program.nap]\ncommand = [\"sleep\", \"1000\"]\n");
    assert_eq!(up.run_when_up(&["wait", "sums", "--timeout", "20s"]).code, Some(0));
    let called = up.run(&["call", "sums", "factorial", "20"]);
    assert_eq!((called.code, called.stdout.as_str()), (Some(0), "\"2432902008176640000\"\n"), "{called:?}");
    assert_eq!(up.run(&["call", "sums", "greet", "3"]).stdout, "\"Hello, 3!\"\n", "a text is a text");
    let many = up.run(&["call", "sums", "square", "2", "3"]);
    assert_eq!(many.stderr, "watertight: the task takes 1 argument, and got 2\n");
    let crashed = up.run(&["call", "sums", "fault", "segv"]);
    assert_eq!(crashed.code, Some(1));
    assert!(crashed.stderr.contains("SIGSEGV"), "{crashed:?}");
    assert_eq!(up.run(&["call", "sums", "factorial", "5"]).stdout, "\"120\"\n");
    assert_eq!(up.run(&["stop", "sums"]).code, Some(0));
    assert_eq!(up.run(&["call", "sums", "factorial", "5"]).code, Some(1));
    assert_eq!(up.run(&["restart", "sums"]).code, Some(0));
    assert_eq!(up.run(&["wait", "sums", "--timeout", "20s"]).code, Some(0));
    assert_eq!(up.run(&["down"]).code, Some(0));
    assert_eq!(up.wait().0, Some(0));
}

#[test]
fn a_pool_that_cannot_start_workers_any_more_is_started_again_by_its_policy() {
    let mut up = Up::start_in(
        &["place"],
        "[supervisor]\nintensity = { restarts = 1000, period = \"60s\" }\n\
         [pool.sums]\nsize = 1\nfolder = \"@/place\"\nbackoff = { first = \"1ms\", cap = \"1ms\" }\n",
    );
    assert_eq!(up.run_when_up(&["wait", "sums", "--timeout", "20s"]).code, Some(0));
    std::fs::remove_dir(up.path("place")).unwrap();
    // Whoever takes its place finds no folder.
    assert_eq!(up.run(&["call", "sums", "fault", "segv"]).code, Some(1));
    let line = up.read_until("sums broke down");
    assert!(line.contains("No such file or directory"), "{line}");
    let death = &up.status("sums")["deaths"][0];
    assert_eq!(
        (&death["cause"], &death["code"]),
        (&"its workers do not start".into(), &serde_json::Value::Null)
    );
    std::fs::create_dir(up.path("place")).unwrap();
    crate::common::until(|| up.run(&["call", "sums", "factorial", "5"]).stdout == "\"120\"\n");
    assert!(up.status("sums")["restarts"].as_u64().unwrap() >= 1);
}

#[test]
fn a_temporary_pool_that_breaks_down_has_failed() {
    let mut up = Up::start_in(
        &[],
        "[pool.sums]\nsize = 2\nfolder = \"@/place\"\nrestart = \"temporary\"\n[program.nap]\ncommand = [\"sleep\", \"1000\"]\n",
    );
    up.read_until("sums broke down");
    assert_eq!(up.status("sums")["state"], "failed");
    assert_eq!(up.run(&["status"]).code, Some(1));
    assert_eq!(up.run(&["down"]).code, Some(0));
    assert_eq!(up.wait().0, Some(0));
}

#[test]
fn a_pool_does_not_mind_that_the_keeper_of_the_programs_was_killed() {
    let mut up = Up::start("[pool.sums]\nsize = 1\n[program.nap]\ncommand = [\"sleep\", \"1000\"]\n");
    assert_eq!(up.run_when_up(&["wait", "sums", "nap", "--timeout", "20s"]).code, Some(0));
    crate::common::until(|| up.status("sums")["workers"].is_array());
    let workers = up.status("sums")["workers"].clone();
    let keeper = crate::common::status(&up.pid("nap").to_string(), "PPid").parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper), nix::sys::signal::Signal::SIGKILL).unwrap();
    up.read_until("nap lost: the keeper died");
    assert_eq!(up.run(&["call", "sums", "factorial", "5"]).stdout, "\"120\"\n");
    let status = up.status("sums");
    assert_eq!((&status["workers"], &status["starts"]), (&workers, &1.into()), "{status}");
}

#[test]
fn what_workers_write_goes_where_the_file_says() {
    let mut up = Up::start("[pool.quiet]\nsize = 1\nlog = \"@/quiet.log\"\n[pool.loud]\nsize = 1\n");
    assert_eq!(up.run_when_up(&["wait", "quiet", "loud", "--timeout", "20s"]).code, Some(0));
    for pool in ["quiet", "loud"] {
        // The stock tasks print nothing; this one writes to the stderr of its worker.
        let called = up.run(&["call", pool, "run", "echo hello from $PPID > /proc/$PPID/fd/2"]);
        assert_eq!(called.code, Some(0), "{called:?}");
    }
    up.read_until("loud | hello from");
    let log = || std::fs::read_to_string(up.path("quiet.log")).unwrap_or_default();
    crate::common::until(|| log().contains("hello from"));
    assert!(up.run(&["logs", "quiet"]).stdout.contains("quiet | "));
    assert_eq!(up.run(&["down"]).code, Some(0));
    let (_, _, errors) = up.wait();
    assert_eq!(errors, "", "nothing goes past the logs");
}

//! Programs that do what programs should not do.

use crate::common::runs;
use crate::{Up, pid_in};

#[test]
fn who_ignores_the_request_to_stop_is_killed() {
    let mut up = Up::start(
        "[program.deaf]\nstop = [\"TERM\", \"50ms\", \"KILL\"]\n\
         command = [\"sh\", \"-c\", \"trap '' TERM; echo deaf; while :; do sleep 1; done\"]\n",
    );
    up.read_until("deaf | deaf");
    let pid = up.pid("deaf");
    assert_eq!(up.run(&["stop", "deaf"]).code, Some(0));
    assert!(!runs(pid));
    assert_eq!(up.status("deaf")["deaths"][0]["cause"], "this supervisor sent the signal");
}

#[test]
fn the_group_goes_with_a_leader_that_leaves_first() {
    let mut up = Up::start(
        "[program.leader]\nrestart = \"temporary\"\n\
         command = [\"sh\", \"-c\", \"(echo $$; exec sleep 1000) & echo $! > @/member; exit 3\"]\n",
    );
    up.read_until("leader exited with code 3");
    assert!(!runs(pid_in(&up.path("member"))));
}

#[test]
fn who_leaves_the_group_is_found_by_its_mark_before_a_restart() {
    let mut up = Up::start(
        "[program.daemon]\ncommand = [\"sh\", \"-c\", \"setsid sh -c 'echo $$ > @/away; exec sleep 1000' & \
         while ! [ -s @/away ]; do sleep 0.01; done; exit 1\"]\nrestart = \"temporary\"\n",
    );
    up.read_until("daemon exited with code 1");
    assert!(!runs(pid_in(&up.path("away"))));
    assert_eq!(up.status("daemon")["deaths"][0]["strays_killed"], 1);
}

#[test]
fn who_leaves_and_scrubs_its_mark_is_reported() {
    let mut up = Up::start(
        "[program.daemon]\ncommand = [\"sh\", \"-c\", \"setsid env -i sh -c 'echo $$ > @/away; exec sleep 1000' & \
         while ! [ -s @/away ]; do sleep 0.01; done; exit 1\"]\nrestart = \"temporary\"\n",
    );
    let line = up.read_until("may have left processes");
    let away = pid_in(&up.path("away"));
    assert!(line.contains(&away.to_string()), "{line}");
    assert_eq!(up.run(&["down"]).code, Some(0));
    up.wait();
    assert!(!runs(away), "with the supervisor it goes all the same");
}

#[test]
fn a_stopped_program_can_be_stopped() {
    let mut up = Up::start("[program.frozen]\ncommand = [\"sh\", \"-c\", \"echo here; kill -STOP $$\"]\n");
    up.read_until("frozen | here");
    assert_eq!(up.run(&["stop", "frozen"]).code, Some(0));
    assert_eq!(up.status("frozen")["state"], "stopped");
}

#[test]
fn a_flood_without_an_end_of_line_blocks_nobody() {
    let mut up = Up::start(
        "[program.flood]\ncommand = [\"sh\", \"-c\", \"exec tr '\\\\0' x < /dev/zero\"]\n\
         [program.nap]\ncommand = [\"sleep\", \"1000\"]\n",
    );
    up.read_until("xxx");
    assert_eq!(up.run(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    assert_eq!(up.run(&["stop", "flood"]).code, Some(0));
    let resident: u64 =
        crate::common::status(&up.child.id().to_string(), "VmRSS").trim_end_matches(" kB").parse().unwrap();
    assert!(resident < 64 * 1024, "{resident} KiB");
}

#[test]
fn a_program_that_is_not_there_fails_alone() {
    let mut up = Up::start(
        "[program.missing]\ncommand = [\"no-such-program\"]\nrestart = \"temporary\"\n\
         [program.lost]\ncommand = [\"true\"]\nfolder = \"no-such-folder\"\nrestart = \"temporary\"\n\
         [program.nap]\ncommand = [\"sleep\", \"1000\"]\n",
    );
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    up.read_until("No such file or directory");
    let status = up.run(&["status"]);
    assert_eq!(status.code, Some(1), "something that should run does not");
    assert_eq!(up.status("missing")["state"], "failed");
}

#[test]
fn who_closes_its_output_runs_on_and_its_successor_is_heard() {
    let mut up = Up::start(
        "[program.mute]\nbackoff = { first = \"1ms\" }\n\
         command = [\"sh\", \"-c\", \"echo hello; exec >&- 2>&-; echo $$ > @/mute; exec sleep 1000\"]\n",
    );
    up.read_until("mute | hello");
    let mute = pid_in(&up.path("mute"));
    assert_eq!(up.pid("mute"), mute);
    assert_eq!(up.run(&["signal", "KILL", "mute"]).code, Some(0));
    up.read_until("mute | hello");
    assert!(!runs(mute));
}

#[test]
fn who_crashes_while_it_is_stopped_has_stopped() {
    let mut up = Up::start(
        "[program.clumsy]\nlimits = { core = 0 }\n\
         command = [\"sh\", \"-c\", \"trap 'kill -SEGV $$' TERM; echo here; while :; do sleep 0.05; done\"]\n",
    );
    up.read_until("clumsy | here");
    assert_eq!(up.run(&["stop", "clumsy"]).code, Some(0));
    let status = up.status("clumsy");
    assert_eq!((&status["state"], &status["restarts"]), (&"stopped".into(), &0.into()), "{status}");
    assert_eq!(status["deaths"][0]["signal"], "SIGSEGV");
    assert_eq!(status["deaths"][0]["decision"], "stays down, as it was asked");
}

#[test]
fn a_full_disk_under_a_log_is_told_and_stops_nobody() {
    let mut up = Up::start(
        "[program.writer]\nlog = \"/dev/full\"\n\
         command = [\"sh\", \"-c\", \"while :; do echo lost; echo $$ >> @/rounds; sleep 0.01; done\"]\n",
    );
    let line = up.read_until("the log of writer cannot be written");
    assert!(line.contains("No space left on device"), "{line}");
    let rounds = || std::fs::read_to_string(up.path("rounds")).unwrap_or_default().lines().count();
    let before = rounds();
    crate::common::until(|| rounds() > before + 3);
    assert_eq!(up.run(&["status"]).code, Some(0));
    assert_eq!(up.run(&["down"]).code, Some(0));
    let (_, rest, _) = up.wait();
    assert!(!rest.contains("cannot be written"), "it is told once: {rest}");
}

#[test]
fn a_runtime_folder_that_others_can_enter_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let mut up = Up::start_in(&["watertight"], crate::NAP);
    let (code, _, errors) = up.wait();
    assert_eq!(code, Some(3), "{errors}");
    assert!(errors.contains("is not a private folder of this user"), "{errors}");
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(up.path("watertight"), private).unwrap();
    up.start_again();
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
}

#[test]
fn a_kill_from_outside_is_told_with_what_the_kernel_says_of_memory() {
    let up = Up::start(crate::NAP);
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    let count = || {
        let text = std::fs::read_to_string("/proc/vmstat").unwrap_or_default();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ").map(str::to_owned))
    };
    let before = count();
    let pid = nix::unistd::Pid::from_raw(up.pid("nap") as i32);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
    crate::common::until(|| up.status("nap")["restarts"] == 1);
    let status = up.status("nap");
    let cause = status["deaths"][0]["cause"].as_str().unwrap();
    assert!(cause.starts_with("unknown"), "{cause}");
    if before.is_some() && before == count() {
        assert!(cause.contains("the kernel killed nobody for want of memory meanwhile"), "{cause}");
    }
}

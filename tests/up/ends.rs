//! How a supervisor ends, and what is left then: nothing.

use crate::common::{runs, until};
use crate::{NAP, Up, pid_in};

#[test]
fn a_program_that_is_killed_is_started_again() {
    let mut up = Up::start(NAP);
    assert_eq!(up.run_when_up(&["wait", "nap", "--ready", "--timeout", "20s"]).code, Some(0));
    let first = up.pid("nap");
    assert_eq!(up.run(&["signal", "KILL", "nap"]).code, Some(0));
    up.read_until("nap killed by SIGKILL; started again after a wait");
    assert_eq!(up.run(&["wait", "nap", "--ready", "--timeout", "20s"]).code, Some(0));
    let status = up.status("nap");
    assert_ne!(status["pid"], first);
    assert_eq!((&status["restarts"], &status["deaths"][0]["signal"]), (&1.into(), &"SIGKILL".into()));
    assert!(!runs(first));
}

#[test]
fn stopped_by_a_signal_it_ends_programs_in_reverse_order() {
    let mut up = Up::start(
        "[program.base]\ncommand = [\"sh\", \"-c\", \"trap 'echo base ends; exit' TERM; echo up; while :; do sleep 0.05; done\"]\n\
         [program.top]\ndepends_on = [\"base\"]\n\
         command = [\"sh\", \"-c\", \"trap 'echo top ends; exit' TERM; echo ready; while :; do sleep 0.05; done\"]\n",
    );
    up.read_until("| ready");
    up.signal(libc::SIGTERM);
    let (code, rest, errors) = up.wait();
    assert_eq!((code, errors.as_str()), (Some(0), ""));
    let (base, top) = (rest.find("base ends").unwrap(), rest.find("top ends").unwrap());
    assert!(top < base, "{rest}");
}

#[test]
fn a_supervisor_that_is_killed_takes_everything_along() {
    let mut up = Up::start(
        "[program.family]\ncommand = [\"sh\", \"-c\", \"setsid sh -c 'echo $$ > @/away; exec sleep 1000' & \
         echo $$ > @/leader; sleep 1000\"]\n\
         [program.stopped]\ncommand = [\"sh\", \"-c\", \"echo $$ > @/stopped; kill -STOP $$\"]\n",
    );
    let pids = ["away", "leader", "stopped"].map(|name| pid_in(&up.path(name)));
    assert!(pids.into_iter().all(runs));
    up.signal(libc::SIGKILL);
    up.child.wait().unwrap();
    until(|| !pids.into_iter().any(runs));
}

#[test]
fn failing_too_often_is_a_loud_end() {
    let mut up = Up::start(
        "[supervisor]\nintensity = { restarts = 3, period = \"60s\" }\n\
         [program.bad]\ncommand = [\"false\"]\nbackoff = { first = \"1ms\" }\n\
         [program.nap]\ncommand = [\"sleep\", \"1000\"]\n",
    );
    let (code, _, errors) = up.wait();
    assert_eq!(code, Some(6), "{errors}");
    assert!(errors.contains("gave up: bad ended more than 3 times within 60s"), "{errors}");
}

#[test]
fn a_second_supervisor_of_a_configuration_says_who_runs() {
    let mut up = Up::start("[program.hello]\ncommand = [\"sh\", \"-c\", \"echo here; exec sleep 1000\"]\n");
    up.read_until("here");
    let second = up.run(&["up"]);
    assert_eq!(second.code, Some(5));
    assert!(second.stderr.contains(&format!("process {}", up.child.id())), "{}", second.stderr);
    assert_eq!(up.run(&["down"]).code, Some(0));
    assert_eq!(up.wait().0, Some(0));
    assert_eq!(up.run(&["status"]).code, Some(4));
}

#[test]
fn a_keeper_that_is_killed_takes_its_programs_along_and_they_start_again() {
    let mut up = Up::start(
        "[program.nap]\ncommand = [\"sh\", \"-c\", \"sleep 1000 & echo $! > @/member; echo here; sleep 1001\"]\n",
    );
    up.read_until("here");
    let (leader, member) = (up.pid("nap"), pid_in(&up.path("member")));
    let keeper = crate::common::status(&leader.to_string(), "PPid").parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper), nix::sys::signal::Signal::SIGKILL).unwrap();
    up.read_until("lost: the keeper died");
    until(|| !runs(leader) && !runs(member));
    up.read_until("here");
    assert_ne!(up.pid("nap"), leader);
}

#[test]
fn who_left_the_group_goes_too_when_the_keeper_was_killed() {
    let mut up = Up::start(
        "[program.daemon]\ncommand = [\"sh\", \"-c\", \"setsid sh -c 'echo $$ >> @/away; exec sleep 1000' & \
         while ! [ -s @/away ]; do sleep 0.01; done; echo here; sleep 1001\"]\n\
         [program.other]\ncommand = [\"sleep\", \"1002\"]\n",
    );
    up.read_until("here");
    let (leader, away) = (up.pid("daemon"), pid_in(&up.path("away")));
    let keeper = crate::common::status(&leader.to_string(), "PPid").parse().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(keeper), nix::sys::signal::Signal::SIGKILL).unwrap();
    up.read_until("daemon lost: the keeper died");
    assert!(!runs(away), "it ends before the next start");
    up.read_until("here");
    let death = &up.status("daemon")["deaths"][0];
    assert_eq!(death["strays_killed"], 1, "{death}");
}

#[test]
fn a_supervisor_that_was_killed_leaves_a_socket_that_the_next_one_replaces() {
    let mut up = Up::start(NAP);
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    let first = up.pid("nap");
    up.signal(libc::SIGKILL);
    up.child.wait().unwrap();
    let gone = up.run(&["status"]);
    assert_eq!(gone.code, Some(4), "{gone:?}");
    assert!(gone.stderr.contains("no supervisor runs"), "{}", gone.stderr);
    up.start_again();
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    assert_ne!(up.pid("nap"), first);
    until(|| !runs(first));
    assert_eq!(up.run(&["down"]).code, Some(0));
    assert_eq!(up.wait().0, Some(0));
}

#[test]
fn a_second_signal_ends_everything_at_once() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut up = Up::start(
            "[program.deaf]\nstop = [\"TERM\", \"1000s\", \"KILL\"]\n\
             command = [\"sh\", \"-c\", \"trap 'echo no' TERM; echo deaf; while :; do sleep 0.05; done\"]\n",
        );
        up.read_until("deaf | deaf");
        up.signal(signal);
        up.read_until("deaf | no");
        up.signal(signal);
        assert_eq!(up.wait().0, Some(0));
    }
}

#[test]
fn a_hangup_reads_the_file_again() {
    let mut up = Up::start(NAP);
    assert_eq!(up.run_when_up(&["wait", "nap", "--timeout", "20s"]).code, Some(0));
    let nap = up.pid("nap");
    crate::configure(up.folder.path(), &format!("{NAP}[program.more]\ncommand = [\"sleep\", \"1001\"]\n"));
    up.signal(libc::SIGHUP);
    up.read_until("the configuration was read again");
    assert_eq!(up.run(&["wait", "more", "--timeout", "20s"]).code, Some(0));
    assert_eq!(up.pid("nap"), nap);
    crate::configure(up.folder.path(), "[program.nap]\ncomand = [\"sleep\"]\n");
    up.signal(libc::SIGHUP);
    up.read_complaint("not read again");
    up.signal(libc::SIGTERM);
    let (code, _, errors) = up.wait();
    assert_eq!(code, Some(0));
    assert!(errors.contains("command"), "{errors}");
}

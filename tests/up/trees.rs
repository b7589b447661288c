//! Policies, as the real binary keeps them.

use crate::common::{runs, until};
use crate::{Up, pid_in};

fn wait(up: &Up, name: &str) {
    assert_eq!(up.run_when_up(&["wait", name, "--timeout", "20s"]).code, Some(0));
}

fn kill(up: &Up, name: &str) {
    assert_eq!(up.run(&["signal", "KILL", name]).code, Some(0));
}

const THREE: &str = "[program.first]\ncommand = [\"sleep\", \"1000\"]\n\
     [program.second]\ncommand = [\"sleep\", \"1001\"]\nbackoff = { first = \"1ms\" }\n\
     [program.third]\ncommand = [\"sleep\", \"1002\"]\n";

#[test]
fn a_strategy_takes_along_whom_it_says() {
    let table = [("one_for_one", [1, 2, 1]), ("one_for_all", [2, 2, 2]), ("rest_for_one", [1, 2, 2])];
    for (strategy, expected) in table {
        let up = Up::start(&format!("[supervisor]\nstrategy = \"{strategy}\"\n{THREE}"));
        ["first", "second", "third"].iter().for_each(|name| wait(&up, name));
        kill(&up, "second");
        until(|| up.status("second")["starts"] == 2);
        ["first", "second", "third"].iter().for_each(|name| wait(&up, name));
        let starts = ["first", "second", "third"].map(|name| up.status(name)["starts"].as_u64().unwrap());
        assert_eq!(starts, expected, "{strategy}");
    }
}

#[test]
fn a_rolling_restart_goes_on_only_when_the_new_copy_is_ready() {
    let mut up = Up::start(
        "[program.web]\nreplicas = 3\nready = { line = \"ready\" }\n\
         command = [\"sh\", \"-c\", \"echo $WATERTIGHT_REPLICA >> @/starts; \
         while [ -e @/hold ]; do sleep 0.01; done; echo ready; exec sleep 1000\"]\n",
    );
    wait(&up, "web");
    let copies = ["web", "web.2", "web.3"];
    let pids = copies.map(|copy| up.pid(copy));
    std::fs::write(up.path("hold"), "").unwrap();
    assert_eq!(up.run(&["restart", "--rolling", "web"]).code, Some(0), "it does not wait for the end");
    let starts = || std::fs::read_to_string(up.path("starts")).unwrap();
    until(|| starts().lines().count() == 4);
    assert_eq!(up.status("web")["state"], "starting");
    assert!(!runs(pids[0]) && runs(pids[1]) && runs(pids[2]), "the others wait for it");
    std::fs::remove_file(up.path("hold")).unwrap();
    until(|| copies.iter().all(|copy| up.status(copy)["starts"] == 2));
    wait(&up, "web");
    assert_eq!(starts().lines().skip(3).collect::<Vec<_>>(), ["1", "2", "3"]);
    assert!(copies.iter().all(|copy| up.status(copy)["restarts"] == 0), "a person asked for it");
    assert_eq!(up.run(&["down"]).code, Some(0));
    assert_eq!(up.wait().0, Some(0));
}

#[test]
fn the_tree_ends_when_its_significant_children_have() {
    let job = |name: &str| {
        format!(
            "[program.{name}]\nrestart = \"transient\"\nsignificant = true\n\
             command = [\"sh\", \"-c\", \"while ! [ -e @/{name} ]; do sleep 0.01; done\"]\n"
        )
    };
    for (rule, jobs) in [("any_significant", 1), ("all_significant", 2)] {
        let all = [job("one"), job("two")].concat();
        let mut up = Up::start(&format!("[supervisor]\nauto_shutdown = \"{rule}\"\n{all}{}", crate::NAP));
        wait(&up, "nap");
        std::fs::write(up.path("one"), "").unwrap();
        if jobs == 2 {
            assert_eq!(up.run(&["wait", "--stopped", "one", "--timeout", "20s"]).code, Some(0));
            assert_eq!(up.status("nap")["state"], "running", "the other one works");
            std::fs::write(up.path("two"), "").unwrap();
        }
        let (code, _, errors) = up.wait();
        assert_eq!((code, errors.as_str()), (Some(0), ""), "{rule}");
    }
}

#[test]
fn a_group_in_a_group_gives_up_alone() {
    let mut up = Up::start(
        "[group.outer]\nchildren = [\"inner\", \"beside\"]\n\
         [group.inner]\nchildren = [\"bad\", \"mate\"]\nrestart = \"temporary\"\nintensity = { restarts = 2, period = \"60s\" }\n\
         [program.bad]\ncommand = [\"sh\", \"-c\", \"echo run >> @/runs; exit 1\"]\nbackoff = { first = \"1ms\" }\n\
         [program.mate]\ncommand = [\"sleep\", \"1000\"]\n[program.beside]\ncommand = [\"sleep\", \"1001\"]\n\
         [program.away]\ncommand = [\"sleep\", \"1002\"]\n",
    );
    up.read_until("group inner: bad ended more than 2 times");
    assert_eq!(up.run(&["wait", "--stopped", "inner", "--timeout", "20s"]).code, Some(0));
    let runs = std::fs::read_to_string(up.path("runs")).unwrap().lines().count();
    assert_eq!(runs, 3, "two restarts, and no more");
    let states = ["bad", "mate", "beside", "away"].map(|name| up.status(name)["state"].clone());
    assert_eq!(states, ["failed", "stopped", "running", "running"]);
    assert_eq!(up.run(&["status"]).code, Some(1), "something that should run does not");
}

#[test]
fn who_gives_no_sign_of_life_is_killed_and_started_again() {
    let mut up = Up::start(
        "[program.hung]\nready = \"notify\"\nwatchdog = \"100ms\"\nbackoff = { first = \"1ms\" }\n\
         command = [\"python3\", \"-c\", \"\"\"\nimport os, socket, time\n\
         first = not os.path.exists('@/first')\nopen('@/first', 'a').write(str(os.getpid()))\n\
         notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         tell = lambda word: notify.sendto(word, '\\\\0' + os.environ['NOTIFY_SOCKET'][1:])\n\
         tell(b'READY=1')\nif first: time.sleep(1000)\ntell(b'WATCHDOG=1')\nopen('@/second', 'w').write(str(os.getpid()))\ntime.sleep(1000)\n\"\"\"]\n",
    );
    up.read_until("hung gave no sign of life");
    let second = pid_in(&up.path("second"));
    let status = up.status("hung");
    let deaths = status["deaths"].as_array().unwrap();
    assert_ne!(deaths.last().unwrap()["pid"], second, "{status}");
    assert_eq!(deaths.last().unwrap()["cause"], "this supervisor sent the signal");
}

#[test]
fn a_failure_is_followed_by_longer_and_longer_waits() {
    let mut up = Up::start(
        "[supervisor]\nintensity = { restarts = 3, period = \"60s\" }\n\
         [program.bad]\ncommand = [\"false\"]\nbackoff = { first = \"10ms\", factor = 3, jitter = 0 }\n",
    );
    let waits = [10, 30, 90].map(|wait| up.read_until(&format!("started again after a wait of {wait} ms")));
    assert!(waits.iter().all(|line| line.contains("bad exited with code 1")), "{waits:?}");
    assert_eq!(up.wait().0, Some(6));
}

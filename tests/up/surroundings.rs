//! What a program is given: its user, its limits, its surroundings.

use nix::sys::resource::{Resource, getrlimit};

use crate::Up;

/// What a program printed, up to the line with `end` in it.
fn printed(up: &mut Up, name: &str) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let line = up.read_until(&format!("{name} | "));
        let text = line.trim_end().split_once("| ").unwrap().1.to_owned();
        if text == "end" {
            return lines;
        }
        lines.push(text);
    }
}

#[watertight::test]
fn a_program_has_the_limits_that_the_file_says() {
    let mut up = Up::start(
        "[program.limited]\nlimits = { memory = \"64MiB\", cpu_time = \"7s\", open_files = 77, core = 0 }\n\
         command = [\"bash\", \"-c\", \"ulimit -d; ulimit -t; ulimit -n; ulimit -c; echo end; exec sleep 1000\"]\n",
    );
    assert_eq!(printed(&mut up, "limited"), ["65536", "7", "77", "0"]);
}

#[watertight::test]
fn a_program_without_limits_has_those_of_the_supervisor_before_it_raised_its_own() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let mut up = Up::start(
        "[program.free]\ncommand = [\"bash\", \"-c\", \"ulimit -Sn; ulimit -Hn; echo end; exec sleep 1000\"]\n",
    );
    assert_eq!(printed(&mut up, "free"), [soft.to_string(), hard.to_string()]);
    let own = std::fs::read_to_string(format!("/proc/{}/limits", up.child.id())).unwrap();
    let line = own.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(line.split_whitespace().nth(3).unwrap(), hard.to_string(), "its own is raised");
}

#[watertight::test]
fn who_uses_up_its_processor_time_is_told_to_have_done_so() {
    let mut up = Up::start(
        "[program.busy]\nlimits = { cpu_time = \"1s\", core = 0 }\nrestart = \"temporary\"\n\
         command = [\"sh\", \"-c\", \"while :; do :; done\"]\n",
    );
    up.read_until("busy killed by SIGXCPU");
    let death = &up.status("busy")["deaths"][0];
    assert_eq!(
        (&death["signal"], &death["cause"]),
        (&"SIGXCPU".into(), &"it used up its processor time".into())
    );
    assert!(death["cpu_ms"].as_u64().unwrap() > 0, "{death}");
}

#[watertight::test]
fn who_wants_more_memory_than_its_limit_does_not_get_it() {
    let mut up = Up::start(
        "[program.greedy]\nlimits = { memory = \"64MiB\" }\nrestart = \"temporary\"\n\
         command = [\"python3\", \"-c\", \"b'x' * (256 << 20)\"]\n",
    );
    up.read_until("greedy exited with code 1");
    let status = up.status("greedy");
    assert!(status["stderr"].to_string().contains("MemoryError"), "{status}");
    assert!(status["deaths"][0]["max_rss"].as_u64().unwrap() < 64 << 20, "{status}");
}

#[watertight::test]
fn a_program_runs_as_the_user_that_the_file_says() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can start programs of other users");
        return;
    }
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let mut up = Up::start("[program.none]\nuser = \"no-such-user\"\ncommand = [\"true\"]\n");
    let (code, _, errors) = up.wait();
    assert_eq!(code, Some(2));
    assert!(errors.contains("2:8: there is no user `no-such-user`"), "{errors}");
    let mut up = Up::start(
        "[program.other]\nuser = \"nobody\"\nfolder = \"/\"\n\
         command = [\"sh\", \"-c\", \"id -u; id -g; id -G; echo end; exec sleep 1000\"]\n",
    );
    let (uid, gid) = (nobody.uid.to_string(), nobody.gid.to_string());
    assert_eq!(printed(&mut up, "other"), [uid, gid.clone(), gid]);
    assert_eq!(up.run_when_up(&["stop", "other"]).code, Some(0), "it can be stopped all the same");
}

#[watertight::test]
fn a_program_has_the_environment_and_the_folder_that_the_file_says() {
    let mut up = Up::start_in(
        &["place"],
        "[program.copy]\nreplicas = 2\nfolder = \"@/place\"\nenvironment = { COLOUR = \"blue\" }\n\
         command = [\"sh\", \"-c\", \"pwd; echo $COLOUR $WATERTIGHT_NAME; echo end; exec sleep 1000\"]\n\
         [program.bare]\ninherit_environment = false\n\
         command = [\"/bin/sh\", \"-c\", \"echo ${HOME:-none}; echo end; exec /bin/sleep 1000\"]\n",
    );
    let place = up.path("place").canonicalize().unwrap().display().to_string();
    assert_eq!(printed(&mut up, "copy.2"), [place, "blue copy".to_owned()]);
    let mut up = Up::start(
        "[program.bare]\ninherit_environment = false\n\
         command = [\"/bin/sh\", \"-c\", \"echo ${HOME:-none}; echo end; exec /bin/sleep 1000\"]\n",
    );
    assert_eq!(printed(&mut up, "bare"), ["none"]);
}

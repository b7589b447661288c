//! Who supervises: Watertight, or supervisord.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::scene::Scene;

pub(crate) enum Side {
    Watertight,
    Supervisord(PathBuf),
}

/// What is supervised.
pub(crate) struct Tree {
    pub(crate) command: [String; 3],
    pub(crate) copies: usize,
    /// Its output goes to a file that is put aside at 64 MiB; else nowhere.
    pub(crate) logged: bool,
    /// It is started again, whenever it ends.
    pub(crate) permanent: bool,
}

/// A supervisor at work; dropped, it and its programs are gone.
pub(crate) struct Supervisor(Child);

/// Where supervisord is.
pub(crate) fn supervisord() -> Option<PathBuf> {
    let named = std::env::var_os("SUPERVISORD").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = named.into_iter().chain(std::env::split_paths(&path).map(|at| at.join("supervisord")));
    places.find(|place| place.is_file())
}

impl Side {
    pub(crate) fn start(&self, scene: &Scene, tree: &Tree) -> Supervisor {
        let folder = scene.path("");
        let mut command = match self {
            Side::Watertight => {
                fs::write(scene.path("watertight.toml"), tree.for_watertight(scene)).unwrap();
                let mut command = Command::new(env!("CARGO_BIN_EXE_watertight"));
                command.arg("up").env("XDG_RUNTIME_DIR", &folder);
                command
            }
            Side::Supervisord(path) => {
                fs::write(scene.path("supervisord.conf"), tree.for_supervisord(scene)).unwrap();
                let mut command = Command::new(path);
                command.arg("-n").arg("-c").arg(scene.path("supervisord.conf"));
                command
            }
        };
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(scene.path("errors")).unwrap());
        Supervisor(command.spawn().unwrap())
    }
}

impl Tree {
    fn for_watertight(&self, scene: &Scene) -> String {
        let log = match self.logged {
            true => format!("{{ file = {:?}, max_size = \"64MiB\", copies = 50 }}", scene.path("log")),
            false => "\"/dev/null\"".to_owned(),
        };
        let restart = if self.permanent { "permanent" } else { "temporary" };
        format!(
            "[supervisor]\nintensity = {{ restarts = 1000000, period = \"1s\" }}\n[program.it]\ncommand = {:?}\n\
             replicas = {}\nlog = {log}\nrestart = \"{restart}\"\nbackoff = {{ first = \"0s\" }}\nstop = [\"KILL\"]\n",
            self.command, self.copies
        )
    }

    fn for_supervisord(&self, scene: &Scene) -> String {
        let log = match self.logged {
            true => {
                format!(
                    "{}\nstdout_logfile_maxbytes=64MB\nstdout_logfile_backups=50",
                    scene.path("log").display()
                )
            }
            false => "NONE".to_owned(),
        };
        let [shell, dash_c, script] = &self.command;
        format!(
            "[supervisord]\nlogfile={0}/supervisord.log\npidfile={0}/pid\nminfds=4096\n[program:it]\n\
             command={shell} {dash_c} \"{script}\"\nprocess_name=%(process_num)d\nnumprocs={1}\nstartsecs=0\n\
             autorestart={2}\nstopsignal=KILL\nstdout_logfile={log}\nstderr_logfile=NONE\n",
            scene.path("").display(),
            self.copies,
            self.permanent
        )
    }
}

impl Supervisor {
    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.0), Signal::TERM);
        let _ = self.0.wait();
    }
}

/// The log's bytes, in all its files.
pub(crate) fn logged(folder: &Path) -> u64 {
    let files = fs::read_dir(folder).unwrap().flatten();
    let logs = files.filter(|file| file.file_name().to_string_lossy().starts_with("log"));
    logs.map(|file| file.metadata().unwrap().len()).sum()
}

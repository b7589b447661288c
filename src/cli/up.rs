//! `watertight up` and `watertight validate`.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::Signals;

use crate::supervisor::config;
use crate::supervisor::control::Place;
use crate::supervisor::control::protocol::Request;
use crate::supervisor::specification::Specification;
use crate::supervisor::{Remote, Supervisor, SupervisorEnd};
use crate::sys::signal::Signal;
use crate::sys::{child, exit};

use super::supervision::{UpArguments, ValidateArguments};
use super::{Exit, Failure, printer, verbs};

pub(super) fn run(arguments: &UpArguments) -> Result<Exit, Failure> {
    let specification = read(&arguments.file).map_err(|text| Failure::new(Exit::Usage, text))?;
    let failed = |error: std::io::Error| Failure::new(Exit::NoWorkers, error.to_string());
    let place = Place::of(&arguments.file).map_err(failed)?;
    let _held = match place.occupy().map_err(failed)? {
        Ok(lock) => lock,
        Err(occupied) => return Err(Failure::new(Exit::Occupied, occupied.to_string())),
    };
    // Whoever loses its parent comes to us, also where this is process 1 or the keeper was killed.
    child::adopt_orphans();
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGCHLD, SIGUSR1, SIGUSR2]).map_err(failed)?;
    let file = fs::canonicalize(&arguments.file).map_err(failed)?;
    let mut builder = Supervisor::builder(specification).listen(place).on_terminal();
    builder = builder.reload(Box::new(move || read(&file)));
    if let Some(limits) = raise_open_files() {
        builder = builder.open_files(limits);
    }
    let supervisor = builder.start()?;
    let handle = signals.handle();
    let remote = supervisor.remote();
    let watcher = thread::spawn(move || watch(signals, &remote));
    let end = supervisor.wait();
    handle.close();
    let _ = watcher.join();
    match end {
        SupervisorEnd::GaveUp(reason) => Err(Failure::new(Exit::GaveUp, format!("gave up: {reason}"))),
        SupervisorEnd::Asked | SupervisorEnd::AutoShutdown => Ok(Exit::Success),
    }
}

fn watch(mut signals: Signals, remote: &Remote) {
    let mut stopping = false;
    for signal in signals.forever() {
        match signal {
            SIGCHLD => reap_orphans(),
            SIGHUP => reload(remote),
            SIGUSR1 => pass_on(remote, Signal::SIGUSR1),
            SIGUSR2 => pass_on(remote, Signal::SIGUSR2),
            _ => {
                let _ = remote.send(Request::Down { now: stopping });
                stopping = true;
            }
        }
    }
}

/// What means nothing to the supervisor is for the programs.
fn pass_on(remote: &Remote, signal: Signal) {
    let _ = remote.send(Request::Signal { signal: signal.to_string(), names: Vec::new() });
}

fn reload(remote: &Remote) {
    if let Err(error) = remote.ask(Request::Reload) {
        printer::complain(&format!("not read again: {error}"));
    }
}

/// The keeper may be among them: its end is seen by its descriptor, so nobody misses its status.
fn reap_orphans() {
    while let Some(pid) = exit::ended_child() {
        if exit::reap(pid).is_err() {
            return;
        }
    }
}

/// A supervisor of many programs holds many descriptors. Gives the limits back that programs are to have.
fn raise_open_files() -> Option<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    Some((soft, hard))
}

fn read(file: &Path) -> Result<Specification, String> {
    let text =
        fs::read_to_string(file).map_err(|error| format!("cannot read {}: {error}", file.display()))?;
    let absolute = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let base = absolute.parent().map(PathBuf::from).unwrap_or_default();
    config::parse(&text, &file.display().to_string(), &base).map_err(|report| report.to_string())
}

pub(super) fn validate(arguments: &ValidateArguments) -> Result<Exit, Failure> {
    let file = &arguments.file;
    let text = fs::read_to_string(file)
        .map_err(|error| Failure::new(Exit::Usage, format!("cannot read {}: {error}", file.display())))?;
    let base = file.parent().unwrap_or(Path::new("."));
    match config::parse(&text, &file.display().to_string(), base) {
        Ok(all) => {
            let (programs, pools, groups) = (all.programs.len(), all.pools.len(), all.groups.len());
            if !arguments.json {
                verbs::print(&format!("{programs} programs, {pools} pools, {groups} groups"))?;
            }
            Ok(Exit::Success)
        }
        Err(report) if arguments.json => {
            for mistake in report.mistakes() {
                let (line, column, text) = (mistake.line, mistake.column, &mistake.text);
                verbs::print(
                    &serde_json::json!({ "line": line, "column": column, "text": text }).to_string(),
                )?;
            }
            Ok(Exit::Usage)
        }
        Err(report) => Err(Failure::new(Exit::Usage, report.to_string())),
    }
}

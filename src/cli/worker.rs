//! Which executable works.

use std::env;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::arguments::WorkerArguments;
use super::{Exit, Failure};

/// The stock worker.
const STOCK: &str = "watertight-worker";

impl WorkerArguments {
    /// The path that was given, or the stock worker's.
    pub(super) fn path(&self) -> Result<PathBuf, Failure> {
        match &self.worker {
            Some(path) => Ok(path.clone()),
            None => stock(),
        }
    }
}

fn stock() -> Result<PathBuf, Failure> {
    let own = env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let search = env::var_os("PATH").unwrap_or_default();
    // An empty entry of PATH means this folder, which nobody meant to trust.
    let on_path: Vec<PathBuf> = env::split_paths(&search).filter(|folder| folder.is_absolute()).collect();
    let folders = beside.iter().chain(&on_path);
    folders.map(|folder| folder.join(STOCK)).find(|path| is_executable(path)).ok_or_else(|| {
        let place = beside.as_deref().unwrap_or(Path::new("this program")).display();
        let text = format!("there is no `{STOCK}` in {place} or on PATH; name a worker with --worker");
        Failure::new(Exit::NoWorkers, text)
    })
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

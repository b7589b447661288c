//! The structure that `docs/architecture.md` promises: layers that look upward only, and `unsafe` in few files.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};

/// From top to bottom. A module uses its own layer and those before it.
const LAYERS: [&str; 12] = [
    "sys",
    "shm",
    "roster",
    "sync",
    "task",
    "link",
    "keeper",
    "process",
    "runtime",
    "pool",
    "supervisor",
    "cli",
];

/// Modules that every layer may use: the words of the protocols, and the crate's error.
const COMMON: [&str; 2] = ["primitive", "error"];

/// The files that may say `unsafe`.
const UNSAFE: [&str; 3] = ["src/sys/", "src/sync/guard.rs", "src/task/identity.rs"];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<PathBuf>, Vec<PathBuf>) = entries.partition(|path| path.is_dir());
    let files = files.into_iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files.chain(folders.iter().flat_map(|folder| sources(folder))).collect()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Code without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The modules of the crate that a file names, `crate::` and all.
fn used_modules(code: &str) -> Vec<String> {
    // `$crate::` stands in macros, and speaks of whoever uses them.
    let code = code.replace("$crate::", "");
    let names = code.split("crate::").skip(1);
    let names = names.map(|rest| rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect());
    names.filter(|name: &String| !name.is_empty()).collect()
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| *layer == name)
}

#[test]
fn a_module_uses_only_what_stands_above_it() {
    for (own, name) in LAYERS.iter().enumerate() {
        for path in sources(&root().join("src").join(name)) {
            for used in used_modules(&code(&path)) {
                let allowed = layer(&used).is_none_or(|other| other <= own);
                assert!(allowed, "{} uses {used}, which stands below {name}", path.display());
                let known = layer(&used).is_some() || COMMON.contains(&used.as_str());
                assert!(known, "{} uses {used}, which no layer is", path.display());
            }
        }
    }
}

#[test]
fn every_folder_of_the_library_is_a_layer() {
    for entry in
        fs::read_dir(root().join("src")).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir())
    {
        let name = entry.file_name().into_string().unwrap();
        assert!(layer(&name).is_some(), "src/{name} is no layer");
    }
}

#[test]
fn unsafe_code_stands_in_the_listed_files_alone() {
    for path in sources(&root().join("src")) {
        let relative = path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        let listed = UNSAFE.iter().any(|place| relative.starts_with(place));
        let words = code(&path);
        let is_unsafe =
            ["unsafe {", "unsafe fn", "unsafe impl", "unsafe extern"].iter().any(|word| words.contains(word));
        assert!(listed || !is_unsafe, "{relative} says unsafe");
    }
}

#[test]
fn the_machine_of_the_pool_is_pure() {
    for path in sources(&root().join("src/pool/machine")) {
        if path.strip_prefix(root()).unwrap().to_str().unwrap().contains("/test") {
            continue;
        }
        let words = code(&path);
        for word in ["Instant::now", "std::thread", "Mutex", "crate::sys", "crate::link", "crate::keeper"] {
            assert!(!words.contains(word), "{} says {word}", path.display());
        }
    }
}

#[test]
fn no_wall_clock_decides_anything() {
    // A record says when a task began, for people to read.
    let told = root().join("src/cli/record.rs");
    let shipped = ["src", "worker/src", "macros/src"].map(|folder| sources(&root().join(folder)));
    for path in shipped.into_iter().flatten().filter(|path| *path != told) {
        let code = code(&path);
        for clock in ["SystemTime", "CLOCK_REALTIME", "gettimeofday", "timedlock", "sem_timedwait"] {
            assert!(!code.contains(clock), "{} uses {clock}, which steps", path.display());
        }
    }
}

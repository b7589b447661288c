//! Strange places to run in: closed streams, no environment, no temporary folder, no shared memory, too few
//! descriptors.

use std::fs;
use std::path::Path;

use super::{shell, watertight};

#[watertight::test]
fn closed_streams_are_survived() {
    let here = Path::new("/");
    assert_eq!(shell("\"$W\" map square 3 <&-", here).lines(), ["9"]);
    assert_eq!(shell("\"$W\" map square <&-", here).code, Some(0));
    assert_eq!(shell("\"$W\" map square 3 2>&-", here).lines(), ["9"]);
    let closed = shell("\"$W\" map fault none segv >&-", here);
    assert!(matches!(closed.code, Some(0 | 1)), "{closed:?}");
    assert_eq!(shell("\"$W\" map square 3 <&- 2>&-", here).lines(), ["9"]);
}

#[watertight::test]
fn an_empty_environment_is_enough() {
    let output = watertight(&["map", "square", "3"]).env_clear().output().unwrap();
    assert_eq!(super::Run::of(output).lines(), ["9"]);
}

#[watertight::test]
fn a_temporary_folder_that_is_of_no_use_is_not_needed() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(120));
    fs::create_dir(&long).unwrap();
    for place in [Path::new("/missing"), Path::new("/proc"), &long] {
        let output = watertight(&["map", "square", "3"]).env("TMPDIR", place).output().unwrap();
        assert_eq!(super::Run::of(output).lines(), ["9"], "{}", place.display());
    }
}

#[watertight::test]
fn a_dev_shm_that_is_of_no_use_is_not_needed() {
    let here = Path::new("/");
    let Some(0) = shell("unshare --map-root-user --mount true", here).code else {
        return println!("SKIPPED: this machine gives no mount namespace");
    };
    for options in ["size=64k", "size=4k,nr_inodes=1", "ro"] {
        let mount = format!("mount -t tmpfs -o {options} tmpfs /dev/shm && exec \"$W\" map square 1 2 3");
        let run = shell(&format!("exec unshare --map-root-user --mount sh -c '{mount}'"), here);
        assert_eq!(run.lines(), ["1", "4", "9"], "{options}: {}", run.stderr);
    }
}

#[watertight::test]
fn a_folder_that_is_gone_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let run = shell("mkdir gone && cd gone && rmdir ../gone && \"$W\" map square 3", folder.path());
    assert_eq!(run.lines(), ["9"], "{}", run.stderr);
}

#[watertight::test]
fn too_few_descriptors_are_a_clear_error() {
    let run = shell("ulimit -n 8; \"$W\" map -j4 square 3", Path::new("/"));
    assert!(matches!(run.code, Some(1 | 3)), "{run:?}");
    assert!(run.stderr.contains("Too many open files"), "{}", run.stderr);
    let enough = shell("ulimit -n 64; \"$W\" map -j2 square 3", Path::new("/"));
    assert_eq!(enough.lines(), ["9"], "{}", enough.stderr);
}

#[watertight::test]
fn what_tasks_print_does_not_get_between_the_results() {
    let here = Path::new("/");
    let run = shell("\"$W\" map --attempts 1 fault panic none 2>/dev/null", here);
    assert_eq!((run.lines(), run.code), (vec!["unharmed"], Some(1)));
}

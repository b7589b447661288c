//! Names, their locks, and what is left of either.

use super::*;

/// None that a keeper's sweep takes for one of ours.
fn name(test: &str) -> String {
    format!("test-of-watertight-{}-{test}", std::process::id())
}

fn exists(name: &str) -> bool {
    path(name).exists()
}

#[test]
fn a_name_goes_with_its_last_user() {
    let name = name("last");
    let one = Named::create(&name, 8192).unwrap();
    let other = Named::open(&name).unwrap();
    one.words()[7].store(9, Ordering::Relaxed);
    assert_eq!(other.half_word(56).load(Ordering::Relaxed), 9);
    drop(one);
    assert!(exists(&name));
    drop(other);
    assert!(!exists(&name));
}

#[test]
fn a_name_is_made_once() {
    let name = name("once");
    let first = Named::create(&name, 4096).unwrap();
    let again = Named::create(&name, 4096).map(drop).unwrap_err();
    assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
    drop(first);
    assert_eq!(Named::open(&name).map(drop).unwrap_err().kind(), io::ErrorKind::NotFound);
}

#[test]
fn the_last_user_frees_the_memory_that_a_resting_one_has_mapped() {
    let name = name("resting");
    let blocks = |named: &Named| named.lock.metadata().unwrap().blocks();
    let (one, other) = (Named::create(&name, 1 << 20).unwrap(), Named::open(&name).unwrap());
    one.words()[0].store(1, Ordering::Relaxed);
    assert!(other.rest());
    assert!(other.wake().is_ok() && other.rest() && !other.has_ended());
    assert_eq!(blocks(&other) * 512, 1 << 20);
    drop(one);
    assert!(!exists(&name) && other.has_ended() && other.wake().is_err());
    assert_eq!(blocks(&other) * 512, REMAINS as u64);
}

#[test]
fn a_forked_copy_that_is_dropped_takes_nothing_from_its_parent() {
    let name = name("forked");
    let mut copy = Named::create(&name, 8192).unwrap();
    let parents = copy.lock.try_clone().unwrap();
    copy.words()[0].store(1, Ordering::Relaxed);
    copy.pid += 1;
    drop(copy);
    assert_eq!(sweep(&name, |_| false), 0, "{parents:?} holds the lock");
    assert_eq!(Named::open(&name).unwrap().words()[0].load(Ordering::Relaxed), 1);
    fs::remove_file(path(&name)).unwrap();
}

#[test]
fn more_than_there_is_is_an_error_and_leaves_no_name() {
    let name = name("full");
    assert!(Named::create(&name, 1 << 46).is_err());
    assert!(!exists(&name));
}

#[test]
fn bytes_are_copied_from_and_to_any_place() {
    let named = Named::create(&name("bytes"), 4096).unwrap();
    for (offset, length) in [(0, 64), (1, 3), (5, 20), (7, 1), (8, 16), (15, 2), (3, 0)] {
        let bytes: Vec<u8> = (1..=length).collect();
        named.write(offset, &bytes);
        let mut back = vec![0; bytes.len() + 2];
        named.read(offset, &mut back[1..=bytes.len()]);
        assert_eq!(back[1..=bytes.len()], bytes);
    }
}

#[test]
fn a_stranger_who_looks_at_a_name_keeps_nobody_from_taking_it_away() {
    let left = name("looked-at");
    fs::write(path(&left), b"left").unwrap();
    let stranger = |_: &File| {
        sweep(&left, |_| false);
        true
    };
    assert_eq!(sweep(&left, stranger), 0);
    assert!(!exists(&left));
}

#[test]
fn the_sweep_takes_no_name_that_has_been_made_anew_meanwhile() {
    let name = name("anew");
    let old = Named::create(&name, 4096).unwrap();
    let (old, new) = (std::cell::Cell::new(Some(old)), std::cell::OnceCell::new());
    let come_between = |_: &File| {
        drop(old.take());
        new.get_or_init(|| Named::create(&name, 4096).unwrap());
        false
    };
    assert_eq!(sweep(&name, come_between), 0);
    assert!(new.get().unwrap().is_linked());
}

#[test]
fn the_sweep_takes_what_nobody_uses() {
    let (used, left) = (name("sweep-used"), name("sweep-left"));
    let _used = Named::create(&used, 4096).unwrap();
    fs::write(path(&left), b"left").unwrap();
    sweep(&name("sweep-"), |_| true);
    assert!(exists(&left));
    sweep(&name("sweep-"), |_| false);
    assert!(exists(&used) && !exists(&left));
}

#[test]
fn a_path_that_is_a_named_pipe_holds_up_nobody() {
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let pipe = folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(!is_locked(&pipe));
}

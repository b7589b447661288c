//! Bare forks: what the kernel charges for a process, and no library at all.

#![allow(unsafe_code, reason = "a bare fork is what is measured")]

use std::io::{Read, Write, pipe};
use std::time::Instant;

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork, pause};

use crate::peers::p50;
use crate::work::MANY;

/// The median of fork, exit and wait.
pub(crate) fn fork_and_wait() -> f64 {
    p50(|| {
        let child = child(|| {});
        let _ = waitpid(child, None);
    })
}

/// The median from killing a process until another one, forked after its end, has written a byte.
pub(crate) fn kill_and_fork() -> f64 {
    let (mut reader, writer) = pipe().expect("a pipe");
    let worker = || child(|| answer_and_sleep(&writer));
    let mut current = worker();
    let mut byte = [0];
    reader.read_exact(&mut byte).expect("an answer");
    let seconds = p50(|| {
        let _ = kill(current, Signal::SIGKILL);
        let _ = waitpid(current, None);
        current = worker();
        reader.read_exact(&mut byte).expect("an answer");
    });
    end(current);
    seconds
}

/// From nothing until many processes have each written a byte.
pub(crate) fn fork_many() -> f64 {
    let start = Instant::now();
    let (mut reader, writer) = pipe().expect("a pipe");
    let children: Vec<Pid> = (0..MANY).map(|_| child(|| answer_and_sleep(&writer))).collect();
    reader.read_exact(&mut [0; MANY]).expect("answers");
    let seconds = start.elapsed().as_secs_f64();
    children.into_iter().for_each(end);
    seconds
}

fn answer_and_sleep(mut writer: &std::io::PipeWriter) {
    let _ = writer.write_all(&[1]);
    pause();
}

fn end(child: Pid) {
    let _ = kill(child, Signal::SIGKILL);
    let _ = waitpid(child, None);
}

/// A process that does `work` and ends.
fn child(work: impl FnOnce()) -> Pid {
    // SAFETY: these programs have one thread, so the child may do what its parent may.
    match unsafe { fork() }.expect("a fork") {
        ForkResult::Parent { child } => child,
        ForkResult::Child => {
            work();
            // SAFETY: it only ends the process, without running anything of the parent's.
            unsafe { libc::_exit(0) }
        }
    }
}

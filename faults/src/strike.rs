//! What each fault does to its process.
//!
//! Faults of the processor are had by assembly: to the compiler, a load from a bad address or a division by
//! zero "cannot happen", and it may make anything of them.

#![allow(unsafe_code, reason = "real faults cannot be had safely; this file alone has them")]

use std::arch::asm;
use std::hint::black_box;
use std::num::NonZeroUsize;
use std::process::Command;

use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap};
use nix::sys::signal::{self, SigHandler, Signal};

use crate::Fault;

/// The code that `Fault::Exit` exits with.
const EXIT_CODE: i32 = 3;

/// What `Fault::OutOfMemory` allocates at a time.
const BLOCK: usize = 1 << 20;

/// Where a process that no limit stops gives up, so that it does not take the machine down.
const TOO_MUCH: usize = 8 << 30;

impl Fault {
    /// Does it to this process.
    ///
    /// Most faults never return. [`Fault::None`], [`Fault::Stop`] and [`Fault::LeakChild`] do, and the text
    /// says what happened.
    ///
    /// # Panics
    /// [`Fault::Panic`] does. So does any fault that could not strike, and says why.
    pub fn strike(self) -> String {
        match self {
            Fault::None => "unharmed".to_owned(),
            Fault::Panic => panic!("struck by the fault `{self}`"),
            Fault::Exit => std::process::exit(EXIT_CODE),
            Fault::Segv => load(UNMAPPED),
            Fault::Bus => load(page_past_the_end_of_its_file()),
            Fault::Abort => std::process::abort(),
            Fault::Ill => illegal_instruction(),
            Fault::Fpe => divide_by_zero(),
            Fault::Kill => die_by(Signal::SIGKILL),
            Fault::Stop => stop(),
            Fault::StackOverflow => overflow_the_stack(),
            Fault::OutOfMemory => exhaust_memory(),
            Fault::Hang => hang(),
            Fault::Spin => spin(),
            Fault::IgnoreTerm => {
                ignore_term();
                hang()
            }
            Fault::LeakChild => leak_child(),
        }
    }
}

/// An address in the first page, which the kernel gives to nobody.
const UNMAPPED: usize = 8;

#[cfg(target_arch = "x86_64")]
fn load(address: usize) -> ! {
    // SAFETY: a load changes no memory, and the code does not go on: if the load does not fault, the next
    // instruction does.
    unsafe { asm!("mov al, byte ptr [{}]", "ud2", in(reg) address, options(noreturn)) }
}

#[cfg(target_arch = "aarch64")]
fn load(address: usize) -> ! {
    // SAFETY: a load changes no memory, and the code does not go on: if the load does not fault, the next
    // instruction does.
    unsafe { asm!("ldrb w0, [{}]", "udf #0", in(reg) address, options(noreturn)) }
}

#[cfg(target_arch = "x86_64")]
fn illegal_instruction() -> ! {
    // SAFETY: the instruction traps and does nothing else.
    unsafe { asm!("ud2", options(noreturn)) }
}

#[cfg(target_arch = "aarch64")]
fn illegal_instruction() -> ! {
    // SAFETY: the instruction traps and does nothing else.
    unsafe { asm!("udf #0", options(noreturn)) }
}

#[cfg(target_arch = "x86_64")]
fn divide_by_zero() -> ! {
    // SAFETY: only registers change, and the code does not go on: if the division does not trap, the next
    // instruction does.
    unsafe { asm!("div {:e}", "ud2", in(reg) 0_u32, options(noreturn)) }
}

#[cfg(target_arch = "aarch64")]
fn divide_by_zero() -> ! {
    // There a division by zero is zero.
    die_by(Signal::SIGFPE)
}

/// The address of a page that is mapped and has no file behind it: memory that was promised and is not there.
fn page_past_the_end_of_its_file() -> usize {
    let file = memfd_create("empty", MFdFlags::MFD_CLOEXEC).expect("a file in memory can be made");
    // SAFETY: the kernel chooses the address, so the new mapping takes nobody's place; it is never unmapped.
    let page = unsafe { mmap(None, NonZeroUsize::MIN, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, &file, 0) };
    page.expect("an empty file can be mapped").addr().get()
}

fn die_by(signal: Signal) -> ! {
    let result = signal::raise(signal);
    panic!("{signal} did not kill: {result:?}")
}

fn stop() -> String {
    signal::raise(Signal::SIGSTOP).expect("a process may stop itself");
    "stopped and continued".to_owned()
}

fn overflow_the_stack() -> ! {
    let top = 0_u8;
    descend((&raw const top).addr());
    panic!("the stack did not end at {} GiB", TOO_MUCH >> 30)
}

/// Returns when the stack is too large for a stack: it may have no limit.
#[inline(never)]
fn descend(top: usize) -> usize {
    let frame = black_box([top; 64]);
    let here = frame.as_ptr().addr();
    // The frame is read after the call, so the call is no jump.
    if top.abs_diff(here) > TOO_MUCH { here } else { descend(top).max(frame[63]) }
}

fn exhaust_memory() -> ! {
    let mut hoard = Vec::new();
    while hoard.len() < TOO_MUCH / BLOCK {
        // Not zeros: those would be promised, and not there before somebody writes.
        hoard.push(black_box(vec![1_u8; BLOCK]));
    }
    panic!("no memory limit stopped this at {} GiB", TOO_MUCH >> 30)
}

fn hang() -> ! {
    loop {
        std::thread::park();
    }
}

fn spin() -> ! {
    loop {
        black_box(());
    }
}

fn ignore_term() {
    // SAFETY: a signal that is ignored runs no code.
    let previous = unsafe { signal::signal(Signal::SIGTERM, SigHandler::SigIgn) };
    previous.expect("SIGTERM may be ignored");
}

/// The child stays in our process group and keeps our stdout and stderr open, as a forgotten one does.
#[expect(clippy::zombie_processes, reason = "not to wait for it is the fault")]
fn leak_child() -> String {
    let child = Command::new("sleep").arg("1000").spawn().expect("the program `sleep` can be started");
    format!("left child process {} behind", child.id())
}

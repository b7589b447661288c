//! What a worker notes down in the last moment before a signal kills it.
//!
//! The handlers change no outcome: the signal that came is still the one that kills. They add what the exit
//! status cannot say: that a SIGSEGV was a stack overflow, that a SIGABRT was a panic.

use std::io;
use std::mem::MaybeUninit;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// What the handlers write into the note.
pub(crate) const STACK_OVERFLOW: u64 = 1;
/// The process aborted while a panic was under way.
pub(crate) const PANIC: u64 = 2;

/// How far from the stack pointer an address may lie to be the stack's next page.
const NEAR: usize = 64 * 1024;

/// Enough for the handlers, which call nothing.
const ALTERNATE_STACK: usize = 64 * 1024;

/// The word that the handlers write; null until `install`.
static NOTE: AtomicPtr<u64> = AtomicPtr::new(std::ptr::null_mut());

/// Has crashes of this process noted in `note`, which must be shared memory to outlive it.
///
/// Only a worker calls this, in its own process, with the word of its lane.
pub(crate) fn install(note: &'static AtomicU64) -> io::Result<()> {
    NOTE.store(note.as_ptr(), Ordering::Release);
    use_alternate_stack()?;
    let flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | SaFlags::SA_NODEFER;
    let action = SigAction::new(SigHandler::SigAction(on_crash), flags, SigSet::empty());
    for signal in [Signal::SIGSEGV, Signal::SIGBUS, Signal::SIGABRT] {
        // SAFETY: the handler only uses what is safe in a signal handler: atomics, its arguments, `signal`
        // and `raise`, and one thread-local counter of std that needs no set-up.
        unsafe { sigaction(signal, &action)? };
    }
    Ok(())
}

/// A stack overflow leaves no stack to run a handler on. Threads that std starts have their own if std's
/// start-up ran; the main thread of a worker gets this one.
fn use_alternate_stack() -> io::Result<()> {
    static STACK: OnceLock<Box<[MaybeUninit<u8>]>> = OnceLock::new();
    // Not filled with anything: in a forked worker every page that is touched is a page to copy.
    let stack = STACK.get_or_init(|| Box::new_uninit_slice(ALTERNATE_STACK));
    let description =
        libc::stack_t { ss_sp: stack.as_ptr().cast_mut().cast(), ss_flags: 0, ss_size: stack.len() };
    // SAFETY: the memory lives for ever, is used by the kernel alone, and is larger than the minimum.
    match unsafe { libc::sigaltstack(&description, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

extern "C" fn on_crash(signal: libc::c_int, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
    // SAFETY: the kernel passes valid pointers to a SA_SIGINFO handler.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    let sent_by_a_process = code <= 0;
    if signal == libc::SIGABRT {
        if std::thread::panicking() {
            note(PANIC);
        }
    } else if !sent_by_a_process && address.abs_diff(stack_pointer(context)) < NEAR {
        note(STACK_OVERFLOW);
    }
    // SAFETY: resetting a disposition is allowed in a handler.
    unsafe { libc::signal(signal, libc::SIG_DFL) };
    // A fault strikes again when the handler returns; a signal that was sent does not.
    if sent_by_a_process {
        // SAFETY: raising is allowed in a handler.
        unsafe { libc::raise(signal) };
    }
}

fn note(what: u64) {
    let word = NOTE.load(Ordering::Acquire);
    if !word.is_null() {
        // SAFETY: `install` stored a pointer to a word that lives for ever.
        unsafe { AtomicU64::from_ptr(word) }.store(what, Ordering::Release);
    }
}

#[cfg(target_arch = "x86_64")]
fn stack_pointer(context: *mut libc::c_void) -> usize {
    // SAFETY: the kernel passes a valid ucontext to a SA_SIGINFO handler.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.gregs[libc::REG_RSP as usize] as usize }
}

#[cfg(target_arch = "aarch64")]
fn stack_pointer(context: *mut libc::c_void) -> usize {
    // SAFETY: the kernel passes a valid ucontext to a SA_SIGINFO handler.
    unsafe { (*context.cast::<libc::ucontext_t>()).uc_mcontext.sp as usize }
}

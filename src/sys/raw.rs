//! System calls without the C library: nothing is touched but the registers, not even `errno`, so a process that
//! borrows the memory of another one may make them while that one runs.

/// Whether calls touch no memory of the caller's. Elsewhere they go through the C library.
pub(super) const TOUCHES_NOTHING: bool = cfg!(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    all(target_arch = "aarch64", target_pointer_width = "64")
));

/// Makes a system call of up to four arguments.
///
/// # Errors
/// The kernel's error number.
///
/// # Safety
/// What the call does with these arguments must be sound, as for `libc::syscall`.
pub(super) unsafe fn call(number: libc::c_long, arguments: [usize; 4]) -> Result<usize, i32> {
    // SAFETY: the caller's promise.
    let result = unsafe { enter(number, arguments) };
    // The kernel's results between -4095 and -1 are errors.
    if (-4095..0).contains(&result) { Err(-result as i32) } else { Ok(result as usize) }
}

#[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
unsafe fn enter(number: libc::c_long, [a, b, c, d]: [usize; 4]) -> isize {
    let result;
    // SAFETY: the registers are those of the kernel's calling convention, which changes `rcx`, `r11` and `rax` alone.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => result,
            in("rdi") a,
            in("rsi") b,
            in("rdx") c,
            in("r10") d,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

#[cfg(all(target_arch = "aarch64", target_pointer_width = "64"))]
unsafe fn enter(number: libc::c_long, [a, b, c, d]: [usize; 4]) -> isize {
    let result;
    // SAFETY: the registers are those of the kernel's calling convention, which changes `x0` alone.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number as isize,
            inlateout("x0") a as isize => result,
            in("x1") b,
            in("x2") c,
            in("x3") d,
            options(nostack),
        );
    }
    result
}

#[cfg(not(any(
    all(target_arch = "x86_64", target_pointer_width = "64"),
    all(target_arch = "aarch64", target_pointer_width = "64")
)))]
unsafe fn enter(number: libc::c_long, [a, b, c, d]: [usize; 4]) -> isize {
    // SAFETY: the caller's promise.
    match unsafe { libc::syscall(number, a, b, c, d) } {
        -1 => -(nix::errno::Errno::last_raw() as isize),
        result => result as isize,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod test {
    use super::*;

    #[test]
    fn a_call_gives_back_what_the_kernel_says() {
        // SAFETY: the call takes nothing and changes nothing.
        let pid = unsafe { call(libc::SYS_getpid, [0; 4]) };
        assert_eq!(pid, Ok(std::process::id() as usize));
        // SAFETY: the number is no descriptor.
        let closed = unsafe { call(libc::SYS_close, [usize::MAX, 0, 0, 0]) };
        assert_eq!(closed, Err(libc::EBADF));
    }

    #[test]
    fn where_it_says_so_it_leaves_errno_alone() {
        nix::errno::Errno::EDOM.set();
        // SAFETY: the number is no descriptor.
        let _ = unsafe { call(libc::SYS_close, [usize::MAX, 0, 0, 0]) };
        assert_eq!(nix::errno::Errno::last_raw() == libc::EDOM, TOUCHES_NOTHING);
    }
}

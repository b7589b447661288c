//! Random numbers of the kernel.

use std::io;

/// A number that no other process gets.
pub(crate) fn number() -> io::Result<u64> {
    let mut bytes = [0; 8];
    loop {
        // SAFETY: the buffer is a live local of the length that is told.
        let got = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
        if got == bytes.len() as isize {
            return Ok(u64::from_ne_bytes(bytes));
        }
        let error = io::Error::last_os_error();
        if got >= 0 || error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

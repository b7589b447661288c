//! Ctrl-C: asks once, then kills.

use std::io;
use std::thread::Scope;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

/// Watches for signals until it is dropped.
pub(super) struct Interrupts(Handle);

impl Interrupts {
    /// Calls `act` at each signal, with how many there were before.
    pub(super) fn watch<'scope>(
        scope: &'scope Scope<'scope, '_>,
        mut act: impl FnMut(usize) + Send + 'scope,
    ) -> io::Result<Interrupts> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let handle = signals.handle();
        scope.spawn(move || signals.forever().enumerate().for_each(|(before, _)| act(before)));
        Ok(Interrupts(handle))
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        self.0.close();
    }
}

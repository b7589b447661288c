//! A function among the children: how its process is started, as often as it must be.

use std::fmt;
use std::sync::Arc;

use crate::{Process, ProcessHandle, TaskError, Transfer};

use super::specification::Program;

impl Program {
    /// A function of this executable in a process of its own, in place of a command: `start` makes the
    /// [`Process`], each time that one is to be started.
    ///
    /// It ends with success when its function returns, and fails when it panics or dies. Environment, folder, limits
    /// and output are the business of the process's own builder; readiness and watchdog are for commands only.
    ///
    /// ```
    /// use watertight::Process;
    /// use watertight::supervisor::{Supervisor, SupervisorEnd, specification::*};
    ///
    /// fn count(up_to: u32) {
    ///     (0..up_to).for_each(drop);
    /// }
    ///
    /// fn main() -> watertight::Result<()> {
    ///     watertight::init();
    ///     let mut counter = Program::process("counter", || Process::spawn(count, (10,)));
    ///     (counter.restart, counter.significant) = (RestartPolicy::Transient, true);
    ///     let mut tree = Specification { order: vec!["counter".into()], ..Specification::default() };
    ///     tree.root.auto_shutdown = AutoShutdown::AllSignificant;
    ///     tree.programs.push(counter);
    ///     assert_eq!(Supervisor::start(tree)?.wait(), SupervisorEnd::AutoShutdown);
    ///     Ok(())
    /// }
    /// ```
    pub fn process<R: Transfer>(
        name: impl Into<String>,
        start: impl Fn() -> crate::Result<Process<R>> + Send + Sync + 'static,
    ) -> Program {
        Program { process: Some(Start::new(start)), ..Program::new(name, Vec::new()) }
    }
}

/// How the process of a function is started, as often as it must be.
#[derive(Clone)]
pub struct Start(Arc<Begin>);

/// Starts the process, tells its handle, and waits for its end.
type Begin = dyn Fn(&mut dyn FnMut(ProcessHandle)) -> crate::Result<Result<(), TaskError>> + Send + Sync;

impl Start {
    fn new<R: Transfer>(start: impl Fn() -> crate::Result<Process<R>> + Send + Sync + 'static) -> Start {
        Start(Arc::new(move |started| {
            let process = start()?;
            started(process.handle());
            Ok(process.join().map(drop))
        }))
    }

    pub(super) fn run(&self, mut started: impl FnMut(ProcessHandle)) -> crate::Result<Result<(), TaskError>> {
        (self.0)(&mut started)
    }
}

impl fmt::Debug for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Start")
    }
}

impl PartialEq for Start {
    /// Whether they are copies of one.
    fn eq(&self, other: &Start) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

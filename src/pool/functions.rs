//! How the workers know a function.

use crate::error::{Error, Kind};
use crate::link::frame::Coding;
use crate::task::arguments::{Task, Transfer};
use crate::task::error::{Encoding, TaskContext, TaskError, TaskErrorKind};
use crate::task::identity::descriptor_of;
use crate::task::passengers::may_board;
use crate::task::{luggage, registry};

use super::Pool;
use super::batch::{Function, Name};

impl Pool {
    /// How the workers know a function.
    pub(super) fn function<F, A>(&self, function: F) -> Result<Function, Error>
    where
        F: Task<A>,
        A: Transfer,
        F::Output: Transfer,
    {
        refuse_ends::<A, F::Output>()?;
        let boards = may_board::<F::Output>();
        let descriptor = descriptor_of::<F, A>(function);
        if self.staff.is_same_build() {
            let number = descriptor.offset().map_err(|error| Kind::Task(error.to_string()))?;
            let name = Name::Static((descriptor.name)());
            return Ok(Function { coding: Coding::Offset, number, name, boards });
        }
        let Some(description) = registry::description_of::<F>() else {
            let name = (descriptor.name)();
            let text = format!(
                "the workers run another executable, so `{name}` needs #[watertight::task] to have a name there"
            );
            return Err(Kind::Task(text).into());
        };
        let number = registry::find_described(self.staff.tasks(), &description)
            .map_err(|error| Kind::Task(error.to_string()))?;
        Ok(Function {
            coding: Coding::Registered,
            number: u64::from(number),
            name: Name::Shared(description.name.into()),
            boards,
        })
    }

    pub(super) fn named(&self, name: &str, coding: Coding) -> Result<Function, Error> {
        let tasks = self.staff.tasks();
        let number = registry::find(tasks, name).map_err(|error| Kind::Task(error.to_string()))?;
        let name = Name::Shared(tasks[number as usize].name.as_str().into());
        Ok(Function { coding, number: u64::from(number), name, boards: coding != Coding::Json })
    }
}

/// A task of a pool may move from worker to worker, and an end of an ipc-channel cannot.
#[inline]
pub(super) fn refuse_ends<A: 'static, R: 'static>() -> Result<(), Error> {
    let what = match (luggage::shows_ends::<A>(), luggage::shows_ends::<R>()) {
        (false, false) => return Ok(()),
        (true, _) => Encoding::EncodeArguments,
        (false, true) => Encoding::EncodeResult,
    };
    Err(Kind::Encoding { what, message: luggage::HoldsEnds.to_string() }.into())
}

/// A task that reached no worker, because the pool does not take it.
pub(super) fn not_run(error: Error, task: &str) -> TaskError {
    let kind = match error.kind() {
        Kind::Task(message) => TaskErrorKind::UnknownTask { message: message.clone() },
        Kind::Encoding { what, message } => TaskErrorKind::Encoding { what: *what, message: message.clone() },
        Kind::Closed => TaskErrorKind::Closed,
        _ => TaskErrorKind::NoWorker { message: error.to_string() },
    };
    TaskError::new(kind, TaskContext::not_started(task, None))
}

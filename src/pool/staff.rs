//! What the workers of a pool are, and which tasks they offer.

use std::sync::Arc;

use crate::keeper::handle::Keeper;
use crate::task::registry::{self, TaskDescription};

/// What the workers are.
pub(super) enum Staff {
    Processes(Arc<Keeper>),
    /// Threads of this program, with the tasks that it offers by name.
    Threads(Vec<TaskDescription>),
}

impl Staff {
    pub(super) fn threads() -> Staff {
        Staff::Threads(registry::offered())
    }

    /// Whether they run the very build that this process runs.
    pub(super) fn is_same_build(&self) -> bool {
        match self {
            Staff::Processes(keeper) => keeper.is_same_build(),
            Staff::Threads(_) => true,
        }
    }

    /// The tasks that they offer by name.
    pub(super) fn tasks(&self) -> &[TaskDescription] {
        match self {
            Staff::Processes(keeper) => keeper.tasks(),
            Staff::Threads(tasks) => tasks,
        }
    }
}

//! The armed undo: what has been begun, and what takes it back.

use crate::apply::Executor;
use crate::error::Error;
use crate::plan::{Planned, Shared, Step, UndoScope};

/// Inverses of the steps begun so far. Each is armed before its step runs, so that a step which
/// fails half-way is undone too.
#[derive(Debug, Default)]
pub struct Journal {
    armed: Vec<(UndoScope, Step)>,
}

impl Journal {
    /// Arms the inverse of a step that is about to run.
    pub fn arm(&mut self, planned: &Planned) {
        // Unwinding goes from the end, and a step's inverses are in the order to run.
        self.armed.extend(planned.undo.iter().rev().map(|step| (planned.scope, step.clone())));
    }

    /// Whether anything is armed that others may have come to rely on.
    pub fn touches_shared(&self) -> bool {
        self.armed.iter().any(|(scope, _)| matches!(scope, UndoScope::FailureIfUnused(_)))
    }

    /// Takes everything back, last first, but for what others rely on. What fails is reported and
    /// does not stop the rest.
    pub fn unwind(self, executor: &mut Executor<'_>, relied_on: &[Shared]) -> Vec<Error> {
        let due = |scope: &UndoScope| match scope {
            UndoScope::Attachment | UndoScope::Failure => true,
            UndoScope::FailureIfUnused(shared) => !relied_on.contains(shared),
        };
        let mut failures = Vec::new();
        for (_, step) in self.armed.iter().rev().filter(|(scope, _)| due(scope)) {
            failures.extend(executor.undo(step).err());
        }
        failures
    }
}

//! The armed undo: what has been begun, and what takes it back.

use crate::apply::Executor;
use crate::error::Error;
use crate::plan::{Planned, Step, UndoScope};

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

    /// Takes everything back, last first. What fails is reported and does not stop the rest.
    /// `shared` tells whether what all attachments share may be taken back too.
    pub async fn unwind(self, executor: &mut Executor<'_>, shared: bool) -> Vec<Error> {
        let mut failures = Vec::new();
        let due = |scope| shared || scope == UndoScope::Attachment;
        for (_, step) in
            self.armed.iter().rev().filter(|(scope, step)| due(*scope) || is_container_side(step))
        {
            failures.extend(executor.undo(step).await.err());
        }
        failures
    }
}

/// The container's loopback is nobody else's, so it goes back down in any case.
fn is_container_side(step: &Step) -> bool {
    matches!(step, Step::SetDown { side: crate::plan::Side::Container, .. })
}

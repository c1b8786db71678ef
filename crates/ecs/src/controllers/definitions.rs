//! Deletes the task definitions that are to be deleted, once no task needs them.

use super::BATCH;
use crate::records::{BY_FAMILY, BY_STATUS, Definition, DefinitionStatus, Task};
use async_trait::async_trait;
use chassis::{BoxError, Controller, Platform};
use sched::lifecycle::Phase;
use std::sync::Arc;
use std::time::Duration;
use store::StoreError;

/// See the module.
#[derive(Debug)]
pub struct Deletion;

#[async_trait]
impl Controller for Deletion {
    fn name(&self) -> &'static str {
        "ecs-task-definition-deletion"
    }

    fn period(&self) -> Duration {
        Duration::from_secs(10)
    }

    async fn reconcile(&self, platform: &Platform) -> Result<(), BoxError> {
        let view = platform.store.view();
        let leaving = DefinitionStatus::DeleteInProgress.as_str();
        let plan: Vec<Arc<Definition>> = view
            .by_any_scope::<Definition>(BY_STATUS, leaving)
            .filter(|it| !used(it, view.by(&it.scope, BY_FAMILY, it.family.as_str())))
            .collect();
        for batch in plan.chunks(BATCH) {
            platform
                .store
                .transact(|txn| {
                    for it in batch {
                        let id = Definition::id_of(&it.family, it.revision);
                        let found = txn.get::<Definition>(&it.scope, &id);
                        let unused = !used(it, txn.by(&it.scope, BY_FAMILY, it.family.as_str()));
                        if unused && found.is_some_and(|found| found.status == it.status) {
                            txn.delete::<Definition>(&it.scope, &id);
                        }
                    }
                    Ok::<_, StoreError>(())
                })
                .await?;
        }
        Ok(())
    }
}

/// Whether one of its family's tasks is still on its way and made from it.
fn used(definition: &Definition, mut tasks: impl Iterator<Item = Arc<Task>>) -> bool {
    tasks.any(|task| task.revision == definition.revision && task.phase != Phase::Stopped)
}

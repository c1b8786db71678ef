//! Replaces the credentials of tasks before they end, and revokes those of tasks
//! that are over.

use super::BATCH;
use crate::records::{Task, TaskRole, WITH_CREDENTIALS};
use async_trait::async_trait;
use chassis::{BoxError, Controller, Platform};
use iam::task_roles;
use ident::Timestamp;
use sched::lifecycle::Phase;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use store::{StoreError, Txn, View};

/// How long before their end credentials are replaced. SDKs ask for others some
/// minutes before, and an agent may be away meanwhile.
const AHEAD: Duration = Duration::from_hours(1);
/// How often it is looked for what is owed. Nothing of this is urgent, and to look
/// at every change would be to look at all tasks with a role each time.
const LOOK: Duration = Duration::from_mins(1);

/// See the module.
#[derive(Debug, Default)]
pub struct Credentials {
    looked_at: Mutex<Timestamp>,
}

#[async_trait]
impl Controller for Credentials {
    fn name(&self) -> &'static str {
        "ecs-task-credentials"
    }

    fn period(&self) -> Duration {
        LOOK
    }

    async fn reconcile(&self, platform: &Platform) -> Result<(), BoxError> {
        let now = platform.now();
        {
            let mut last = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner);
            if now.since(*last) < LOOK {
                return Ok(());
            }
            *last = now;
        }
        let view = platform.store.view();
        let plan: Vec<Arc<Task>> = view
            .by_any_scope::<Task>(WITH_CREDENTIALS, "")
            .filter(|task| task.roles().any(|(_, role)| is_due(&view, task.phase, role, now)))
            .collect();
        for batch in plan.chunks(BATCH) {
            let change = |txn: &mut Txn| {
                for task in batch {
                    if let Some(task) = txn.get::<Task>(&task.scope, task.id.as_str()) {
                        renew(platform, txn, Task::clone(&task), now);
                    }
                }
                Ok::<_, StoreError>(())
            };
            platform.store.transact(change).await?;
        }
        Ok(())
    }
}

/// Whether the credentials that a task in this phase has of a role are to be replaced or
/// revoked.
fn is_due(view: &View, phase: Phase, role: &TaskRole, now: Timestamp) -> bool {
    let Some(key) = role.key.as_deref() else { return false };
    let ends = task_roles::find(view, key).map(|session| session.expires);
    phase == Phase::Stopped || ends.is_none_or(|ends| ends <= now.after(AHEAD))
}

fn renew(platform: &Platform, txn: &mut Txn, mut task: Task, now: Timestamp) {
    let (account, id, phase) = (task.scope.account.clone(), task.id.clone(), task.phase);
    let mut changed = false;
    for role in task.roles_mut() {
        if !is_due(txn.view(), phase, role, now) {
            continue;
        }
        if phase == Phase::Stopped {
            for key in role.key.take().into_iter().chain(role.older.take()) {
                task_roles::revoke(txn, &key);
            }
            changed = true;
            continue;
        }
        match task_roles::issue(platform, txn, &account, (&role.arn, id.as_str()), now) {
            // The old ones last until their end: they may be in use this moment.
            Ok(session) => {
                role.older = role.key.replace(session.id);
                changed = true;
            }
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                let role = role.arn.as_str();
                tracing::warn!(task = %id, role, error, "no further credentials for the task");
            }
        }
    }
    // What is as it was wakes nobody.
    if changed {
        txn.put(task);
    }
}

#[cfg(test)]
#[path = "credentials_tests.rs"]
mod tests;

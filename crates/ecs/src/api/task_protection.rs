//! `GetTaskProtection`, `UpdateTaskProtection`: tasks that their service is not to
//! stop for a while, when it scales in or deploys.

use super::{existing, known_cluster};
use crate::records::Task;
use crate::{Error, names, show};
use chassis::Cx;
use ident::{ClusterName, Timestamp};
use sched::lifecycle::Desired;
use std::sync::Arc;
use std::time::Duration;
use store::View;
use wire::ecs;

/// As many tasks as one request may ask for, and as many as it may change.
const MAX_SHOWN: usize = 100;
const MAX_CHANGED: usize = 10;
/// How long a protection lasts if nobody says, and at most, in minutes.
const DEFAULT_MINUTES: i32 = 120;
const MAX_MINUTES: i32 = 2880;

/// Says of tasks whether they are protected, and until when.
pub(crate) fn get_task_protection(
    cx: &Cx,
    request: ecs::GetTaskProtectionRequest,
) -> Result<ecs::GetTaskProtectionResponse, Error> {
    let view = cx.view();
    let cluster = known_cluster(&view, cx.scope(), request.cluster.as_deref())?;
    let named = named(request.tasks, MAX_SHOWN)?;
    let (mut shown, mut failures) = (vec![], vec![]);
    for text in &named {
        match protectable(&view, cx, &cluster.name, text)? {
            Ok(task) => shown.push(show_protection(&task, cx.now())),
            Err(failure) => failures.push(failure),
        }
    }
    Ok(ecs::GetTaskProtectionResponse { protected_tasks: Some(shown), failures: Some(failures) })
}

/// Protects tasks for a while, or ends that.
pub(crate) async fn update_task_protection(
    cx: &Cx,
    request: ecs::UpdateTaskProtectionRequest,
) -> Result<ecs::UpdateTaskProtectionResponse, Error> {
    let cluster = names::cluster(cx.scope(), request.cluster.as_deref())?;
    let named = named(request.tasks, MAX_CHANGED)?;
    let now = cx.now();
    let minutes = request.expires_in_minutes.unwrap_or(DEFAULT_MINUTES);
    if !(1..=MAX_MINUTES).contains(&minutes) {
        return Err(Error::invalid(format!(
            "expiresInMinutes must be between 1 and {MAX_MINUTES}."
        )));
    }
    let lasts = Duration::from_mins(u64::try_from(minutes).unwrap_or_default());
    let enabled = request.protection_enabled == Some(true);
    let until = enabled.then(|| now.after(lasts));
    cx.store()
        .transact(|txn| {
            existing(txn.view(), cx.scope(), &cluster)?;
            let (mut shown, mut failures) = (vec![], vec![]);
            for text in &named {
                match protectable(txn.view(), cx, &cluster, text)? {
                    Ok(found) => {
                        let mut task = Task::clone(&found);
                        if task.protected_until != until {
                            task.protected_until = until;
                            task.touch();
                            txn.put(task.clone());
                        }
                        shown.push(show_protection(&task, now));
                    }
                    Err(failure) => failures.push(failure),
                }
            }
            Ok(ecs::UpdateTaskProtectionResponse {
                protected_tasks: Some(shown),
                failures: Some(failures),
            })
        })
        .await
}

fn named(tasks: Option<Vec<String>>, most: usize) -> Result<Vec<String>, Error> {
    let tasks = tasks.unwrap_or_default();
    if tasks.is_empty() {
        return Err(Error::invalid("Tasks cannot be empty."));
    }
    if tasks.len() > most {
        return Err(Error::invalid(format!("Tasks can have at most {most} items.")));
    }
    Ok(tasks)
}

/// The task that a request names, or why it cannot be protected: only services
/// stop tasks of their own accord.
fn protectable(
    view: &View,
    cx: &Cx,
    cluster: &ClusterName,
    text: &str,
) -> Result<Result<Arc<Task>, ecs::Failure>, Error> {
    let scope = cx.scope();
    let id = match names::task(scope, cluster, text) {
        Err(Error::NoTask { .. }) => return Ok(Err(show::missing(&text))),
        other => other?,
    };
    let found = view.get::<Task>(scope, id.as_str()).filter(|task| task.cluster == *cluster);
    let Some(task) = found else {
        return Ok(Err(show::missing(&names::task_arn(scope, cluster, &id))));
    };
    let refuse = |detail: &str| ecs::Failure {
        arn: Some(task.arn().to_string()),
        reason: Some("TASK_NOT_VALID".to_owned()),
        detail: Some(detail.to_owned()),
    };
    if !task.group.starts_with("service:") {
        return Ok(Err(refuse("The task is not part of a service.")));
    }
    if task.phase.desired() != Desired::Running {
        return Ok(Err(refuse("The task is stopping or stopped.")));
    }
    Ok(Ok(task))
}

fn show_protection(task: &Task, now: Timestamp) -> ecs::ProtectedTask {
    let until = task.protected_until.filter(|until| *until > now);
    ecs::ProtectedTask {
        task_arn: Some(task.arn().to_string()),
        protection_enabled: Some(until.is_some()),
        expiration_date: until.map(show::moment),
    }
}

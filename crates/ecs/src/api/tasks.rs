//! `StopTask`, `DescribeTasks`, `ListTasks`.

use super::{existing, known_cluster, paging};
use crate::records::{BY_FAMILY, BY_INSTANCE, ContainerInstance, StopCode, Task, TasksOf};
use crate::{Error, names, show};
use chassis::Cx;
use sched::lifecycle::{Desired, Event};
use std::sync::Arc;
use wire::ecs;

/// Why a task stops if the person who stopped it did not say.
const STOPPED_BY_USER: &str = "Task stopped by user";
/// As long as a reason may be.
const MAX_REASON: usize = 1024;

/// Asks a task to stop, and returns once that wish is durable.
pub(crate) async fn stop_task(
    cx: &Cx,
    request: ecs::StopTaskRequest,
) -> Result<ecs::StopTaskResponse, Error> {
    let scope = cx.scope();
    let cluster = names::cluster(scope, request.cluster.as_deref())?;
    let text = request.task.unwrap_or_default();
    let id = names::task(scope, &cluster, &text)?;
    let reason = request.reason.filter(|reason| !reason.is_empty());
    let reason = reason.unwrap_or_else(|| STOPPED_BY_USER.to_owned());
    if reason.chars().count() > MAX_REASON {
        return Err(Error::invalid(format!("reason can have at most {MAX_REASON} characters.")));
    }
    let now = cx.now();

    let shown = cx.store().transact(|txn| {
        existing(txn.view(), scope, &cluster)?;
        let found = txn.get::<Task>(scope, id.as_str()).filter(|task| task.cluster == cluster);
        let Some(found) = found else {
            return Err(Error::NoTask { cluster: cluster.clone(), task: text.clone() });
        };
        // Stopping a task that is already on its way out is not an error.
        let mut task = Task::clone(&found);
        if sched::lifecycle::step(task.phase, Event::StopRequested, task.needs).is_some() {
            task.because(Some(StopCode::UserInitiated), reason.clone());
            task.hear(Event::StopRequested, now);
            txn.put(task.clone());
        }
        Ok(show::task(txn.view(), &task, true))
    });

    Ok(ecs::StopTaskResponse { task: Some(shown.await?) })
}

/// Shows tasks by id or ARN.
pub(crate) fn describe_tasks(
    cx: &Cx,
    request: ecs::DescribeTasksRequest,
) -> Result<ecs::DescribeTasksResponse, Error> {
    let scope = cx.scope();
    let view = cx.view();
    let cluster = known_cluster(&view, scope, request.cluster.as_deref())?;
    let wanted = super::wanted(request.tasks, "Tasks")?;
    let with_tags = request.include.iter().flatten().any(|part| part == "TAGS");

    let (mut tasks, mut failures) = (vec![], vec![]);
    for text in wanted {
        let id = match names::task(scope, &cluster.name, &text) {
            Ok(id) => id,
            Err(Error::NoTask { .. }) => {
                failures.push(show::missing(&text));
                continue;
            }
            Err(other) => return Err(other),
        };
        let found = view.get::<Task>(scope, id.as_str());
        match found.filter(|task| task.cluster == cluster.name) {
            Some(task) => tasks.push(show::task(&view, &task, with_tags)),
            None => failures.push(show::missing(&names::task_arn(scope, &cluster.name, &id))),
        }
    }
    Ok(ecs::DescribeTasksResponse { tasks: Some(tasks), failures: Some(failures) })
}

/// The wish that a request lists tasks by. The model has PENDING too, which is never
/// wanted of a task.
fn desired(text: Option<&str>) -> Option<Desired> {
    match text {
        None | Some("RUNNING") => Some(Desired::Running),
        Some("STOPPED") => Some(Desired::Stopped),
        Some(_) => None,
    }
}

/// Filters that AWS does not take together. `desiredStatus` goes with all of them.
fn filters(request: &ecs::ListTasksRequest) -> Result<(), Error> {
    let with_service = request.family.is_some()
        || request.container_instance.is_some()
        || request.daemon_name.is_some();
    let with_starter =
        with_service || request.service_name.is_some() || request.launch_type.is_some();
    let table = [
        ("startedBy", request.started_by.is_some() && with_starter),
        ("serviceName", request.service_name.is_some() && with_service),
    ];
    match table.into_iter().find(|(_, clash)| *clash) {
        Some((name, _)) => {
            Err(Error::invalid(format!("cannot specify {name} with other arguments")))
        }
        None => Ok(()),
    }
}

/// Names tasks: those that are to run, unless stopped ones are asked for.
pub(crate) fn list_tasks(
    cx: &Cx,
    request: &ecs::ListTasksRequest,
) -> Result<ecs::ListTasksResponse, Error> {
    let scope = cx.scope();
    let view = cx.view();
    let cluster = known_cluster(&view, scope, request.cluster.as_deref())?;
    let paging = paging(cx, "ListTasks", request.max_results, request.next_token.as_ref())?;
    filters(request)?;
    if request.daemon_name.is_some() {
        return Err(Error::unsupported("daemonName"));
    }
    let instance = match &request.container_instance {
        None => None,
        Some(text) => {
            let id = names::instance(scope, &cluster.name, text)?;
            let known = view.get::<ContainerInstance>(scope, id.as_str());
            known.ok_or_else(|| Error::NoContainerInstance(text.clone()))?;
            Some(id)
        }
    };
    let service = match &request.service_name {
        None => None,
        Some(text) => {
            let group = TasksOf::service(names::service(scope, &cluster.name, text)?);
            // There are no records of services yet: one is there if it has tasks.
            let mut tasks = TasksOf::Group(&cluster.name, &group).find(&view, scope);
            tasks.next().ok_or_else(|| Error::NoService(text.clone()))?;
            Some(group)
        }
    };
    let started_by = request.started_by.as_deref();
    // The narrowest of the indexes that answer; the filters below do the rest.
    let wanted = desired(request.desired_status.as_deref());
    let tasks: Box<dyn Iterator<Item = Arc<Task>>> = match (&instance, &service, &request.family) {
        (Some(id), ..) => Box::new(view.by::<Task>(scope, BY_INSTANCE, id.as_str())),
        (None, Some(group), _) => Box::new(TasksOf::Group(&cluster.name, group).find(&view, scope)),
        (None, None, Some(family)) => Box::new(view.by::<Task>(scope, BY_FAMILY, family)),
        (None, None, None) => match (started_by, wanted) {
            (Some(who), _) => Box::new(TasksOf::Starter(&cluster.name, who).find(&view, scope)),
            (None, Some(desired)) => {
                Box::new(TasksOf::Desired(&cluster.name, desired).find(&view, scope))
            }
            (None, None) => Box::new(std::iter::empty()),
        },
    };
    let tasks = tasks
        .filter(|task| task.cluster == cluster.name && Some(task.phase.desired()) == wanted)
        .filter(|task| request.family.as_deref().is_none_or(|f| task.family.as_str() == f))
        .filter(|task| {
            request.launch_type.as_deref().is_none_or(|l| task.launch_type.as_str() == l)
        });
    let page = paging.page(tasks, |task| task.id.to_string());
    Ok(ecs::ListTasksResponse {
        task_arns: Some(page.items.iter().map(|task| task.arn().to_string()).collect()),
        next_token: page.next_token,
    })
}

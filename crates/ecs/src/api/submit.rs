//! `SubmitTaskStateChange`, `SubmitContainerStateChange`,
//! `SubmitAttachmentStateChanges`: what agents report.
//!
//! Reports come late, twice and out of order. Each says how far something has
//! come; nothing goes back; so applying a report again changes nothing. One
//! report may hold several transitions of one container, which count in order.

use super::existing;
use crate::records::{
    BY_EC2_INSTANCE, BY_INSTANCE, Container, ContainerInstance, ContainerStatus, StopCode, Task,
};
use crate::{Error, names};
use chassis::{Cx, Principal};
use ident::{ClusterName, Timestamp};
use sched::lifecycle::{Event, Phase};
use store::{Txn, View};
use wire::ecs::{self, ContainerStateChange, SubmitTaskStateChangeRequest};

/// What AWS answers; agents only look whether there is an answer.
const ACKNOWLEDGED: &str = "ACK";
/// As much of a reason as is kept, and of an id, in characters; and as many ports
/// of a container. What a node says is shown to everybody who asks for its tasks,
/// so no node may say more than others want to hear.
const MAX_REASON: usize = 1024;
const MAX_ID: usize = 255;
const MAX_BINDINGS: usize = 100;
/// Why a task ends whose container did.
const ESSENTIAL_EXITED: &str = "Essential container in task exited";
/// Why a task ends that never ran, if nobody says.
const FAILED_TO_START: &str = "Task failed to start";

/// How a task and its containers fare.
pub(crate) async fn submit_task_state_change(
    cx: &Cx,
    request: SubmitTaskStateChangeRequest,
) -> Result<ecs::SubmitTaskStateChangeResponse, Error> {
    let cluster = names::cluster(cx.scope(), request.cluster.as_deref())?;
    let now = cx.now();
    cx.store()
        .transact(|txn| {
            let before = reported(cx, txn, &cluster, request.task.as_deref())?;
            of_the_task(&before, &request)?;
            let mut task = before.clone();
            for change in request.containers.iter().flatten() {
                apply(&mut task, change);
            }
            times(&mut task, &request);
            task_change(&mut task, &request, now);
            save(txn, &before, task);
            Ok::<_, Error>(())
        })
        .await?;
    Ok(ecs::SubmitTaskStateChangeResponse { acknowledgment: Some(ACKNOWLEDGED.to_owned()) })
}

/// How one container fares.
pub(crate) async fn submit_container_state_change(
    cx: &Cx,
    request: ecs::SubmitContainerStateChangeRequest,
) -> Result<ecs::SubmitContainerStateChangeResponse, Error> {
    let cluster = names::cluster(cx.scope(), request.cluster.as_deref())?;
    let change = ContainerStateChange {
        container_name: request.container_name,
        exit_code: request.exit_code,
        network_bindings: request.network_bindings,
        reason: request.reason,
        runtime_id: request.runtime_id,
        status: request.status,
        image_digest: None,
    };
    cx.store()
        .transact(|txn| {
            let before = reported(cx, txn, &cluster, request.task.as_deref())?;
            let mut task = before.clone();
            apply(&mut task, &change);
            save(txn, &before, task);
            Ok::<_, Error>(())
        })
        .await?;
    Ok(ecs::SubmitContainerStateChangeResponse { acknowledgment: Some(ACKNOWLEDGED.to_owned()) })
}

/// That an agent sees interfaces of its machine: the trunk, or those of its tasks. How
/// they fare we have from the card, which knows more; so what is true changes nothing,
/// and what is said of somebody else's interface is refused.
pub(crate) fn submit_attachment_state_changes(
    cx: &Cx,
    request: &ecs::SubmitAttachmentStateChangesRequest,
) -> Result<ecs::SubmitAttachmentStateChangesResponse, Error> {
    let cluster = names::cluster(cx.scope(), request.cluster.as_deref())?;
    let view = cx.view();
    existing(&view, cx.scope(), &cluster)?;
    for change in request.attachments.iter().flatten() {
        let arn = change.attachment_arn.as_deref().unwrap_or_default();
        if !is_on_callers_machine(cx, &view, &cluster, arn) {
            return Err(no_attachment(arn));
        }
    }
    Ok(ecs::SubmitAttachmentStateChangesResponse { acknowledgment: Some(ACKNOWLEDGED.to_owned()) })
}

/// The task that is reported on, if it is the caller's to report on.
fn reported(cx: &Cx, txn: &Txn, cluster: &ClusterName, text: Option<&str>) -> Result<Task, Error> {
    let scope = cx.scope();
    existing(txn.view(), scope, cluster)?;
    let text = text.unwrap_or_default();
    let id = names::task(scope, cluster, text)?;
    let task = txn
        .get::<Task>(scope, id.as_str())
        .filter(|task| task.cluster == *cluster)
        .ok_or_else(|| Error::NoTask { cluster: cluster.clone(), task: text.to_owned() })?;
    if let Principal::Instance(caller) = &cx.caller.principal {
        let host = txn.get::<ContainerInstance>(scope, task.instance.as_str());
        if host.and_then(|host| host.ec2_instance.clone()).as_ref() != Some(caller) {
            return Err(Error::NotYours(caller.clone()));
        }
    }
    Ok(Task::clone(&task))
}

/// A report is of the task's own interface, and of no managed agent: without
/// `enableExecuteCommand`, which is refused, a task has none.
fn of_the_task(task: &Task, request: &SubmitTaskStateChangeRequest) -> Result<(), Error> {
    if let Some(agent) = request.managed_agents.iter().flatten().next() {
        let name = agent.managed_agent_name.as_deref().unwrap_or_default();
        return Err(Error::invalid(format!(
            "The task was started without the managed agent '{name}'."
        )));
    }
    for change in request.attachments.iter().flatten() {
        let arn = change.attachment_arn.as_deref().unwrap_or_default();
        if !is_interface_of(task, arn) {
            return Err(no_attachment(arn));
        }
    }
    Ok(())
}

fn is_interface_of(task: &Task, arn: &str) -> bool {
    let own = task.interface.as_ref();
    own.is_some_and(|own| names::attachment_arn(&task.scope, &own.attachment).to_string() == arn)
}

fn no_attachment(arn: &str) -> Error {
    Error::invalid(format!("The referenced attachment was not found: {arn}"))
}

/// Whether an attachment is on the machine that speaks. A machine outside of EC2
/// has none.
fn is_on_callers_machine(cx: &Cx, view: &View, cluster: &ClusterName, arn: &str) -> bool {
    let Principal::Instance(caller) = &cx.caller.principal else { return false };
    let scope = cx.scope();
    let machine = view.get::<ec2::records::Instance>(scope, caller.as_str());
    let trunk = machine.and_then(|machine| machine.trunk.clone());
    if trunk.is_some_and(|trunk| names::attachment_arn(scope, &trunk).to_string() == arn) {
        return true;
    }
    let all = view.by::<ContainerInstance>(scope, BY_EC2_INSTANCE, caller.as_str());
    all.filter(|instance| instance.cluster == *cluster)
        .flat_map(|instance| view.by::<Task>(scope, BY_INSTANCE, instance.id.as_str()))
        .any(|task| is_interface_of(&task, arn))
}

/// Writes the task if it is not as it was. What is STOPPED is history: people
/// have been told how it ended, and a report that comes again tells it otherwise
/// if its agent was restarted meanwhile.
fn save(txn: &mut Txn, before: &Task, mut task: Task) {
    if before.phase == Phase::Stopped || task == *before {
        return;
    }
    if task.version == before.version {
        task.touch();
    }
    txn.put(task);
}

/// Lets one transition of one container happen. Containers that the agent has
/// for itself are not ours to know.
fn apply(task: &mut Task, change: &ContainerStateChange) {
    let name = change.container_name.as_deref().unwrap_or_default();
    let Some(container) = task.containers.iter_mut().find(|container| container.name == name)
    else {
        return;
    };
    let learn = |known: &mut Option<String>, said: &Option<String>, most: usize| {
        if let Some(said) = said.as_deref().filter(|text| !text.is_empty()) {
            *known = Some(cut(said, most));
        }
    };
    learn(&mut container.runtime_id, &change.runtime_id, MAX_ID);
    learn(&mut container.image_digest, &change.image_digest, MAX_ID);
    learn(&mut container.reason, &change.reason, MAX_REASON);
    if let Some(bindings) = &change.network_bindings
        && !bindings.is_empty()
    {
        container.network_bindings = bindings.iter().take(MAX_BINDINGS).cloned().collect();
    }
    // May come with RUNNING already: the container is then on its way out.
    container.exit_code = change.exit_code.or(container.exit_code);
    if let Some(status) = change.status.as_deref().and_then(ContainerStatus::parse) {
        container.status = container.status.max(status);
    }
}

/// The beginning of a text, of so many characters.
fn cut(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn times(task: &mut Task, request: &SubmitTaskStateChangeRequest) {
    let times = &mut task.times;
    for (known, said) in [
        (&mut times.pull_started, request.pull_started_at),
        (&mut times.pull_stopped, request.pull_stopped_at),
        (&mut times.execution_stopped, request.execution_stopped_at),
    ] {
        *known = known.or(said.map(|at| Timestamp(at.millis())));
    }
}

fn task_change(task: &mut Task, request: &SubmitTaskStateChangeRequest, now: Timestamp) {
    match request.status.as_deref() {
        Some("RUNNING") => {
            task.hear(Event::ContainersUp, now);
        }
        Some("STOPPED") => {
            let said = request.reason.as_deref().filter(|reason| !reason.is_empty());
            let (code, reason) = ending(task, said);
            if task.phase < Phase::Deprovisioning {
                task.because(Some(code), cut(&reason, MAX_REASON));
            }
            task.hear(Event::ContainersDown, now);
        }
        // Carries what is known of containers before the task runs.
        Some(_) | None => {}
    }
}

/// Why a task ended that nobody stopped. The agent rarely says: it puts its
/// reasons on the containers.
fn ending(task: &Task, said: Option<&str>) -> (StopCode, String) {
    if task.times.started.is_some() {
        let reason = said.unwrap_or(ESSENTIAL_EXITED).to_owned();
        return (StopCode::EssentialContainerExited, reason);
    }
    let first = |container: &Container| container.reason.clone();
    let reason = said.map(str::to_owned).or_else(|| task.containers.iter().find_map(first));
    // One that ran too short a time to be reported running did start.
    let exited = task.containers.iter().any(|c| c.essential && c.exit_code.is_some());
    match reason {
        None if exited => (StopCode::EssentialContainerExited, ESSENTIAL_EXITED.to_owned()),
        reason => {
            (StopCode::TaskFailedToStart, reason.unwrap_or_else(|| FAILED_TO_START.to_owned()))
        }
    }
}

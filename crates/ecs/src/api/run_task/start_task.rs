//! `StartTask`: `RunTask` by somebody who knows where each task goes.
//!
//! The placement constraints of the definition do not bind whoever names instances. AWS's developer guide
//! ("API failure reasons") gives for `StartTask` resources, the agent, attributes and
//! whether the instance is there, and no constraint; nor does it name `StartTask` among
//! the actions that constraints are for ("Example task placement constraints").

use super::{Origin, Refused, read};
use crate::api::existing;
use crate::records::{ContainerInstance, InstanceStatus, LaunchType};
use crate::starting::start;
use crate::{Error, fleets, names, show};
use chassis::Cx;
use sched::placement::{Fleet, place};
use std::sync::Arc;
use store::Txn;
use wire::ecs::{self, RunTaskRequest, StartTaskRequest};

/// As many container instances as one request may name.
const MAX_INSTANCES: usize = 10;

/// Starts a task of a definition on each of up to ten container instances, or
/// says of each why not.
pub(crate) async fn start_task(
    cx: &Cx,
    request: StartTaskRequest,
) -> Result<ecs::StartTaskResponse, Error> {
    let named = request.container_instances.clone().unwrap_or_default();
    if named.is_empty() {
        return Err(Error::invalid("Container instances cannot be empty."));
    }
    if named.len() > MAX_INSTANCES {
        return Err(Error::invalid(format!(
            "Container instances can have at most {MAX_INSTANCES} items."
        )));
    }
    let wish = read(cx, as_run_task(request))?;
    cx.store().transact(|txn| carry_out(cx, txn, &wish, &named)).await
}

/// All that the two requests have in common.
fn as_run_task(request: StartTaskRequest) -> RunTaskRequest {
    RunTaskRequest {
        cluster: request.cluster,
        enable_ecs_managed_tags: request.enable_ecs_managed_tags,
        enable_execute_command: request.enable_execute_command,
        group: request.group,
        network_configuration: request.network_configuration,
        overrides: request.overrides,
        propagate_tags: request.propagate_tags,
        reference_id: request.reference_id,
        started_by: request.started_by,
        tags: request.tags,
        task_definition: request.task_definition,
        volume_configurations: request.volume_configurations,
        ..Default::default()
    }
}

fn carry_out(
    cx: &Cx,
    txn: &mut Txn,
    wish: &super::Wish,
    named: &[String],
) -> Result<ecs::StartTaskResponse, Error> {
    existing(txn.view(), cx.scope(), &wish.cluster)?;
    // Where a task goes says what it is launched as. Whoever is not like the first
    // is refused as what it cannot be.
    let hosts: Vec<_> = named.iter().map(|text| host(cx, txn, wish, text)).collect();
    let external = hosts.iter().flatten().next().map(|host| host.is_external());
    let launch_type = match external {
        Some(true) => LaunchType::External,
        Some(false) | None => LaunchType::Ec2,
    };
    let wish = &super::Wish { launch_type, ..wish.clone() };
    let definition = super::named(cx, txn, wish)?;
    let origin = Origin::of(cx, txn, wish, &definition)?;
    let (demand, common) = (origin.demand(), origin.start(wish));

    let (mut tasks, mut failures) = (vec![], vec![]);
    for host in hosts {
        let host = match host {
            Ok(host) => host,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        if Some(host.is_external()) != external {
            failures.push(ecs::Failure {
                arn: Some(host.arn().to_string()),
                reason: Some("ATTRIBUTE".to_owned()),
                detail: None,
            });
            continue;
        }
        // Looked at afresh, so that each task sees those before it.
        let mut alone = Fleet::from_iter([fleets::candidate(txn.view(), &host)]);
        let placement = place(&mut alone, &demand, 1, wish.seed);
        for place in placement.places {
            tasks.push(start(cx, txn, &common, place)?);
        }
        let refused = placement.refusals.into_iter();
        failures.extend(refused.map(|(id, why)| Refused::new(id, &why, None).show(cx, wish)));
    }
    Ok(ecs::StartTaskResponse {
        tasks: Some(tasks.iter().map(|task| show::task(txn.view(), task, true)).collect()),
        failures: Some(failures),
    })
}

/// A container instance of the cluster, or why it can have no task.
fn host(
    cx: &Cx,
    txn: &Txn,
    wish: &super::Wish,
    text: &String,
) -> Result<Arc<ContainerInstance>, ecs::Failure> {
    let id = names::instance(cx.scope(), &wish.cluster, text).map_err(|_| show::missing(text))?;
    let host = txn
        .get::<ContainerInstance>(cx.scope(), id.as_str())
        .filter(|host| host.cluster == wish.cluster)
        .ok_or_else(|| show::missing(text))?;
    if host.status == InstanceStatus::Inactive {
        return Err(ecs::Failure {
            arn: Some(host.arn().to_string()),
            reason: Some("INACTIVE".to_owned()),
            detail: Some("the container instance was deregistered".to_owned()),
        });
    }
    Ok(host)
}

//! `StartTask`: `RunTask` by somebody who knows where each task goes.

use super::{Refused, demand, judge, network_of, read, tags_of};
use crate::api::{existing, task_definitions};
use crate::records::{ContainerInstance, InstanceStatus, LaunchType};
use crate::starting::{Start, start};
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
    let scope = cx.scope();
    existing(txn.view(), scope, &wish.cluster)?;
    let definition = task_definitions::named(txn.view(), scope, &wish.definition)
        .ok_or_else(|| Error::NothingToRun(wish.definition_text.clone()))?;
    // Where a task goes says what it is launched as. Whoever is not like the first
    // is refused as what it cannot be.
    let hosts: Vec<_> = named.iter().map(|text| (text, host(cx, txn, wish, text))).collect();
    let external = hosts.iter().find_map(|(_, host)| Some(host.as_ref()?.is_external()));
    let launch_type = match external {
        Some(true) => LaunchType::External,
        Some(false) | None => LaunchType::Ec2,
    };
    let wish = &super::Wish { launch_type, ..wish.clone() };
    let launch = judge(wish, &definition)?;
    let awsvpc = network_of(txn, cx, wish, definition.spec.network_mode)?;
    let group = wish.group.clone().unwrap_or_else(|| format!("family:{}", definition.family));
    let demand = demand(&launch, awsvpc.as_ref())?;
    let tags = tags_of(wish, &definition)?;
    let common = Start {
        cluster: &wish.cluster,
        definition: &definition,
        launch: &launch,
        overrides: &wish.overrides,
        awsvpc: awsvpc.as_ref(),
        launch_type,
        group: &group,
        started_by: wish.started_by.as_deref(),
        tags: &tags,
        now: wish.now,
    };

    let (mut tasks, mut failures) = (vec![], vec![]);
    for (text, host) in hosts {
        let Some(host) = host else {
            failures.push(show::missing(text));
            continue;
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
        let alone = Fleet::from_iter([fleets::candidate(txn.view(), &host)]);
        let placement = place(&alone, &demand, 1, wish.seed);
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

/// A container instance of the cluster that is not gone.
fn host(cx: &Cx, txn: &Txn, wish: &super::Wish, text: &str) -> Option<Arc<ContainerInstance>> {
    let id = names::instance(cx.scope(), &wish.cluster, text).ok()?;
    txn.get::<ContainerInstance>(cx.scope(), id.as_str())
        .filter(|host| host.cluster == wish.cluster && host.status != InstanceStatus::Inactive)
}

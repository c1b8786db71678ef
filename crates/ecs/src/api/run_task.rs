//! `RunTask`, and `StartTask` beneath it.
//!
//! Placement is synchronous: where each task goes is decided, and its network
//! interface provided, in the one transaction that makes the tasks. So nothing
//! can happen between the decision and its being binding, and a task that is
//! answered for has its place and its address.

mod start_task;

pub(crate) use start_task::start_task;

use super::{existing, task_definitions};
use crate::launch::Launch;
use crate::names::DefinitionName;
use crate::records::{Definition, DefinitionStatus, LaunchType, NetworkMode, Task, tags};
use crate::starting::{Start, start};
use crate::tags::MAX_TAGS;
use crate::{Error, definition, names, show, view};
use chassis::Cx;
use chassis::idempotency::{self, Digest, Key, Seen};
use ec2::awsvpc::{self, Awsvpc, MAX_GROUPS, MAX_SUBNETS};
use ident::{ClusterName, ContainerInstanceId, Tags, Timestamp};
use sched::placement::{Demand, Demanded, Reason, place};
use std::collections::BTreeMap;
use store::Txn;
use wire::ecs::{self, NetworkConfiguration, RunTaskRequest, TaskOverride};

/// As many tasks as one request may start.
const MAX_COUNT: i32 = 10;
/// As many characters as the words of a request may have.
const MAX_STARTED_BY: usize = 128;
const MAX_GROUP: usize = 255;
const MAX_TOKEN: usize = 64;
const MAX_REFERENCE: usize = 1024;
/// As many characters as the overrides may have, written as JSON.
const MAX_OVERRIDES: usize = 8192;

/// What a request asks for.
#[derive(Clone)]
struct Wish {
    cluster: ClusterName,
    definition: DefinitionName,
    /// As the request wrote it.
    definition_text: String,
    count: u32,
    launch_type: LaunchType,
    group: Option<String>,
    started_by: Option<String>,
    overrides: TaskOverride,
    network: Option<Network>,
    tags: Tags,
    /// Whether the tasks get the definition's tags too.
    definition_tags: bool,
    /// Whether the tasks are tagged with the cluster's name.
    managed_tags: bool,
    token: Option<(String, Digest)>,
    now: Timestamp,
    seed: u64,
}

/// An `awsvpcConfiguration`.
#[derive(Clone, serde::Serialize)]
struct Network {
    subnets: Vec<String>,
    groups: Vec<String>,
}

/// Starts up to ten tasks of a definition.
pub(crate) async fn run_task(
    cx: &Cx,
    request: RunTaskRequest,
) -> Result<ecs::RunTaskResponse, Error> {
    let wish = read(cx, request)?;
    cx.store().transact(|txn| carry_out(cx, txn, &wish)).await
}

fn read(cx: &Cx, request: RunTaskRequest) -> Result<Wish, Error> {
    refuse_what_we_lack(&request)?;
    let scope = cx.scope();
    let definition_text = request.task_definition.clone().unwrap_or_default();
    let count = request.count.unwrap_or(1);
    if !(1..=MAX_COUNT).contains(&count) {
        return Err(Error::invalid(format!("Tasks count must be between 1 and {MAX_COUNT}.")));
    }
    let definition_tags = match request.propagate_tags.as_deref() {
        Some("TASK_DEFINITION") => true,
        Some("SERVICE") => {
            return Err(Error::invalid("A task that no service starts cannot have its tags."));
        }
        None | Some(_) => false,
    };
    words(&request)?;
    let cluster = names::cluster(scope, request.cluster.as_deref())?;
    let launch_type = launch_type(request.launch_type.as_deref())?;
    let network = request.network_configuration.map(network).transpose()?;
    let overrides = request.overrides.unwrap_or_default();
    let definition = names::definition(scope, &definition_text)?;
    // Everything that decides about the outcome, so that a token means one thing.
    let digest = idempotency::digest(&(
        (&cluster, &definition_text, count, launch_type.as_str(), &request.group),
        (&request.started_by, &overrides, &network, &request.tags, &request.propagate_tags),
        request.enable_ecs_managed_tags == Some(true),
    ))?;
    Ok(Wish {
        cluster,
        definition,
        definition_text,
        count: u32::try_from(count).unwrap_or(1),
        launch_type,
        group: request.group.filter(|group| !group.is_empty()),
        started_by: request.started_by.filter(|who| !who.is_empty()),
        overrides,
        network,
        tags: tags(request.tags)?,
        definition_tags,
        managed_tags: request.enable_ecs_managed_tags == Some(true),
        token: request.client_token.filter(|t| !t.is_empty()).map(|token| (token, digest)),
        now: cx.now(),
        seed: u64::try_from(cx.bits() & u128::from(u64::MAX)).unwrap_or(0),
    })
}

/// Checks the words that the client chose, which come back as they were given.
fn words(request: &RunTaskRequest) -> Result<(), Error> {
    for (what, text, most) in [
        ("startedBy", &request.started_by, MAX_STARTED_BY),
        ("group", &request.group, MAX_GROUP),
        ("clientToken", &request.client_token, MAX_TOKEN),
        ("referenceId", &request.reference_id, MAX_REFERENCE),
    ] {
        if text.as_deref().is_some_and(|text| text.chars().count() > most) {
            return Err(Error::invalid(format!("{what} longer than {most}.")));
        }
    }
    let made_of = |text: &Option<String>, sound: fn(u8) -> bool| {
        text.as_deref().unwrap_or_default().bytes().all(sound)
    };
    if !made_of(&request.started_by, |b| b.is_ascii_alphanumeric() || b"-_/".contains(&b)) {
        return Err(Error::invalid("startedBy contains invalid characters."));
    }
    if !made_of(&request.client_token, |b| b.is_ascii_graphic()) {
        return Err(Error::invalid("clientToken contains invalid characters."));
    }
    if request.group.as_deref().is_some_and(|group| group.starts_with("service:")) {
        return Err(Error::invalid(
            "The prefix 'service:' is reserved for the groups of services.",
        ));
    }
    let written = request.overrides.as_ref().map(serde_json::to_string).transpose()?;
    if written.is_some_and(|text| text.chars().count() > MAX_OVERRIDES) {
        return Err(Error::invalid(format!(
            "Container Overrides length must be at most {MAX_OVERRIDES}"
        )));
    }
    Ok(())
}

/// What AWS would obey and we do not yet. Refused, because the alternative is a
/// task that silently is not where or what it was asked to be.
fn refuse_what_we_lack(request: &RunTaskRequest) -> Result<(), Error> {
    let given = |length: Option<usize>| length.is_some_and(|length| length > 0);
    let table = [
        (
            "capacityProviderStrategy",
            given(request.capacity_provider_strategy.as_ref().map(Vec::len)),
        ),
        ("placementConstraints", given(request.placement_constraints.as_ref().map(Vec::len))),
        ("placementStrategy", given(request.placement_strategy.as_ref().map(Vec::len))),
        ("volumeConfigurations", given(request.volume_configurations.as_ref().map(Vec::len))),
        ("enableExecuteCommand", request.enable_execute_command == Some(true)),
    ];
    if let Some((what, _)) = table.into_iter().find(|(_, there)| *there) {
        return Err(Error::unsupported(what));
    }
    if request.platform_version.is_some() && request.launch_type.as_deref() != Some("FARGATE") {
        return Err(Error::invalid(
            "The platform version must be null when specifying an EC2 launch type.",
        ));
    }
    Ok(())
}

fn launch_type(text: Option<&str>) -> Result<LaunchType, Error> {
    match text {
        None | Some("EC2") => Ok(LaunchType::Ec2),
        Some("EXTERNAL") => Ok(LaunchType::External),
        Some(other) => Err(Error::unsupported(format!("launch type {other}"))),
    }
}

fn network(configuration: NetworkConfiguration) -> Result<Network, Error> {
    let Some(awsvpc) = configuration.awsvpc_configuration else {
        return Err(Error::invalid("awsvpcConfiguration must be provided."));
    };
    let subnets = awsvpc.subnets.unwrap_or_default();
    let groups = awsvpc.security_groups.unwrap_or_default();
    if subnets.is_empty() {
        return Err(Error::invalid("subnets can not be empty."));
    }
    if subnets.len() > MAX_SUBNETS {
        return Err(Error::invalid(format!("subnets can have at most {MAX_SUBNETS} items.")));
    }
    if groups.len() > MAX_GROUPS {
        return Err(Error::invalid(format!("securityGroups can have at most {MAX_GROUPS} items.")));
    }
    if awsvpc.assign_public_ip.as_deref() == Some("ENABLED") {
        return Err(Error::invalid("Assign public IP is not supported for this launch type."));
    }
    Ok(Network { subnets, groups })
}

fn carry_out(cx: &Cx, txn: &mut Txn, wish: &Wish) -> Result<ecs::RunTaskResponse, Error> {
    let scope = cx.scope();
    let key = wish
        .token
        .as_ref()
        .map(|(token, digest)| (Key { scope, operation: "RunTask", token }, digest));
    if let Some((key, digest)) = &key {
        match idempotency::recall(txn, key, digest, wish.now) {
            Seen::Never => {}
            Seen::Same { outcome } => return Ok(repeat(cx, txn, &outcome)),
            Seen::Different => return Err(Error::TokenReused(key.token.to_owned())),
        }
    }

    let cluster = existing(txn.view(), scope, &wish.cluster)?;
    if !cluster.default_strategy.is_empty() {
        return Err(Error::unsupported("the cluster's defaultCapacityProviderStrategy"));
    }
    let definition = task_definitions::named(txn.view(), scope, &wish.definition)
        .ok_or_else(|| Error::NothingToRun(wish.definition_text.clone()))?;
    let launch = judge(wish, &definition)?;
    let awsvpc = network_of(txn, cx, wish, definition.spec.network_mode)?;
    let group = wish.group.clone().unwrap_or_else(|| format!("family:{}", definition.family));

    let candidates: Vec<_> = view::instances(txn.view(), scope, &wish.cluster)
        .filter(|host| host.is_external() == (wish.launch_type == LaunchType::External))
        .map(|host| view::candidate(txn.view(), &host, &group))
        .collect();
    if candidates.is_empty() {
        return Err(Error::NoContainerInstances(wish.cluster.clone()));
    }
    let demand = demand(&launch, awsvpc.as_ref())?;
    let placement = place(candidates, &demand, wish.count, wish.seed);

    let tags = tags_of(wish, &definition)?;
    let common = Start {
        cluster: &wish.cluster,
        definition: &definition,
        launch: &launch,
        overrides: &wish.overrides,
        awsvpc: awsvpc.as_ref(),
        launch_type: wish.launch_type,
        group: &group,
        started_by: wish.started_by.as_deref(),
        tags: &tags,
        now: wish.now,
    };
    let places = placement.places.into_iter();
    let tasks: Vec<Task> =
        places.map(|place| start(cx, txn, &common, place)).collect::<Result<_, _>>()?;
    // Who got nothing may ask again: there is nothing that could happen twice.
    if let Some((key, digest)) = key.filter(|_| !tasks.is_empty()) {
        let ids: Vec<&str> = tasks.iter().map(|task| task.id.as_str()).collect();
        idempotency::remember(txn, &key, digest.clone(), ids.join(","), wish.now);
    }

    let refused = placement.refusals.into_iter();
    Ok(ecs::RunTaskResponse {
        tasks: Some(tasks.iter().map(|task| show::task(txn.view(), task, true)).collect()),
        failures: Some(refused.map(|(id, why)| failure(cx, wish, &id, &why)).collect()),
    })
}

/// The tasks that the same request started before.
fn repeat(cx: &Cx, txn: &Txn, outcome: &str) -> ecs::RunTaskResponse {
    let ids = outcome.split(',').filter(|id| !id.is_empty());
    let tasks = ids.filter_map(|id| txn.get::<Task>(cx.scope(), id));
    ecs::RunTaskResponse {
        tasks: Some(tasks.map(|task| show::task(txn.view(), &task, true)).collect()),
        failures: Some(vec![]),
    }
}

/// Whether the definition can be run in the way that is wished.
fn judge<'a>(wish: &'a Wish, definition: &'a Definition) -> Result<Launch<'a>, Error> {
    if definition.status != DefinitionStatus::Active {
        return Err(Error::refused("TaskDefinition is inactive"));
    }
    let launch_type = wish.launch_type.as_str();
    let fit = definition::compatibilities(&definition.spec);
    if !fit.iter().any(|one| one == launch_type) {
        return Err(Error::invalid(format!(
            "Task definition does not support launch_type {launch_type}."
        )));
    }
    Launch::new(&definition.spec, &wish.overrides)
}

/// The network of the tasks: given if and only if the mode wants one.
fn network_of(
    txn: &mut Txn,
    cx: &Cx,
    wish: &Wish,
    mode: NetworkMode,
) -> Result<Option<Awsvpc>, Error> {
    match (&wish.network, mode) {
        (Some(network), NetworkMode::Awsvpc) => {
            Ok(Some(awsvpc::resolve(txn, cx.scope(), &network.subnets, &network.groups)?))
        }
        (None, NetworkMode::Awsvpc) => Err(Error::invalid(
            "Network Configuration must be provided when networkMode 'awsvpc' is specified.",
        )),
        (Some(_), NetworkMode::Bridge | NetworkMode::Host | NetworkMode::None) => {
            Err(Error::invalid(
                "Network Configuration is not valid for the given networkMode of this task \
                 definition.",
            ))
        }
        (None, NetworkMode::Bridge | NetworkMode::Host | NetworkMode::None) => Ok(None),
    }
}

/// What the tasks demand of the machines they go to.
fn demand(launch: &Launch<'_>, awsvpc: Option<&Awsvpc>) -> Result<Demand, Error> {
    let mut attributes = launch.demanded();
    if let Some(awsvpc) = awsvpc {
        // An interface can only be where its VPC is.
        attributes.insert(Demanded {
            name: "ecs.vpc-id".to_owned(),
            value: Some(awsvpc.vpc.net.id.to_string()),
        });
    }
    let zones =
        awsvpc.map(|awsvpc| awsvpc.subnets.iter().map(|subnet| subnet.zone.name.clone()).collect());
    Ok(Demand { need: launch.need()?, attributes, zones })
}

/// The request's own tags win over those that are propagated.
fn tags_of(wish: &Wish, definition: &Definition) -> Result<Tags, Error> {
    let mut all = BTreeMap::new();
    if wish.definition_tags {
        all.extend(definition.tags.0.clone());
    }
    all.extend(wish.tags.0.clone());
    if all.len() > MAX_TAGS {
        return Err(Error::invalid(format!("A task can have at most {MAX_TAGS} tags.")));
    }
    if wish.managed_tags {
        all.insert("aws:ecs:clusterName".to_owned(), wish.cluster.to_string());
    }
    Ok(Tags(all))
}

/// Why an instance took none of the tasks that found no place.
fn failure(cx: &Cx, wish: &Wish, id: &ContainerInstanceId, reasons: &[Reason]) -> ecs::Failure {
    ecs::Failure {
        arn: Some(names::instance_arn(cx.scope(), &wish.cluster, id).to_string()),
        reason: reasons.first().map(|reason| reason.code().to_owned()),
        detail: None,
    }
}

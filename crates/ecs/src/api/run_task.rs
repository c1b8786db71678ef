//! `RunTask`, and `StartTask` beneath it.
//!
//! Placement is synchronous: where each task goes is decided, and its network
//! interface provided, in the one transaction that makes the tasks. So nothing
//! can happen between the decision and its being binding, and a task that is
//! answered for has its place and its address.

mod start_task;

pub(crate) use start_task::start_task;

use super::{existing, task_definitions};
use crate::fleets::{self, Which};
use crate::launch::Launch;
use crate::names::DefinitionName;
use crate::placing::{self, Constraints};
use crate::records::{Definition, DefinitionStatus, LaunchType, NetworkMode, Task, tags};
use crate::starting::{Start, start};
use crate::tags::MAX_TAGS;
use crate::{Error, definition, names, show};
use chassis::Cx;
use chassis::idempotency::{self, Digest, Key, Seen};
use ec2::awsvpc::{self, Awsvpc, MAX_GROUPS, MAX_SUBNETS};
use ident::{ClusterName, ContainerInstanceId, Tags, Timestamp};
use sched::placement::{Demand, Demanded, Place, Reason, Strategy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Txn, View};
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
pub(crate) struct Wish {
    pub(crate) cluster: ClusterName,
    definition: DefinitionName,
    /// As the request wrote it.
    definition_text: String,
    pub(crate) count: u32,
    launch_type: LaunchType,
    group: Option<String>,
    started_by: Option<String>,
    overrides: TaskOverride,
    network: Option<Network>,
    constraints: Constraints,
    strategies: Vec<Strategy>,
    /// The capacity providers that it names.
    providers: Vec<String>,
    tags: Tags,
    /// Whether the tasks get the definition's tags too.
    definition_tags: bool,
    /// Whether the tasks are tagged with the cluster's name.
    managed_tags: bool,
    token: Option<(String, Digest)>,
    now: Timestamp,
    pub(crate) seed: u64,
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
    let outcome = cx.store().transact(|txn| carry_out(cx, txn, &wish)).await?;
    Ok(outcome.show(cx, &wish))
}

pub(crate) fn read(cx: &Cx, request: RunTaskRequest) -> Result<Wish, Error> {
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
    let constraints = request.placement_constraints.unwrap_or_default();
    let strategies = request.placement_strategy.unwrap_or_default();
    let providers = request.capacity_provider_strategy.unwrap_or_default();
    let overrides = request.overrides.unwrap_or_default();
    let definition = names::definition(scope, &definition_text)?;
    let wishes: Vec<_> = (constraints.iter().map(|it| (&it.r#type, &it.expression)))
        .chain(strategies.iter().map(|it| (&it.r#type, &it.field)))
        .collect();
    // Everything that decides about the outcome, so that a token means one thing.
    let digest = idempotency::digest(&(
        (&cluster, &definition_text, count, launch_type.as_str(), &request.group),
        (&request.started_by, &overrides, &network, &request.tags, &request.propagate_tags),
        (request.enable_ecs_managed_tags == Some(true), wishes, &providers),
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
        constraints: placing::constraints(&constraints)?,
        strategies: placing::strategies(&strategies)?,
        providers: providers.into_iter().filter_map(|item| item.capacity_provider).collect(),
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
        ("volumeConfigurations", given(request.volume_configurations.as_ref().map(Vec::len))),
        ("enableExecuteCommand", request.enable_execute_command == Some(true)),
    ];
    if let Some((what, _)) = table.into_iter().find(|(_, there)| *there) {
        return Err(Error::unsupported(what));
    }
    let providers = request.capacity_provider_strategy.as_ref();
    if request.launch_type.is_some() && given(providers.map(Vec::len)) {
        return Err(Error::invalid(
            "Specifying both a launch type and capacity provider strategy is not supported. \
             Remove one and try again.",
        ));
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

fn carry_out(cx: &Cx, txn: &mut Txn, wish: &Wish) -> Result<Begun, Error> {
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

    let definition = definition_of(cx, txn, wish)?;
    let Considered { origin, which, mut demand } = consider(cx, txn, wish, &definition)?;
    let common = origin.start(wish);
    let (mut tasks, mut full) = (vec![], None);
    let mut placement = fleets::place(txn, scope, &which, &demand, (wish.count, wish.seed));
    loop {
        let found = std::mem::take(&mut placement.places);
        let Some(zone) = begin(cx, txn, &common, found, &mut tasks, &mut full)? else { break };
        // The zone's subnets are full: the rest goes to the others.
        if let Some(zones) = &mut demand.zones {
            zones.remove(&zone);
        }
        let rest = wish.count.saturating_sub(u32::try_from(tasks.len()).unwrap_or(u32::MAX));
        placement = fleets::place(txn, scope, &which, &demand, (rest, wish.seed));
    }
    if let Some(full) = full.take_if(|_| tasks.is_empty()) {
        return Err(full);
    }
    let refused = placement.refusals.into_iter();
    let failures: Vec<Refused> =
        refused.map(|(id, why)| Refused::new(id, &why, full.as_ref())).collect();

    // Who got nothing may ask again: there is nothing that could happen twice.
    if let Some((key, digest)) = key.filter(|_| !tasks.is_empty()) {
        let ids = tasks.iter().map(|task: &Arc<Task>| task.id.to_string()).collect();
        let outcome = serde_json::to_string(&Outcome { tasks: ids, failures: failures.clone() })?;
        idempotency::remember(txn, &key, digest.clone(), outcome, wish.now);
    }
    Ok(Begun { view: txn.view().clone(), tasks, failures })
}

/// What a request has come to, to be put into words when others need not wait.
struct Begun {
    /// The state then.
    view: View,
    tasks: Vec<Arc<Task>>,
    failures: Vec<Refused>,
}

impl Begun {
    fn show(self, cx: &Cx, wish: &Wish) -> ecs::RunTaskResponse {
        let tasks = self.tasks.iter().map(|task| show::task(&self.view, task, true));
        ecs::RunTaskResponse {
            tasks: Some(tasks.collect()),
            failures: Some(self.failures.into_iter().map(|it| it.show(cx, wish)).collect()),
        }
    }
}

/// The definition that a request names, if its cluster may run it.
pub(crate) fn definition_of(cx: &Cx, txn: &Txn, wish: &Wish) -> Result<Arc<Definition>, Error> {
    let cluster = existing(txn.view(), cx.scope(), &wish.cluster)?;
    if wish.providers.iter().any(|name| !cluster.capacity_providers.contains(name)) {
        return Err(Error::invalid(
            "The specified capacity provider strategy cannot contain a capacity provider that is \
             not associated with the cluster. Associate the capacity provider with the cluster \
             and try again.",
        ));
    }
    if !wish.providers.is_empty() {
        return Err(Error::unsupported("capacityProviderStrategy"));
    }
    if !cluster.default_strategy.is_empty() {
        return Err(Error::unsupported("the cluster's defaultCapacityProviderStrategy"));
    }
    named(cx, txn, wish)
}

/// The definition that a request names.
fn named(cx: &Cx, txn: &Txn, wish: &Wish) -> Result<Arc<Definition>, Error> {
    task_definitions::named(txn.view(), cx.scope(), &wish.definition)
        .ok_or_else(|| Error::NothingToRun(wish.definition_text.clone()))
}

/// What the tasks of a request are made from, wherever they go.
struct Origin<'a> {
    definition: &'a Definition,
    launch: Launch<'a>,
    awsvpc: Option<Awsvpc>,
    group: String,
    tags: Tags,
}

impl<'a> Origin<'a> {
    /// Looks up what a request makes tasks from, and whether that can be run so.
    fn of(
        cx: &Cx,
        txn: &mut Txn,
        wish: &'a Wish,
        definition: &'a Definition,
    ) -> Result<Self, Error> {
        let launch = judge(wish, definition)?;
        let awsvpc = network_of(txn, cx, wish, definition.spec.network_mode)?;
        let group = wish.group.clone().unwrap_or_else(|| format!("family:{}", definition.family));
        let tags = tags_of(wish, definition)?;
        Ok(Self { definition, launch, awsvpc, group, tags })
    }

    /// What its tasks have in common.
    fn start(&'a self, wish: &'a Wish) -> Start<'a> {
        Start {
            cluster: &wish.cluster,
            definition: self.definition,
            launch: &self.launch,
            overrides: &wish.overrides,
            awsvpc: self.awsvpc.as_ref(),
            launch_type: wish.launch_type,
            group: &self.group,
            started_by: wish.started_by.as_deref(),
            tags: &self.tags,
            now: wish.now,
        }
    }

    /// What its tasks demand of the machines they go to, for whatever reason but where
    /// the request wants them.
    fn demand(&self) -> Demand {
        let mut attributes = self.launch.demanded();
        if let Some(awsvpc) = &self.awsvpc {
            // An interface can only be where its VPC is.
            attributes.insert(Demanded {
                name: "ecs.vpc-id".to_owned(),
                value: Some(awsvpc.vpc.net.id.to_string()),
            });
        }
        let zones = self
            .awsvpc
            .as_ref()
            .map(|awsvpc| awsvpc.subnets.iter().map(|subnet| subnet.zone.name.clone()).collect());
        Demand { need: self.launch.need().clone(), attributes, zones, ..Demand::default() }
    }
}

/// What a request comes to, before anything is placed.
pub(crate) struct Considered<'a> {
    origin: Origin<'a>,
    /// Which instances tasks might go to.
    pub(crate) which: Which,
    /// What the tasks demand of them.
    pub(crate) demand: Demand,
}

/// Looks at everything else that a request refers to.
pub(crate) fn consider<'a>(
    cx: &Cx,
    txn: &mut Txn,
    wish: &'a Wish,
    definition: &'a Definition,
) -> Result<Considered<'a>, Error> {
    let origin = Origin::of(cx, txn, wish, definition)?;
    let mut member_of = wish.constraints.member_of.clone();
    member_of.extend(placing::of_definition(&definition.spec.placement_constraints)?);
    let demand = Demand {
        group: origin.group.clone(),
        distinct: wish.constraints.distinct,
        member_of,
        strategies: wish.strategies.clone(),
        ..origin.demand()
    };
    let which = (wish.cluster.clone(), wish.launch_type == LaunchType::External);
    if fleets::of(txn, cx.scope(), &which).is_none() {
        return Err(Error::NoContainerInstances(wish.cluster.clone()));
    }
    Ok(Considered { origin, which, demand })
}

/// Starts a task in each place, and stops at the first zone whose subnets are
/// full, which it names; what EC2 said of them goes to `full`.
fn begin(
    cx: &Cx,
    txn: &mut Txn,
    common: &Start<'_>,
    places: Vec<Place>,
    tasks: &mut Vec<Arc<Task>>,
    full: &mut Option<Error>,
) -> Result<Option<String>, Error> {
    for place in places {
        let zone = place.zone.clone();
        match start(cx, txn, common, place) {
            Ok(task) => tasks.push(task),
            Err(Error::Network(why @ ec2::Error::NoAddress(_))) => {
                *full = Some(why.into());
                return Ok(Some(zone));
            }
            Err(other) => return Err(other),
        }
    }
    Ok(None)
}

/// What became of a request, to be said again if it is made again.
#[derive(Serialize, Deserialize)]
struct Outcome {
    tasks: Vec<String>,
    failures: Vec<Refused>,
}

impl Outcome {
    /// Reads what was remembered, by this version or by the first, which kept the
    /// ids of the tasks and nothing else.
    fn read(text: &str) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self {
            tasks: text.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect(),
            failures: vec![],
        })
    }
}

/// That an instance took none of the tasks that found no place.
#[derive(Clone, Serialize, Deserialize)]
struct Refused {
    instance: ContainerInstanceId,
    reason: String,
    detail: Option<String>,
}

impl Refused {
    fn new(instance: ContainerInstanceId, reasons: &[Reason], full: Option<&Error>) -> Self {
        if let (Some(full), [Reason::Zone]) = (full, reasons) {
            // It stands where a subnet would have been, had that had an address.
            let detail = Some(full.fault().message);
            return Self { instance, reason: "RESOURCE:ENI".to_owned(), detail };
        }
        let first = reasons.first().map_or("RESOURCE", Reason::code).to_owned();
        let details: Vec<String> = reasons.iter().map(placing::detail).collect();
        Self { instance, reason: first, detail: Some(details.join("; ")) }
    }

    fn show(self, cx: &Cx, wish: &Wish) -> ecs::Failure {
        let arn = names::instance_arn(cx.scope(), &wish.cluster, &self.instance);
        ecs::Failure { arn: Some(arn.to_string()), reason: Some(self.reason), detail: self.detail }
    }
}

/// What the same request came to before, with the tasks as they are now.
fn repeat(cx: &Cx, txn: &Txn, outcome: &str) -> Begun {
    let Outcome { tasks, failures } = Outcome::read(outcome);
    let tasks = tasks.iter().filter_map(|id| txn.get::<Task>(cx.scope(), id)).collect();
    Begun { view: txn.view().clone(), tasks, failures }
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
        (Some(network), NetworkMode::Awsvpc) => Ok(Some(awsvpc::resolve(
            txn,
            cx.scope(),
            &network.subnets,
            &network.groups,
            cx.platform.quotas,
        )?)),
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

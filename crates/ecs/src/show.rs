//! Our records in the shapes of the API.

use crate::names;
use crate::records::{
    Cluster, Container, ContainerInstance, Definition, GPU, Interface, Task, TasksOf, show_tags,
};
use crate::view::{self, Counts};
use ident::Timestamp;
use sched::lifecycle::{Desired, Phase};
use sched::resources::{Ports, Protocol};
use std::collections::BTreeSet;
use std::sync::Arc;
use store::View;
use wire::ecs;

/// A moment as the wire has it.
pub(crate) fn moment(at: Timestamp) -> wire::Timestamp {
    wire::Timestamp::from_millis(at.0)
}

/// The failure to find what a request named.
pub(crate) fn missing(arn: &impl ToString) -> ecs::Failure {
    ecs::Failure { arn: Some(arn.to_string()), reason: Some("MISSING".into()), detail: None }
}

fn pair(name: &str, value: &impl ToString) -> ecs::KeyValuePair {
    ecs::KeyValuePair { name: Some(name.to_owned()), value: Some(value.to_string()) }
}

/// A cluster, with the parts of it that were asked for.
pub(crate) fn cluster(view: &View, cluster: &Cluster, include: &[String]) -> ecs::Cluster {
    let asked = |part: &str| include.iter().any(|wanted| wanted == part);
    let scope = &cluster.scope;
    // Whoever runs or is about to is wanted running; what stopped is not looked at.
    let live = || TasksOf::Desired(&cluster.name, Desired::Running).find(view, scope);
    let all = Counts::of(live());
    let namespace = cluster.service_connect_namespace.clone();
    ecs::Cluster {
        cluster_arn: Some(cluster.arn().to_string()),
        cluster_name: Some(cluster.name.to_string()),
        status: Some(if cluster.is_active() { "ACTIVE" } else { "INACTIVE" }.to_owned()),
        registered_container_instances_count: Some(count(
            view::instances(view, scope, &cluster.name).count(),
        )),
        running_tasks_count: Some(all.running),
        pending_tasks_count: Some(all.pending),
        active_services_count: Some(0),
        statistics: Some(if asked("STATISTICS") { statistics(live) } else { vec![] }),
        tags: Some(if asked("TAGS") { show_tags(&cluster.tags) } else { vec![] }),
        settings: Some(if asked("SETTINGS") { cluster.settings.clone() } else { vec![] }),
        configuration: cluster.configuration.clone().filter(|_| asked("CONFIGURATIONS")),
        capacity_providers: Some(cluster.capacity_providers.clone()),
        default_capacity_provider_strategy: Some(cluster.default_strategy.clone()),
        attachments: asked("ATTACHMENTS").then(Vec::new),
        attachments_status: None,
        service_connect_defaults: namespace
            .map(|namespace| ecs::ClusterServiceConnectDefaults { namespace: Some(namespace) }),
    }
}

fn statistics<I>(tasks: impl Fn() -> I) -> Vec<ecs::KeyValuePair>
where
    I: Iterator<Item = std::sync::Arc<Task>>,
{
    use crate::records::LaunchType::{Ec2, External};
    let of = |launch| Counts::of(tasks().filter(move |task| task.launch_type == launch));
    let (ec2, external) = (of(Ec2), of(External));
    vec![
        pair("runningEC2TasksCount", &ec2.running),
        pair("runningFargateTasksCount", &0),
        pair("pendingEC2TasksCount", &ec2.pending),
        pair("pendingFargateTasksCount", &0),
        pair("runningExternalTasksCount", &external.running),
        pair("pendingExternalTasksCount", &external.pending),
        pair("activeEC2ServiceCount", &0),
        pair("activeFargateServiceCount", &0),
        pair("drainingEC2ServiceCount", &0),
        pair("drainingFargateServiceCount", &0),
        pair("activeExternalServiceCount", &0),
        pair("drainingExternalServiceCount", &0),
    ]
}

/// A task definition.
pub(crate) fn definition(definition: &Definition) -> ecs::TaskDefinition {
    let spec = definition.spec.clone();
    let attribute = |name| ecs::Attribute { name: Some(name), ..Default::default() };
    let capabilities = crate::definition::capabilities(&spec);
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    ecs::TaskDefinition {
        task_definition_arn: Some(definition.arn().to_string()),
        family: Some(definition.family.to_string()),
        revision: Some(i32::try_from(definition.revision).unwrap_or(i32::MAX)),
        status: Some(definition.status.as_str().to_owned()),
        registered_at: Some(moment(definition.registered_at)),
        registered_by: Some(definition.registered_by.clone()),
        requires_attributes: (!capabilities.is_empty())
            .then(|| capabilities.into_iter().map(attribute).collect()),
        compatibilities: Some(crate::definition::compatibilities(&spec)),
        requires_compatibilities: some(spec.requires_compatibilities),
        container_definitions: Some(spec.container_definitions),
        volumes: Some(spec.volumes),
        placement_constraints: Some(spec.placement_constraints),
        network_mode: Some(spec.network_mode.as_str().to_owned()),
        cpu: spec.cpu,
        memory: spec.memory,
        task_role_arn: spec.task_role_arn,
        execution_role_arn: spec.execution_role_arn,
        pid_mode: spec.pid_mode,
        ipc_mode: spec.ipc_mode,
        proxy_configuration: spec.proxy_configuration,
        inference_accelerators: Some(spec.inference_accelerators).filter(|list| !list.is_empty()),
        ephemeral_storage: spec.ephemeral_storage,
        runtime_platform: spec.runtime_platform,
        enable_fault_injection: spec.enable_fault_injection,
        trusted_execution_configuration: spec.trusted_execution_configuration,
        deregistered_at: definition.deregistered_at.map(moment),
        delete_requested_at: definition.delete_requested_at.map(moment),
    }
}

/// A task, as of this view.
pub(crate) fn task(view: &View, task: &Task, with_tags: bool) -> ecs::Task {
    let host = view.get::<ContainerInstance>(&task.scope, task.instance.as_str());
    let connected = host.as_ref().is_some_and(|host| host.connected());
    // A task is as connected as its instance, from when it was put there.
    let connection_changed = host.as_ref().map(|h| h.session_changed_at.max(task.times.created));
    let architecture = host.as_ref().and_then(|host| {
        let value = host.attributes.get("ecs.cpu-architecture")?.clone();
        Some(ecs::Attribute {
            name: Some("ecs.cpu-architecture".to_owned()),
            value,
            ..Default::default()
        })
    });
    let instance = names::instance_arn(&task.scope, &task.cluster, &task.instance);
    let time = |at: Option<Timestamp>| at.map(moment);
    ecs::Task {
        task_arn: Some(task.arn().to_string()),
        cluster_arn: Some(names::cluster_arn(&task.scope, &task.cluster).to_string()),
        task_definition_arn: Some(task.definition_arn().to_string()),
        container_instance_arn: Some(instance.to_string()),
        overrides: Some(overrides(task)),
        last_status: Some(task.phase.as_str().to_owned()),
        desired_status: Some(task.phase.desired().as_str().to_owned()),
        cpu: Some(task.need.cpu_units.to_string()),
        memory: Some(task.need.memory_mib.to_string()),
        containers: Some(task.containers.iter().map(|one| container(task, one)).collect()),
        started_by: task.started_by.clone(),
        version: Some(i64::try_from(task.version).unwrap_or(i64::MAX)),
        stop_code: task.stop.as_ref().and_then(|s| s.code).map(|code| code.as_str().to_owned()),
        stopped_reason: task.stop.as_ref().map(|stop| stop.reason.clone()),
        connectivity: Some(if connected { "CONNECTED" } else { "DISCONNECTED" }.to_owned()),
        connectivity_at: time(connection_changed),
        pull_started_at: time(task.times.pull_started),
        pull_stopped_at: time(task.times.pull_stopped),
        execution_stopped_at: time(task.times.execution_stopped),
        created_at: Some(moment(task.times.created)),
        started_at: time(task.times.started),
        stopping_at: time(task.times.stopping),
        stopped_at: time(task.times.stopped),
        group: Some(task.group.clone()),
        launch_type: Some(task.launch_type.as_str().to_owned()),
        availability_zone: Some(task.zone.clone()).filter(|zone| !zone.is_empty()),
        attachments: Some(task.interface.iter().map(|eni| attachment(task, eni)).collect()),
        attributes: Some(architecture.into_iter().collect()),
        tags: Some(if with_tags { show_tags(&task.tags) } else { vec![] }),
        enable_execute_command: Some(false),
        health_status: Some(task.health().as_str().to_owned()),
        inference_accelerators: Some(vec![]),
        ..Default::default()
    }
}

/// The overrides, with an entry for every container, as AWS shows them.
fn overrides(task: &Task) -> ecs::TaskOverride {
    let given = task.overrides.container_overrides.iter().flatten();
    let entry = |container: &Container| {
        let named = |o: &&ecs::ContainerOverride| o.name.as_deref() == Some(&*container.name);
        given.clone().find(named).cloned().unwrap_or_else(|| ecs::ContainerOverride {
            name: Some(container.name.clone()),
            ..Default::default()
        })
    };
    ecs::TaskOverride {
        container_overrides: Some(task.containers.iter().map(entry).collect()),
        inference_accelerator_overrides: Some(vec![]),
        ..task.overrides.clone()
    }
}

fn container(task: &Task, container: &Container) -> ecs::Container {
    let arn = names::container_arn(&task.scope, &task.cluster, &task.id, &container.id);
    let interface = task.interface.iter().map(|eni| ecs::NetworkInterface {
        attachment_id: Some(eni.attachment.to_string()),
        private_ipv4_address: Some(eni.ipv4.to_string()),
        ipv6_address: None,
    });
    let text = |number: Option<i32>| number.map(|number| number.to_string());
    ecs::Container {
        container_arn: Some(arn.to_string()),
        task_arn: Some(task.arn().to_string()),
        name: Some(container.name.clone()),
        image: Some(container.image.clone()),
        image_digest: container.image_digest.clone(),
        runtime_id: container.runtime_id.clone(),
        last_status: Some(container.status.as_str().to_owned()),
        exit_code: container.exit_code,
        reason: container.reason.clone(),
        network_bindings: Some(container.network_bindings.clone()),
        network_interfaces: Some(interface.collect()),
        health_status: Some(container.health.as_str().to_owned()),
        cpu: Some(container.cpu.to_string()),
        memory: text(container.memory),
        memory_reservation: text(container.memory_reservation),
        gpu_ids: Some(container.gpu_ids.clone()).filter(|ids| !ids.is_empty()),
        ..Default::default()
    }
}

fn attachment(task: &Task, eni: &Interface) -> ecs::Attachment {
    // How far the attachment is follows from the task's phase: the phases are
    // what waits for it.
    let status = match task.phase {
        Phase::Provisioning => "ATTACHING",
        Phase::Pending
        | Phase::Activating
        | Phase::Running
        | Phase::Deactivating
        | Phase::Stopping => "ATTACHED",
        Phase::Deprovisioning => "DETACHING",
        Phase::Stopped => "DELETED",
    };
    let mut details = vec![
        pair("subnetId", &eni.subnet),
        pair("networkInterfaceId", &eni.eni),
        pair("macAddress", &eni.mac),
    ];
    details.extend(eni.private_dns_name.iter().map(|name| pair("privateDnsName", name)));
    details.push(pair("privateIPv4Address", &eni.ipv4));
    ecs::Attachment {
        id: Some(eni.attachment.to_string()),
        r#type: Some("ElasticNetworkInterface".to_owned()),
        status: Some(status.to_owned()),
        details: Some(details),
    }
}

/// A container instance, as of this view.
pub(crate) fn instance(
    view: &View,
    instance: &ContainerInstance,
    include: &[String],
) -> ecs::ContainerInstance {
    let asked = |part: &str| include.iter().any(|wanted| wanted == part);
    let tenants: Vec<Arc<Task>> = view::tenants(view, instance).collect();
    let counts = Counts::of(tenants.iter().cloned());
    let registered = &instance.capacity;
    let room = registered.room(tenants.iter().map(|task| &task.need));
    let resources = |cpu, memory, ports: &Ports, gpus: Option<BTreeSet<String>>| {
        let mut all = vec![
            integer("CPU", cpu),
            integer("MEMORY", memory),
            port_set("PORTS", ports, Protocol::Tcp),
            port_set("PORTS_UDP", ports, Protocol::Udp),
        ];
        all.extend(instance.other_resources.iter().cloned());
        let sets = all.iter_mut().filter(|one| one.name.as_deref() == Some(GPU));
        if let Some((set, left)) = sets.map(|one| &mut one.string_set_value).next().zip(gpus) {
            *set = Some(left.into_iter().collect());
        }
        all
    };
    let attribute = |(name, value): (&String, &Option<String>)| ecs::Attribute {
        name: Some(name.clone()),
        value: value.clone(),
        ..Default::default()
    };
    let health = instance.health.clone();
    ecs::ContainerInstance {
        container_instance_arn: Some(instance.arn().to_string()),
        ec2_instance_id: instance.ec2_instance.as_ref().map(ToString::to_string),
        version: Some(i64::try_from(instance.version).unwrap_or(i64::MAX)),
        version_info: Some(ecs::VersionInfo {
            agent_version: instance.version_info.agent_version.clone(),
            agent_hash: instance.version_info.agent_hash.clone(),
            docker_version: instance.version_info.docker_version.clone(),
        }),
        registered_resources: Some(resources(
            registered.cpu_units,
            registered.memory_mib,
            &registered.reserved,
            None,
        )),
        remaining_resources: Some(resources(
            room.cpu_units,
            room.memory_mib,
            &room.taken,
            Some(view::free_gpus(view, instance)),
        )),
        status: Some(instance.status.as_str().to_owned()),
        agent_connected: Some(instance.connected()),
        running_tasks_count: Some(counts.running),
        pending_tasks_count: Some(counts.pending),
        attributes: Some(instance.attributes.iter().map(attribute).collect()),
        registered_at: Some(moment(instance.registered_at)),
        attachments: Some(vec![]),
        tags: Some(if asked("TAGS") { show_tags(&instance.tags) } else { vec![] }),
        health_status: asked("CONTAINER_INSTANCE_HEALTH").then(|| {
            ecs::ContainerInstanceHealthStatus {
                overall_status: Some(overall(&health).to_owned()),
                details: Some(health),
            }
        }),
        ..Default::default()
    }
}

/// The worst of the parts, as AWS puts a whole instance.
fn overall(parts: &[ecs::InstanceHealthCheckResult]) -> &'static str {
    let any = |status: &str| parts.iter().any(|part| part.status.as_deref() == Some(status));
    if parts.is_empty() || any("INSUFFICIENT_DATA") {
        "INSUFFICIENT_DATA"
    } else if any("IMPAIRED") {
        "IMPAIRED"
    } else if any("INITIALIZING") {
        "INITIALIZING"
    } else {
        "OK"
    }
}

fn integer(name: &str, value: i64) -> ecs::Resource {
    let bounded = i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX });
    ecs::Resource {
        name: Some(name.to_owned()),
        r#type: Some("INTEGER".to_owned()),
        double_value: Some(0.0),
        long_value: Some(0),
        integer_value: Some(bounded),
        string_set_value: None,
    }
}

fn port_set(name: &str, ports: &Ports, protocol: Protocol) -> ecs::Resource {
    ecs::Resource {
        name: Some(name.to_owned()),
        r#type: Some("STRINGSET".to_owned()),
        double_value: Some(0.0),
        long_value: Some(0),
        integer_value: Some(0),
        string_set_value: Some(ports.of(protocol).map(|port| port.to_string()).collect()),
    }
}

/// A number of things, as far as the wire can count.
pub(crate) fn count(things: usize) -> i32 {
    i32::try_from(things).unwrap_or(i32::MAX)
}

//! Where a task definition could run: the launch types it is fit for, the
//! capabilities it demands of a machine, and what of it Landfall lacks.

use super::size::{fits_fargate, parse_cpu, parse_memory};
use crate::records::{NetworkMode, Spec};
use std::collections::{BTreeMap, BTreeSet};
use wire::ecs::ContainerDefinition;

/// The launch types that the definition could be run with.
pub(crate) fn compatibilities(spec: &Spec) -> Vec<String> {
    let awsvpc = spec.network_mode == NetworkMode::Awsvpc;
    let sized =
        spec.cpu.as_deref().and_then(parse_cpu).zip(spec.memory.as_deref().and_then(parse_memory));
    let fargate = awsvpc
        && sized.is_some_and(|(cpu, memory)| fits_fargate(cpu, memory))
        && spec.ipc_mode.is_none()
        && !spec.container_definitions.iter().any(beyond_fargate);
    let table = [("EC2", true), ("FARGATE", fargate), ("EXTERNAL", !awsvpc)];
    table.into_iter().filter(|(_, fit)| *fit).map(|(name, _)| name.to_owned()).collect()
}

fn beyond_fargate(container: &ContainerDefinition) -> bool {
    let linux = container.linux_parameters.as_ref();
    container.privileged == Some(true)
        || container.resource_requirements.as_ref().is_some_and(|list| !list.is_empty())
        || container.docker_security_options.as_ref().is_some_and(|list| !list.is_empty())
        || linux.is_some_and(|linux| linux.devices.is_some() || linux.tmpfs.is_some())
}

/// The attributes that a machine must have to run the definition.
pub(crate) fn capabilities(spec: &Spec) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut docker = |version: &str| {
        names.insert(format!("com.amazonaws.ecs.capability.docker-remote-api.{version}"));
    };
    let containers = &spec.container_definitions;
    let any = |test: fn(&ContainerDefinition) -> bool| containers.iter().any(test);
    if spec.network_mode == NetworkMode::Awsvpc {
        docker("1.18");
    }
    if any(|container| container.memory_reservation.is_some()) {
        docker("1.21");
    }
    if any(|container| container.health_check.is_some()) {
        docker("1.24");
    }
    for driver in containers.iter().filter_map(driver) {
        docker(if driver == "awslogs" { "1.19" } else { "1.18" });
    }
    let drivers = containers.iter().filter_map(driver);
    names.extend(drivers.map(|name| format!("com.amazonaws.ecs.capability.logging-driver.{name}")));

    let logs = containers.iter().filter_map(driver).any(|driver| driver == "awslogs");
    let ecr = any(|container| container.image.as_deref().is_some_and(|i| i.contains(".dkr.ecr.")));
    let executes = spec.execution_role_arn.is_some();
    let table = [
        ("ecs.capability.task-eni", spec.network_mode == NetworkMode::Awsvpc),
        ("com.amazonaws.ecs.capability.task-iam-role", spec.task_role_arn.is_some()),
        (
            "com.amazonaws.ecs.capability.privileged-container",
            any(|container| container.privileged == Some(true)),
        ),
        ("com.amazonaws.ecs.capability.ecr-auth", ecr),
        ("ecs.capability.execution-role-ecr-pull", ecr && executes),
        ("ecs.capability.execution-role-awslogs", logs && executes),
        (
            "ecs.capability.container-health-check",
            any(|container| container.health_check.is_some()),
        ),
        (
            "ecs.capability.container-ordering",
            any(|container| container.depends_on.as_ref().is_some_and(|list| !list.is_empty())),
        ),
        (
            "ecs.capability.container-restart-policy",
            any(|container| {
                container.restart_policy.as_ref().is_some_and(|p| p.enabled == Some(true))
            }),
        ),
        (
            "ecs.capability.pid-ipc-namespace-sharing",
            spec.pid_mode.is_some() || spec.ipc_mode.is_some(),
        ),
        (
            "ecs.capability.docker-plugin.local",
            spec.volumes.iter().any(|volume| volume.docker_volume_configuration.is_some()),
        ),
        (
            "ecs.capability.network.container-port-range",
            any(|container| {
                let mut ports = container.port_mappings.iter().flatten();
                ports.any(|mapping| mapping.container_port_range.is_some())
            }),
        ),
    ];
    names.extend(table.into_iter().filter(|(_, there)| *there).map(|(name, _)| name.to_owned()));
    names
}

fn driver(container: &ContainerDefinition) -> Option<&str> {
    container.log_configuration.as_ref()?.log_driver.as_deref()
}

/// The first thing that running the definition would need and that Landfall does
/// not provide yet. It may be registered all the same: that promises nothing.
pub(crate) fn unsupported(spec: &Spec) -> Option<String> {
    let given = |list: Option<usize>| list.is_some_and(|length| length > 0);
    let task = [
        // Also the mode of a definition that names none.
        ("networkMode bridge", spec.network_mode == NetworkMode::Bridge),
        ("task roles (taskRoleArn)", spec.task_role_arn.is_some()),
        ("proxyConfiguration", spec.proxy_configuration.is_some()),
        ("inferenceAccelerators", !spec.inference_accelerators.is_empty()),
        ("ephemeralStorage", spec.ephemeral_storage.is_some()),
        ("trustedExecutionConfiguration", spec.trusted_execution_configuration.is_some()),
        ("fault injection", spec.enable_fault_injection == Some(true)),
    ];
    if let Some((what, _)) = task.into_iter().find(|(_, there)| *there) {
        return Some(what.to_owned());
    }
    let foreign = spec.volumes.iter().find(|volume| {
        volume.efs_volume_configuration.is_some()
            || volume.fsx_windows_file_server_volume_configuration.is_some()
            || volume.s3files_volume_configuration.is_some()
            || volume.configured_at_launch == Some(true)
    });
    if let Some(volume) = foreign {
        let name = volume.name.as_deref().unwrap_or_default();
        return Some(format!("the kind of volume that '{name}' is"));
    }
    spec.container_definitions.iter().find_map(|container| {
        let log = container.log_configuration.as_ref();
        let secret_options = log.and_then(|log| log.secret_options.as_ref().map(Vec::len));
        // Other drivers are an attribute that the machine lacks.
        let json = log.filter(|log| log.log_driver.as_deref() == Some("json-file"));
        let log_options = json.and_then(|log| log.options.as_ref().map(BTreeMap::len));
        let linux = container.linux_parameters.as_ref();
        let devices = linux.and_then(|linux| linux.devices.as_ref().map(Vec::len));
        let table = [
            ("secrets", given(container.secrets.as_ref().map(Vec::len)) || given(secret_options)),
            ("environmentFiles", given(container.environment_files.as_ref().map(Vec::len))),
            ("repositoryCredentials", container.repository_credentials.is_some()),
            ("firelensConfiguration", container.firelens_configuration.is_some()),
            ("credentialSpecs", given(container.credential_specs.as_ref().map(Vec::len))),
            ("resourceRequirements", given(container.resource_requirements.as_ref().map(Vec::len))),
            ("mountPoints", given(container.mount_points.as_ref().map(Vec::len))),
            ("volumesFrom", given(container.volumes_from.as_ref().map(Vec::len))),
            ("links", given(container.links.as_ref().map(Vec::len))),
            ("dnsServers", given(container.dns_servers.as_ref().map(Vec::len))),
            ("dnsSearchDomains", given(container.dns_search_domains.as_ref().map(Vec::len))),
            (
                "dockerSecurityOptions",
                given(container.docker_security_options.as_ref().map(Vec::len)),
            ),
            ("interactive", container.interactive == Some(true)),
            ("pseudoTerminal", container.pseudo_terminal == Some(true)),
            ("disableNetworking", container.disable_networking == Some(true)),
            ("startTimeout", container.start_timeout.is_some_and(|seconds| seconds > 0)),
            (
                "linuxParameters.initProcessEnabled",
                linux.is_some_and(|linux| linux.init_process_enabled == Some(true)),
            ),
            ("linuxParameters.devices", given(devices)),
            ("linuxParameters.maxSwap", linux.is_some_and(|linux| linux.max_swap.is_some())),
            ("linuxParameters.swappiness", linux.is_some_and(|linux| linux.swappiness.is_some())),
            ("logConfiguration.options of json-file", given(log_options)),
        ];
        let name = container.name.as_deref().unwrap_or_default();
        let (what, _) = table.into_iter().find(|(_, there)| *there)?;
        Some(format!("{what} (container '{name}')"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ecs::{
        HealthCheck, LinuxParameters, LogConfiguration, MountPoint, Secret, VolumeFrom,
    };

    fn spec(mode: NetworkMode) -> Spec {
        let web = ContainerDefinition { name: Some("web".to_owned()), ..Default::default() };
        Spec { network_mode: mode, container_definitions: vec![web], ..Spec::default() }
    }

    #[test]
    fn launch_types() {
        assert_eq!(compatibilities(&spec(NetworkMode::Awsvpc)), ["EC2"]);
        assert_eq!(compatibilities(&spec(NetworkMode::Bridge)), ["EC2", "EXTERNAL"]);
        let mut sized = spec(NetworkMode::Awsvpc);
        (sized.cpu, sized.memory) = (Some("256".to_owned()), Some("512".to_owned()));
        assert_eq!(compatibilities(&sized), ["EC2", "FARGATE"]);
        sized.container_definitions[0].privileged = Some(true);
        assert_eq!(compatibilities(&sized), ["EC2"]);
    }

    #[test]
    fn capabilities_follow_the_parameters() {
        let names = |spec: &Spec| capabilities(spec).into_iter().collect::<Vec<_>>();
        assert_eq!(
            names(&spec(NetworkMode::Awsvpc)),
            ["com.amazonaws.ecs.capability.docker-remote-api.1.18", "ecs.capability.task-eni"]
        );
        assert!(names(&spec(NetworkMode::Bridge)).is_empty());
        let mut more = spec(NetworkMode::Bridge);
        more.container_definitions[0].log_configuration =
            Some(LogConfiguration { log_driver: Some("awslogs".to_owned()), ..Default::default() });
        more.container_definitions[0].health_check = Some(HealthCheck::default());
        more.execution_role_arn = Some("arn:aws:iam::1:role/x".to_owned());
        assert_eq!(
            names(&more),
            [
                "com.amazonaws.ecs.capability.docker-remote-api.1.19",
                "com.amazonaws.ecs.capability.docker-remote-api.1.24",
                "com.amazonaws.ecs.capability.logging-driver.awslogs",
                "ecs.capability.container-health-check",
                "ecs.capability.execution-role-awslogs",
            ]
        );
    }

    #[test]
    fn what_we_lack_is_named() {
        assert_eq!(unsupported(&spec(NetworkMode::Awsvpc)), None);
        assert_eq!(unsupported(&spec(NetworkMode::Host)), None);
        let bridge = unsupported(&spec(NetworkMode::Bridge));
        assert_eq!(bridge.as_deref(), Some("networkMode bridge"));
        let mut secret = spec(NetworkMode::Awsvpc);
        secret.container_definitions[0].secrets = Some(vec![Secret::default()]);
        assert_eq!(unsupported(&secret).as_deref(), Some("secrets (container 'web')"));
        let one = |change: fn(&mut ContainerDefinition)| {
            let mut spec = spec(NetworkMode::Awsvpc);
            change(&mut spec.container_definitions[0]);
            unsupported(&spec)
        };
        let log = |driver: &str| LogConfiguration {
            log_driver: Some(driver.to_owned()),
            options: Some([("max-size".to_owned(), "1m".to_owned())].into()),
            ..Default::default()
        };
        for (found, what) in [
            (one(|c| c.mount_points = Some(vec![MountPoint::default()])), "mountPoints"),
            (one(|c| c.volumes_from = Some(vec![VolumeFrom::default()])), "volumesFrom"),
            (one(|c| c.pseudo_terminal = Some(true)), "pseudoTerminal"),
            (one(|c| c.start_timeout = Some(3)), "startTimeout"),
            (
                one(|c| {
                    c.linux_parameters =
                        Some(LinuxParameters { max_swap: Some(0), ..Default::default() });
                }),
                "linuxParameters.maxSwap",
            ),
        ] {
            assert_eq!(found, Some(format!("{what} (container 'web')")));
        }
        let mut logging = spec(NetworkMode::Awsvpc);
        logging.container_definitions[0].log_configuration = Some(log("json-file"));
        assert!(unsupported(&logging).is_some_and(|what| what.starts_with("logConfiguration")));
        logging.container_definitions[0].log_configuration = Some(log("awslogs"));
        assert_eq!(unsupported(&logging), None, "what the machine lacks is an attribute");
        let nothing = one(|c| (c.interactive, c.mount_points) = (Some(false), Some(vec![])));
        assert_eq!(nothing, None, "what asks for nothing is obeyed");
    }
}

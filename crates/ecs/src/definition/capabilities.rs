//! The attributes that a definition demands of a machine, which is what AWS shows
//! as `requiresAttributes`: one table.

use super::{given, logging};
use crate::records::{NetworkMode, Spec};
use std::collections::BTreeSet;
use wire::ecs::{ContainerDefinition, LinuxParameters, Volume};

/// The version of Docker's API that each feature came with.
fn docker(spec: &Spec, any: &Any<'_>) -> [(&'static str, bool); 8] {
    let drivers = || spec.container_definitions.iter().filter_map(logging::driver);
    let driver = |names: &[&str]| drivers().any(|driver| names.contains(&driver));
    let efs = |it: &Volume| it.efs_volume_configuration.is_some();
    [
        ("1.17", spec.task_role_arn.is_some()),
        (
            "1.18",
            spec.network_mode == NetworkMode::Awsvpc
                || driver(&["json-file", "syslog", "awsfirelens"])
                || any.container(|it| given(it.ulimits.as_ref()))
                || any.container(|it| it.docker_labels.as_ref().is_some_and(|all| !all.is_empty())),
        ),
        ("1.19", driver(&["awslogs", "journald"])),
        ("1.20", driver(&["gelf", "fluentd"])),
        ("1.21", any.container(|it| it.memory_reservation.is_some())),
        (
            "1.22",
            driver(&["splunk"])
                || any.linux(|it| it.shared_memory_size.is_some() || given(it.tmpfs.as_ref())),
        ),
        ("1.24", any.container(|it| it.health_check.is_some())),
        (
            "1.25",
            spec.volumes.iter().any(efs)
                || any.linux(|it| it.init_process_enabled == Some(true))
                || any.linux(|it| it.max_swap.is_some() || it.swappiness.is_some()),
        ),
    ]
}

/// What else an agent must be able to do.
#[expect(clippy::too_many_lines, reason = "a table, one row a capability")]
fn agent(spec: &Spec, any: &Any<'_>) -> Vec<(&'static str, bool)> {
    let executes = spec.execution_role_arn.is_some();
    let awslogs = any.container(|it| logging::driver(it) == Some("awslogs"));
    let ecr = any.container(|it| it.image.as_deref().is_some_and(|it| it.contains(".dkr.ecr.")));
    let role = spec.task_role_arn.is_some();
    let host = spec.network_mode == NetworkMode::Host;
    let volume = |test: fn(&Volume) -> bool| spec.volumes.iter().any(test);
    let secret = |container: &ContainerDefinition, manager: bool| {
        let froms = container.secrets.iter().flatten().map(|it| it.value_from.as_deref());
        froms.flatten().any(|from| of_secrets_manager(from) == manager)
    };
    let option = |container: &ContainerDefinition, manager: bool| {
        let log = container.log_configuration.as_ref();
        let all = log.and_then(|log| log.secret_options.as_ref()).into_iter().flatten();
        let mut froms = all.filter_map(|it| it.value_from.as_deref());
        froms.any(|from| of_secrets_manager(from) == manager)
    };
    let router = |kind: &str, file: Option<&str>| {
        spec.container_definitions.iter().filter_map(|it| it.firelens_configuration.as_ref()).any(
            |it| {
                let options = it.options.as_ref();
                let from = options.and_then(|all| all.get("config-file-type")).map(String::as_str);
                it.r#type.as_deref().is_some_and(|it| kind.is_empty() || it == kind)
                    && (file.is_none() || file == from)
            },
        )
    };
    let credential = |prefix: &str| {
        let specs = || {
            let all = spec.container_definitions.iter();
            all.flat_map(|it| it.credential_specs.iter().flatten())
        };
        specs().any(|it| it.starts_with(prefix))
    };
    let security = |prefix: &str| {
        let all = spec.container_definitions.iter();
        let mut options = all.flat_map(|it| it.docker_security_options.iter().flatten());
        options.any(|it| it.starts_with(prefix))
    };
    vec![
        ("ecs.capability.task-eni", spec.network_mode == NetworkMode::Awsvpc),
        ("com.amazonaws.ecs.capability.task-iam-role", role && !host),
        ("com.amazonaws.ecs.capability.task-iam-role-network-host", role && host),
        (
            "com.amazonaws.ecs.capability.privileged-container",
            any.container(|it| it.privileged == Some(true)),
        ),
        ("com.amazonaws.ecs.capability.selinux", security("label")),
        ("com.amazonaws.ecs.capability.apparmor", security("apparmor")),
        ("com.amazonaws.ecs.capability.ecr-auth", ecr),
        ("ecs.capability.execution-role-ecr-pull", ecr && executes),
        ("ecs.capability.execution-role-awslogs", awslogs && executes),
        (
            "ecs.capability.private-registry-authentication.secretsmanager",
            any.container(|it| it.repository_credentials.is_some()),
        ),
        ("ecs.capability.secrets.ssm.environment-variables", any.container(|it| secret(it, false))),
        ("ecs.capability.secrets.asm.environment-variables", any.container(|it| secret(it, true))),
        ("ecs.capability.secrets.ssm.bootstrap.log-driver", any.container(|it| option(it, false))),
        ("ecs.capability.secrets.asm.bootstrap.log-driver", any.container(|it| option(it, true))),
        ("ecs.capability.env-files.s3", any.container(|it| given(it.environment_files.as_ref()))),
        ("ecs.capability.container-health-check", any.container(|it| it.health_check.is_some())),
        ("ecs.capability.container-ordering", any.container(|it| given(it.depends_on.as_ref()))),
        (
            "ecs.capability.container-restart-policy",
            any.container(|it| {
                it.restart_policy.as_ref().is_some_and(|policy| policy.enabled == Some(true))
            }),
        ),
        (
            "ecs.capability.network.container-port-range",
            any.container(|it| {
                let mut ports = it.port_mappings.iter().flatten();
                ports.any(|mapping| mapping.container_port_range.is_some())
            }),
        ),
        (
            "ecs.capability.pid-ipc-namespace-sharing",
            spec.pid_mode.is_some() || spec.ipc_mode.is_some(),
        ),
        (
            "ecs.capability.increased-task-cpu-limit",
            spec.cpu.as_deref().and_then(super::task_cpu).is_some_and(|units| units > OLD_CPU),
        ),
        ("ecs.capability.aws-appmesh", spec.proxy_configuration.is_some()),
        ("ecs.capability.task-eia", !spec.inference_accelerators.is_empty()),
        ("ecs.capability.fault-injection", spec.enable_fault_injection == Some(true)),
        ("ecs.capability.firelens.fluentd", router("fluentd", None)),
        ("ecs.capability.firelens.fluentbit", router("fluentbit", None)),
        ("ecs.capability.firelens.options.config.file", router("", Some("file"))),
        ("ecs.capability.firelens.options.config.s3", router("", Some("s3"))),
        ("ecs.capability.efs", volume(|it| it.efs_volume_configuration.is_some())),
        (
            "ecs.capability.efsAuth",
            volume(|it| {
                it.efs_volume_configuration.as_ref().is_some_and(|efs| {
                    efs.authorization_config.is_some()
                        || efs.transit_encryption.as_deref() == Some("ENABLED")
                })
            }),
        ),
        (
            "ecs.capability.fsxWindowsFileServer",
            volume(|it| it.fsx_windows_file_server_volume_configuration.is_some()),
        ),
        ("ecs.capability.storage.s3-files", volume(|it| it.s3files_volume_configuration.is_some())),
        (
            "ecs.capability.storage.ebs-task-volume-attach",
            volume(|it| it.configured_at_launch == Some(true)),
        ),
        ("ecs.capability.gmsa", credential("credentialspec:")),
        ("ecs.capability.gmsa-domainless", credential("credentialspecdomainless:")),
    ]
}

/// The CPU units that a task could have before agents learnt of more.
const OLD_CPU: i64 = 10 * 1024;

/// The attributes that a machine must have to run the definition.
pub(crate) fn capabilities(spec: &Spec) -> BTreeSet<String> {
    let any = Any(&spec.container_definitions);
    let versions = docker(spec, &any).into_iter().filter(|(_, needed)| *needed);
    let versions = versions
        .map(|(version, _)| format!("com.amazonaws.ecs.capability.docker-remote-api.{version}"));
    let drivers = spec.container_definitions.iter().filter_map(logging::driver);
    let drivers = drivers.map(|name| format!("com.amazonaws.ecs.capability.logging-driver.{name}"));
    let docker_volumes =
        spec.volumes.iter().filter_map(|it| it.docker_volume_configuration.as_ref());
    let plugins = docker_volumes.map(|it| {
        format!("ecs.capability.docker-plugin.{}", it.driver.as_deref().unwrap_or("local"))
    });
    let named = agent(spec, &any).into_iter().filter(|(_, needed)| *needed);
    let named = named.map(|(name, _)| name.to_owned());
    versions.chain(drivers).chain(plugins).chain(named).collect()
}

/// Whether the value of a secret is kept by Secrets Manager, not Systems Manager.
fn of_secrets_manager(from: &str) -> bool {
    from.starts_with("arn:") && from.split(':').nth(2) == Some("secretsmanager")
}

/// The containers, asked whether any of them is so.
struct Any<'a>(&'a [ContainerDefinition]);

impl Any<'_> {
    fn container(&self, test: impl Fn(&ContainerDefinition) -> bool) -> bool {
        self.0.iter().any(test)
    }

    fn linux(&self, test: impl Fn(&LinuxParameters) -> bool) -> bool {
        self.container(|it| it.linux_parameters.as_ref().is_some_and(&test))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ecs::{
        DockerVolumeConfiguration, EFSVolumeConfiguration, FirelensConfiguration, HealthCheck,
        LogConfiguration, RepositoryCredentials, Secret,
    };

    fn spec(network_mode: NetworkMode) -> Spec {
        let web = ContainerDefinition { name: Some("web".to_owned()), ..Default::default() };
        Spec { network_mode, container_definitions: vec![web], ..Spec::default() }
    }

    /// The names, without what most of them begin with.
    fn names(change: impl FnOnce(&mut Spec)) -> Vec<String> {
        let mut changed = spec(NetworkMode::Bridge);
        change(&mut changed);
        let short = |name: String| {
            name.trim_start_matches("com.amazonaws.")
                .trim_start_matches("ecs.capability.")
                .replace("docker-remote-api.", "")
        };
        capabilities(&changed).into_iter().map(short).collect()
    }

    fn one(change: impl FnOnce(&mut ContainerDefinition)) -> Vec<String> {
        names(|spec| change(&mut spec.container_definitions[0]))
    }

    #[expect(clippy::unnecessary_wraps, reason = "as the member it is for")]
    fn log(driver: &str) -> Option<LogConfiguration> {
        Some(LogConfiguration { log_driver: Some(driver.to_owned()), ..Default::default() })
    }

    #[test]
    fn whole_names() {
        let all: Vec<_> = capabilities(&spec(NetworkMode::Awsvpc)).into_iter().collect();
        assert_eq!(
            all,
            ["com.amazonaws.ecs.capability.docker-remote-api.1.18", "ecs.capability.task-eni"]
        );
        assert!(capabilities(&spec(NetworkMode::Bridge)).is_empty());
    }

    #[test]
    fn capabilities_follow_the_parameters() {
        let secret = |from: &str| Some(vec![Secret { name: None, value_from: Some(from.into()) }]);
        let asm = "arn:aws:secretsmanager:us-east-1:000000000000:secret:x";
        let volume = |change: &dyn Fn(&mut Volume)| {
            let mut volume = Volume::default();
            change(&mut volume);
            names(|spec| spec.volumes = vec![volume])
        };
        let table: [(Vec<String>, &[&str]); 16] = [
            (
                one(|it| it.log_configuration = log("json-file")),
                &["1.18", "logging-driver.json-file"],
            ),
            (
                names(|spec| {
                    spec.execution_role_arn = Some("role".to_owned());
                    let web = &mut spec.container_definitions[0];
                    web.log_configuration = log("awslogs");
                    web.image = Some("1.dkr.ecr.us-east-1.amazonaws.com/web".to_owned());
                }),
                &[
                    "1.19",
                    "ecr-auth",
                    "logging-driver.awslogs",
                    "execution-role-awslogs",
                    "execution-role-ecr-pull",
                ],
            ),
            (one(|it| it.memory_reservation = Some(6)), &["1.21"]),
            (
                one(|it| it.health_check = Some(HealthCheck::default())),
                &["1.24", "container-health-check"],
            ),
            (
                one(|it| it.linux_parameters.get_or_insert_default().shared_memory_size = Some(1)),
                &["1.22"],
            ),
            (
                one(|it| {
                    it.linux_parameters.get_or_insert_default().init_process_enabled = Some(true);
                }),
                &["1.25"],
            ),
            (one(|it| it.secrets = secret("/db")), &["secrets.ssm.environment-variables"]),
            (one(|it| it.secrets = secret(asm)), &["secrets.asm.environment-variables"]),
            (
                one(|it| {
                    it.log_configuration = log("splunk");
                    it.log_configuration.get_or_insert_default().secret_options = secret(asm);
                }),
                &["1.22", "logging-driver.splunk", "secrets.asm.bootstrap.log-driver"],
            ),
            (
                one(|it| it.repository_credentials = Some(RepositoryCredentials::default())),
                &["private-registry-authentication.secretsmanager"],
            ),
            (
                one(|it| {
                    it.firelens_configuration = Some(FirelensConfiguration {
                        r#type: Some("fluentbit".to_owned()),
                        options: Some([("config-file-type".into(), "file".into())].into()),
                    });
                }),
                &["firelens.fluentbit", "firelens.options.config.file"],
            ),
            (
                volume(&|it| {
                    it.efs_volume_configuration = Some(EFSVolumeConfiguration {
                        transit_encryption: Some("ENABLED".to_owned()),
                        ..Default::default()
                    });
                }),
                &["1.25", "efs", "efsAuth"],
            ),
            (
                volume(&|it| {
                    it.docker_volume_configuration = Some(DockerVolumeConfiguration::default());
                }),
                &["docker-plugin.local"],
            ),
            (
                volume(&|it| it.configured_at_launch = Some(true)),
                &["storage.ebs-task-volume-attach"],
            ),
            (names(|spec| spec.pid_mode = Some("task".to_owned())), &["pid-ipc-namespace-sharing"]),
            (names(|spec| spec.cpu = Some("16384".to_owned())), &["increased-task-cpu-limit"]),
        ];
        for (found, wanted) in table {
            assert_eq!(found, wanted);
        }
    }
}

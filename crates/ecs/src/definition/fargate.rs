//! What Fargate insists on and lacks.

use super::size::{fits_fargate, parse_cpu, parse_memory};
use super::{given, logging, none_of, windows, within};
use crate::Error;
use crate::records::{NetworkMode, Spec};
use wire::ecs::{ContainerDefinition, Volume};

/// The log drivers that Fargate has.
const DRIVERS: [&str; 3] = ["awslogs", "splunk", "awsfirelens"];
/// The one capability that Fargate lets a container add.
const CAPABILITY: &str = "SYS_PTRACE";
/// The sizes of Windows tasks, in CPU units.
const WINDOWS_CPU: [i64; 3] = [1024, 2048, 4096];
/// How long a container may take to start and to stop, in seconds.
const TIMEOUT: std::ops::RangeInclusive<i32> = 2..=120;

/// Whether the definition could run on Fargate.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    if spec.network_mode != NetworkMode::Awsvpc {
        return Err(Error::refused("Fargate only supports network mode ‘awsvpc’."));
    }
    size(spec)?;
    match spec.pid_mode.as_deref() {
        None | Some("task") => {}
        Some(mode) => {
            return Err(Error::refused(format!(
                "Tasks using the Fargate launch type do not support pidMode '{mode}'. The \
                 supported value for pidMode is 'task'."
            )));
        }
    }
    let required = |what: &str, test: fn(&ContainerDefinition) -> bool| {
        let any = spec.execution_role_arn.is_none() && spec.container_definitions.iter().any(test);
        none_of([(what, any)], |what| {
            format!(
                "Fargate requires task definition to have execution role ARN to support {what}."
            )
        })
    };
    required("log driver awslogs", |it| logging::driver(it) == Some("awslogs"))?;
    required("ECR images", |it| it.image.as_deref().is_some_and(|it| it.contains(".dkr.ecr.")))?;
    none_of(
        [
            ("ipcMode", spec.ipc_mode.is_some()),
            ("placementConstraints", !spec.placement_constraints.is_empty()),
            ("inferenceAccelerators", !spec.inference_accelerators.is_empty()),
        ],
        |what| format!("Tasks using the Fargate launch type do not support {what}."),
    )?;
    let storage = spec.ephemeral_storage.is_some() && windows::family(spec).is_some();
    none_of([("ephemeralStorage", storage)], |what| {
        format!("Windows tasks on Fargate do not support {what}.")
    })?;
    spec.volumes.iter().try_for_each(volume)?;
    spec.container_definitions.iter().try_for_each(container)
}

/// Fargate sells tasks in some sizes only.
fn size(spec: &Spec) -> Result<(), Error> {
    let level = |what: &str| {
        Error::refused(format!("Fargate requires that '{what}' be defined at the task level."))
    };
    let cpu = spec.cpu.as_deref().ok_or_else(|| level("cpu"))?;
    let memory = spec.memory.as_deref().ok_or_else(|| level("memory"))?;
    let units = parse_cpu(cpu).unwrap_or(0);
    let windows = windows::family(spec);
    let sold = fits_fargate(units, parse_memory(memory).unwrap_or(0))
        && (windows.is_none() || WINDOWS_CPU.contains(&units));
    if !sold {
        return Err(Error::refused(format!(
            "No Fargate configuration exists for given values: {cpu} CPU, {memory} memory."
        )));
    }
    let old = ["WINDOWS_SERVER_2016_FULL", "WINDOWS_SERVER_2004_CORE", "WINDOWS_SERVER_20H2_CORE"];
    match windows.filter(|family| old.contains(family)) {
        None => Ok(()),
        Some(family) => Err(Error::refused(format!(
            "Fargate does not support the operatingSystemFamily {family}."
        ))),
    }
}

fn volume(volume: &Volume) -> Result<(), Error> {
    if volume.host.as_ref().is_some_and(|host| host.source_path.is_some()) {
        return Err(Error::refused("host.sourcePath should not be set for volumes in Fargate."));
    }
    none_of(
        [
            ("dockerVolumeConfiguration", volume.docker_volume_configuration.is_some()),
            (
                "fsxWindowsFileServerVolumeConfiguration",
                volume.fsx_windows_file_server_volume_configuration.is_some(),
            ),
        ],
        compatible,
    )
}

fn container(container: &ContainerDefinition) -> Result<(), Error> {
    let requires = |kind: &str| {
        container
            .resource_requirements
            .iter()
            .flatten()
            .any(|it| it.r#type.as_deref() == Some(kind))
    };
    none_of([("GPU", requires("GPU"))], |what| {
        format!("Tasks using the Fargate launch type do not support {what} resource requirements.")
    })?;
    let linux = container.linux_parameters.as_ref();
    let linux_has = |test: fn(&wire::ecs::LinuxParameters) -> bool| linux.is_some_and(test);
    none_of(
        [
            ("privileged", container.privileged == Some(true)),
            ("links", given(container.links.as_ref())),
            ("disableNetworking", container.disable_networking == Some(true)),
            ("dockerSecurityOptions", given(container.docker_security_options.as_ref())),
            ("resourceRequirements", given(container.resource_requirements.as_ref())),
            ("devices", linux_has(|it| given(it.devices.as_ref()))),
            ("sharedMemorySize", linux_has(|it| it.shared_memory_size.is_some())),
            ("tmpfs", linux_has(|it| given(it.tmpfs.as_ref()))),
            ("maxSwap", linux_has(|it| it.max_swap.is_some())),
            ("swappiness", linux_has(|it| it.swappiness.is_some())),
        ],
        compatible,
    )?;
    let added = linux.and_then(|it| it.capabilities.as_ref()?.add.as_ref());
    if let Some(other) = added.into_iter().flatten().find(|it| *it != CAPABILITY) {
        return Err(Error::refused(format!(
            "Fargate compatible task definitions do not support adding the kernel capability \
             {other}, only {CAPABILITY}."
        )));
    }
    if let Some(limit) =
        container.ulimits.iter().flatten().find(|it| it.name.as_deref() != Some("nofile"))
    {
        return Err(Error::refused(format!(
            "Fargate compatible task definitions do not support the ulimit {}, only nofile.",
            limit.name.as_deref().unwrap_or_default()
        )));
    }
    if let Some(driver) = logging::driver(container) {
        if !DRIVERS.contains(&driver) {
            return Err(Error::refused(format!(
                "Fargate compatible task definitions do not support the log driver {driver}, only \
                 {}.",
                DRIVERS.join(", ")
            )));
        }
        let options = container.log_configuration.as_ref().and_then(|it| it.options.as_ref());
        let prefixed = options.is_some_and(|it| it.contains_key("awslogs-stream-prefix"));
        if driver == "awslogs" && !prefixed {
            return Err(Error::refused(
                "Log driver awslogs requires options: awslogs-stream-prefix on Fargate",
            ));
        }
    }
    for (what, seconds) in
        [("startTimeout", container.start_timeout), ("stopTimeout", container.stop_timeout)]
    {
        within(what, seconds, &TIMEOUT)
            .map_err(|text| Error::refused(format!("Invalid setting for Fargate. {text}")))?;
    }
    Ok(())
}

fn compatible(what: &str) -> String {
    format!("Fargate compatible task definitions do not support {what}.")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, fargate, refused};
    use wire::ecs::{
        ContainerDefinition, Device, HostVolumeProperties, KernelCapabilities, LinuxParameters,
        LogConfiguration, RegisterTaskDefinitionRequest, ResourceRequirement, RuntimePlatform,
        TaskDefinitionPlacementConstraint, Ulimit, Volume,
    };

    fn one(change: impl Fn(&mut ContainerDefinition)) -> RegisterTaskDefinitionRequest {
        fargate(|task| task.container_definitions.iter_mut().flatten().for_each(&change))
    }

    fn linux(change: impl Fn(&mut LinuxParameters)) -> RegisterTaskDefinitionRequest {
        one(|it| change(it.linux_parameters.get_or_insert_default()))
    }

    fn adding(capability: &str) -> RegisterTaskDefinitionRequest {
        let add = || Some(vec![capability.to_owned()]);
        linux(|it| it.capabilities = Some(KernelCapabilities { add: add(), drop: None }))
    }

    fn logging(driver: &str, options: &[&str]) -> RegisterTaskDefinitionRequest {
        let options = || options.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect();
        one(|it| {
            it.log_configuration = Some(LogConfiguration {
                log_driver: Some(driver.to_owned()),
                options: Some(options()),
                ..Default::default()
            });
        })
    }

    fn limit(name: &str) -> RegisterTaskDefinitionRequest {
        one(|it| {
            it.ulimits = Some(vec![Ulimit {
                name: Some(name.to_owned()),
                soft_limit: Some(1),
                hard_limit: Some(1),
            }]);
        })
    }

    fn windows(cpu: &str, memory: &str, family: &str) -> RegisterTaskDefinitionRequest {
        fargate(|task| {
            (task.cpu, task.memory) = (Some(cpu.to_owned()), Some(memory.to_owned()));
            task.runtime_platform = Some(RuntimePlatform {
                operating_system_family: Some(family.to_owned()),
                cpu_architecture: None,
            });
        })
    }

    fn sized(cpu: &str, memory: &str) -> RegisterTaskDefinitionRequest {
        fargate(|task| (task.cpu, task.memory) = (Some(cpu.to_owned()), Some(memory.to_owned())))
    }

    #[test]
    fn accepted_ones() {
        let logs = ["awslogs-group", "awslogs-region", "awslogs-stream-prefix"];
        let mut executed = logging("awslogs", &logs);
        executed.execution_role_arn = Some("arn:aws:iam::000000000000:role/exec".to_owned());
        for request in [
            fargate(|_| {}),
            fargate(|task| task.pid_mode = Some("task".to_owned())),
            sized(".25 vCPU", "0.5 GB"),
            sized("8192", "16384"),
            sized("16 vCPU", "120 GB"),
            windows("1024", "2048", "WINDOWS_SERVER_2022_CORE"),
            adding("SYS_PTRACE"),
            limit("nofile"),
            executed,
            one(|it| it.stop_timeout = Some(120)),
        ] {
            accepted(request);
        }
    }

    #[test]
    fn refused_ones() {
        let host = HostVolumeProperties { source_path: Some("/srv".to_owned()) };
        let volume =
            Volume { name: Some("data".to_owned()), host: Some(host), ..Default::default() };
        let device = || Device { host_path: Some("/dev/fuse".to_owned()), ..Default::default() };
        let gpu = || ResourceRequirement {
            r#type: Some("GPU".to_owned()),
            value: Some("1".to_owned()),
            ..Default::default()
        };
        let constraint = || TaskDefinitionPlacementConstraint {
            r#type: Some("memberOf".to_owned()),
            expression: Some("attribute:a exists".to_owned()),
        };
        let role = "Fargate requires task definition to have execution role ARN to support";
        for (request, wanted) in [
            (fargate(|task| task.network_mode = None), "only supports network mode ‘awsvpc’."),
            (fargate(|task| task.cpu = None), "requires that 'cpu' be defined"),
            (fargate(|task| task.memory = None), "requires that 'memory' be defined"),
            (sized("8192", "17408"), "No Fargate configuration exists for given values: 8192 CPU"),
            (windows("512", "1024", "WINDOWS_SERVER_2022_CORE"), "No Fargate configuration"),
            (windows("8192", "16384", "WINDOWS_SERVER_2022_CORE"), "No Fargate configuration"),
            (windows("1024", "2048", "WINDOWS_SERVER_2016_FULL"), "WINDOWS_SERVER_2016_FULL"),
            (
                fargate(|task| task.pid_mode = Some("host".into())),
                "do not support pidMode 'host'. The supported value for pidMode is 'task'.",
            ),
            (fargate(|task| task.ipc_mode = Some("task".into())), "do not support ipcMode."),
            (
                fargate(|task| task.placement_constraints = Some(vec![constraint()])),
                "do not support placementConstraints.",
            ),
            (
                fargate(|task| task.volumes = Some(vec![volume])),
                "host.sourcePath should not be set for volumes in Fargate.",
            ),
            (
                one(|it| it.image = Some("1.dkr.ecr.us-east-1.amazonaws.com/web".into())),
                &format!("{role} ECR images."),
            ),
            (
                logging("awslogs", &["awslogs-group", "awslogs-region"]),
                &format!("{role} log driver awslogs."),
            ),
            (logging("syslog", &[]), "do not support the log driver syslog"),
            (one(|it| it.privileged = Some(true)), "do not support privileged."),
            (one(|it| it.disable_networking = Some(true)), "do not support disableNetworking."),
            (one(|it| it.resource_requirements = Some(vec![gpu()])), "support GPU resource"),
            (one(|it| it.stop_timeout = Some(121)), "'stopTimeout' must be between 2 and 120."),
            (limit("core"), "do not support the ulimit core"),
            (adding("NET_ADMIN"), "kernel capability NET_ADMIN"),
            (linux(|it| it.devices = Some(vec![device()])), "do not support devices."),
            (linux(|it| it.shared_memory_size = Some(64)), "do not support sharedMemorySize."),
            (linux(|it| it.swappiness = Some(0)), "do not support swappiness."),
        ] {
            refused(request, wanted);
        }
    }
}

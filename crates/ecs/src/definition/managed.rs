//! What managed instances insist on and lack.

use super::{given, none_of, windows};
use crate::Error;
use crate::records::{NetworkMode, Spec};

/// Whether the definition could run on a managed instance.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    if !matches!(spec.network_mode, NetworkMode::Awsvpc | NetworkMode::Host) {
        return Err(Error::refused(
            "Managed instances only support the network modes ‘awsvpc’ and ‘host’.",
        ));
    }
    none_of([("cpu", spec.cpu.is_none()), ("memory", spec.memory.is_none())], |what| {
        format!("Managed instances require that '{what}' be defined at the task level.")
    })?;
    let any = |test: fn(&wire::ecs::ContainerDefinition) -> bool| {
        spec.container_definitions.iter().any(test)
    };
    let volume = |test: fn(&wire::ecs::Volume) -> bool| spec.volumes.iter().any(test);
    none_of(
        [
            ("Windows", windows::family(spec).is_some()),
            ("inferenceAccelerators", !spec.inference_accelerators.is_empty()),
            ("ephemeralStorage", spec.ephemeral_storage.is_some()),
            ("disableNetworking", any(|it| it.disable_networking == Some(true))),
            ("dockerSecurityOptions", any(|it| given(it.docker_security_options.as_ref()))),
            ("dockerVolumeConfiguration", volume(|it| it.docker_volume_configuration.is_some())),
        ],
        |what| format!("Managed instances do not support {what}."),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, refused, task};
    use wire::ecs::{DockerVolumeConfiguration, RegisterTaskDefinitionRequest, Volume};

    fn managed(
        change: impl FnOnce(&mut RegisterTaskDefinitionRequest),
    ) -> RegisterTaskDefinitionRequest {
        task(|task| {
            task.requires_compatibilities = Some(vec!["MANAGED_INSTANCES".to_owned()]);
            (task.cpu, task.memory) = (Some("1 vCPU".to_owned()), Some("2 GB".to_owned()));
            change(task);
        })
    }

    #[test]
    fn accepted_and_refused() {
        accepted(managed(|_| {}));
        accepted(managed(|task| task.network_mode = Some("host".to_owned())));
        let docker = || Volume {
            name: Some("data".to_owned()),
            docker_volume_configuration: Some(DockerVolumeConfiguration::default()),
            ..Default::default()
        };
        for (request, wanted) in [
            (managed(|task| task.network_mode = None), "only support the network modes"),
            (managed(|task| task.cpu = None), "require that 'cpu' be defined at the task level."),
            (
                managed(|task| task.volumes = Some(vec![docker()])),
                "do not support dockerVolumeConfiguration.",
            ),
        ] {
            refused(request, wanted);
        }
    }
}

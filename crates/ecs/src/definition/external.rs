//! What instances outside of EC2 lack.

use super::none_of;
use crate::Error;
use crate::records::{NetworkMode, Spec};

/// Whether the definition could run on an external instance.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    if spec.network_mode == NetworkMode::Awsvpc {
        return Err(Error::refused("External instances do not support network mode ‘awsvpc’."));
    }
    let volume = |test: fn(&wire::ecs::Volume) -> bool| spec.volumes.iter().any(test);
    none_of(
        [
            ("efsVolumeConfiguration", volume(|it| it.efs_volume_configuration.is_some())),
            ("s3filesVolumeConfiguration", volume(|it| it.s3files_volume_configuration.is_some())),
            ("configuredAtLaunch volumes", volume(|it| it.configured_at_launch == Some(true))),
            ("inferenceAccelerators", !spec.inference_accelerators.is_empty()),
            ("ephemeralStorage", spec.ephemeral_storage.is_some()),
        ],
        |what| format!("External instances do not support {what}."),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, refused, task};
    use wire::ecs::{RegisterTaskDefinitionRequest, Volume};

    fn external(
        change: impl FnOnce(&mut RegisterTaskDefinitionRequest),
    ) -> RegisterTaskDefinitionRequest {
        task(|task| {
            task.requires_compatibilities = Some(vec!["EXTERNAL".to_owned()]);
            task.network_mode = None;
            change(task);
        })
    }

    #[test]
    fn accepted_and_refused() {
        accepted(external(|_| {}));
        accepted(external(|task| task.network_mode = Some("host".to_owned())));
        let later = || Volume {
            name: Some("data".to_owned()),
            configured_at_launch: Some(true),
            ..Default::default()
        };
        for (request, wanted) in [
            (
                external(|task| task.network_mode = Some("awsvpc".to_owned())),
                "External instances do not support network mode ‘awsvpc’.",
            ),
            (
                external(|task| task.volumes = Some(vec![later()])),
                "External instances do not support configuredAtLaunch volumes.",
            ),
        ] {
            refused(request, wanted);
        }
    }
}

//! What containers of Windows lack, if the definition says that it is for Windows.

use super::{given, none_of};
use crate::Error;
use crate::records::{NetworkMode, Spec};

/// The operating system, if the definition says that it is a Windows.
pub(super) fn family(spec: &Spec) -> Option<&str> {
    let family = spec.runtime_platform.as_ref()?.operating_system_family.as_deref()?;
    family.starts_with("WINDOWS").then_some(family)
}

/// Whether Windows has all that is asked for; `mode` is the network mode as given.
pub(super) fn check(spec: &Spec, mode: Option<NetworkMode>) -> Result<(), Error> {
    let containers = &spec.container_definitions;
    if family(spec).is_none() {
        let fsx =
            |it: &wire::ecs::Volume| it.fsx_windows_file_server_volume_configuration.is_some();
        return none_of(
            [("fsxWindowsFileServerVolumeConfiguration", spec.volumes.iter().any(fsx))],
            |what| format!("{what} needs a Windows operatingSystemFamily in runtimePlatform."),
        );
    }
    let arm = spec.runtime_platform.as_ref().and_then(|it| it.cpu_architecture.as_deref());
    let modes = [NetworkMode::Bridge, NetworkMode::Host, NetworkMode::None];
    let any = |test: fn(&wire::ecs::ContainerDefinition) -> bool| containers.iter().any(test);
    none_of(
        [
            ("cpuArchitecture ARM64", arm == Some("ARM64")),
            (
                "this networkMode; omit it, or use awsvpc",
                mode.is_some_and(|it| modes.contains(&it)),
            ),
            ("pidMode", spec.pid_mode.is_some()),
            ("ipcMode", spec.ipc_mode.is_some()),
            (
                "efsVolumeConfiguration",
                spec.volumes.iter().any(|it| it.efs_volume_configuration.is_some()),
            ),
            ("linuxParameters", any(|it| it.linux_parameters.is_some())),
            ("privileged", any(|it| it.privileged == Some(true))),
            ("readonlyRootFilesystem", any(|it| it.readonly_root_filesystem == Some(true))),
            ("ulimits", any(|it| given(it.ulimits.as_ref()))),
            ("systemControls", any(|it| given(it.system_controls.as_ref()))),
        ],
        |what| format!("Windows containers do not support {what}."),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, refused, task};
    use wire::ecs::{
        ContainerDefinition, LinuxParameters, RegisterTaskDefinitionRequest, RuntimePlatform,
    };

    fn windows(
        change: impl FnOnce(&mut RegisterTaskDefinitionRequest),
    ) -> RegisterTaskDefinitionRequest {
        task(|task| {
            task.runtime_platform = Some(RuntimePlatform {
                operating_system_family: Some("WINDOWS_SERVER_2022_CORE".to_owned()),
                cpu_architecture: Some("X86_64".to_owned()),
            });
            change(task);
        })
    }

    fn one(change: fn(&mut ContainerDefinition)) -> RegisterTaskDefinitionRequest {
        windows(|task| task.container_definitions.iter_mut().flatten().for_each(change))
    }

    #[test]
    fn accepted_and_refused() {
        accepted(windows(|_| {}));
        accepted(windows(|task| task.network_mode = None));
        for (request, wanted) in [
            (windows(|task| task.network_mode = Some("host".into())), "this networkMode"),
            (windows(|task| task.network_mode = Some("bridge".into())), "this networkMode"),
            (windows(|task| task.pid_mode = Some("task".into())), "do not support pidMode."),
            (windows(|task| task.ipc_mode = Some("task".into())), "do not support ipcMode."),
            (
                windows(|task| {
                    if let Some(platform) = &mut task.runtime_platform {
                        platform.cpu_architecture = Some("ARM64".to_owned());
                    }
                }),
                "do not support cpuArchitecture ARM64.",
            ),
            (one(|it| it.privileged = Some(true)), "do not support privileged."),
            (
                one(|it| it.linux_parameters = Some(LinuxParameters::default())),
                "do not support linuxParameters.",
            ),
            (
                one(|it| it.readonly_root_filesystem = Some(true)),
                "do not support readonlyRootFilesystem.",
            ),
        ] {
            refused(request, wanted);
        }
    }
}

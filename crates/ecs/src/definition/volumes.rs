//! The volumes of a definition, and where containers have them.

use super::{blank, invalid, repeated, within};
use crate::Error;
use crate::records::Spec;
use ident::ClusterName;
use std::collections::BTreeSet;
use wire::ecs::{ContainerDefinition, DockerVolumeConfiguration, EFSVolumeConfiguration, Volume};

/// Whether the volumes are sound, and all that is mounted is there.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    for volume in &spec.volumes {
        one(volume)?;
    }
    let names = || spec.volumes.iter().map(name_of);
    if let Some(name) = repeated(names()) {
        return Err(Error::refused(format!("Volume name '{name}' is not unique.")));
    }
    let later = spec.volumes.iter().filter(|volume| volume.configured_at_launch == Some(true));
    if later.count() > 1 {
        return Err(Error::refused(
            "At most one volume of a task definition can be configuredAtLaunch.",
        ));
    }
    let names: BTreeSet<&str> = names().collect();
    spec.container_definitions.iter().try_for_each(|container| mounts(container, &names))
}

fn name_of(volume: &Volume) -> &str {
    volume.name.as_deref().unwrap_or_default()
}

fn one(volume: &Volume) -> Result<(), Error> {
    let name = name_of(volume);
    // The alphabet and length are those of clusters.
    if name.parse::<ClusterName>().is_err() {
        return Err(Error::refused(format!(
            "Invalid volume name '{name}'. Up to 255 letters (uppercase and lowercase), numbers, \
             underscores, and hyphens are allowed."
        )));
    }
    let host = volume.host.as_ref().is_some_and(|host| host.source_path.is_some());
    let kinds = [
        host,
        volume.docker_volume_configuration.is_some(),
        volume.efs_volume_configuration.is_some(),
        volume.fsx_windows_file_server_volume_configuration.is_some(),
        volume.s3files_volume_configuration.is_some(),
        volume.configured_at_launch == Some(true),
    ];
    if kinds.into_iter().filter(|there| *there).count() > 1 {
        return Err(wrong(
            name,
            "Only one of 'host', 'dockerVolumeConfiguration', 'efsVolumeConfiguration', \
             'fsxWindowsFileServerVolumeConfiguration', 's3filesVolumeConfiguration' and \
             'configuredAtLaunch' can be specified.",
        ));
    }
    if let Some(docker) = &volume.docker_volume_configuration {
        of_docker(name, docker)?;
    }
    if let Some(efs) = &volume.efs_volume_configuration {
        of_efs(name, efs)?;
    }
    let port =
        volume.s3files_volume_configuration.as_ref().and_then(|s3| s3.transit_encryption_port);
    within("transitEncryptionPort", port, &(1..=65535)).map_err(|text| wrong(name, &text))
}

fn of_docker(name: &str, docker: &DockerVolumeConfiguration) -> Result<(), Error> {
    // A volume of the task alone is made with the task.
    if docker.autoprovision.is_some() && docker.scope.as_deref() != Some("shared") {
        return Err(wrong(name, "'autoprovision' is only allowed if 'scope' is 'shared'."));
    }
    Ok(())
}

fn of_efs(name: &str, efs: &EFSVolumeConfiguration) -> Result<(), Error> {
    let id = efs.file_system_id.as_deref().unwrap_or_default();
    if !id.starts_with("fs-") && !id.starts_with("arn:") {
        return Err(wrong(
            name,
            "'fileSystemId' must be the ID of a file system, such as fs-1234.",
        ));
    }
    let encrypted = efs.transit_encryption.as_deref() == Some("ENABLED");
    let authorization = efs.authorization_config.as_ref();
    let point = authorization.is_some_and(|it| it.access_point_id.is_some());
    let iam = authorization.is_some_and(|it| it.iam.as_deref() == Some("ENABLED"));
    if (point || iam) && !encrypted {
        return Err(wrong(
            name,
            "'transitEncryption' must be ENABLED when an access point or IAM authorization is used.",
        ));
    }
    if point && efs.root_directory.as_deref().is_some_and(|root| !matches!(root, "" | "/")) {
        return Err(wrong(
            name,
            "'rootDirectory' must be omitted or '/' when an access point is used.",
        ));
    }
    if efs.transit_encryption_port.is_some() && !encrypted {
        return Err(wrong(
            name,
            "'transitEncryptionPort' needs 'transitEncryption' to be ENABLED.",
        ));
    }
    within("transitEncryptionPort", efs.transit_encryption_port, &(1..=65535))
        .map_err(|text| wrong(name, &text))
}

/// Whether the mount points of one container lead somewhere.
fn mounts(container: &ContainerDefinition, volumes: &BTreeSet<&str>) -> Result<(), Error> {
    let name = container.name.as_deref().unwrap_or_default();
    let mounts = || container.mount_points.iter().flatten();
    for mount in mounts() {
        let wanted = mount.source_volume.as_deref().unwrap_or_default();
        if !volumes.contains(wanted) {
            return Err(Error::refused(format!("Unknown volume '{wanted}'.")));
        }
        if blank(mount.container_path.as_ref()) {
            return Err(invalid(name, "Mount points must have a container path."));
        }
    }
    match repeated(mounts().map(|mount| mount.container_path.as_deref())) {
        Some(Some(path)) => Err(invalid(name, &format!("Duplicate mount point '{path}'."))),
        _ => Ok(()),
    }
}

fn wrong(name: &str, what: &str) -> Error {
    Error::refused(format!("Invalid setting for volume '{name}'. {what}"))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, refused, task};
    use super::*;
    use wire::ecs::{
        EFSAuthorizationConfig, HostVolumeProperties, MountPoint, RegisterTaskDefinitionRequest,
    };

    fn volume(change: impl FnOnce(&mut Volume)) -> Volume {
        let mut volume = Volume { name: Some("data".to_owned()), ..Default::default() };
        change(&mut volume);
        volume
    }

    fn with(all: Vec<Volume>) -> RegisterTaskDefinitionRequest {
        task(|task| task.volumes = Some(all))
    }

    fn mounted(paths: &[&str], from: &str) -> RegisterTaskDefinitionRequest {
        let mount = |path: &&str| MountPoint {
            source_volume: Some(from.to_owned()),
            container_path: Some((*path).to_owned()),
            ..Default::default()
        };
        let mut request = with(vec![volume(|_| {})]);
        if let Some(all) = &mut request.container_definitions {
            all[0].mount_points = Some(paths.iter().map(mount).collect());
        }
        request
    }

    fn efs(change: impl FnOnce(&mut EFSVolumeConfiguration)) -> RegisterTaskDefinitionRequest {
        let mut efs = EFSVolumeConfiguration {
            file_system_id: Some("fs-12345678".to_owned()),
            ..Default::default()
        };
        change(&mut efs);
        with(vec![volume(|it| it.efs_volume_configuration = Some(efs))])
    }

    #[test]
    fn accepted_and_refused() {
        let host = |it: &mut Volume| {
            it.host = Some(HostVolumeProperties { source_path: Some("/srv".to_owned()) });
        };
        let docker = |scope: Option<&str>| {
            let scope = scope.map(str::to_owned);
            let docker = DockerVolumeConfiguration {
                scope,
                autoprovision: Some(true),
                ..Default::default()
            };
            with(vec![volume(|it| it.docker_volume_configuration = Some(docker))])
        };
        let point = |it: &mut EFSVolumeConfiguration| {
            it.transit_encryption = Some("ENABLED".to_owned());
            it.authorization_config = Some(EFSAuthorizationConfig {
                access_point_id: Some("fsap-1".to_owned()),
                ..Default::default()
            });
        };
        for request in [
            with(vec![volume(host)]),
            with(vec![volume(|it| it.configured_at_launch = Some(true))]),
            // An empty host is how a volume without a place is written.
            with(vec![volume(|it| {
                it.host = Some(HostVolumeProperties::default());
                it.docker_volume_configuration = Some(DockerVolumeConfiguration::default());
            })]),
            docker(Some("shared")),
            efs(point),
            mounted(&["/a", "/b"], "data"),
        ] {
            accepted(request);
        }
        for (request, wanted) in [
            (with(vec![Volume::default()]), "Invalid volume name ''."),
            (with(vec![volume(|it| it.name = Some("a b".into()))]), "Invalid volume name 'a b'."),
            (with(vec![volume(|_| {}), volume(|_| {})]), "Volume name 'data' is not unique."),
            (
                with(vec![volume(|it| {
                    host(it);
                    it.configured_at_launch = Some(true);
                })]),
                "Only one of",
            ),
            (
                with(vec![
                    volume(|it| it.configured_at_launch = Some(true)),
                    volume(|it| {
                        it.name = Some("more".to_owned());
                        it.configured_at_launch = Some(true);
                    }),
                ]),
                "At most one volume",
            ),
            (docker(None), "'autoprovision' is only allowed if 'scope' is 'shared'."),
            (efs(|it| it.file_system_id = Some("x".to_owned())), "'fileSystemId' must be"),
            (
                efs(|it| {
                    point(it);
                    it.transit_encryption = None;
                }),
                "'transitEncryption' must be ENABLED",
            ),
            (
                efs(|it| {
                    point(it);
                    it.root_directory = Some("/sub".to_owned());
                }),
                "'rootDirectory' must be omitted or '/'",
            ),
            (efs(|it| it.transit_encryption_port = Some(9)), "'transitEncryptionPort' needs"),
            (
                efs(|it| {
                    point(it);
                    it.transit_encryption_port = Some(65536);
                }),
                "'transitEncryptionPort' must be between 1 and 65535.",
            ),
            (mounted(&["/a"], "other"), "Unknown volume 'other'."),
            (mounted(&[""], "data"), "must have a container path."),
            (mounted(&["/a", "/a"], "data"), "Duplicate mount point '/a'."),
        ] {
            refused(request, wanted);
        }
    }
}

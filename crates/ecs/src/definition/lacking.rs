//! What of a definition Landfall cannot obey yet.

use crate::launch::is_whole_gpus;
use crate::records::{NetworkMode, Spec};
use std::collections::BTreeMap;

/// The first thing that running the definition would need and that Landfall does
/// not provide yet. It may be registered all the same: that promises nothing.
pub(crate) fn unsupported(spec: &Spec) -> Option<String> {
    let given = |list: Option<usize>| list.is_some_and(|length| length > 0);
    let task = [
        ("proxyConfiguration", spec.proxy_configuration.is_some()),
        ("inferenceAccelerators", !spec.inference_accelerators.is_empty()),
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
            || volume.docker_volume_configuration.as_ref().is_some_and(|docker| {
                // What its driver is asked for; the driver itself is an attribute.
                given(docker.driver_opts.as_ref().map(BTreeMap::len))
            })
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
        let table = [
            ("secrets", given(container.secrets.as_ref().map(Vec::len)) || given(secret_options)),
            ("repositoryCredentials", container.repository_credentials.is_some()),
            ("firelensConfiguration", container.firelens_configuration.is_some()),
            ("credentialSpecs", given(container.credential_specs.as_ref().map(Vec::len))),
            (
                "resourceRequirements other than whole GPUs",
                container.resource_requirements.iter().flatten().any(|it| !is_whole_gpus(it)),
            ),
            // The containers of a task on the bridge have a network each.
            (
                "disableNetworking but on the bridge",
                container.disable_networking == Some(true)
                    && spec.network_mode != NetworkMode::Bridge,
            ),
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
        ContainerDefinition, LogConfiguration, ResourceRequirement, Secret, SharingStrategy,
    };

    fn spec(mode: NetworkMode) -> Spec {
        let web = ContainerDefinition { name: Some("web".to_owned()), ..Default::default() };
        Spec { network_mode: mode, container_definitions: vec![web], ..Spec::default() }
    }

    #[test]
    fn what_we_lack_is_named() {
        assert_eq!(unsupported(&spec(NetworkMode::Awsvpc)), None);
        assert_eq!(unsupported(&spec(NetworkMode::Host)), None);
        assert_eq!(unsupported(&spec(NetworkMode::Bridge)), None);
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
        let resource = |kind: &str, sharing: Option<SharingStrategy>| ResourceRequirement {
            r#type: Some(kind.to_owned()),
            value: Some("1".to_owned()),
            sharing_strategy: sharing,
        };
        let mut gpus = spec(NetworkMode::Awsvpc);
        for (wanted, obeyed) in [
            (resource("GPU", None), true),
            (resource("GPU", Some(SharingStrategy::default())), false),
            (resource("InferenceAccelerator", None), false),
        ] {
            gpus.container_definitions[0].resource_requirements = Some(vec![wanted.clone()]);
            assert_eq!(unsupported(&gpus).is_none(), obeyed, "{wanted:?}");
        }
        let found = one(|c| c.disable_networking = Some(true));
        assert_eq!(found.as_deref(), Some("disableNetworking but on the bridge (container 'web')"));
        let mut logging = spec(NetworkMode::Awsvpc);
        logging.container_definitions[0].log_configuration = Some(log("json-file"));
        assert!(unsupported(&logging).is_some_and(|what| what.starts_with("logConfiguration")));
        logging.container_definitions[0].log_configuration = Some(log("awslogs"));
        assert_eq!(unsupported(&logging), None, "what the machine lacks is an attribute");
        let nothing = one(|c| (c.disable_networking, c.links) = (Some(false), Some(vec![])));
        assert_eq!(nothing, None, "what asks for nothing is obeyed");
    }
}

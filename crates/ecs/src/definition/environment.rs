//! What a container is told: environment variables, files of them, secrets, and the
//! credentials for its image.

use super::{blank, given, invalid, logging, none_of, repeated};
use crate::Error;
use crate::records::Spec;
use std::collections::BTreeSet;
use wire::ecs::{ContainerDefinition, Secret};

/// As many environment files as a definition may name.
const MAX_FILES: usize = 10;

/// Whether the environment of every container is sound, and somebody may fetch it.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    let containers = &spec.container_definitions;
    containers.iter().try_for_each(one)?;
    let files = containers.iter().flat_map(|it| it.environment_files.iter().flatten());
    if files.count() > MAX_FILES {
        return Err(Error::refused(format!(
            "A task definition can have at most {MAX_FILES} environmentFiles."
        )));
    }
    if spec.execution_role_arn.is_some() {
        return Ok(());
    }
    // Whoever starts the task has to fetch these, in the name of that role.
    let any = |test: fn(&ContainerDefinition) -> bool| containers.iter().any(test);
    none_of(
        [
            ("container secrets", any(|it| given(it.secrets.as_ref()))),
            ("log driver secrets", any(logging::secret_options)),
            ("repository credentials", any(|it| it.repository_credentials.is_some())),
            ("environment files", any(|it| given(it.environment_files.as_ref()))),
        ],
        |what| {
            format!(
                "When you are specifying {what}, you must also specify a value for \
                 'executionRoleArn'."
            )
        },
    )
}

fn one(container: &ContainerDefinition) -> Result<(), Error> {
    let name = container.name.as_deref().unwrap_or_default();
    if container.environment.iter().flatten().any(|pair| blank(pair.name.as_ref())) {
        return Err(invalid(name, "Environment variables must have a name."));
    }
    let taken: BTreeSet<&str> =
        container.environment.iter().flatten().filter_map(|pair| pair.name.as_deref()).collect();
    secrets(name, container.secrets.as_deref().unwrap_or_default(), |it| taken.contains(it))?;
    for file in container.environment_files.iter().flatten() {
        let value = file.value.as_deref().unwrap_or_default();
        let place = value.split_once(":s3:::").map(|(_, place)| place);
        let object = place.and_then(|place| place.split_once('/')).map(|(_, object)| object);
        let named = object.and_then(|object| object.rsplit_once('.'));
        if !value.starts_with("arn:") || named.is_none_or(|(_, extension)| extension != "env") {
            return Err(invalid(
                name,
                &format!(
                    "The environment file '{value}' must be the ARN of an S3 object whose name \
                     ends in .env."
                ),
            ));
        }
    }
    let credentials = container.repository_credentials.as_ref();
    if credentials.is_some_and(|it| blank(it.credentials_parameter.as_ref())) {
        return Err(invalid(
            name,
            "'repositoryCredentials.credentialsParameter' must name a secret.",
        ));
    }
    Ok(())
}

/// Whether secrets have names of their own and come from somewhere.
pub(super) fn secrets(
    container: &str,
    secrets: &[Secret],
    taken: impl Fn(&str) -> bool,
) -> Result<(), Error> {
    let names = || secrets.iter().map(|secret| secret.name.as_deref().unwrap_or_default());
    if let Some(twice) = repeated(names()).or_else(|| names().find(|name| taken(name))) {
        return Err(Error::refused(format!(
            "The secret name must be unique and not shared with any new or existing environment \
             variables set on the container, such as '{twice}'."
        )));
    }
    for secret in secrets {
        let from = secret.value_from.as_deref().unwrap_or_default();
        let service = from.strip_prefix("arn:").map(|rest| rest.split(':').nth(1));
        let sound = match service {
            None => !from.is_empty(),
            Some(service) => matches!(service, Some("ssm" | "secretsmanager")),
        };
        if blank(secret.name.as_ref()) || !sound {
            return Err(invalid(
                container,
                "A secret must have a name, and a valueFrom that is the name of a parameter of \
                 Systems Manager or the ARN of one or of a secret of Secrets Manager.",
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, container, refused};
    use super::*;
    use wire::ecs::{EnvironmentFile, KeyValuePair, RepositoryCredentials};

    fn secret(name: &str, from: &str) -> Secret {
        Secret { name: Some(name.to_owned()), value_from: Some(from.to_owned()) }
    }

    fn file(value: &str) -> EnvironmentFile {
        EnvironmentFile { r#type: Some("s3".to_owned()), value: Some(value.to_owned()) }
    }

    const ARN: &str = "arn:aws:secretsmanager:us-east-1:000000000000:secret:db-AbCdEf";

    #[test]
    fn accepted_and_refused() {
        let executed = |change: &dyn Fn(&mut ContainerDefinition)| {
            let mut request = container(|it| change(it));
            request.execution_role_arn = Some("arn:aws:iam::000000000000:role/exec".to_owned());
            request
        };
        let secrets = |all: Vec<Secret>| executed(&|it| it.secrets = Some(all.clone()));
        let files =
            |all: Vec<EnvironmentFile>| executed(&|it| it.environment_files = Some(all.clone()));
        for request in [
            secrets(vec![secret("A", "/a"), secret("B", ARN)]),
            files(vec![file("arn:aws:s3:::bucket/prod/web.env")]),
            executed(&|it| {
                it.repository_credentials =
                    Some(RepositoryCredentials { credentials_parameter: Some(ARN.to_owned()) });
            }),
        ] {
            accepted(request);
        }
        let pair = |name: &str| KeyValuePair { name: Some(name.to_owned()), value: None };
        for (request, wanted) in [
            (executed(&|it| it.environment = Some(vec![pair("")])), "must have a name."),
            (secrets(vec![secret("A", "/a"), secret("A", "/b")]), "such as 'A'."),
            (
                executed(&|it| {
                    it.environment = Some(vec![pair("A")]);
                    it.secrets = Some(vec![secret("A", "/a")]);
                }),
                "such as 'A'.",
            ),
            (secrets(vec![secret("A", "")]), "A secret must have a name"),
            (secrets(vec![secret("", "/a")]), "A secret must have a name"),
            (secrets(vec![secret("A", "arn:aws:s3:::b")]), "A secret must have a name"),
            (secrets(vec![secret("A", "arn:")]), "A secret must have a name"),
            (files(vec![file("arn:aws:s3:::bucket/web.txt")]), "ends in .env."),
            (files(vec![file("s3://bucket/web.env")]), "ends in .env."),
            (files(vec![file("arn:aws:s3:::b/a.env"); 11]), "at most 10 environmentFiles."),
            (
                container(|it| it.secrets = Some(vec![secret("A", "/a")])),
                "When you are specifying container secrets, you must also specify a value for \
                 'executionRoleArn'.",
            ),
            (
                container(|it| it.environment_files = Some(vec![file("arn:aws:s3:::b/a.env")])),
                "'executionRoleArn'.",
            ),
            (
                executed(&|it| it.repository_credentials = Some(RepositoryCredentials::default())),
                "must name a secret.",
            ),
        ] {
            refused(request, wanted);
        }
    }
}

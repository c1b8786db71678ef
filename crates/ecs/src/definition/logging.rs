//! Where the output of containers goes: `logConfiguration` and the FireLens router.

use super::{environment, given, invalid};
use crate::Error;
use crate::records::Spec;
use wire::ecs::{ContainerDefinition, FirelensConfiguration, LogConfiguration};

/// The driver that hands the output to the router of the same task.
const FIRELENS: &str = "awsfirelens";

/// Whether every container's log can be delivered.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    let containers = &spec.container_definitions;
    for container in containers {
        let name = container.name.as_deref().unwrap_or_default();
        if let Some(log) = &container.log_configuration {
            configuration(name, log)?;
        }
        if let Some(router) = &container.firelens_configuration {
            firelens(name, router)?;
            if driver(container) == Some(FIRELENS) {
                return Err(invalid(
                    name,
                    "A container with a firelensConfiguration cannot use the awsfirelens log \
                     driver itself.",
                ));
            }
        }
    }
    let routers = containers.iter().filter(|it| it.firelens_configuration.is_some()).count();
    let routed = containers.iter().any(|it| driver(it) == Some(FIRELENS));
    match (routers, routed) {
        (0, true) => Err(Error::refused(
            "When a container uses the awsfirelens log driver, another container must have a \
             firelensConfiguration.",
        )),
        (1, false) => Err(Error::refused(
            "When a firelensConfiguration object is specified, at least one container has to be \
             configured with the awsfirelens log driver.",
        )),
        (0 | 1, _) => Ok(()),
        _ => Err(Error::refused(
            "Only one container of a task definition can have a firelensConfiguration.",
        )),
    }
}

/// The log driver of a container, if it names one.
pub(super) fn driver(container: &ContainerDefinition) -> Option<&str> {
    container.log_configuration.as_ref()?.log_driver.as_deref()
}

fn configuration(name: &str, log: &LogConfiguration) -> Result<(), Error> {
    let secrets = log.secret_options.as_deref().unwrap_or_default();
    let set = |key: &str| log.options.as_ref().is_some_and(|all| all.contains_key(key));
    environment::secrets(name, secrets, set)?;
    let secret = |key: &str| secrets.iter().any(|it| it.name.as_deref() == Some(key));
    let driver = log.log_driver.as_deref().unwrap_or_default();
    let required: &[&str] = match driver {
        "awslogs" => &["awslogs-region", "awslogs-group"],
        "splunk" => &["splunk-token", "splunk-url"],
        "gelf" => &["gelf-address"],
        _ => &[],
    };
    if required.iter().all(|key| set(key) || secret(key)) {
        Ok(())
    } else {
        let required = required.join(", ");
        Err(Error::refused(format!("Log driver {driver} requires options: {required}")))
    }
}

fn firelens(name: &str, router: &FirelensConfiguration) -> Result<(), Error> {
    let option = |key: &str| router.options.as_ref().and_then(|all| all.get(key));
    let kind = option("config-file-type").map(String::as_str);
    if !matches!(kind, None | Some("file" | "s3")) {
        return Err(invalid(name, "The FireLens option 'config-file-type' must be file or s3."));
    }
    if kind.is_some() != option("config-file-value").is_some() {
        return Err(invalid(
            name,
            "The FireLens options 'config-file-type' and 'config-file-value' must be specified \
             together.",
        ));
    }
    let flag = option("enable-ecs-log-metadata").map(String::as_str);
    if !matches!(flag, None | Some("true" | "false")) {
        return Err(invalid(
            name,
            "The FireLens option 'enable-ecs-log-metadata' must be true or false.",
        ));
    }
    Ok(())
}

/// Whether a container has options of its log driver that are secret.
pub(super) fn secret_options(container: &ContainerDefinition) -> bool {
    container.log_configuration.as_ref().is_some_and(|log| given(log.secret_options.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, container, containers, refused, web};
    use super::*;
    use wire::ecs::{RegisterTaskDefinitionRequest, Secret};

    #[expect(clippy::unnecessary_wraps, reason = "as the member it is for")]
    fn log(driver: &str, options: &[&str]) -> Option<LogConfiguration> {
        let options = options.iter().map(|key| ((*key).to_owned(), "x".to_owned())).collect();
        Some(LogConfiguration {
            log_driver: Some(driver.to_owned()),
            options: Some(options),
            ..Default::default()
        })
    }

    fn logging(driver: &str, options: &[&str]) -> RegisterTaskDefinitionRequest {
        container(|it| it.log_configuration = log(driver, options))
    }

    fn router(name: &str, options: &[(&str, &str)]) -> ContainerDefinition {
        let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        ContainerDefinition {
            name: Some(name.to_owned()),
            firelens_configuration: Some(FirelensConfiguration {
                r#type: Some("fluentbit".to_owned()),
                options: Some(options.iter().map(pair).collect()),
            }),
            ..web()
        }
    }

    #[test]
    fn accepted_and_refused() {
        let routed = || ContainerDefinition { log_configuration: log(FIRELENS, &[]), ..web() };
        let with = |all: Vec<ContainerDefinition>| containers(all);
        let file = [("config-file-type", "file"), ("config-file-value", "/x")];
        for request in [
            logging("json-file", &[]),
            logging("awslogs", &["awslogs-region", "awslogs-group"]),
            logging("splunk", &["splunk-token", "splunk-url"]),
            with(vec![routed(), router("log", &file)]),
        ] {
            accepted(request);
        }
        let mut secret = container(|it| {
            it.log_configuration = log("splunk", &["splunk-url"]);
            if let Some(log) = &mut it.log_configuration {
                log.secret_options = Some(vec![Secret {
                    name: Some("splunk-token".to_owned()),
                    value_from: Some("/splunk".to_owned()),
                }]);
            }
        });
        refused(secret.clone(), "When you are specifying log driver secrets, you must also");
        secret.execution_role_arn = Some("arn:aws:iam::000000000000:role/exec".to_owned());
        accepted(secret);
        let own =
            ContainerDefinition { log_configuration: log(FIRELENS, &[]), ..router("log", &[]) };
        for (request, wanted) in [
            (
                logging("awslogs", &["awslogs-group"]),
                "Log driver awslogs requires options: awslogs-region, awslogs-group",
            ),
            (logging("splunk", &["splunk-url"]), "requires options: splunk-token, splunk-url"),
            (logging("gelf", &[]), "requires options: gelf-address"),
            (logging(FIRELENS, &[]), "another container must have a firelensConfiguration."),
            (with(vec![web(), router("log", &[])]), "at least one container has to be configured"),
            (
                with(vec![routed(), router("a", &[]), router("b", &[])]),
                "Only one container of a task definition can have a firelensConfiguration.",
            ),
            (with(vec![routed(), own]), "cannot use the awsfirelens log driver itself."),
            (
                with(vec![routed(), router("log", &[("config-file-type", "http")])]),
                "must be file or s3.",
            ),
            (with(vec![routed(), router("log", &file[..1])]), "must be specified together."),
            (
                with(vec![routed(), router("log", &[("enable-ecs-log-metadata", "x")])]),
                "must be true or false.",
            ),
        ] {
            refused(request, wanted);
        }
    }
}

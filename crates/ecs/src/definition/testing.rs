//! Definitions to begin with, for the tables of accepted and refused ones.

use super::accept;
use wire::ecs::{ContainerDefinition, ContainerDependency, RegisterTaskDefinitionRequest};

/// A sound container.
pub(super) fn web() -> ContainerDefinition {
    ContainerDefinition {
        name: Some("web".to_owned()),
        image: Some("web:1".to_owned()),
        memory: Some(64),
        ..Default::default()
    }
}

/// A sound definition of these containers, in awsvpc mode.
pub(super) fn containers(
    container_definitions: Vec<ContainerDefinition>,
) -> RegisterTaskDefinitionRequest {
    RegisterTaskDefinitionRequest {
        family: Some("web".to_owned()),
        network_mode: Some("awsvpc".to_owned()),
        container_definitions: Some(container_definitions),
        ..Default::default()
    }
}

/// A sound definition with one container, changed.
pub(super) fn container(
    change: impl FnOnce(&mut ContainerDefinition),
) -> RegisterTaskDefinitionRequest {
    let mut changed = web();
    change(&mut changed);
    containers(vec![changed])
}

/// A sound definition with one container, changed as a whole.
pub(super) fn task(
    change: impl FnOnce(&mut RegisterTaskDefinitionRequest),
) -> RegisterTaskDefinitionRequest {
    let mut changed = containers(vec![web()]);
    change(&mut changed);
    changed
}

/// A sound definition for Fargate.
pub(super) fn fargate(
    change: impl FnOnce(&mut RegisterTaskDefinitionRequest),
) -> RegisterTaskDefinitionRequest {
    let mut request = task(|task| {
        task.requires_compatibilities = Some(vec!["FARGATE".to_owned()]);
        (task.cpu, task.memory) = (Some("256".to_owned()), Some("512".to_owned()));
    });
    change(&mut request);
    request
}

/// Waiting for a container.
pub(super) fn on(name: &str, condition: &str) -> ContainerDependency {
    ContainerDependency {
        container_name: Some(name.to_owned()),
        condition: Some(condition.to_owned()),
    }
}

pub(super) fn accepted(request: RegisterTaskDefinitionRequest) {
    let shown = format!("{request:?}");
    if let Err(error) = accept(request) {
        panic!("refused with {error}: {shown}");
    }
}

pub(super) fn refused(request: RegisterTaskDefinitionRequest, wanted: &str) {
    let fault = accept(request).expect_err(wanted).fault();
    assert_eq!((fault.status, &*fault.code), (400, "ClientException"));
    assert!(fault.message.contains(wanted), "{} is not {wanted}", fault.message);
}

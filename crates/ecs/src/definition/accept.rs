//! Taking a task definition in: checked, and filled in where AWS fills it in.
//!
//! The model's own constraints (required, enumerations, types) have been checked
//! on the way in; here are the rules that span several parameters.

use super::{
    blank, container, dependencies, environment, external, fargate, logging, managed, network,
    none_of, ports, repeated, size, volumes, windows, within,
};
use crate::records::{NetworkMode, Spec, tags};
use crate::{Error, placing};
use ident::{Family, Tags};
use wire::ecs::{ContainerDefinition, RegisterTaskDefinitionRequest};

/// As long as the name of a family may be.
const LONGEST_FAMILY: usize = 255;
/// As large as a definition may be, in bytes of the JSON that it is kept as.
const MAX_SIZE: usize = 64 << 10;
/// As many placement constraints as a definition may have.
const MAX_CONSTRAINTS: usize = 10;

/// What `request` registers, if it is sound.
pub(crate) fn accept(
    request: RegisterTaskDefinitionRequest,
) -> Result<(Family, Spec, Tags), Error> {
    let family = request.family.unwrap_or_default();
    if family.is_empty() {
        return Err(Error::refused("Family should not be null or empty."));
    }
    if family.len() > LONGEST_FAMILY {
        return Err(Error::refused(format!(
            "Family can have at most {LONGEST_FAMILY} characters."
        )));
    }
    let family: Family =
        family.parse().map_err(|_| Error::refused("Family contains invalid characters."))?;
    if request.tags.as_ref().is_some_and(Vec::is_empty) {
        return Err(Error::refused("Tags can not be empty."));
    }
    let given_mode = match request.network_mode.as_deref() {
        None => None,
        Some(text) => Some(
            NetworkMode::parse(text)
                .ok_or_else(|| Error::invalid(format!("Invalid network mode: {text}")))?,
        ),
    };
    let network_mode = given_mode.unwrap_or_default();
    let mut spec = Spec {
        container_definitions: request.container_definitions.unwrap_or_default(),
        volumes: request.volumes.unwrap_or_default(),
        placement_constraints: request.placement_constraints.unwrap_or_default(),
        network_mode,
        requires_compatibilities: request.requires_compatibilities.unwrap_or_default(),
        cpu: request.cpu,
        memory: request.memory,
        task_role_arn: request.task_role_arn,
        execution_role_arn: request.execution_role_arn,
        pid_mode: request.pid_mode,
        ipc_mode: request.ipc_mode,
        proxy_configuration: request.proxy_configuration,
        inference_accelerators: request.inference_accelerators.unwrap_or_default(),
        ephemeral_storage: request.ephemeral_storage,
        runtime_platform: request.runtime_platform,
        enable_fault_injection: request.enable_fault_injection,
        trusted_execution_configuration: request.trusted_execution_configuration,
    };
    size::settle(&mut spec)?;
    container::check(&spec)?;
    size::check(&spec)?;
    volumes::check(&spec)?;
    dependencies::check(&spec)?;
    network::check(&spec)?;
    environment::check(&spec)?;
    logging::check(&spec)?;
    windows::check(&spec, given_mode)?;
    ports::settle(network_mode, &mut spec.container_definitions)?;
    spec.container_definitions.iter_mut().for_each(fill_in);
    required(&spec)?;
    whole(&spec)?;
    Ok((family, spec, tags(request.tags)?))
}

/// Whether the definition fits every way to run it that it says it is for.
fn required(spec: &Spec) -> Result<(), Error> {
    for wanted in &spec.requires_compatibilities {
        match wanted.as_str() {
            "FARGATE" => fargate::check(spec)?,
            "EXTERNAL" => external::check(spec)?,
            "MANAGED_INSTANCES" => managed::check(spec)?,
            _ => {}
        }
    }
    let anywhere = spec.requires_compatibilities.is_empty();
    let fargate = spec.requires_compatibilities.iter().any(|it| it == "FARGATE")
        || (anywhere && fargate::check(spec).is_ok());
    none_of([("ephemeralStorage", spec.ephemeral_storage.is_some() && !fargate)], |what| {
        format!("'{what}' is only supported for tasks that run on Fargate.")
    })
}

/// The bounds of what belongs to no one container.
fn whole(spec: &Spec) -> Result<(), Error> {
    if spec.placement_constraints.len() > MAX_CONSTRAINTS {
        return Err(Error::refused(format!(
            "A task definition can have at most {MAX_CONSTRAINTS} placement constraints."
        )));
    }
    if spec.placement_constraints.iter().any(|it| blank(it.expression.as_ref())) {
        return Err(Error::refused("A placement constraint memberOf must have an expression."));
    }
    placing::of_definition(&spec.placement_constraints)?;
    let devices = spec.inference_accelerators.iter().map(|it| it.device_name.as_deref());
    if let Some(Some(twice)) = repeated(devices) {
        return Err(Error::refused(format!("Inference accelerator '{twice}' is not unique.")));
    }
    for role in [&spec.task_role_arn, &spec.execution_role_arn].into_iter().flatten() {
        if !sound_role(role) {
            return Err(Error::refused(format!("Role is not valid: {role}")));
        }
    }
    let storage = spec.ephemeral_storage.as_ref().and_then(|storage| storage.size_in_gi_b);
    within("ephemeralStorage.sizeInGiB", storage, &(20..=200)).map_err(Error::refused)?;
    let length = serde_json::to_vec(spec)?.len();
    if length > MAX_SIZE {
        return Err(Error::refused(format!(
            "Actual length: '{length}'. Max allowed length is '{MAX_SIZE}' bytes."
        )));
    }
    Ok(())
}

/// A role's ARN, or its name.
fn sound_role(text: &str) -> bool {
    let name = match text.strip_prefix("arn:") {
        None => Some(text),
        Some(rest) => rest
            .split_once(":iam::")
            .and_then(|(_, it)| it.split_once(":role/"))
            .map(|(_, name)| name),
    };
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@_-/".contains(&byte);
    name.is_some_and(|name| !name.is_empty() && name.bytes().all(sound))
}

/// What AWS shows of a container even if nobody gave it.
fn fill_in(container: &mut ContainerDefinition) {
    container.cpu.get_or_insert(0);
    container.essential.get_or_insert(true);
    container.port_mappings.get_or_insert_default();
    container.environment.get_or_insert_default();
    container.mount_points.get_or_insert_default();
    container.volumes_from.get_or_insert_default();
    container.system_controls.get_or_insert_default();
}

#[cfg(test)]
#[path = "accept_tests.rs"]
mod tests;

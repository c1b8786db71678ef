//! The ports of a definition: checked, and filled in as the network mode has it.

use super::container::repeated;
use crate::Error;
use crate::records::NetworkMode;
use wire::ecs::{ContainerDefinition, PortMapping};

/// As long as a port's name may be.
const LONGEST_NAME: usize = 64;

/// Checks the ports of all containers and fills in what the network mode says.
pub(super) fn settle(
    mode: NetworkMode,
    containers: &mut [ContainerDefinition],
) -> Result<(), Error> {
    for mapping in containers.iter_mut().flat_map(|it| it.port_mappings.iter_mut().flatten()) {
        mapping.protocol.get_or_insert_with(|| "tcp".to_owned());
        if let Some(name) = mapping.name.as_deref()
            && !sound_name(name)
        {
            return Err(Error::refused(format!(
                "Invalid port mapping name '{name}'. Up to {LONGEST_NAME} lowercase letters, \
                 numbers, underscores, and hyphens are allowed, and a hyphen not at the start."
            )));
        }
        match mapping.container_port_range.as_deref() {
            None => one(mode, mapping)?,
            Some(range) => several(mode, mapping, range)?,
        }
    }
    let mappings = containers.iter().flat_map(|it| it.port_mappings.iter().flatten());
    match repeated(mappings.filter_map(|mapping| mapping.name.as_deref())) {
        None => Ok(()),
        Some(name) => Err(Error::refused(format!("The port mapping name '{name}' is not unique."))),
    }
}

fn sound_name(name: &str) -> bool {
    let sound = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
    (1..=LONGEST_NAME).contains(&name.len()) && name.bytes().all(sound) && !name.starts_with('-')
}

fn one(mode: NetworkMode, mapping: &mut PortMapping) -> Result<(), Error> {
    let Some(inside) = mapping.container_port else {
        return Err(Error::refused("Port mappings must have a container port."));
    };
    let outside = mapping.host_port;
    if !(1..=65535).contains(&inside) || !(0..=65535).contains(&outside.unwrap_or(0)) {
        return Err(Error::refused("Invalid port. Ports must be between 0 and 65535."));
    }
    match mode {
        NetworkMode::Awsvpc | NetworkMode::Host => {
            if outside.is_some_and(|outside| outside != inside) {
                return Err(Error::refused(format!(
                    "When networkMode={}, the host ports and container ports in port mappings \
                     must match.",
                    mode.as_str()
                )));
            }
            mapping.host_port = Some(inside);
        }
        // Zero is: any port of the host.
        NetworkMode::Bridge => mapping.host_port = Some(outside.unwrap_or(0)),
        NetworkMode::None => {
            return Err(Error::refused("Port mappings are not allowed when networkMode=none."));
        }
    }
    Ok(())
}

/// A range, which stands in the place of both ports: the host's are dynamic.
fn several(mode: NetworkMode, mapping: &PortMapping, range: &str) -> Result<(), Error> {
    if mapping.container_port.is_some() || mapping.host_port.is_some() {
        return Err(Error::refused(
            "A port mapping with a containerPortRange must have neither containerPort nor \
             hostPort.",
        ));
    }
    if !matches!(mode, NetworkMode::Awsvpc | NetworkMode::Bridge) {
        return Err(Error::refused(format!(
            "containerPortRange is not supported when networkMode={}.",
            mode.as_str()
        )));
    }
    let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    let ends = range.split_once('-').and_then(|(from, to)| Some((port(from)?, port(to)?)));
    if ends.is_some_and(|(from, to)| from <= to) {
        Ok(())
    } else {
        Err(Error::refused(format!("Invalid containerPortRange '{range}'.")))
    }
}

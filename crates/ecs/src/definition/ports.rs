//! The ports of a definition: checked, and filled in as the network mode has it.

use super::{invalid, repeated};
use crate::Error;
use crate::records::NetworkMode;
use wire::ecs::{ContainerDefinition, PortMapping};

/// As long as a port's name may be.
const LONGEST_NAME: usize = 64;
/// As many ranges as a container may have.
const MAX_RANGES: usize = 100;

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
        if mapping.app_protocol.is_some() && mapping.protocol.as_deref() == Some("udp") {
            return Err(Error::refused("An appProtocol is only supported for the protocol tcp."));
        }
        match mapping.container_port_range.as_deref() {
            None => one(mode, mapping)?,
            Some(range) => several(mode, mapping, range)?,
        }
    }
    for container in &*containers {
        let mappings = container.port_mappings.iter().flatten();
        if mappings.filter(|it| it.container_port_range.is_some()).count() > MAX_RANGES {
            let name = container.name.as_deref().unwrap_or_default();
            return Err(invalid(
                name,
                &format!("A container can have at most {MAX_RANGES} containerPortRanges."),
            ));
        }
    }
    let mappings = || containers.iter().flat_map(|it| it.port_mappings.iter().flatten());
    // Zero is any port, and any number of containers may have any.
    let fixed = mappings().filter_map(|it| Some((it.host_port?, it.protocol.as_deref())));
    if let Some((port, protocol)) = repeated(fixed.filter(|(port, _)| *port > 0)) {
        return Err(Error::refused(format!(
            "The host port {port} of protocol {} is mapped more than once.",
            protocol.unwrap_or_default()
        )));
    }
    match repeated(mappings().filter_map(|mapping| mapping.name.as_deref())) {
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

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, container, containers, refused, web};
    use super::*;
    use wire::ecs::RegisterTaskDefinitionRequest;

    fn mapping(inside: i32, outside: Option<i32>) -> PortMapping {
        PortMapping { container_port: Some(inside), host_port: outside, ..Default::default() }
    }

    fn ranged(range: &str) -> PortMapping {
        PortMapping { container_port_range: Some(range.to_owned()), ..Default::default() }
    }

    fn named(name: &str, port: i32) -> PortMapping {
        PortMapping { name: Some(name.to_owned()), ..mapping(port, None) }
    }

    fn in_mode(mode: &str, all: Vec<PortMapping>) -> RegisterTaskDefinitionRequest {
        let mut request = container(|it| it.port_mappings = Some(all));
        request.network_mode = Some(mode.to_owned());
        request
    }

    #[test]
    fn accepted_and_refused() {
        let talking = |protocol: &str| PortMapping {
            protocol: Some(protocol.to_owned()),
            app_protocol: Some("http".to_owned()),
            ..mapping(80, None)
        };
        let udp = PortMapping { protocol: Some("udp".to_owned()), ..mapping(80, None) };
        let other = ContainerDefinition {
            name: Some("other".to_owned()),
            port_mappings: Some(vec![mapping(80, None)]),
            ..web()
        };
        let both = containers(vec![
            ContainerDefinition { port_mappings: Some(vec![mapping(80, None)]), ..web() },
            other,
        ]);
        let mut apart = both.clone();
        apart.network_mode = Some("bridge".to_owned());
        for request in [
            in_mode("awsvpc", vec![mapping(80, Some(80)), udp]),
            in_mode("bridge", vec![mapping(80, Some(8080)), mapping(81, Some(0))]),
            in_mode("bridge", vec![ranged("80-90")]),
            in_mode("awsvpc", vec![ranged("8000-8001")]),
            in_mode("awsvpc", vec![ranged("80-90"); 100]),
            in_mode("awsvpc", vec![talking("tcp")]),
            in_mode("awsvpc", vec![named("http", 80), named("admin_2", 81)]),
            apart,
        ] {
            accepted(request);
        }
        for (request, wanted) in [
            (in_mode("awsvpc", vec![mapping(80, Some(8080))]), "When networkMode=awsvpc, the host"),
            (in_mode("host", vec![mapping(80, Some(0))]), "When networkMode=host, the host ports"),
            (in_mode("none", vec![mapping(80, None)]), "not allowed when networkMode=none."),
            (in_mode("bridge", vec![mapping(0, None)]), "Invalid port."),
            (in_mode("bridge", vec![mapping(80, Some(-1))]), "Invalid port."),
            (in_mode("bridge", vec![mapping(65536, None)]), "Invalid port."),
            (in_mode("bridge", vec![PortMapping::default()]), "must have a container port."),
            (in_mode("bridge", vec![mapping(80, Some(9)); 2]), "The host port 9 of protocol tcp"),
            (both, "The host port 80 of protocol tcp is mapped more than once."),
            (in_mode("awsvpc", vec![named("Http", 80)]), "Invalid port mapping name 'Http'."),
            (in_mode("awsvpc", vec![named("-http", 80)]), "Invalid port mapping name '-http'."),
            (in_mode("awsvpc", vec![named("a", 80), named("a", 81)]), "name 'a' is not unique."),
            (in_mode("awsvpc", vec![talking("udp")]), "only supported for the protocol tcp."),
            (in_mode("bridge", vec![ranged("90-80")]), "Invalid containerPortRange '90-80'."),
            (in_mode("bridge", vec![ranged("0-1")]), "Invalid containerPortRange '0-1'."),
            (in_mode("bridge", vec![ranged("80")]), "Invalid containerPortRange '80'."),
            (in_mode("bridge", vec![ranged("80-65536")]), "Invalid containerPortRange"),
            (in_mode("host", vec![ranged("80-90")]), "not supported when networkMode=host."),
            (in_mode("bridge", vec![ranged("80-90"); 101]), "at most 100 containerPortRanges."),
            (
                in_mode("bridge", vec![PortMapping { host_port: Some(80), ..ranged("80-90") }]),
                "must have neither containerPort nor hostPort.",
            ),
        ] {
            refused(request, wanted);
        }
    }
}

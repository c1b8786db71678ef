//! What a payload says of containers on the bridge.

use crate::engine::{Condition, Dependency, Link, PortMapping, Protocol};
use wire::acs;

/// The ports of a container that ports of the machine are to lead to.
pub(super) fn ports(given: &acs::Container) -> Result<Vec<PortMapping>, String> {
    given.port_mappings.iter().flatten().map(port).collect()
}

fn port(given: &acs::PortMapping) -> Result<PortMapping, String> {
    let number = |port: i32| u16::try_from(port).map_err(|_| format!("port {port}"));
    let protocol = match given.protocol.as_deref() {
        None | Some("" | "tcp") => Protocol::Tcp,
        Some("udp") => Protocol::Udp,
        Some(other) => return Err(format!("protocol {other:?} of a port")),
    };
    if let Some(range) = given.container_port_range.as_deref().filter(|range| !range.is_empty()) {
        let ends =
            range.split_once('-').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        let container = ends.filter(|(first, last): &(u16, u16)| first <= last);
        let container = container.ok_or_else(|| format!("containerPortRange {range:?}"))?;
        return Ok(PortMapping { container, is_range: true, host: None, protocol });
    }
    let inside = number(given.container_port.unwrap_or(0))?;
    let host = Some(number(given.host_port.unwrap_or(0))?).filter(|port| *port > 0);
    Ok(PortMapping { container: (inside, inside), is_range: false, host, protocol })
}

/// The containers that one knows by name: `name` or `name:alias`.
pub(super) fn links(given: &acs::Container) -> Vec<Link> {
    let links = given.links.iter().flatten().map(|link| {
        let (container, alias) = link.split_once(':').unwrap_or((link, link));
        Link { container: container.to_owned(), alias: alias.to_owned() }
    });
    links.collect()
}

/// Who has a link comes after the one that it leads to.
pub(super) fn linked(given: &acs::Container) -> impl Iterator<Item = Dependency> {
    let on = links(given).into_iter().map(|link| link.container);
    on.map(|on| Dependency { on, condition: Condition::Start })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_and_links_are_read() {
        let json = serde_json::json!({
            "links": ["db", "cache:store"],
            "portMappings": [
                { "containerPort": 80, "hostPort": 0, "protocol": "tcp" },
                { "containerPort": 53, "hostPort": 5353, "protocol": "udp" },
                { "containerPortRange": "90-92" },
            ],
        });
        let given: acs::Container = serde_json::from_value(json).expect("a container");
        let told: Vec<_> = links(&given).into_iter().map(|it| (it.container, it.alias)).collect();
        let text = ToString::to_string;
        assert_eq!(told, [("db", "db"), ("cache", "store")].map(|(a, b)| (text(a), text(b))));
        let port = |container, is_range, host, protocol| PortMapping {
            container,
            is_range,
            host,
            protocol,
        };
        assert_eq!(
            ports(&given).expect("ports"),
            [
                port((80, 80), false, None, Protocol::Tcp),
                port((53, 53), false, Some(5353), Protocol::Udp),
                port((90, 92), true, None, Protocol::Tcp),
            ]
        );
        for (range, protocol) in [("9-8", "tcp"), ("x", "tcp"), ("1-2", "sctp")] {
            let json = serde_json::json!({ "portMappings": [
                { "containerPortRange": range, "protocol": protocol },
            ] });
            let given: acs::Container = serde_json::from_value(json).expect("a container");
            assert!(ports(&given).is_err(), "{range} {protocol}");
        }
    }
}

//! What a container may say of its network, and the proxy of the whole task.

use super::{given, invalid, none_of};
use crate::Error;
use crate::records::{NetworkMode, Spec};
use wire::ecs::{ContainerDefinition, ProxyConfiguration};

/// Whether nothing is asked for that the network mode has no use for.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    for container in &spec.container_definitions {
        let name = container.name.as_deref().unwrap_or_default();
        if spec.network_mode == NetworkMode::Awsvpc {
            fits_awsvpc(container)?;
        }
        let hosts = container.extra_hosts.iter().flatten();
        if let Some(host) = hosts.map(|host| host.ip_address.as_deref().unwrap_or_default()).find(
            // Docker also knows a name for the machine that it runs on.
            |it| it.parse::<std::net::IpAddr>().is_err() && *it != "host-gateway",
        ) {
            return Err(invalid(name, &format!("'{host}' in 'extraHosts' is not an IP address.")));
        }
    }
    spec.proxy_configuration.as_ref().map_or(Ok(()), |it| proxy(spec, it))
}

/// The interface's names and name servers are the VPC's.
fn fits_awsvpc(container: &ContainerDefinition) -> Result<(), Error> {
    none_of(
        [
            ("hostname is", container.hostname.is_some()),
            ("DNS servers are", given(container.dns_servers.as_ref())),
            ("DNS search domains are", given(container.dns_search_domains.as_ref())),
            ("Extra hosts are", given(container.extra_hosts.as_ref())),
        ],
        |what| {
            let mode = NetworkMode::Awsvpc.as_str();
            format!("{what} not supported on container when networkMode={mode}.")
        },
    )
}

/// The proxy is one of the task's containers, and everything goes through it but
/// what is its own.
fn proxy(spec: &Spec, proxy: &ProxyConfiguration) -> Result<(), Error> {
    if spec.network_mode != NetworkMode::Awsvpc {
        return Err(Error::refused(
            "proxyConfiguration is only supported when networkMode=awsvpc.",
        ));
    }
    let name = proxy.container_name.as_deref();
    if !spec.container_definitions.iter().any(|it| it.name.as_deref() == name) {
        return Err(Error::refused(format!(
            "proxyConfiguration refers to the unknown container '{}'.",
            name.unwrap_or_default()
        )));
    }
    let set = |key: &str| {
        proxy.properties.iter().flatten().any(|it| {
            it.name.as_deref() == Some(key) && it.value.as_deref().is_some_and(|v| !v.is_empty())
        })
    };
    if !set("IgnoredUID") && !set("IgnoredGID") {
        return Err(Error::refused(
            "proxyConfiguration requires one of the properties IgnoredUID and IgnoredGID.",
        ));
    }
    let required = ["AppPorts", "ProxyIngressPort", "ProxyEgressPort"];
    none_of(required.map(|key| (key, !set(key))), |key| {
        format!("proxyConfiguration requires the property {key}.")
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, container, refused, task};
    use super::*;
    use wire::ecs::{HostEntry, KeyValuePair, RegisterTaskDefinitionRequest};

    fn proxied(container: &str, properties: &[&str]) -> RegisterTaskDefinitionRequest {
        let property = |name: &&str| KeyValuePair {
            name: Some((*name).to_owned()),
            value: Some("1".to_owned()),
        };
        task(|task| {
            task.proxy_configuration = Some(ProxyConfiguration {
                container_name: Some(container.to_owned()),
                properties: Some(properties.iter().map(property).collect()),
                r#type: Some("APPMESH".to_owned()),
            });
        })
    }

    #[test]
    fn accepted_and_refused() {
        let all = ["IgnoredUID", "AppPorts", "ProxyIngressPort", "ProxyEgressPort"];
        let hosts = |address: &str| {
            let host =
                HostEntry { hostname: Some("db".to_owned()), ip_address: Some(address.to_owned()) };
            container(|it| it.extra_hosts = Some(vec![host]))
        };
        let bridge = |mut request: RegisterTaskDefinitionRequest| {
            request.network_mode = Some("bridge".to_owned());
            request
        };
        let named = container(|it| it.hostname = Some("h".to_owned()));
        for request in [
            proxied("web", &all),
            bridge(hosts("10.0.0.1")),
            bridge(named.clone()),
            container(|it| it.dns_servers = Some(vec![])),
        ] {
            accepted(request);
        }
        let some = || Some(vec!["10.0.0.2".to_owned()]);
        for (request, wanted) in [
            (named, "hostname is not supported on container when networkMode=awsvpc."),
            (container(|it| it.dns_servers = some()), "DNS servers are not supported"),
            (container(|it| it.dns_search_domains = some()), "DNS search domains are not"),
            (hosts("10.0.0.1"), "Extra hosts are not supported on container"),
            (bridge(hosts("db")), "'db' in 'extraHosts' is not an IP address."),
            (bridge(proxied("web", &all)), "only supported when networkMode=awsvpc."),
            (proxied("envoy", &all), "refers to the unknown container 'envoy'."),
            (proxied("web", &all[1..]), "IgnoredUID and IgnoredGID."),
            (proxied("web", &all[..3]), "requires the property ProxyEgressPort."),
        ] {
            refused(request, wanted);
        }
    }
}

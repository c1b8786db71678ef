//! The files that a container sees besides its image: `/etc/hosts` and its like.

use crate::engine::{Attachment, ContainerSpec, Link, Network, TaskSpec};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The places of a task's containers on the bridge, by position.
pub(super) type Places = BTreeMap<usize, Attachment>;

/// Writes them for the container at `index`, unless they are there: containers that
/// run see the files themselves, not their names, so they are never replaced.
pub(super) fn write(
    dir: &Path,
    task: &TaskSpec,
    index: usize,
    places: &Places,
    hostname: &str,
) -> io::Result<()> {
    let Some(container) = task.containers.get(index) else { return Ok(()) };
    fs::create_dir_all(dir)?;
    for (name, text) in [
        ("hosts", hosts(task, index, hostname, places)),
        ("hostname", format!("{hostname}\n")),
        ("resolv.conf", asked(container, &resolv_conf(task))),
    ] {
        let path = dir.join(name);
        if !path.exists() {
            fs::write(&path, text)?;
        }
    }
    Ok(())
}

/// What a container is called on the network: by its interface, else as its definition
/// says, else as the machine whose network it is on, else as the runtime does.
pub(super) fn hostname(task: &TaskSpec, index: usize, runtime_id: &str) -> String {
    let machine = || {
        let name = fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
        Some(name.trim().to_owned())
    };
    let (from_eni, from_machine) = match &task.network {
        Network::Awsvpc(eni) => (eni.hostname.clone(), None),
        Network::Isolated | Network::Bridge => (None, None),
        Network::Host => (None, machine()),
    };
    let own = task.containers.get(index).and_then(|container| container.hostname.clone());
    let own = own.filter(|name| !name.is_empty());
    let name = from_eni.or(own).or(from_machine).unwrap_or_else(|| runtime_id.to_owned());
    // The kernel takes 64 bytes.
    name.chars().take(64).collect()
}

/// The container that a link leads to, and where that is.
fn linked<'t>(
    task: &'t TaskSpec,
    link: &Link,
    places: &'t Places,
) -> Option<(&'t ContainerSpec, &'t Attachment)> {
    let at = task.containers.iter().position(|other| other.name == link.container)?;
    Some((task.containers.get(at)?, places.get(&at)?))
}

/// The variables by which Docker tells a container of those it is linked to: for
/// each port that the other maps, and for the first of them once more.
pub(super) fn link_variables(
    task: &TaskSpec,
    index: usize,
    places: &Places,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    let Some(own) = task.containers.get(index) else { return all };
    for link in &own.links {
        let Some((other, place)) = linked(task, link, places) else { continue };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
        let alias: String = link.alias.chars().map(plain).collect();
        all.insert(format!("{alias}_NAME"), format!("/{}/{}", own.name, link.alias));
        for mapping in other.ports.iter().rev() {
            for port in (mapping.container.0..=mapping.container.1).rev() {
                let protocol = mapping.protocol.as_str();
                let address = place.ipv4;
                let whole = format!("{protocol}://{address}:{port}");
                let name = format!("{alias}_PORT_{port}_{}", protocol.to_uppercase());
                all.insert(format!("{alias}_PORT"), whole.clone());
                all.insert(format!("{name}_ADDR"), address.to_string());
                all.insert(format!("{name}_PORT"), port.to_string());
                all.insert(format!("{name}_PROTO"), protocol.to_owned());
                all.insert(name, whole);
            }
        }
    }
    all
}

fn hosts(task: &TaskSpec, index: usize, hostname: &str, places: &Places) -> String {
    let Some(own) = task.containers.get(index) else { return String::new() };
    // As Docker has it: names of one's own, or those of the machine.
    let is_machines = task.network == Network::Host && own.extra_hosts.is_empty();
    let host = fs::read_to_string("/etc/hosts").ok().filter(|_| is_machines);
    let mut text = host.unwrap_or_else(|| own_hosts(task, hostname));
    if let Some(place) = places.get(&index) {
        _ = writeln!(text, "{}\t{hostname}", place.ipv4);
    }
    for link in &own.links {
        if let Some((other, place)) = linked(task, link, places) {
            let (address, alias, name) = (place.ipv4, &link.alias, &other.name);
            let names = if alias == name { name.clone() } else { format!("{alias} {name}") };
            _ = writeln!(text, "{address}\t{names}");
        }
    }
    for (name, address) in &own.extra_hosts {
        let address = match address.as_str() {
            GATEWAY => gateway(task, places.get(&index)).unwrap_or_default(),
            address => address.to_owned(),
        };
        if address.is_empty() {
            continue; // There is no way to the machine.
        }
        _ = writeln!(text, "{address}\t{name}");
    }
    text
}

/// Docker's word for the address at which a container reaches the machine.
const GATEWAY: &str = "host-gateway";

fn gateway(task: &TaskSpec, place: Option<&Attachment>) -> Option<String> {
    match task.network {
        Network::Bridge => Some(place?.gateway?.to_string()),
        Network::Host => Some(std::net::Ipv4Addr::LOCALHOST.to_string()),
        Network::Awsvpc(_) | Network::Isolated => None,
    }
}

fn own_hosts(task: &TaskSpec, hostname: &str) -> String {
    let mut text = "127.0.0.1\tlocalhost\n\
                    ::1\tlocalhost ip6-localhost ip6-loopback\n\
                    fe00::0\tip6-localnet\n\
                    ff00::0\tip6-mcastprefix\n\
                    ff02::1\tip6-allnodes\n\
                    ff02::2\tip6-allrouters\n"
        .to_owned();
    if let Network::Awsvpc(eni) = &task.network {
        for (address, _) in &eni.ipv4 {
            _ = writeln!(text, "{address}\t{hostname}");
        }
    }
    text
}

/// The same, with what the container wants instead.
fn asked(container: &ContainerSpec, task: &str) -> String {
    let kept = |line: &&str| {
        let replaced = |word: &str, by: &[String]| line.starts_with(word) && !by.is_empty();
        !replaced("nameserver", &container.dns)
            && !replaced("search", &container.dns_search)
            && !replaced("domain", &container.dns_search)
    };
    let mut text = String::new();
    // A single dot means no domain at all.
    let domains = container.dns_search.join(" ");
    if !domains.is_empty() && domains != "." {
        _ = writeln!(text, "search {domains}");
    }
    for server in &container.dns {
        _ = writeln!(text, "nameserver {server}");
    }
    for line in task.lines().filter(kept) {
        _ = writeln!(text, "{line}");
    }
    text
}

/// By whom the names are resolved that a task asks for, as `resolv.conf` has it.
pub(super) fn resolv_conf(task: &TaskSpec) -> String {
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    resolvers(task, &host)
}

fn resolvers(task: &TaskSpec, host: &str) -> String {
    let eni = match &task.network {
        Network::Awsvpc(eni) => eni,
        Network::Isolated => return String::new(),
        Network::Bridge => return not_local(host),
        Network::Host => return host.to_owned(),
    };
    if eni.name_servers.is_empty() {
        return not_local(host);
    }
    let mut text = String::new();
    if !eni.search.is_empty() {
        _ = writeln!(text, "search {}", eni.search.join(" "));
    }
    for server in &eni.name_servers {
        _ = writeln!(text, "nameserver {server}");
    }
    text
}

/// A resolver on the host's own loopback cannot be reached from a namespace.
fn not_local(host: &str) -> String {
    let local = |line: &&str| line.starts_with("nameserver 127.") || line.contains("::1");
    host.lines().filter(|line| !local(line)).flat_map(|line| [line, "\n"]).collect()
}

/// Where the output of a container goes: to a file of its name, unless the name
/// is no file name.
pub(super) fn log(dir: &Path, name: &str, index: usize) -> PathBuf {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.len() <= 250 && name.chars().all(plain) {
        dir.join(format!("{name}.log"))
    } else {
        dir.join(format!("{index}.log"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{PortMapping, Protocol, TaskArn};

    #[test]
    fn a_container_may_have_resolvers_of_its_own() {
        let task = "search a.example\nnameserver 10.0.0.2\noptions ndots:2\n";
        let list = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
        let with = |dns: &[&str], dns_search: &[&str]| {
            let (dns, dns_search) = (list(dns), list(dns_search));
            asked(&ContainerSpec { dns, dns_search, ..ContainerSpec::default() }, task)
        };
        assert_eq!(with(&[], &[]), task);
        assert_eq!(
            with(&["1.1.1.1", "9.9.9.9"], &[]),
            "nameserver 1.1.1.1\nnameserver 9.9.9.9\nsearch a.example\noptions ndots:2\n"
        );
        assert_eq!(with(&[], &["b", "c"]), "search b c\nnameserver 10.0.0.2\noptions ndots:2\n");
        assert_eq!(with(&[], &["."]), "nameserver 10.0.0.2\noptions ndots:2\n");
    }

    #[test]
    fn a_linked_container_is_known_by_its_names_and_variables() {
        let link = |alias: &str| Link { container: "db".to_owned(), alias: alias.to_owned() };
        let port = PortMapping {
            container: (5432, 5432),
            is_range: false,
            host: None,
            protocol: Protocol::Tcp,
        };
        let db =
            ContainerSpec { name: "db".to_owned(), ports: vec![port], ..ContainerSpec::default() };
        let web = ContainerSpec {
            name: "web".to_owned(),
            links: vec![link("db"), link("my-store")],
            extra_hosts: [("machine", "host-gateway"), ("six", "::1")]
                .map(|(name, address)| (name.to_owned(), address.to_owned()))
                .to_vec(),
            ..ContainerSpec::default()
        };
        let task = TaskSpec {
            network: Network::Bridge,
            containers: vec![db, web],
            ..TaskSpec::new(TaskArn::new("arn:aws:ecs:us-east-1:1:task/c/0123"))
        };
        let at = |last: u8| Attachment {
            ipv4: std::net::Ipv4Addr::new(172, 17, 0, last),
            gateway: Some(std::net::Ipv4Addr::new(172, 17, 0, 1)),
            bindings: vec![],
        };
        let places = BTreeMap::from([(0, at(2)), (1, at(3))]);
        let text = hosts(&task, 1, "web-host", &places);
        let tail: Vec<_> = text.lines().skip(6).collect();
        assert_eq!(
            tail,
            [
                "172.17.0.3\tweb-host",
                "172.17.0.2\tdb",
                "172.17.0.2\tmy-store db",
                "172.17.0.1\tmachine",
                "::1\tsix"
            ]
        );
        assert!(!hosts(&task, 0, "db-host", &places).contains("machine"), "it did not ask");
        let variables = link_variables(&task, 1, &places);
        let of = |name: &str| variables.get(name).map(String::as_str);
        assert_eq!(of("DB_PORT"), Some("tcp://172.17.0.2:5432"));
        assert_eq!(of("MY_STORE_PORT_5432_TCP_ADDR"), Some("172.17.0.2"));
        assert_eq!(of("MY_STORE_NAME"), Some("/web/my-store"));
        assert_eq!(link_variables(&task, 0, &places), BTreeMap::new());
    }
}

//! The files that a container sees besides its image: `/etc/hosts` and its like.

use crate::engine::{ContainerSpec, Network, TaskSpec};
use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Writes them, unless they are there: containers that run see the files
/// themselves, not their names, so they are never replaced.
pub(super) fn write(dir: &Path, task: &TaskSpec, container: &ContainerSpec) -> io::Result<()> {
    fs::create_dir_all(dir)?;
    let hostname = hostname(task, container);
    for (name, text) in [
        ("hosts", hosts(task, &hostname)),
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

fn hostname(task: &TaskSpec, container: &ContainerSpec) -> String {
    let own = match &task.network {
        Network::Awsvpc(eni) => eni.hostname.clone(),
        Network::Isolated => container.hostname.clone(),
        Network::Host => {
            fs::read_to_string("/proc/sys/kernel/hostname").ok().map(|name| name.trim().to_owned())
        }
    };
    own.unwrap_or_else(|| task.arn.short_id())
}

fn hosts(task: &TaskSpec, hostname: &str) -> String {
    let host = fs::read_to_string("/etc/hosts").ok().filter(|_| task.network == Network::Host);
    let mut text = host.unwrap_or_else(|| own_hosts(task, hostname));
    for (name, address) in task.containers.iter().flat_map(|c| &c.extra_hosts) {
        _ = writeln!(text, "{address}\t{name}");
    }
    text
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
        Network::Host => return host.to_owned(),
    };
    let mut text = String::new();
    if eni.name_servers.is_empty() {
        // A resolver on the host's own loopback cannot be reached from here.
        let local = |line: &&str| line.starts_with("nameserver 127.") || line.contains("::1");
        for line in host.lines().filter(|line| !local(line)) {
            _ = writeln!(text, "{line}");
        }
        return text;
    }
    if !eni.search.is_empty() {
        _ = writeln!(text, "search {}", eni.search.join(" "));
    }
    for server in &eni.name_servers {
        _ = writeln!(text, "nameserver {server}");
    }
    text
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
}

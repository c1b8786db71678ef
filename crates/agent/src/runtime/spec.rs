//! What runc is told: the runtime specification of a container.
//!
//! The defaults are Docker's, because that is what task definitions are
//! written against.

use super::{Error, Order};
use crate::engine::{ContainerSpec, Network};
use crate::images::ImageConfig;
use oci_spec::runtime::Spec;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// containerd and its shim put the containers of one such group into one shim.
pub const GROUP_ANNOTATION: &str = "io.containerd.runc.v2.group";

const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The capabilities that Docker leaves to a container.
const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Everything that makes up a container.
#[derive(Debug)]
pub struct Parts<'a> {
    /// What was asked for.
    pub order: &'a Order<'a>,
    /// What the image says.
    pub image: &'a ImageConfig,
    /// Who the process is.
    pub user: User,
    /// Where its cgroup is.
    pub cgroup: PathBuf,
    /// Whether the machine has one cgroup tree.
    pub unified: bool,
    /// Whether the kernel counts swap.
    pub counts_swap: bool,
    /// The capabilities that we have to give.
    pub bounding: BTreeSet<String>,
    /// The highest hard limits that we have to give, by name.
    pub ceilings: BTreeMap<String, u64>,
}

/// Who a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// Home directory, if the image's passwd file names one.
    pub home: Option<String>,
}

/// Composes the specification.
pub fn compose(parts: &Parts<'_>) -> Result<Spec, Error> {
    let Parts { order, image, user, .. } = parts;
    let container = definition(order)?;
    let args = arguments(container, image)?;
    let capabilities = capabilities(container, &parts.bounding);
    let annotations = json!({ GROUP_ANNOTATION: order.task.arn.id() });
    let cwd = [container.working_dir.as_deref(), image.working_dir.as_deref()];
    let cwd = cwd.into_iter().flatten().find(|dir| !dir.is_empty()).unwrap_or("/");
    let host_network = order.task.network == Network::Host;
    let mut linux = json!({
        "namespaces": namespaces(order, parts.unified),
        "cgroupsPath": parts.cgroup,
        "resources": resources(container, parts),
    });
    if !container.privileged {
        linux["maskedPaths"] = json!(oci_spec::runtime::get_default_maskedpaths());
        linux["readonlyPaths"] = json!(oci_spec::runtime::get_default_readonly_paths());
    }
    let mut sysctls = container.sysctls.clone();
    if !host_network {
        // Docker's defaults: no port is special in a namespace of one's own.
        sysctls
            .entry("net.ipv4.ip_unprivileged_port_start".to_owned())
            .or_insert_with(|| "0".to_owned());
        linux["sysctl"] = json!(sysctls);
    }
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs", "readonly": container.readonly_rootfs },
        "mounts": mounts(order, container, parts.unified)?,
        "annotations": annotations,
        "linux": linux,
        "process": {
            "terminal": false,
            "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
            "args": args,
            "env": environment(order, container, image, user),
            "cwd": cwd,
            "noNewPrivileges": false,
            "rlimits": rlimits(container, &parts.ceilings),
            "capabilities": {
                "bounding": capabilities,
                "effective": if user.uid == 0 { json!(capabilities) } else { json!([]) },
                "permitted": if user.uid == 0 { json!(capabilities) } else { json!([]) },
            },
        },
    });
    if !host_network {
        spec["hostname"] = json!(hostname(order, container));
    }
    serde_json::from_value(spec).map_err(|error| Error::Spec(error.to_string()))
}

/// The container that an order is about.
pub fn definition<'a>(order: &Order<'a>) -> Result<&'a ContainerSpec, Error> {
    let container = order.task.containers.get(order.index);
    container.ok_or_else(|| Error::Spec(format!("the task has no container {}", order.index)))
}

/// What a container of this task is called on the network.
pub fn hostname(order: &Order<'_>, container: &ContainerSpec) -> String {
    let from_eni = match &order.task.network {
        Network::Awsvpc(eni) => eni.hostname.clone(),
        Network::Isolated | Network::Host => None,
    };
    let name = from_eni.or_else(|| container.hostname.clone());
    // The kernel takes 64 bytes.
    name.unwrap_or_else(|| order.runtime_id.to_owned()).chars().take(64).collect()
}

fn arguments(container: &ContainerSpec, image: &ImageConfig) -> Result<Vec<String>, Error> {
    let given = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let command = given(&container.command);
    let args = if let Some(entry) = given(&container.entry_point) {
        // A new entry point makes the image's arguments meaningless.
        [entry, command.unwrap_or_default()].concat()
    } else {
        let entry = image.entrypoint.clone().unwrap_or_default();
        let command = command.or_else(|| image.cmd.clone());
        [entry, command.unwrap_or_default()].concat()
    };
    if args.is_empty() {
        return Err(Error::Spec("No command specified".to_owned()));
    }
    Ok(args)
}

fn environment(
    order: &Order<'_>,
    container: &ContainerSpec,
    image: &ImageConfig,
    user: &User,
) -> Vec<String> {
    let image = image.env.clone().unwrap_or_default();
    let mut merged: Vec<String> = Vec::new();
    let mut set = |entry: String, replace: bool| {
        let name = entry.split('=').next().unwrap_or_default().to_owned();
        let same = |old: &String| old.split('=').next() == Some(name.as_str());
        match merged.iter().position(same) {
            Some(at) if replace => merged[at] = entry,
            Some(_) => {}
            None => merged.push(entry),
        }
    };
    for entry in image {
        set(entry, true);
    }
    for (name, value) in &container.environment {
        set(format!("{name}={value}"), true);
    }
    for (name, value) in &order.environment {
        set(format!("{name}={value}"), false);
    }
    set(DEFAULT_PATH.to_owned(), false);
    set(format!("HOSTNAME={}", hostname(order, container)), false);
    set(format!("HOME={}", user.home.as_deref().unwrap_or("/")), false);
    merged
}

fn capabilities(container: &ContainerSpec, bounding: &BTreeSet<String>) -> Vec<String> {
    let full = |name: &String| {
        let name = name.to_ascii_uppercase();
        if name.starts_with("CAP_") || name == "ALL" { name } else { format!("CAP_{name}") }
    };
    let added: BTreeSet<String> = container.cap_add.iter().map(full).collect();
    let dropped: BTreeSet<String> = container.cap_drop.iter().map(full).collect();
    let mut held: BTreeSet<String> = if container.privileged || added.contains("ALL") {
        bounding.clone()
    } else if dropped.contains("ALL") {
        BTreeSet::new()
    } else {
        CAPABILITIES.iter().map(ToString::to_string).collect()
    };
    if !container.privileged {
        held.retain(|name| !dropped.contains(name));
    }
    held.extend(added.into_iter().filter(|name| name != "ALL"));
    // What we do not have we cannot give, and runc would refuse to try.
    held.intersection(bounding).cloned().collect()
}

fn rlimits(container: &ContainerSpec, ceilings: &BTreeMap<String, u64>) -> Value {
    let limits = container.ulimits.iter().map(|(name, (soft, hard))| {
        let ceiling = ceilings.get(name).copied().unwrap_or(u64::MAX);
        if *hard > ceiling {
            tracing::warn!(container = container.name, limit = name, ceiling, "limit lowered");
        }
        let name = format!("RLIMIT_{}", name.to_ascii_uppercase());
        json!({ "type": name, "soft": soft.min(&ceiling), "hard": hard.min(&ceiling) })
    });
    Value::Array(limits.collect())
}

fn namespaces(order: &Order<'_>, unified: bool) -> Value {
    let mut list =
        vec![json!({ "type": "pid" }), json!({ "type": "ipc" }), json!({ "type": "mount" })];
    if order.task.network != Network::Host {
        list.push(json!({ "type": "uts" }));
        list.push(match &order.netns {
            Some(path) => json!({ "type": "network", "path": path }),
            None => json!({ "type": "network" }),
        });
    }
    if unified {
        list.push(json!({ "type": "cgroup" }));
    }
    Value::Array(list)
}

fn resources(container: &ContainerSpec, parts: &Parts<'_>) -> Value {
    const MIB: u64 = 1 << 20;
    let shares = if container.cpu == 0 { 2 } else { container.cpu.clamp(2, 262_144) };
    let mut resources = json!({
        "cpu": { "shares": shares },
        "devices": [{ "allow": container.privileged, "access": "rwm" }],
    });
    let limit = container.memory_mib.filter(|mib| *mib > 0).map(|mib| mib.max(4) * MIB);
    let reservation = container.memory_reservation_mib.filter(|mib| *mib > 0).map(|mib| mib * MIB);
    let mut memory = serde_json::Map::new();
    if let Some(limit) = limit {
        memory.insert("limit".to_owned(), json!(limit));
        if parts.counts_swap {
            // Memory and swap together: a limit that swap could stretch is none.
            memory.insert("swap".to_owned(), json!(limit));
        }
    }
    if let Some(reservation) = reservation {
        memory.insert("reservation".to_owned(), json!(reservation));
    }
    if !memory.is_empty() {
        resources["memory"] = Value::Object(memory);
    }
    resources
}

fn mounts(order: &Order<'_>, container: &ContainerSpec, unified: bool) -> Result<Value, Error> {
    let writable = if container.privileged { "rw" } else { "ro" };
    let shm = container.shm_size.unwrap_or(64 << 20);
    let mount = |destination: &str, kind: &str, source: &str, options: &[&str]| json!({ "destination": destination, "type": kind, "source": source, "options": options });
    let mut list = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", writable]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount(
            "/dev/shm",
            "tmpfs",
            "shm",
            &["nosuid", "noexec", "nodev", "mode=1777", &format!("size={shm}")],
        ),
    ];
    let cgroup = &["nosuid", "noexec", "nodev", "relatime", writable];
    list.push(mount(
        "/sys/fs/cgroup",
        if unified { "cgroup2" } else { "cgroup" },
        "cgroup",
        cgroup,
    ));
    for (path, options) in &container.tmpfs {
        let options: Vec<&str> = ["nosuid", "nodev"]
            .into_iter()
            .chain(options.split(',').filter(|option| !option.is_empty()))
            .collect();
        list.push(mount(path, "tmpfs", "tmpfs", &options));
    }
    for name in ["hosts", "hostname", "resolv.conf"] {
        let source = order.files.join(name);
        let source =
            source.to_str().ok_or_else(|| Error::Spec(format!("path {}", source.display())))?;
        list.push(mount(&format!("/etc/{name}"), "bind", source, &["rbind", "rprivate", "rw"]));
    }
    Ok(Value::Array(list))
}

/// Finds a user in the layers of an image, topmost first.
///
/// The layers are read where they lie instead of being mounted, which takes no
/// time and leaves nothing to clean up. A symbolic link is not followed: it
/// could lead out of the image.
pub fn find_user(wish: &str, layers: &[PathBuf]) -> Result<User, Error> {
    let read = |name: &str| {
        let found = layers.iter().map(|layer| layer.join("etc").join(name)).find(|path| {
            path.symlink_metadata().is_ok_and(|meta| meta.is_file())
                && path.parent().is_some_and(is_real_dir)
        });
        found.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default()
    };
    resolve_user(wish, &read("passwd"), &read("group"))
}

fn is_real_dir(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|meta| meta.is_dir())
}

fn resolve_user(wish: &str, passwd: &str, group: &str) -> Result<User, Error> {
    let (name, wanted_group) = match wish.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (wish, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name) || fields.get(2) == Some(&name));
    let number = |fields: &Vec<&str>, at: usize| fields.get(at).and_then(|n| n.parse::<u32>().ok());
    let by_entry = entry.as_ref().and_then(|fields| number(fields, 2));
    let uid = by_entry.or_else(|| name.parse().ok()).ok_or_else(|| {
        Error::Spec(format!("unable to find user {name}: no matching entries in passwd file"))
    })?;
    let lines = || group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let gid = match wanted_group {
        Some(wanted) => lines()
            .find(|fields| fields.first() == Some(&wanted))
            .and_then(|fields| number(&fields, 2))
            .or_else(|| wanted.parse().ok())
            .ok_or_else(|| {
                Error::Spec(format!(
                    "unable to find group {wanted}: no matching entries in group file"
                ))
            })?,
        None => entry.as_ref().and_then(|fields| number(fields, 3)).unwrap_or(0),
    };
    // Naming a group means that group and no other.
    let login = entry.as_ref().and_then(|fields| fields.first().copied()).unwrap_or("");
    let member = |fields: &Vec<&str>| {
        let members = fields.get(3).copied().unwrap_or_default();
        !login.is_empty() && members.split(',').any(|member| member == login)
    };
    let groups = if wanted_group.is_some() {
        Vec::new()
    } else {
        lines().filter(member).filter_map(|fields| number(&fields, 2)).collect()
    };
    let home = entry.and_then(|fields| fields.get(5).map(ToString::to_string));
    Ok(User { uid, gid, groups, home: home.filter(|home| !home.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:Web:/srv:/bin/false\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:40:web,root\n";

    #[test]
    fn users_are_found_as_docker_finds_them() {
        let found = |wish| resolve_user(wish, PASSWD, GROUP).map(|u| (u.uid, u.gid, u.groups));
        assert_eq!(found("").ok(), Some((0, 0, vec![40])));
        assert_eq!(found("web").ok(), Some((33, 34, vec![40])));
        assert_eq!(found("33").ok(), Some((33, 34, vec![40])));
        assert_eq!(found("web:logs").ok(), Some((33, 40, vec![])));
        assert_eq!(found("1000").ok(), Some((1000, 0, vec![])));
        assert_eq!(found("1000:1001").ok(), Some((1000, 1001, vec![])));
        assert!(found("nobody").is_err());
        assert!(found("web:nogroup").is_err());
    }

    #[test]
    fn an_entry_point_of_ones_own_drops_the_images_command() {
        let strings = |list: &[&str]| Some(list.iter().map(ToString::to_string).collect());
        let image = ImageConfig {
            entrypoint: strings(&["/init"]),
            cmd: strings(&["serve"]),
            ..ImageConfig::default()
        };
        let args = |entry: Option<Vec<String>>, command: Option<Vec<String>>| {
            let container =
                ContainerSpec { entry_point: entry, command, ..ContainerSpec::default() };
            arguments(&container, &image).map(|args| args.join(" ")).ok()
        };
        assert_eq!(args(None, None).as_deref(), Some("/init serve"));
        assert_eq!(args(None, strings(&["x"])).as_deref(), Some("/init x"));
        assert_eq!(args(strings(&["sh"]), None).as_deref(), Some("sh"));
        assert!(arguments(&ContainerSpec::default(), &ImageConfig::default()).is_err());
    }

    #[test]
    fn capabilities_are_added_and_dropped_within_what_we_have() {
        let bounding: BTreeSet<String> =
            ["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"].map(String::from).into();
        let held = |add: &[&str], drop: &[&str]| {
            let container = ContainerSpec {
                cap_add: add.iter().map(ToString::to_string).collect(),
                cap_drop: drop.iter().map(ToString::to_string).collect(),
                ..ContainerSpec::default()
            };
            capabilities(&container, &bounding)
        };
        assert_eq!(held(&[], &[]), ["CAP_CHOWN", "CAP_KILL"]);
        assert_eq!(held(&["SYS_ADMIN"], &["kill"]), ["CAP_CHOWN", "CAP_SYS_ADMIN"]);
        assert_eq!(held(&["CAP_KILL"], &["ALL"]), ["CAP_KILL"]);
        assert_eq!(held(&["SYS_TIME"], &["ALL"]), [""; 0]);
    }
}

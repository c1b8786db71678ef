//! What runc is told: the runtime specification of a container.
//!
//! The defaults are Docker's, because that is what task definitions are
//! written against.

use super::allowance::Allowance;
use super::devices::{self, Node};
use super::mounts::{self, Bind};
use super::user::User;
use super::{Error, Order, resources, seccomp};
use crate::engine::{ContainerSpec, Network, Sharing, TaskSpec};
use crate::images::ImageConfig;
use oci_spec::runtime::Spec;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

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
    /// The variables of its files.
    pub variables: BTreeMap<String, String>,
    /// What of the machine it mounts.
    pub binds: Vec<Bind>,
    /// The devices that are given to it.
    pub nodes: Vec<Node>,
    /// The process that holds the namespaces that the task's containers share.
    pub holder: Option<u32>,
    /// The directory in memory that the task's containers share.
    pub memory: PathBuf,
    /// Where our first process is on the machine.
    pub init: PathBuf,
    /// Where its cgroup is.
    pub cgroup: PathBuf,
    /// Whether the machine has one cgroup tree.
    pub unified: bool,
    /// Whether the kernel counts swap.
    pub counts_swap: bool,
    /// What we have to give.
    pub allowance: &'a Allowance,
}

/// Composes the specification.
pub fn compose(parts: &Parts<'_>) -> Result<Spec, Error> {
    let Parts { order, image, user, .. } = parts;
    let container = definition(order)?;
    let mut args = arguments(container, image)?;
    if container.init {
        args.splice(0..0, [mounts::INIT.to_owned(), "--".to_owned()]);
    }
    let capabilities = capabilities(container, &parts.allowance.bounding);
    let annotations = json!({ GROUP_ANNOTATION: order.task.arn.id() });
    let cwd = [container.working_dir.as_deref(), image.working_dir.as_deref()];
    let cwd = cwd.into_iter().flatten().find(|dir| !dir.is_empty()).unwrap_or("/");
    if !cwd.starts_with('/') {
        return Err(Error::Spec(format!(
            "the working directory '{cwd}' is invalid, it needs to be an absolute path"
        )));
    }
    let host_network = order.task.network == Network::Host;
    let mut linux = json!({
        "namespaces": namespaces(parts)?,
        "cgroupsPath": parts.cgroup,
        "resources": resources::of(container, &parts.nodes, parts.unified, parts.counts_swap),
        "devices": devices::listed(&parts.nodes),
    });
    let security = security(container)?;
    if !container.privileged {
        if !security.unconfined {
            linux["seccomp"] = seccomp::profile(&capabilities);
        }
        linux["maskedPaths"] = json!(oci_spec::runtime::get_default_maskedpaths());
        linux["readonlyPaths"] = json!(oci_spec::runtime::get_default_readonly_paths());
    }
    let mut sysctls = container.sysctls.clone();
    if !host_network {
        // Docker's defaults: in a namespace of one's own no port is special, and
        // everybody may ping, unless groups have other numbers here than in the kernel.
        let all_groups = parts.allowance.all_groups.then_some(("ping_group_range", "0 2147483647"));
        for (name, value) in [("ip_unprivileged_port_start", "0")].into_iter().chain(all_groups) {
            sysctls.entry(format!("net.ipv4.{name}")).or_insert_with(|| value.to_owned());
        }
    }
    // What is the machine's a task does not set.
    sysctls.retain(|name, _| !(host_network && name.starts_with("net.")));
    linux["sysctl"] = json!(sysctls);
    let mut spec = json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs", "readonly": container.readonly_rootfs },
        "mounts": mounts::list(parts, container)?,
        "annotations": annotations,
        "linux": linux,
        "hostname": order.hostname,
        "process": {
            "terminal": container.terminal,

            "user": { "uid": user.uid, "gid": user.gid, "additionalGids": user.groups },
            "args": args,
            "env": environment(parts, container),
            "cwd": cwd,
            "noNewPrivileges": security.no_new_privileges,
            "rlimits": rlimits(container, &parts.allowance.ceilings),
            "capabilities": {
                "bounding": capabilities,
                "effective": if user.uid == 0 { json!(capabilities) } else { json!([]) },
                "permitted": if user.uid == 0 { json!(capabilities) } else { json!([]) },
            },
        },
    });
    if parts.allowance.spares {
        // Not that of whoever starts it, which may be one that is never to be killed.
        spec["process"]["oomScoreAdj"] = json!(0);
    }
    if let Some(profile) = security.apparmor {
        spec["process"]["apparmorProfile"] = json!(profile);
    }
    serde_json::from_value(spec).map_err(|error| Error::Spec(error.to_string()))
}

/// The container that an order is about.
pub fn definition<'a>(order: &Order<'a>) -> Result<&'a ContainerSpec, Error> {
    container_of(order.task, order.index)
}

/// The container of a task that has this position.
pub(super) fn container_of(task: &TaskSpec, index: usize) -> Result<&ContainerSpec, Error> {
    let container = task.containers.get(index);
    container.ok_or_else(|| Error::Spec(format!("the task has no container {index}")))
}

fn arguments(container: &ContainerSpec, image: &ImageConfig) -> Result<Vec<String>, Error> {
    let given = |list: &Option<Vec<String>>| list.clone().filter(|list| !list.is_empty());
    let command = given(&container.command);
    // How Docker is told to do without the image's entry point.
    let none = [String::new()];
    let args = if container.entry_point.as_deref() == Some(&none[..]) {
        command.unwrap_or_default()
    } else if let Some(entry) = given(&container.entry_point) {
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

fn environment(parts: &Parts<'_>, container: &ContainerSpec) -> Vec<String> {
    let Parts { order, image, user, variables, .. } = parts;
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
    for (name, value) in variables.iter().chain(&container.environment) {
        set(format!("{name}={value}"), true);
    }
    for (name, value) in &order.environment {
        set(format!("{name}={value}"), false);
    }
    set(DEFAULT_PATH.to_owned(), false);
    if container.terminal {
        set("TERM=xterm".to_owned(), false);
    }
    set(format!("HOSTNAME={}", order.hostname), false);
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

fn namespaces(parts: &Parts<'_>) -> Result<Value, Error> {
    let order = parts.order;
    let mut list = vec![json!({ "type": "mount" })];
    for (kind, sharing) in [("pid", order.task.pids), ("ipc", order.task.ipc)] {
        match (sharing, parts.holder) {
            (Sharing::Host, _) => {}
            (Sharing::Task, Some(holder)) => {
                list.push(json!({ "type": kind, "path": format!("/proc/{holder}/ns/{kind}") }));
            }
            (Sharing::Task, None) if !definition(order)?.internal => {
                return Err(Error::Spec(format!("nobody holds the {kind} namespace of the task")));
            }
            (Sharing::Task, None) | (Sharing::Own | Sharing::Nothing, _) => {
                list.push(json!({ "type": kind }));
            }
        }
    }
    // Docker's, even on the machine's network: a container that may give names gives them
    // to itself.
    list.push(json!({ "type": "uts" }));
    if order.task.network != Network::Host {
        list.push(match &order.netns {
            Some(path) => json!({ "type": "network", "path": path }),
            None => json!({ "type": "network" }),
        });
    }
    if parts.unified {
        list.push(json!({ "type": "cgroup" }));
    }
    Ok(Value::Array(list))
}

/// What Docker's security options amount to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Security {
    no_new_privileges: bool,
    unconfined: bool,
    apparmor: Option<String>,
}

fn security(container: &ContainerSpec) -> Result<Security, Error> {
    let mut security = Security::default();
    for option in &container.security_options {
        let (name, value) = option.split_once([':', '=']).unwrap_or((option, ""));
        match (name, value) {
            ("no-new-privileges", "" | "true") => security.no_new_privileges = true,
            ("no-new-privileges", "false") => security.no_new_privileges = false,
            ("seccomp", "unconfined") => security.unconfined = true,
            ("apparmor", profile) => {
                security.apparmor = Some(profile.to_owned()).filter(|it| it != "unconfined");
            }
            _ => return Err(Error::Spec(format!("invalid --security-opt: {option:?}"))),
        }
    }
    Ok(security)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(args(strings(&[]), None).as_deref(), Some("/init serve"));
        assert_eq!(args(strings(&[""]), strings(&["x"])).as_deref(), Some("x"));
        assert_eq!(args(strings(&[""]), None), None);
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

    #[test]
    fn security_options_are_dockers() {
        let options = |list: &[&str]| {
            let security_options = list.iter().map(ToString::to_string).collect();
            security(&ContainerSpec { security_options, ..ContainerSpec::default() }).ok()
        };
        let own = options(&["no-new-privileges", "apparmor:mine"]).expect("known");
        assert_eq!((own.no_new_privileges, own.apparmor.as_deref()), (true, Some("mine")));
        assert_eq!(options(&["no-new-privileges:false"]), Some(Security::default()));
        assert!(options(&["seccomp=unconfined"]).is_some_and(|it| it.unconfined));
        assert_eq!(options(&["label:type:x"]), None, "there is no SELinux here");
    }
}

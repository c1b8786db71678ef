//! What a container asks of the kernel: `linuxParameters` and `systemControls`.

use super::{blank, bounded, invalid, repeated};
use crate::Error;
use crate::records::{NetworkMode, Spec};
use wire::ecs::{ContainerDefinition, LinuxParameters};

/// The capabilities that Docker knows, as the API writes them.
#[rustfmt::skip]
const CAPABILITIES: [&str; 39] = [
    "ALL", "AUDIT_CONTROL", "AUDIT_READ", "AUDIT_WRITE", "BLOCK_SUSPEND", "CHOWN", "DAC_OVERRIDE",
    "DAC_READ_SEARCH", "FOWNER", "FSETID", "IPC_LOCK", "IPC_OWNER", "KILL", "LEASE",
    "LINUX_IMMUTABLE", "MAC_ADMIN", "MAC_OVERRIDE", "MKNOD", "NET_ADMIN", "NET_BIND_SERVICE",
    "NET_BROADCAST", "NET_RAW", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_ADMIN", "SYS_BOOT",
    "SYS_CHROOT", "SYS_MODULE", "SYS_NICE", "SYS_PACCT", "SYS_PTRACE", "SYS_RAWIO", "SYS_RESOURCE",
    "SYS_TIME", "SYS_TTY_CONFIG", "SYSLOG", "WAKE_ALARM",
];

/// The options that a tmpfs can be mounted with; some take a value.
#[rustfmt::skip]
const TMPFS_OPTIONS: [&str; 40] = [
    "defaults", "ro", "rw", "suid", "nosuid", "dev", "nodev", "exec", "noexec", "sync", "async",
    "dirsync", "remount", "mand", "nomand", "atime", "noatime", "diratime", "nodiratime", "bind",
    "rbind", "unbindable", "runbindable", "private", "rprivate", "shared", "rshared", "slave",
    "rslave", "relatime", "norelatime", "strictatime", "nostrictatime", "mode", "uid", "gid",
    "nr_inodes", "nr_blocks", "mpol", "size",
];

/// The namespaced settings of System V IPC.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Whether the kernel would grant what the container asks of it.
pub(super) fn check(spec: &Spec, container: &ContainerDefinition) -> Result<(), Error> {
    let name = container.name.as_deref().unwrap_or_default();
    if let Some(linux) = &container.linux_parameters {
        parameters(name, linux)?;
    }
    controls(spec, name, container)
}

fn parameters(name: &str, linux: &LinuxParameters) -> Result<(), Error> {
    for (what, number, bounds) in [
        ("linuxParameters.swappiness", linux.swappiness, 0..=100),
        ("linuxParameters.maxSwap", linux.max_swap, 0..=i32::MAX),
        ("linuxParameters.sharedMemorySize", linux.shared_memory_size, 1..=i32::MAX),
    ] {
        bounded(name, what, number, bounds)?;
    }
    let change = linux.capabilities.as_ref();
    let mut named = change.into_iter().flat_map(|it| it.add.iter().chain(&it.drop)).flatten();
    if let Some(unknown) = named.find(|it| !CAPABILITIES.contains(&it.as_str())) {
        let plain = unknown.strip_prefix("CAP_").filter(|it| CAPABILITIES.contains(it));
        let hint = plain.map(|it| format!(" Did you mean '{it}'?")).unwrap_or_default();
        return Err(invalid(name, &format!("Unknown kernel capability '{unknown}'.{hint}")));
    }
    for tmpfs in linux.tmpfs.iter().flatten() {
        bounded(name, "linuxParameters.tmpfs.size", tmpfs.size, 1..=i32::MAX)?;
        if blank(tmpfs.container_path.as_ref()) {
            return Err(invalid(name, "A tmpfs must have a container path."));
        }
        let known = |option: &str| {
            let key = option.split('=').next().unwrap_or_default();
            TMPFS_OPTIONS.contains(&key)
        };
        if let Some(option) = tmpfs.mount_options.iter().flatten().find(|it| !known(it)) {
            return Err(invalid(name, &format!("Unknown mount option '{option}' of a tmpfs.")));
        }
    }
    if linux.devices.iter().flatten().any(|device| blank(device.host_path.as_ref())) {
        return Err(invalid(name, "A device must have a host path."));
    }
    Ok(())
}

/// A container may only set what is its own: a setting of a namespace that it has.
fn controls(spec: &Spec, name: &str, container: &ContainerDefinition) -> Result<(), Error> {
    let all = || container.system_controls.iter().flatten();
    for control in all() {
        let key = control.namespace.as_deref().unwrap_or_default();
        let ipc = IPC.contains(&key) || key.starts_with("fs.mqueue.");
        let net = key.starts_with("net.");
        if blank(control.value.as_ref()) || !(ipc || net) {
            return Err(invalid(
                name,
                &format!(
                    "The system control '{key}' must have a value and be one of a namespace: \
                     net.*, fs.mqueue.*, or one of {}.",
                    IPC.join(", ")
                ),
            ));
        }
        if net && spec.network_mode == NetworkMode::Host {
            return Err(invalid(
                name,
                &format!("The system control '{key}' is not supported when networkMode=host."),
            ));
        }
        if ipc && spec.ipc_mode.as_deref() == Some("host") {
            return Err(invalid(
                name,
                &format!("The system control '{key}' is not supported when ipcMode=host."),
            ));
        }
    }
    match repeated(all().map(|control| control.namespace.as_deref())) {
        Some(Some(twice)) => Err(invalid(name, &format!("Duplicate system control '{twice}'."))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{accepted, container, refused};
    use wire::ecs::{
        KernelCapabilities, LinuxParameters, RegisterTaskDefinitionRequest, SystemControl, Tmpfs,
    };

    fn with(change: impl FnOnce(&mut LinuxParameters)) -> RegisterTaskDefinitionRequest {
        let mut linux = LinuxParameters::default();
        change(&mut linux);
        container(|it| it.linux_parameters = Some(linux))
    }

    fn controls(all: &[&str]) -> RegisterTaskDefinitionRequest {
        let one = |key: &&str| SystemControl {
            namespace: Some((*key).to_owned()),
            value: Some("1".to_owned()),
        };
        container(|it| it.system_controls = Some(all.iter().map(one).collect()))
    }

    #[test]
    fn accepted_and_refused() {
        let tmpfs = |path: &str, size, option: &str| {
            with(|it| {
                it.tmpfs = Some(vec![Tmpfs {
                    container_path: Some(path.to_owned()),
                    size: Some(size),
                    mount_options: Some(vec![option.to_owned()]),
                }]);
            })
        };
        let adding = |capability: &str| {
            let add = Some(vec![capability.to_owned()]);
            with(|it| it.capabilities = Some(KernelCapabilities { add, drop: None }))
        };
        let host = |key: &str| {
            let mut request = controls(&[key]);
            request.network_mode = Some("host".to_owned());
            request.ipc_mode = Some("host".to_owned());
            request
        };
        for request in [
            with(|it| (it.swappiness, it.max_swap) = (Some(100), Some(0))),
            tmpfs("/run", 64, "size=64m"),
            adding("NET_ADMIN"),
            controls(&["net.core.somaxconn", "kernel.sem", "fs.mqueue.msg_max"]),
        ] {
            accepted(request);
        }
        for (request, wanted) in [
            (with(|it| it.swappiness = Some(101)), "'linuxParameters.swappiness' must be between"),
            (with(|it| it.max_swap = Some(-1)), "'linuxParameters.maxSwap' must be at least 0."),
            (with(|it| it.shared_memory_size = Some(0)), "must be at least 1."),
            (tmpfs("/run", 0, "rw"), "'linuxParameters.tmpfs.size' must be at least 1."),
            (tmpfs("", 1, "rw"), "A tmpfs must have a container path."),
            (tmpfs("/run", 1, "fast"), "Unknown mount option 'fast' of a tmpfs."),
            (adding("FLY"), "Unknown kernel capability 'FLY'."),
            (adding("CAP_FLY"), "Unknown kernel capability 'CAP_FLY'."),
            (adding("CAP_KILL"), "Unknown kernel capability 'CAP_KILL'. Did you mean 'KILL'?"),
            (controls(&["vm.swappiness"]), "The system control 'vm.swappiness' must"),
            (controls(&["kernel.sem", "kernel.sem"]), "Duplicate system control 'kernel.sem'."),
            (host("net.core.somaxconn"), "not supported when networkMode=host."),
            (host("kernel.sem"), "not supported when ipcMode=host."),
        ] {
            refused(request, wanted);
        }
    }
}

//! What this process has and may thus pass on to containers.

use std::collections::{BTreeMap, BTreeSet};

/// The capabilities that we may pass on.
pub(super) fn bounding_set() -> BTreeSet<String> {
    const NAMES: [&str; 41] = [
        "CHOWN",
        "DAC_OVERRIDE",
        "DAC_READ_SEARCH",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
        "SETPCAP",
        "LINUX_IMMUTABLE",
        "NET_BIND_SERVICE",
        "NET_BROADCAST",
        "NET_ADMIN",
        "NET_RAW",
        "IPC_LOCK",
        "IPC_OWNER",
        "SYS_MODULE",
        "SYS_RAWIO",
        "SYS_CHROOT",
        "SYS_PTRACE",
        "SYS_PACCT",
        "SYS_ADMIN",
        "SYS_BOOT",
        "SYS_NICE",
        "SYS_RESOURCE",
        "SYS_TIME",
        "SYS_TTY_CONFIG",
        "MKNOD",
        "LEASE",
        "AUDIT_WRITE",
        "AUDIT_CONTROL",
        "SETFCAP",
        "MAC_OVERRIDE",
        "MAC_ADMIN",
        "SYSLOG",
        "WAKE_ALARM",
        "BLOCK_SUSPEND",
        "AUDIT_READ",
        "PERFMON",
        "BPF",
        "CHECKPOINT_RESTORE",
    ];
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let held = NAMES.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
    held.map(|(_, name)| format!("CAP_{name}")).collect()
}

/// The hard limits that we cannot raise.
pub(super) fn ceilings() -> BTreeMap<String, u64> {
    const NAMES: [(&str, &str); 15] = [
        ("Max core file size", "core"),
        ("Max cpu time", "cpu"),
        ("Max data size", "data"),
        ("Max file size", "fsize"),
        ("Max file locks", "locks"),
        ("Max locked memory", "memlock"),
        ("Max msgqueue size", "msgqueue"),
        ("Max nice priority", "nice"),
        ("Max open files", "nofile"),
        ("Max processes", "nproc"),
        ("Max resident set", "rss"),
        ("Max realtime priority", "rtprio"),
        ("Max realtime timeout", "rttime"),
        ("Max pending signals", "sigpending"),
        ("Max stack size", "stack"),
    ];
    let table = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let hard = |title: &str| {
        let line = table.lines().find_map(|line| line.strip_prefix(title))?;
        // Soft, then hard; "unlimited" is no number, and no limit.
        line.split_whitespace().nth(1)?.parse().ok()
    };
    NAMES.iter().filter_map(|(title, name)| Some(((*name).to_owned(), hard(title)?))).collect()
}

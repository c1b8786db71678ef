//! What this process has and may thus pass on to containers.

use std::collections::{BTreeMap, BTreeSet};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Allowance {
    /// The capabilities that we have to give.
    pub bounding: BTreeSet<String>,
    /// The highest hard limits that we have to give, by name.
    pub ceilings: BTreeMap<String, u64>,
    /// Whether our groups are all that the kernel knows.
    pub all_groups: bool,
    /// Whether a process may be made as hard to kill as others are, when memory is short.
    pub spares: bool,
}

impl Allowance {
    /// That of this process.
    pub(super) fn find() -> Self {
        let all_groups = is_whole("/proc/self/uid_map") && is_whole("/proc/self/gid_map");
        // In another user namespace what one may does not count for limits.
        let raises = all_groups && capabilities("CapEff:").contains("CAP_SYS_RESOURCE");
        let own = number("/proc/self/oom_score_adj").unwrap_or(0);
        Self {
            bounding: capabilities("CapBnd:"),
            // Who may raise any limit is held up by the one that the kernel has for files.
            ceilings: if raises { files() } else { ceilings() },
            all_groups,
            spares: raises || own <= 0,
        }
    }
}

/// Whether a map of a user namespace says that there is no such namespace.
fn is_whole(map: &str) -> bool {
    let map = std::fs::read_to_string(map).unwrap_or_default();
    map.split_whitespace().eq(["0", "0", "4294967295"])
}

fn number(path: &str) -> Option<i64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

fn files() -> BTreeMap<String, u64> {
    let most = number("/proc/sys/fs/nr_open").and_then(|most| u64::try_from(most).ok());
    most.map(|most| ("nofile".to_owned(), most)).into_iter().collect()
}

/// The capabilities in one of this process's sets.
fn capabilities(set: &str) -> BTreeSet<String> {
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
    let mask = status.lines().find_map(|line| line.strip_prefix(set));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    let held = NAMES.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0);
    held.map(|(_, name)| format!("CAP_{name}")).collect()
}

/// The hard limits of this process.
fn ceilings() -> BTreeMap<String, u64> {
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

//! The system calls that a container may make.
//!
//! The rules are those of Docker 25's default profile, which task definitions are
//! written against: whatever is not named is refused with EPERM. runc passes over
//! names that its library does not know.

use serde_json::{Value, json};

/// What every container may call.
const ALLOWED: [&str; 12] = [
    // Files, by name and by handle.
    "access chdir chmod chown chown32 creat execve execveat faccessat faccessat2 fchdir \
     fchmod fchmodat fchmodat2 fchown fchown32 fchownat fstat fstat64 fstatat64 fstatfs \
     fstatfs64 futimesat getcwd getdents getdents64 lchown lchown32 link linkat listmount \
     lstat lstat64 mkdir mkdirat mknod mknodat name_to_handle_at newfstatat open openat \
     openat2 readlink readlinkat rename renameat renameat2 rmdir stat stat64 statfs statfs64 \
     statmount statx symlink symlinkat truncate truncate64 umask unlink unlinkat utime \
     utimensat utimensat_time64 utimes",
    // Their extended attributes.
    "fgetxattr flistxattr fremovexattr fsetxattr getxattr getxattrat lgetxattr listxattr \
     listxattrat llistxattr lremovexattr lsetxattr removexattr removexattrat setxattr \
     setxattrat",
    // What is open.
    "_llseek cachestat close close_range copy_file_range dup dup2 dup3 fadvise64 fadvise64_64 \
     fallocate fcntl fcntl64 fdatasync flock fsync ftruncate ftruncate64 ioctl lseek pipe \
     pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read readahead readv sendfile \
     sendfile64 splice sync sync_file_range syncfs tee vmsplice write writev",
    // Waiting for what is open.
    "_newselect epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 \
     epoll_wait epoll_wait_old eventfd eventfd2 fanotify_mark inotify_add_watch inotify_init \
     inotify_init1 inotify_rm_watch io_cancel io_destroy io_getevents io_pgetevents \
     io_pgetevents_time64 io_setup io_submit poll ppoll ppoll_time64 pselect6 pselect6_time64 \
     select signalfd signalfd4",
    // Sockets. `socket` itself has a rule below.
    "accept accept4 bind connect getpeername getsockname getsockopt listen recv recvfrom \
     recvmmsg recvmmsg_time64 recvmsg send sendmmsg sendmsg sendto setsockopt shutdown \
     socketcall socketpair",
    // Memory.
    "brk get_thread_area madvise map_shadow_stack membarrier memfd_create memfd_secret \
     mincore mlock mlock2 mlockall mmap mmap2 mprotect mremap mseal msync munlock munlockall \
     munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages \
     set_thread_area",
    // Processes and threads. `clone` has a rule below.
    "exit exit_group fork getcpu getpgid getpgrp getpid getppid getpriority getrlimit \
     getrusage getsid gettid kill pidfd_open pidfd_send_signal prctl prlimit64 \
     process_vm_readv process_vm_writev ptrace restart_syscall rseq set_tid_address setpgid \
     setpriority setrlimit setsid tgkill tkill ugetrlimit uname vfork wait4 waitid waitpid",
    // Who they are, and what they may.
    "capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 \
     getresgid getresgid32 getresuid getresuid32 getuid getuid32 landlock_add_rule \
     landlock_create_ruleset landlock_restrict_self seccomp setfsgid setfsgid32 setfsuid \
     setfsuid32 setgid setgid32 setgroups setgroups32 setregid setregid32 setresgid \
     setresgid32 setresuid setresuid32 setreuid setreuid32 setuid setuid32",
    // When they run.
    "ioprio_get ioprio_set sched_get_priority_max sched_get_priority_min sched_getaffinity \
     sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval \
     sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
     sched_setscheduler sched_yield",
    // Signals.
    "pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn \
     rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaltstack \
     sigprocmask sigreturn",
    // Time.
    "adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 \
     clock_gettime clock_gettime64 clock_nanosleep clock_nanosleep_time64 getitimer getrandom \
     gettimeofday nanosleep setitimer sysinfo time timer_create timer_delete timer_getoverrun \
     timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
     timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times",
    // What processes have in common.
    "futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake get_robust_list ipc \
     mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend \
     mq_timedsend_time64 mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop \
     semtimedop_time64 set_robust_list shmat shmctl shmdt shmget",
];

/// What may be called by those who hold a capability.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount \
         mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname \
         sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
];

/// The personalities that may be asked for: Linux, 32 bits, the old version numbers,
/// both, and none, which only asks.
const PERSONALITIES: [u64; 5] = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The flags of `clone` that make namespaces.
const NAMESPACES: u64 = 0x7e02_0000;

/// Sockets to the machine below a virtual one.
const AF_VSOCK: u64 = 40;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// The profile for a container with these capabilities.
pub(super) fn profile(capabilities: &[String]) -> Value {
    let holds = |name: &str| capabilities.iter().any(|held| held == name);
    let names = |list: &str| list.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let allow = |names: Vec<String>| json!({ "names": names, "action": "SCMP_ACT_ALLOW" });
    let only = |name: &str, argument: Value| json!({ "names": [name], "action": "SCMP_ACT_ALLOW", "args": [argument] });
    let mut rules = vec![
        allow(ALLOWED.iter().flat_map(|list| names(list)).collect()),
        only("socket", json!({ "index": 0, "value": AF_VSOCK, "op": "SCMP_CMP_NE" })),
    ];
    rules.extend(PERSONALITIES.iter().map(|value| {
        only("personality", json!({ "index": 0, "value": value, "op": "SCMP_CMP_EQ" }))
    }));
    let (architectures, peculiar) = match std::env::consts::ARCH {
        "x86_64" => {
            (json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]), "arch_prctl modify_ldt")
        }
        _ => (
            json!(["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"]),
            "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2",
        ),
    };
    rules.push(allow(names(peculiar)));
    let held = BY_CAPABILITY.iter().filter(|(capability, _)| holds(capability));
    rules.extend(held.map(|(_, list)| allow(names(list))));
    if !holds("CAP_SYS_ADMIN") {
        rules.push(only(
            "clone",
            json!({ "index": 0, "value": NAMESPACES, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }),
        ));
        // Its flags are out of a filter's sight: C libraries fall back on clone.
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": architectures,
        "syscalls": rules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn allowed(capabilities: &[&str]) -> BTreeSet<String> {
        let capabilities: Vec<String> = capabilities.iter().map(ToString::to_string).collect();
        let profile = profile(&capabilities);
        let rules = profile["syscalls"].as_array().expect("rules").clone();
        let free = rules.iter().filter(|rule| rule["args"].is_null());
        let free = free.filter(|rule| rule["action"] == "SCMP_ACT_ALLOW");
        let names = free.flat_map(|rule| rule["names"].as_array().expect("names").clone());
        names.map(|name| name.as_str().expect("a name").to_owned()).collect()
    }

    #[test]
    fn capabilities_open_what_is_closed_without_them() {
        let plain = allowed(&[]);
        for name in ["openat", "write", "execve", "futex", "ptrace", "arch_prctl"] {
            assert!(plain.contains(name) || cfg!(not(target_arch = "x86_64")), "{name}");
        }
        for name in ["mount", "clone", "bpf", "reboot", "chroot", "io_uring_setup", "keyctl"] {
            assert!(!plain.contains(name), "{name}");
        }
        let more = allowed(&["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]);
        assert!(["mount", "clone", "bpf", "chroot"].iter().all(|name| more.contains(*name)));
        assert!(!more.contains("reboot"));
    }

    #[test]
    fn every_name_is_there_once() {
        let mut seen = BTreeSet::new();
        for name in ALLOWED.iter().flat_map(|list| list.split(' ')) {
            assert!(!name.is_empty() && seen.insert(name), "{name}");
        }
        assert!(seen.len() > 300);
    }
}

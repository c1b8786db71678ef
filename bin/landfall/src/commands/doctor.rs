//! `landfall doctor`: can this machine run Landfall, and if not, what to do.

use super::AnyError;
use crate::cli::Output;
use crate::layout::Layout;
use crate::terminal::{Tone, paint};
use nix::sched::{CloneFlags, unshare};
use serde::Serialize;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Where programs are looked for besides the user's own path, which often lacks
/// the system's.
const SYSTEM_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Below this much free memory or disk, tasks will soon fail to start.
const LOW_MEMORY_KIB: u64 = 512 * 1024;
const LOW_DISK_BYTES: u64 = 2 * 1024 * 1024 * 1024;

#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    status: Status,
    /// What was found, and what to do about it.
    text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Good,
    Poor,
    Bad,
}

/// Prints every check; the exit code says whether one is bad.
pub(crate) fn run(layout: &Layout, output: &Output) -> Result<ExitCode, AnyError> {
    let checks = [
        root(),
        program("containerd", "apt-get install containerd"),
        program("containerd-shim-runc-v2", "apt-get install containerd"),
        program("runc", "apt-get install runc"),
        program("nft", "apt-get install nftables"),
        namespaces(),
        file_system(),
        cgroups(),
        task_endpoint(),
        fast_path(),
        routes(),
        memory(&fs::read_to_string("/proc/meminfo").unwrap_or_default()),
        disk(layout),
    ];
    if output.json {
        println!("{}", serde_json::to_string_pretty(&serde_json::json!({ "checks": checks }))?);
    } else {
        for check in &checks {
            let (tone, mark) = match check.status {
                Status::Good => (Tone::Good, "ok  "),
                Status::Poor => (Tone::Poor, "warn"),
                Status::Bad => (Tone::Bad, "FAIL"),
            };
            println!("{}  {:<24}{}", paint(tone, mark), check.name, check.text);
        }
    }
    let bad = checks.iter().any(|check| check.status == Status::Bad);
    Ok(if bad { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn check(name: &'static str, status: Status, text: impl Into<String>) -> Check {
    Check { name, status, text: text.into() }
}

fn root() -> Check {
    if nix::unistd::geteuid().is_root() {
        check("root", Status::Good, "yes")
    } else {
        check("root", Status::Bad, "namespaces and containers need root: use sudo")
    }
}

fn program(name: &'static str, remedy: &str) -> Check {
    match find(name) {
        Some(path) => check(name, Status::Good, path.display().to_string()),
        None => check(name, Status::Bad, format!("not found: {remedy}")),
    }
}

fn find(name: &str) -> Option<PathBuf> {
    SYSTEM_PATH.split(':').map(|dir| Path::new(dir).join(name)).find(|path| path.is_file())
}

/// Makes a network namespace on a thread that then ends, and the namespace with it.
fn namespaces() -> Check {
    let made = std::thread::spawn(|| unshare(CloneFlags::CLONE_NEWNET)).join();
    match made {
        Ok(Ok(())) => check("network namespaces", Status::Good, "can be made"),
        Ok(Err(error)) => {
            check("network namespaces", Status::Bad, format!("the kernel refuses: {error}"))
        }
        Err(_) => check("network namespaces", Status::Bad, "the attempt panicked"),
    }
}

fn file_system() -> Check {
    let known = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    if known.split_whitespace().any(|name| name == "overlay") {
        check("overlayfs", Status::Good, "known to the kernel")
    } else {
        check("overlayfs", Status::Bad, "unknown to the kernel: modprobe overlay")
    }
}

fn cgroups() -> Check {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        check("cgroups", Status::Good, "version 2")
    } else if Path::new("/sys/fs/cgroup/memory").exists() {
        check("cgroups", Status::Good, "version 1")
    } else {
        check("cgroups", Status::Bad, "no memory controller under /sys/fs/cgroup")
    }
}

fn task_endpoint() -> Check {
    let name = "task endpoint";
    match agent::netns::endpoint() {
        Ok(()) => check(name, Status::Good, "the kernel lets 169.254.170.2 be handed over"),
        Err(error) => check(name, Status::Bad, agent::chain(&error)),
    }
}

fn fast_path() -> Check {
    let name = "fast path of packets";
    match card::fast_path() {
        Ok(()) => check(name, Status::Good, "the kernel takes it"),
        Err(error) => {
            let text = format!("the kernel does not take it ({error}): packets are slower");
            check(name, Status::Poor, text)
        }
    }
}

fn routes() -> Check {
    match blocking_route() {
        None => check("VPC block", Status::Good, "172.31.0.0/16 is free on this machine"),
        Some(device) => check("VPC block", Status::Bad, blocked(&device)),
    }
}

/// What it means that `device` has a route into the default VPC's block.
pub(crate) fn blocked(device: &str) -> String {
    format!(
        "172.31.0.0/16, the default VPC's block, overlaps a route of {device}: tasks reach each \
         other, but this machine cannot reach them until that route is gone"
    )
}

/// The device through which the machine already routes some of the default VPC's
/// block elsewhere.
pub(crate) fn blocking_route() -> Option<String> {
    find_blocking(&fs::read_to_string("/proc/net/route").unwrap_or_default())
}

/// `table` is `/proc/net/route`: addresses are hexadecimal, in host order of a
/// little-endian machine.
fn find_blocking(table: &str) -> Option<String> {
    const VPC: u32 = u32::from_be_bytes([172, 31, 0, 0]);
    const VPC_MASK: u32 = 0xffff_0000;
    table.lines().skip(1).find_map(|line| {
        let mut fields = line.split_whitespace();
        let device = fields.next()?;
        let target = u32::from_str_radix(fields.next()?, 16).ok()?.swap_bytes();
        let mask = u32::from_str_radix(fields.nth(5)?, 16).ok()?.swap_bytes();
        let common = mask & VPC_MASK;
        let foreign = mask != 0 && !device.starts_with("eni");
        (foreign && target & common == VPC & common).then(|| device.to_owned())
    })
}

fn memory(table: &str) -> Check {
    let free = table
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse().ok()
        })
        .unwrap_or(0_u64);
    let text = format!("{} MiB available", free / 1024);
    check("memory", if free < LOW_MEMORY_KIB { Status::Poor } else { Status::Good }, text)
}

fn disk(layout: &Layout) -> Check {
    let existing = layout.data.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match nix::sys::statvfs::statvfs(existing) {
        Ok(stat) => {
            let free = stat.blocks_available() * stat.fragment_size();
            let text = format!("{} MiB free for {}", free >> 20, layout.data.display());
            check("disk", if free < LOW_DISK_BYTES { Status::Poor } else { Status::Good }, text)
        }
        Err(error) => check("disk", Status::Poor, format!("{}: {error}", existing.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n";

    #[test]
    fn a_route_into_the_vpc_block_is_found() {
        let docker = "br0 0000101F 00000000 0001 0 0 0 0000FFFF 0 0 0";
        let inside = "br0 00101FAC 00000000 0001 0 0 0 00F0FFFF 0 0 0";
        let around = "br0 000010AC 00000000 0001 0 0 0 0000F0FF 0 0 0";
        let default = "eth0 00000000 0100A8C0 0003 0 0 0 00000000 0 0 0";
        let own = "eni0123456789a 00001FAC 01001FAC 0003 0 0 0 0000FFFF 0 0 0";
        for (route, device) in [
            (docker, None),
            (default, None),
            (own, None),
            (inside, Some("br0")),
            (around, Some("br0")),
        ] {
            let found = find_blocking(&format!("{HEAD}{route}\n"));
            assert_eq!(found.as_deref(), device, "{route}");
        }
    }

    #[test]
    fn little_memory_is_a_warning() {
        assert_eq!(memory("MemAvailable:   1000 kB\n").status, Status::Poor);
        assert_eq!(memory("MemAvailable:   9000000 kB\n").status, Status::Good);
        assert_eq!(memory("").status, Status::Poor);
    }
}

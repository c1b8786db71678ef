//! The cgroup that the containers of a task share: made for the task's limits,
//! removed with the task. The containers' own are runc's business.
//!
//! Both layouts are served: one tree (v2), or one tree per controller (v1).

use super::{Disk, Error, Usage};
use crate::engine::TaskSpec;
use crate::error::unless_missing;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The period over which CPU quotas are counted, in microseconds.
const PERIOD: u64 = 100_000;

/// In what `cpuacct.stat` counts, in nanoseconds: the same on every machine.
const TICK: u64 = 10_000_000;

/// Where the cgroup trees of this machine are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    /// The name of our own top.
    top: String,
    /// The root of the one tree, if that is the layout.
    unified: Option<PathBuf>,
    /// The roots of the trees with their controllers, if that is the layout.
    /// A hybrid has among them one without any, and runc uses that too.
    trees: Vec<(PathBuf, Vec<String>)>,
}

impl Cgroups {
    /// Finds the trees; ours will be below `/top` in each.
    pub fn find(top: &str) -> Result<Self, Error> {
        let path = "/proc/self/mountinfo";
        let table = fs::read_to_string(path).map_err(Error::io("read", path))?;
        Ok(Self::parse(top, &table))
    }

    fn parse(top: &str, table: &str) -> Self {
        let mut found = Self { top: top.to_owned(), unified: None, trees: Vec::new() };
        for line in table.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let mut right = right.split(' ');
            let (kind, options) = (right.next().unwrap_or(""), right.nth(1).unwrap_or(""));
            let Some(root) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            if kind == "cgroup2" && root == Path::new("/sys/fs/cgroup") {
                found.unified = Some(root);
            } else if kind == "cgroup2" {
                found.trees.push((root, Vec::new()));
            } else if kind == "cgroup" {
                let controllers = options.split(',').map(str::to_owned).collect();
                found.trees.push((root, controllers));
            }
        }
        found
    }

    /// The name of our top, which is the installation's prefix.
    pub fn top(&self) -> &str {
        &self.top
    }

    /// Whether this machine has one tree for all controllers.
    pub fn is_unified(&self) -> bool {
        self.unified.is_some()
    }

    /// The path that runc is given for a container.
    pub fn container_path(&self, task_id: &str, runtime_id: &str) -> PathBuf {
        Path::new("/").join(&self.top).join(task_id).join(runtime_id)
    }

    fn tree(&self, controller: &str) -> Option<&Path> {
        let trees = self.trees.iter();
        let mut with = trees.filter(|(_, names)| names.iter().any(|name| name == controller));
        with.next().map(|(root, _)| root.as_path()).or(self.unified.as_deref())
    }

    /// Makes the cgroup of a task, with its limits.
    pub fn prepare(&self, task: &TaskSpec) -> Result<(), Error> {
        let id = task.arn.id();
        let make = |root: &Path| {
            let dir = root.join(&self.top).join(&id);
            fs::create_dir_all(&dir).map_err(Error::io("make", &dir)).map(|()| dir)
        };
        let write = |dir: &Path, file: &str, value: String| {
            let path = dir.join(file);
            fs::write(&path, value).map_err(Error::io("write", path))
        };
        let quota = task.cpu.filter(|cpu| *cpu > 0.0).map(quota);
        let memory = task.memory_mib.filter(|mib| *mib > 0).map(|mib| mib.saturating_mul(1 << 20));
        if let Some(root) = &self.unified {
            // A controller reaches a cgroup only if every one above passes it on.
            for above in [root.clone(), root.join(&self.top)] {
                fs::create_dir_all(&above).map_err(Error::io("make", &above))?;
                write(&above, "cgroup.subtree_control", "+cpu +memory +pids".to_owned())?;
                // A machine without it runs containers as well, and measures no disk.
                _ = write(&above, "cgroup.subtree_control", "+io".to_owned());
            }
            let dir = make(root)?;
            if let Some(quota) = quota {
                write(&dir, "cpu.max", format!("{quota} {PERIOD}"))?;
            }
            if let Some(bytes) = memory {
                write(&dir, "memory.max", bytes.to_string())?;
            }
            return Ok(());
        }
        if let (Some(quota), Some(root)) = (quota, self.tree("cpu")) {
            let dir = make(root)?;
            write(&dir, "cpu.cfs_period_us", PERIOD.to_string())?;
            write(&dir, "cpu.cfs_quota_us", quota.to_string())?;
        }
        if let (Some(bytes), Some(root)) = (memory, self.tree("memory")) {
            let dir = make(root)?;
            write(&dir, "memory.limit_in_bytes", bytes.to_string())?;
        }
        Ok(())
    }

    /// Whether the kernel has killed something in a container for its use of memory.
    pub fn out_of_memory(&self, task_id: &str, runtime_id: &str) -> bool {
        let file = if self.is_unified() { "memory.events" } else { "memory.oom_control" };
        let text = self.read("memory", task_id, runtime_id, file).unwrap_or_default();
        field(&text, "oom_kill").is_some_and(|count| count > 0)
    }

    /// What a container uses now, if it has a cgroup. Of a controller that the machine
    /// does not have, nothing is used.
    pub fn usage(&self, task_id: &str, runtime_id: &str) -> Option<Usage> {
        let read = |controller, file| self.read(controller, task_id, runtime_id, file);
        let number = |text: String| text.trim().parse::<u64>().ok();
        let memory = read("memory", "memory.stat")?;
        let processes = read("pids", "pids.current").and_then(number).unwrap_or(0);
        if self.is_unified() {
            let cpu = read("cpu", "cpu.stat")?;
            let nanos = |name| field(&cpu, name).map(|micros| micros.saturating_mul(1000));
            let used = number(read("memory", "memory.current")?)?;
            let cache_bytes = field(&memory, "inactive_file").unwrap_or(0);
            return Some(Usage {
                cpu_nanos: nanos("usage_usec")?,
                user_nanos: nanos("user_usec").unwrap_or(0),
                kernel_nanos: nanos("system_usec").unwrap_or(0),
                memory_bytes: used.saturating_sub(cache_bytes),
                cache_bytes,
                processes,
                disks: disks_v2(&read("io", "io.stat").unwrap_or_default()),
            });
        }
        let cpu = read("cpuacct", "cpuacct.stat").unwrap_or_default();
        let nanos = |name| field(&cpu, name).map_or(0, |ticks| ticks.saturating_mul(TICK));
        let used = number(read("memory", "memory.usage_in_bytes")?)?;
        let cache_bytes = field(&memory, "total_cache").unwrap_or(0);
        let blkio = read("blkio", "blkio.throttle.io_service_bytes_recursive");
        Some(Usage {
            cpu_nanos: number(read("cpuacct", "cpuacct.usage")?)?,
            user_nanos: nanos("user"),
            kernel_nanos: nanos("system"),
            memory_bytes: used.saturating_sub(cache_bytes),
            cache_bytes,
            processes,
            disks: disks_v1(&blkio.unwrap_or_default()),
        })
    }

    fn read(
        &self,
        controller: &str,
        task_id: &str,
        runtime_id: &str,
        file: &str,
    ) -> Option<String> {
        let root = self.tree(controller)?;
        let dir = root.join(&self.top).join(task_id).join(runtime_id);
        fs::read_to_string(dir.join(file)).ok()
    }

    /// Kills what is left in the cgroup of a task: the first process of a container whose
    /// runc was ended over it is nobody's.
    pub fn end_task(&self, task_id: &str) {
        self.roots().for_each(|root| end_tree(&root.join(&self.top).join(task_id)));
    }

    /// Removes the cgroup of a task from every tree.
    pub fn remove_task(&self, task_id: &str) -> Result<(), Error> {
        self.roots().try_for_each(|root| remove_tree(&root.join(&self.top).join(task_id)))
    }

    /// Removes our top from every tree, and all that is below it.
    pub fn remove_all(&self) -> Result<(), Error> {
        self.roots().try_for_each(|root| remove_tree(&root.join(&self.top)))
    }

    fn roots(&self) -> impl Iterator<Item = &PathBuf> {
        self.trees.iter().map(|(root, _)| root).chain(&self.unified)
    }
}

/// The share of a period that so many vCPU are, in microseconds.
fn quota(cpu: f64) -> u64 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    let micros = (cpu * PERIOD as f64).clamp(1000.0, 1e12) as u64;
    micros
}

fn field(text: &str, name: &str) -> Option<u64> {
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    lines.find(|(key, _)| *key == name).and_then(|(_, value)| value.trim().parse().ok())
}

/// The lines of `io.stat`: `8:0 rbytes=1 wbytes=2 rios=3 wios=4`.
fn disks_v2(text: &str) -> Vec<Disk> {
    let disk = |line: &str| {
        let (number, rest) = line.split_once(' ')?;
        let (major, minor) = number.split_once(':')?;
        let of = |wanted: &str| {
            let pairs = rest.split(' ').filter_map(|pair| pair.split_once('='));
            let mut found = pairs.filter(|(name, _)| *name == wanted);
            found.next().and_then(|(_, value)| value.parse().ok()).unwrap_or(0)
        };
        Some(Disk {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            read_bytes: of("rbytes"),
            written_bytes: of("wbytes"),
        })
    };
    text.lines().filter_map(disk).collect()
}

/// The lines of `blkio.throttle.io_service_bytes_recursive`: `8:0 Read 1`, and sums.
fn disks_v1(text: &str) -> Vec<Disk> {
    let mut disks: Vec<Disk> = Vec::new();
    for line in text.lines() {
        let mut words = line.split(' ');
        let number = words.next().and_then(|number| number.split_once(':'));
        let (Some((major, minor)), Some(what), Some(bytes)) =
            (number, words.next(), words.next().and_then(|bytes| bytes.parse().ok()))
        else {
            continue;
        };
        let (Ok(major), Ok(minor)) = (major.parse(), minor.parse()) else { continue };
        let known = disks.iter().position(|disk| (disk.major, disk.minor) == (major, minor));
        let at = known.unwrap_or(disks.len());
        if at == disks.len() {
            disks.push(Disk { major, minor, ..Disk::default() });
        }
        if let Some(disk) = disks.get_mut(at) {
            match what {
                "Read" => disk.read_bytes = bytes,
                "Write" => disk.written_bytes = bytes,
                _ => {}
            }
        }
    }
    disks
}

/// Removes empty cgroups depth first. Their files cannot be removed, and go with them.
fn end_tree(dir: &Path) {
    let processes = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    // What another namespace's number is shown of is 0, which would be all of us.
    for pid in processes.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1) {
        _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            end_tree(&entry.path());
        }
    }
}

fn remove_tree(dir: &Path) -> Result<(), Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(Error::io("read", dir)(error)),
    };
    for entry in entries.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path())?;
        }
    }
    unless_missing(fs::remove_dir(dir)).map_err(Error::io("remove", dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_read_from_the_mount_table() {
        let hybrid = "\
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw";
        let cgroups = Cgroups::parse("landfall", hybrid);
        assert!(!cgroups.is_unified());
        assert_eq!(cgroups.tree("memory"), Some(Path::new("/sys/fs/cgroup/memory")));
        let unified = "31 23 0:28 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw";
        let cgroups = Cgroups::parse("landfall", unified);
        assert!(cgroups.is_unified());
        assert_eq!(cgroups.tree("memory"), Some(Path::new("/sys/fs/cgroup")));
    }

    /// Writes the files of a container's cgroup, each below the root of a tree.
    fn tree(root: &Path, files: &[(&str, &str, &str)]) {
        for (tree, file, text) in files {
            let dir = root.join(tree).join("top/t/t-0");
            fs::create_dir_all(&dir).expect("a directory");
            fs::write(dir.join(file), text).expect("a file");
        }
    }

    #[test]
    fn usage_is_read_from_the_one_tree() {
        let root = tempfile::TempDir::new().expect("a directory");
        let files = [
            ("", "memory.stat", "anon 5\ninactive_file 300\nactive_file 7\n"),
            ("", "memory.current", "1000\n"),
            ("", "cpu.stat", "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnr_periods 0\n"),
            ("", "pids.current", "3\n"),
            ("", "io.stat", "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n253:1 \n"),
        ];
        tree(root.path(), &files);
        let trees = Vec::new();
        let unified = Some(root.path().to_owned());
        let cgroups = Cgroups { top: "top".to_owned(), unified, trees };
        let disk = Disk { major: 8, minor: 0, read_bytes: 10, written_bytes: 20 };
        let wanted = Usage {
            cpu_nanos: 9000,
            user_nanos: 5000,
            kernel_nanos: 4000,
            memory_bytes: 700,
            cache_bytes: 300,
            processes: 3,
            disks: vec![disk, Disk { major: 253, minor: 1, ..Disk::default() }],
        };
        assert_eq!(cgroups.usage("t", "t-0"), Some(wanted));
        assert_eq!(cgroups.usage("t", "t-1"), None, "it has no cgroup");
        for file in ["io.stat", "pids.current"] {
            fs::remove_file(root.path().join("top/t/t-0").join(file)).expect("a file");
        }
        let usage = cgroups.usage("t", "t-0").expect("without the controllers too");
        assert_eq!((usage.processes, usage.disks), (0, vec![]));
    }

    #[test]
    fn usage_is_read_from_a_tree_per_controller() {
        let root = tempfile::TempDir::new().expect("a directory");
        let blkio = "8:0 Read 4096\n8:0 Write 8192\n8:0 Sync 1\n8:0 Total 12288\n\
                     253:0 Read 1\n253:0 Write 0\nTotal 12289\n";
        let files = [
            ("memory", "memory.stat", "cache 1\ntotal_cache 300\n"),
            ("memory", "memory.usage_in_bytes", "1000\n"),
            ("cpuacct", "cpuacct.usage", "123456789\n"),
            ("cpuacct", "cpuacct.stat", "user 7\nsystem 5\n"),
            ("pids", "pids.current", "3\n"),
            ("blkio", "blkio.throttle.io_service_bytes_recursive", blkio),
        ];
        tree(root.path(), &files);
        let trees = ["memory", "cpuacct", "pids", "blkio"];
        let trees = trees.map(|name| (root.path().join(name), vec![name.to_owned()]));
        let cgroups = Cgroups { top: "top".to_owned(), unified: None, trees: trees.into() };
        let wanted = Usage {
            cpu_nanos: 123_456_789,
            user_nanos: 70_000_000,
            kernel_nanos: 50_000_000,
            memory_bytes: 700,
            cache_bytes: 300,
            processes: 3,
            disks: vec![
                Disk { major: 8, minor: 0, read_bytes: 4096, written_bytes: 8192 },
                Disk { major: 253, minor: 0, read_bytes: 1, written_bytes: 0 },
            ],
        };
        assert_eq!(cgroups.usage("t", "t-0"), Some(wanted));
    }

    #[test]
    fn a_task_is_limited_in_the_one_tree_or_in_each() {
        let root = tempfile::TempDir::new().expect("a directory");
        let at = |path: &str| root.path().join(path);
        let mut task = TaskSpec::new(crate::engine::TaskArn::new("arn:t/t1"));
        (task.cpu, task.memory_mib) = (Some(0.125), Some(32));
        let read = |path: &str| fs::read_to_string(at(path)).ok();
        let mut cgroups =
            Cgroups { top: "top".to_owned(), unified: Some(at("one")), trees: Vec::new() };
        cgroups.prepare(&task).expect("made");
        assert_eq!(read("one/top/t1/cpu.max").as_deref(), Some("12500 100000"));
        assert_eq!(read("one/top/t1/memory.max").as_deref(), Some("33554432"));
        let names = ["cpu", "memory"];
        cgroups.unified = None;
        cgroups.trees = names.map(|name| (at(name), vec![name.to_owned()])).into();
        cgroups.prepare(&task).expect("made");
        assert_eq!(read("cpu/top/t1/cpu.cfs_quota_us").as_deref(), Some("12500"));
        assert_eq!(read("memory/top/t1/memory.limit_in_bytes").as_deref(), Some("33554432"));
        task.arn = crate::engine::TaskArn::new("arn:t/t2");
        (task.cpu, task.memory_mib) = (None, None);
        cgroups.prepare(&task).expect("nothing to do");
        assert!(!at("cpu/top/t2").exists(), "who asks for no limit gets none");
    }

    #[test]
    fn a_vcpu_is_a_whole_period() {
        assert_eq!(quota(1.0), 100_000);
        assert_eq!(quota(0.25), 25_000);
    }
}

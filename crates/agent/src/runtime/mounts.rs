//! What a container finds mounted in its file system.

use super::Error;
use super::spec::Parts;
use crate::engine::{ContainerSpec, Sharing};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Where a container finds our first process; Docker's place for its own.
pub(super) const INIT: &str = "/sbin/docker-init";

/// A file or directory of the machine that a container sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// Where the container sees it.
    pub destination: String,
    /// Where it is.
    pub source: PathBuf,
    /// Whether the container may only look.
    pub read_only: bool,
}

/// Where the file systems in memory of the machine are.
const MEMORY: &str = "/dev/shm";

/// Where the containers of a task share memory, if they do; `prefix` is the
/// installation's.
pub(super) fn shared_memory(prefix: &str, task_id: &str) -> PathBuf {
    Path::new(MEMORY).join(format!("{prefix}-{task_id}"))
}

/// Removes the memory that tasks of an installation shared and left.
pub(crate) fn remove_shared_memory(prefix: &str) -> io::Result<()> {
    let start = format!("{prefix}-");
    for entry in fs::read_dir(MEMORY)?.flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        // Another installation's prefix may begin with ours and go on.
        let task = name.strip_prefix(&start).filter(|id| id.chars().all(char::is_alphanumeric));
        if task.is_some() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

/// The `mounts` of a specification.
pub(super) fn list(parts: &Parts<'_>, container: &ContainerSpec) -> Result<Value, Error> {
    let order = parts.order;
    let mut own = BTreeMap::new();
    for name in ["hosts", "hostname", "resolv.conf"] {
        let source = order.files.join(name);
        let path = format!("/etc/{name}");
        own.insert(path.clone(), bound(&path, &source, container.readonly_rootfs)?);
    }
    distinct(container)?;
    for (path, options) in &container.tmpfs {
        let path = plain(path);
        // Docker's defaults, which the definition may take back one by one.
        let options: Vec<&str> = ["noexec", "nosuid", "nodev"]
            .into_iter()
            .chain(options.split(',').filter(|option| !option.is_empty()))
            .collect();
        own.insert(path.clone(), mount(&path, "tmpfs", "tmpfs", &options));
    }
    for bind in &parts.binds {
        let path = &bind.destination;
        // What its image or another container brings gives way to what it asks for.
        if !container.tmpfs.keys().any(|tmpfs| plain(tmpfs) == *path) {
            own.insert(path.clone(), bound(path, &bind.source, bind.read_only)?);
        }
    }
    if container.init {
        own.insert(INIT.to_owned(), bound(INIT, &parts.init, true)?);
    }
    // What is asked for comes after what Docker gives, and in place of it. By name,
    // since what lies in a directory must be mounted after it.
    let given = defaults(parts, container)?;
    let given = given.into_iter().filter(|(path, _)| !own.contains_key(path));
    let mut all: Vec<Value> = given.map(|(_, mount)| mount).collect();
    all.extend(own.into_values());
    Ok(Value::Array(all))
}

/// What Docker gives every container.
fn defaults(parts: &Parts<'_>, container: &ContainerSpec) -> Result<Vec<(String, Value)>, Error> {
    let writable = if container.privileged { "rw" } else { "ro" };
    let size = format!("size={}", container.shm_size.unwrap_or(64 << 20));
    let task = parts.order.task;
    let shm = "/dev/shm";
    let shm = match task.ipc {
        Sharing::Host => Some(bound(shm, Path::new(shm), false)?),
        Sharing::Task => Some(bound(shm, &parts.memory, false)?),
        Sharing::Own => {
            let options = ["nosuid", "noexec", "nodev", "mode=1777", &size];
            Some(mount(shm, "tmpfs", "shm", &options))
        }
        Sharing::Nothing => None,
    };
    let list = [
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", writable]),
        // Whose queues it shows is a matter of the namespace.
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount(
            "/sys/fs/cgroup",
            if parts.unified { "cgroup2" } else { "cgroup" },
            "cgroup",
            &["nosuid", "noexec", "nodev", "relatime", writable],
        ),
    ];
    let path = |mount: &Value| mount["destination"].as_str().unwrap_or_default().to_owned();
    Ok(list.into_iter().chain(shm).map(|mount| (path(&mount), mount)).collect())
}

fn mount(destination: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn bound(destination: &str, source: &Path, read_only: bool) -> Result<Value, Error> {
    let source =
        source.to_str().ok_or_else(|| Error::Spec(format!("path {}", source.display())))?;
    let access = if read_only { "ro" } else { "rw" };
    Ok(mount(destination, "bind", source, &["rbind", "rprivate", access]))
}

/// Whether a container asks for one thing at each place, and for none in place of its root.
fn distinct(container: &ContainerSpec) -> Result<(), Error> {
    let mut taken = BTreeSet::new();
    let points = container.mount_points.iter().map(|point| &point.path);
    for given in points.chain(container.tmpfs.keys()) {
        let path = plain(given);
        let refused = if !given.starts_with('/') {
            format!("invalid mount path: '{given}' mount path must be absolute")
        } else if path == "/" {
            "invalid specification: destination can't be '/'".to_owned()
        } else if taken.insert(path.clone()) {
            continue;
        } else {
            format!("Duplicate mount point: {path}")
        };
        return Err(Error::Spec(refused));
    }
    Ok(())
}

/// A path as it is compared: from the root, and without a slash at its end.
pub(super) fn plain(path: &str) -> String {
    let parts: Vec<&str> =
        path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::MountPoint;

    #[test]
    fn each_place_is_asked_for_once() {
        let refused = |points: &[&str], tmpfs: &[&str]| {
            let point = |path: &&str| MountPoint {
                volume: "v".to_owned(),
                path: (*path).to_owned(),
                read_only: false,
            };
            let container = ContainerSpec {
                mount_points: points.iter().map(point).collect(),
                tmpfs: tmpfs.iter().map(|path| ((*path).to_owned(), String::new())).collect(),
                ..ContainerSpec::default()
            };
            distinct(&container).map_err(|error| error.message()).err().unwrap_or_default()
        };
        assert_eq!(refused(&["/a", "/a/b"], &["/c"]), "");
        for (points, tmpfs, why) in [
            (&["/a", "//a/."][..], &[][..], "Duplicate mount point: /a"),
            (&["/a"], &["/a/"], "Duplicate mount point: /a"),
            (&["/./"], &[], "destination can't be '/'"),
            (&[], &["run"], "'run' mount path must be absolute"),
        ] {
            assert!(refused(points, tmpfs).ends_with(why), "{points:?} {tmpfs:?}");
        }
    }
}

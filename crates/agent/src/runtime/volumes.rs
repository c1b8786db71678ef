//! The volumes of tasks: where their files are, and what is in them at first.

use super::Error;
use super::image_root::ImageRoot;
use super::mounts::{Bind, plain};
use super::spec::container_of;
use crate::engine::{TaskSpec, VolumeSource};
use nix::fcntl::OFlag;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// A volume as one container sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mounted {
    /// What it is called in the task; what an image declares, and what is the machine's,
    /// has no name.
    pub name: Option<String>,
    /// Where it is, and where the container sees it.
    pub bind: Bind,
    /// Whether it begins with what the image has at that place, as Docker has it.
    pub fills: bool,
}

/// The paths that the image of a container declares to be volumes.
pub(crate) type Declared = BTreeMap<usize, Vec<String>>;

/// The containers whose volumes the one of this order has, itself among them.
pub(super) fn relatives(task: &TaskSpec, index: usize) -> Result<BTreeSet<usize>, Error> {
    let mut found = BTreeSet::new();
    let mut left = vec![index];
    while let Some(index) = left.pop() {
        if found.insert(index) {
            for from in &container_of(task, index)?.volumes_from {
                left.push(position(task, &from.container)?);
            }
        }
    }
    Ok(found)
}

fn position(task: &TaskSpec, name: &str) -> Result<usize, Error> {
    let found = task.containers.iter().position(|other| other.name == name);
    found.ok_or_else(|| Error::NoVolume(name.to_owned()))
}

/// The directories in which volumes are.
#[derive(Clone, Debug)]
pub(crate) struct Directories {
    /// Those that are the task's own.
    pub own: PathBuf,
    /// Those that no task owns.
    pub shared: PathBuf,
}

/// What a container of a task mounts: what others mount that it has volumes from, then its
/// own, and where it has nothing, what its image declares.
pub(crate) fn mounted(
    task: &TaskSpec,
    index: usize,
    directories: &Directories,
    declared: &Declared,
) -> Result<Vec<Mounted>, Error> {
    let mut all = BTreeMap::new();
    gather((task, index), directories, declared, &mut BTreeSet::new(), &mut all)?;
    Ok(all.into_values().collect())
}

fn gather(
    (task, index): (&TaskSpec, usize),
    directories: &Directories,
    declared: &Declared,
    seen: &mut BTreeSet<usize>,
    all: &mut BTreeMap<String, Mounted>,
) -> Result<(), Error> {
    if !seen.insert(index) {
        return Ok(());
    }
    let spec = container_of(task, index)?;
    for from in &spec.volumes_from {
        let mut others = BTreeMap::new();
        let other = position(task, &from.container)?;
        gather((task, other), directories, declared, seen, &mut others)?;
        for (path, mut mounted) in others {
            mounted.bind.read_only |= from.read_only;
            all.insert(path, mounted);
        }
    }
    for point in &spec.mount_points {
        let unknown = || Error::NoVolume(point.volume.clone());
        let source = task.volumes.get(&point.volume).ok_or_else(unknown)?;
        if !is_plain(&point.volume) {
            return Err(unknown());
        }
        let name = Some(point.volume.clone());
        let (source, fills, name) = match source {
            VolumeSource::Task => (directories.own.join(&point.volume), true, name),
            VolumeSource::Shared => (directories.shared.join(&point.volume), true, name),
            VolumeSource::Host(path) => (PathBuf::from(path), false, None),
        };
        let path = plain(&point.path);
        let bind = Bind { destination: path.clone(), source, read_only: point.read_only };
        all.insert(path, Mounted { name, bind, fills });
    }
    for (position, path) in declared.get(&index).into_iter().flatten().enumerate() {
        let source = directories.own.join(format!(".{index}-{position}"));
        let path = plain(path);
        let bind = Bind { destination: path.clone(), source, read_only: false };
        all.entry(path).or_insert(Mounted { name: None, bind, fills: true });
    }
    Ok(())
}

/// Whether a name is one that cannot lead anywhere else.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    !name.is_empty() && name.len() <= 255 && name.chars().all(plain)
}

/// One volume may be wanted by two tasks at once, and is filled once.
static FILLING: Mutex<()> = Mutex::new(());

/// Makes the directories of volumes that are not there, and puts into those that are
/// empty what the image has at their place. `layers` are the image's, topmost first.
pub(super) fn prepare(volumes: &[Mounted], layers: &[PathBuf]) -> Result<(), Error> {
    let _alone = FILLING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut empty = Vec::new();
    for Mounted { bind, fills, .. } in volumes {
        let source = &bind.source;
        fs::create_dir_all(source).or_else(|error| {
            // A single file of the machine may be mounted too.
            if source.exists() { Ok(()) } else { Err(Error::io("make", source)(error)) }
        })?;
        let mut entries = fs::read_dir(source).ok();
        if *fills && entries.as_mut().is_some_and(|entries| entries.next().is_none()) {
            empty.push(bind.clone());
        }
    }
    if empty.is_empty() {
        return Ok(());
    }
    let filled = ImageRoot::show(layers, |root| {
        for volume in &empty {
            let Ok(from) = root.open(&volume.destination, OFlag::O_DIRECTORY) else { continue };
            copy_into(&from, &volume.source)?;
        }
        Ok(())
    });
    filled.map_err(Error::io("fill", "a volume"))
}

/// Copies what is in a directory, and to whom it belongs, into one that is empty.
fn copy_into(from: &OwnedFd, to: &Path) -> io::Result<()> {
    let from = PathBuf::from(format!("/proc/thread-self/fd/{}", from.as_raw_fd()));
    copy_tree(&from, to)?;
    let meta = fs::metadata(&from)?;
    lchown(to, Some(meta.uid()), Some(meta.gid()))?;
    fs::set_permissions(to, meta.permissions())
}

fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let meta = entry.metadata()?;
        if meta.is_dir() {
            fs::create_dir(&target)?;
            copy_tree(&source, &target)?;
        } else if meta.is_symlink() {
            symlink(fs::read_link(&source)?, &target)?;
        } else if meta.is_file() {
            fs::copy(&source, &target)?;
        } else {
            continue;
        }
        lchown(&target, Some(meta.uid()), Some(meta.gid()))?;
        if !meta.is_symlink() {
            // After the owner, whose change takes some of them away.
            fs::set_permissions(&target, meta.permissions())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ContainerSpec, MountPoint, TaskArn, VolumesFrom};
    use std::os::unix::fs::PermissionsExt;

    fn point(volume: &str, path: &str) -> MountPoint {
        MountPoint { volume: volume.to_owned(), path: path.to_owned(), read_only: false }
    }

    fn task() -> TaskSpec {
        let from = |name: &str, read_only| VolumesFrom { container: name.to_owned(), read_only };
        let volumes = [
            ("own", VolumeSource::Task),
            ("kept", VolumeSource::Shared),
            ("host", VolumeSource::Host("/srv/x".to_owned())),
        ];
        TaskSpec {
            volumes: volumes.into_iter().map(|(name, it)| (name.to_owned(), it)).collect(),
            containers: vec![
                ContainerSpec {
                    name: "a".to_owned(),
                    mount_points: vec![point("own", "/data"), point("host", "/host")],
                    ..ContainerSpec::default()
                },
                ContainerSpec {
                    name: "b".to_owned(),
                    mount_points: vec![point("kept", "/data")],
                    volumes_from: vec![from("a", true)],
                    ..ContainerSpec::default()
                },
                ContainerSpec {
                    name: "c".to_owned(),
                    volumes_from: vec![from("b", false)],
                    ..ContainerSpec::default()
                },
            ],
            ..TaskSpec::new(TaskArn::new("arn:t/1"))
        }
    }

    /// What a container mounts, of directories called `/v` and `/s`.
    fn of(task: &TaskSpec, index: usize, declared: &Declared) -> Result<Vec<Mounted>, Error> {
        let directories = Directories { own: "/v".into(), shared: "/s".into() };
        mounted(task, index, &directories, declared)
    }

    fn seen(task: &TaskSpec, index: usize, declared: &Declared) -> Vec<String> {
        let all = of(task, index, declared).expect("known");
        let shown = all.iter().map(|it| {
            let access = if it.bind.read_only { "ro" } else { "rw" };
            let fills = if it.fills { " fills" } else { "" };
            format!("{}:{}:{access}{fills}", it.bind.source.display(), it.bind.destination)
        });
        shown.collect()
    }

    #[test]
    fn volumes_come_from_others_and_ones_own_come_before_those() {
        let task = task();
        let declared: Declared =
            [(0, vec!["/data".to_owned(), "/image".to_owned()])].into_iter().collect();
        assert_eq!(
            seen(&task, 0, &declared),
            ["/v/own:/data:rw fills", "/srv/x:/host:rw", "/v/.0-1:/image:rw fills"]
        );
        let from_a = ["/s/kept:/data:rw fills", "/srv/x:/host:ro", "/v/.0-1:/image:ro fills"];
        assert_eq!(seen(&task, 1, &declared), from_a);
        assert_eq!(seen(&task, 2, &declared), from_a, "at second hand");
        assert_eq!(relatives(&task, 2).expect("known"), [0, 1, 2].into());
    }

    #[test]
    fn volumes_that_are_none_are_named() {
        let mut task = task();
        task.containers[0].mount_points = vec![point("zz", "/data")];
        let refused = of(&task, 0, &Declared::new());
        let refused = refused.expect_err("unknown").message();
        assert_eq!(refused, "Invalid volume referenced: zz");
        task.containers[0].mount_points = vec![point("../zz", "/data")];
        task.volumes.insert("../zz".to_owned(), VolumeSource::Task);
        assert!(of(&task, 0, &Declared::new()).is_err());
    }

    #[test]
    fn an_empty_volume_is_filled_with_what_the_image_has_there_and_no_other() {
        let directory = tempfile::tempdir().expect("a directory");
        let layers = [directory.path().join("l2/fs"), directory.path().join("l1/fs")];
        for (layer, name) in layers.iter().zip(["new", "old"]) {
            fs::create_dir_all(layer.join("srv/data/sub")).expect("made");
            fs::write(layer.join("srv/data/sub").join(name), name).expect("written");
            fs::write(layer.join("srv/data/both"), name).expect("written");
        }
        // Wherever a link leads, it leads to the image.
        symlink("/srv/data", layers[1].join("linked")).expect("linked");
        symlink("/nowhere", layers[0].join("srv/data/dangling")).expect("linked");
        let mode = fs::Permissions::from_mode(0o1751);
        fs::set_permissions(layers[0].join("srv/data"), mode).expect("set");
        lchown(layers[0].join("srv/data/both"), Some(33), Some(34)).expect("given away");
        let volume = |name: &str| Mounted {
            name: Some(name.to_owned()),
            bind: Bind {
                destination: "/linked".to_owned(),
                source: directory.path().join(name),
                read_only: false,
            },
            fills: true,
        };
        let mounts = || fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        let before = mounts();
        let first = volume("first");
        let used = volume("used");
        fs::create_dir(&used.bind.source).expect("made");
        fs::write(used.bind.source.join("mine"), "").expect("written");
        prepare(&[first.clone(), used.clone()], &layers).expect("prepared");
        let at = |name: &str| first.bind.source.join(name);
        assert_eq!(fs::read_to_string(at("both")).ok().as_deref(), Some("new"));
        assert_eq!(fs::read_to_string(at("sub/old")).ok().as_deref(), Some("old"));
        assert!(at("dangling").symlink_metadata().expect("there").is_symlink());
        let meta = fs::metadata(at("both")).expect("there");
        assert_eq!((meta.uid(), meta.gid()), (33, 34));
        assert_eq!(fs::metadata(at("")).expect("there").mode() & 0o7777, 0o1751);
        assert_eq!(fs::read_dir(&used.bind.source).expect("there").count(), 1, "not empty");
        // One layer alone needs no mount.
        let second = volume("second");
        prepare(std::slice::from_ref(&second), &layers[1..]).expect("prepared");
        assert!(second.bind.source.join("sub/old").exists());
        assert_eq!(mounts(), before, "nothing stays mounted");
    }
}

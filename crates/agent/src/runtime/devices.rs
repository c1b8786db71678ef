//! Devices of the machine that containers see.

use super::Error;
use crate::engine::ContainerSpec;
use nix::sys::stat::{major, minor};
use serde_json::{Value, json};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

/// A device as a container is to have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    path: String,
    block: bool,
    major: u64,
    minor: u64,
    mode: u32,
    uid: u32,
    gid: u32,
    /// Letters out of `rwm`; none if there is a rule for all devices.
    access: Option<String>,
}

/// What each container has of its own under these names, or must not have.
const OWN: [&str; 6] = ["pts", "shm", "fd", "mqueue", "console", "ptmx"];

/// The devices that a container asks for; if it is privileged, all there are.
pub(super) fn find(container: &ContainerSpec) -> Result<Vec<Node>, Error> {
    let mut nodes = Vec::new();
    if container.privileged {
        let all = walk(Path::new("/dev"), "/dev", None, &mut nodes);
        all.map_err(Error::io("read", "/dev"))?;
    }
    for device in &container.devices {
        let host = Path::new(&device.host);
        let refused = |problem| Error::NoDevice { path: device.host.clone(), problem };
        let meta = fs::metadata(host).map_err(|_| refused("no such file or directory"))?;
        if meta.is_dir() {
            let all = walk(host, &device.path, Some(&device.access), &mut nodes);
            all.map_err(Error::io("read", host))?;
        } else {
            let found = node(&meta, &device.path, Some(&device.access));
            nodes.push(found.ok_or_else(|| refused("not a device node"))?);
        }
    }
    Ok(nodes)
}

fn walk(
    dir: &Path,
    inside: &str,
    access: Option<&str>,
    nodes: &mut Vec<Node>,
) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Not through links: what they lead to is found where it is.
        let Ok(meta) = entry.metadata() else { continue };
        let path = format!("{inside}/{name}");
        if dir == Path::new("/dev") && OWN.contains(&name.as_str()) {
            continue;
        }
        if meta.is_dir() {
            walk(&entry.path(), &path, access, nodes)?;
        } else {
            nodes.extend(node(&meta, &path, access));
        }
    }
    Ok(())
}

fn node(meta: &fs::Metadata, path: &str, access: Option<&str>) -> Option<Node> {
    let kind = meta.file_type();
    if !kind.is_char_device() && !kind.is_block_device() {
        return None;
    }
    Some(Node {
        path: path.to_owned(),
        block: kind.is_block_device(),
        major: major(meta.rdev()),
        minor: minor(meta.rdev()),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        access: access.map(str::to_owned),
    })
}

impl Node {
    fn kind(&self) -> &'static str {
        if self.block { "b" } else { "c" }
    }
}

/// The `linux.devices` of a specification.
pub(super) fn listed(nodes: &[Node]) -> Value {
    let list = nodes.iter().map(|node| {
        json!({
            "path": node.path, "type": node.kind(), "major": node.major, "minor": node.minor,
            "fileMode": node.mode, "uid": node.uid, "gid": node.gid,
        })
    });
    Value::Array(list.collect())
}

/// The rules that let a container use them.
pub(super) fn rules(nodes: &[Node]) -> impl Iterator<Item = Value> + '_ {
    nodes.iter().filter_map(|node| {
        let access = node.access.as_ref()?;
        Some(json!({
            "allow": true, "type": node.kind(), "major": node.major, "minor": node.minor,
            "access": access,
        }))
    })
}

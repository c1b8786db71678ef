//! Who the process of a container is.

use super::Error;
use super::image_root::ImageRoot;
use nix::fcntl::OFlag;
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

/// The largest number that Docker takes for a user or a group.
const LARGEST: u32 = 0x7fff_ffff;

/// Who a process is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
    /// Supplementary groups, of which its own is the first.
    pub groups: Vec<u32>,
    /// Home directory, if the image's passwd file names one.
    pub home: Option<String>,
}

/// Files of users and groups that are larger are read up to here, in bytes.
const READ: u64 = 4 << 20;

/// Finds a user in the layers of an image, topmost first.
pub(super) fn find_user(wish: &str, layers: &[PathBuf]) -> Result<User, Error> {
    let read = |path: &str| match read_in_place(layers, path) {
        Some(found) => found,
        None => ImageRoot::show(layers, |root| {
            // Whatever else is there must not keep us waiting.
            read_file(root.open(path, OFlag::O_NONBLOCK)?.into())
        }),
    };
    // An image without them is one whose users are numbers.
    let [passwd, group] = ["etc/passwd", "etc/group"].map(|path| read(path).unwrap_or_default());
    resolve_user(wish, &passwd, &group)
}

/// Reads a file where it lies, in the topmost layer that has it: nothing is mounted for
/// that. `None` if there is a link on the way, which could lead out of the image.
fn read_in_place(layers: &[PathBuf], path: &str) -> Option<io::Result<String>> {
    for layer in layers {
        let path = layer.join(path);
        let directory = path.parent()?.symlink_metadata();
        match (directory, path.symlink_metadata()) {
            (Ok(directory), _) if !directory.is_dir() => return None,
            (Ok(_), Ok(file)) if file.is_file() => {
                return Some(File::open(path).and_then(read_file));
            }
            (Ok(_), Ok(_)) => return None,
            (Err(_), _) | (_, Err(_)) => {}
        }
    }
    Some(Err(io::ErrorKind::NotFound.into()))
}

fn read_file(file: File) -> io::Result<String> {
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut bytes = Vec::new();
    file.take(READ).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn resolve_user(wish: &str, passwd: &str, group: &str) -> Result<User, Error> {
    let (name, wanted_group) = match wish.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (wish, None),
    };
    let name = if name.is_empty() { "0" } else { name };
    // One that is too large is a number, too.
    let given = |text: &str| text.parse::<u64>().ok().map(|n| u32::try_from(n).unwrap_or(u32::MAX));
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.first() == Some(&name) || fields.get(2) == Some(&name));
    let number = |fields: &Vec<&str>, at: usize| fields.get(at).and_then(|n| n.parse::<u32>().ok());
    let by_entry = entry.as_ref().and_then(|fields| number(fields, 2));
    let uid = by_entry.or_else(|| given(name)).ok_or_else(|| {
        Error::NoUser(format!("unable to find user {name}: no matching entries in passwd file"))
    })?;
    let lines = || group.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let gid = match wanted_group {
        Some(wanted) => lines()
            .find(|fields| fields.first() == Some(&wanted))
            .and_then(|fields| number(&fields, 2))
            .or_else(|| given(wanted))
            .ok_or_else(|| {
                Error::NoUser(format!(
                    "unable to find group {wanted}: no matching entries in group file"
                ))
            })?,
        None => entry.as_ref().and_then(|fields| number(fields, 3)).unwrap_or(0),
    };
    // Naming a group means that group and no other.
    let login = entry.as_ref().and_then(|fields| fields.first().copied()).unwrap_or("");
    let member = |fields: &Vec<&str>| {
        let members = fields.get(3).copied().unwrap_or_default();
        !login.is_empty() && members.split(',').any(|member| member == login)
    };
    let others: Vec<u32> = if wanted_group.is_some() {
        Vec::new()
    } else {
        lines().filter(member).filter_map(|fields| number(&fields, 2)).collect()
    };
    if [uid, gid].into_iter().chain(others.iter().copied()).any(|id| id > LARGEST) {
        return Err(Error::NoUser(format!("uids and gids must be in range 0-{LARGEST}")));
    }
    // Its own group is among them: a set-group-id program must not lose what files grant
    // to that group, nor win what they deny it.
    let groups = std::iter::once(gid).chain(others.into_iter().filter(|id| *id != gid)).collect();
    let home = entry.and_then(|fields| fields.get(5).map(ToString::to_string));
    Ok(User { uid, gid, groups, home: home.filter(|home| !home.is_empty()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:Web:/srv:/bin/false\n";
    const GROUP: &str = "root:x:0:\nweb:x:34:\nlogs:x:40:web,root\n";

    #[test]
    fn what_a_layer_removed_is_not_read() {
        use nix::sys::stat::{Mode, SFlag, mknod};
        let directory = tempfile::tempdir().expect("a directory");
        let layers = ["upper", "lower"].map(|name| directory.path().join(name));
        for layer in &layers {
            std::fs::create_dir_all(layer.join("etc")).expect("made");
        }
        std::fs::write(layers[1].join("etc/passwd"), PASSWD).expect("written");
        assert_eq!(find_user("web", &layers).ok().map(|user| user.uid), Some(33));
        // So overlayfs has it.
        let gone = layers[0].join("etc/passwd");
        mknod(&gone, SFlag::S_IFCHR, Mode::empty(), 0).expect("these tests are root's");
        assert!(find_user("web", &layers).is_err());
    }

    #[test]
    fn links_lead_to_files_of_the_image_and_to_no_others() {
        use std::os::unix::fs::symlink;
        let directory = tempfile::tempdir().expect("a directory");
        let layers = ["upper", "lower"].map(|name| directory.path().join(name));
        for layer in &layers {
            std::fs::create_dir_all(layer.join("nix/etc")).expect("made");
        }
        std::fs::write(layers[1].join("nix/etc/passwd"), PASSWD).expect("written");
        std::fs::write(layers[1].join("nix/etc/group"), GROUP).expect("written");
        let groups = |layers: &[PathBuf]| find_user("web", layers).ok().map(|user| user.groups);
        assert_eq!(groups(&layers), None);
        // The directory is a link, as on a system that has all of it elsewhere.
        symlink("/nix/etc", layers[0].join("etc")).expect("linked");
        assert_eq!(groups(&layers), Some(vec![34, 40]));
        // The file is one, of an image with a single layer.
        std::fs::create_dir(layers[1].join("etc")).expect("made");
        symlink("../../../nix/etc/passwd", layers[1].join("etc/passwd")).expect("linked");
        assert_eq!(groups(&layers[1..]), Some(vec![34]));
        // This machine has users, too.
        std::fs::remove_file(layers[1].join("etc/passwd")).expect("removed");
        symlink("/etc/passwd-", layers[1].join("etc/passwd")).expect("linked");
        std::fs::write(directory.path().join("outside"), PASSWD).expect("written");
        assert_eq!(groups(&layers[1..]), None);
        std::fs::remove_file(layers[1].join("etc/passwd")).expect("removed");
        symlink("../../outside", layers[1].join("etc/passwd")).expect("linked");
        assert_eq!(groups(&layers[1..]), None);
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        use nix::sys::stat::Mode;
        let layer = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(layer.path().join("etc")).expect("made");
        nix::unistd::mkfifo(&layer.path().join("etc/passwd"), Mode::S_IRWXU).expect("made");
        assert!(find_user("web", &[layer.path().to_owned()]).is_err());
    }

    #[test]
    fn users_are_found_as_docker_finds_them() {
        let found = |wish| resolve_user(wish, PASSWD, GROUP).map(|u| (u.uid, u.gid, u.groups));
        assert_eq!(found("").ok(), Some((0, 0, vec![0, 40])));
        assert_eq!(found("web").ok(), Some((33, 34, vec![34, 40])));
        assert_eq!(found("33").ok(), Some((33, 34, vec![34, 40])));
        assert_eq!(found("web:logs").ok(), Some((33, 40, vec![40])));
        assert_eq!(found("1000").ok(), Some((1000, 0, vec![0])));
        assert_eq!(found("1000:1001").ok(), Some((1000, 1001, vec![1001])));
        for wish in ["2147483648", "99999999999", "web:4294967295"] {
            let refused = found(wish).expect_err("too large").message();
            assert_eq!(refused, "uids and gids must be in range 0-2147483647", "{wish}");
        }
        assert!(found("nobody").is_err());
        assert!(found("web:nogroup").is_err());
    }
}

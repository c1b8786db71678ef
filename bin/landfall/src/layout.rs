//! Where an installation's things lie on the machine.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The installation that a machine has if nobody says otherwise.
const DEFAULT_DATA_DIR: &str = "/var/lib/landfall";

/// The paths of one installation, and the prefix of everything it names on the
/// machine, so that two installations never touch each other's things.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// What must survive a reboot.
    pub(crate) data: PathBuf,
    /// What need not: sockets and the process id.
    pub(crate) run: PathBuf,
    /// What names of namespaces, cgroups and the like begin with.
    pub(crate) prefix: String,
}

/// How to reach a running Landfall as its root user: what `landfall env` prints.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Access {
    /// Where the APIs are served.
    pub(crate) listen: SocketAddr,
    /// The region of the machine.
    pub(crate) region: String,
    /// The root user's access key id.
    pub(crate) key_id: String,
    /// Its secret.
    pub(crate) secret: String,
}

impl Layout {
    /// The layout of the installation in `data_dir`.
    pub(crate) fn new(data_dir: &Path) -> io::Result<Self> {
        let data = std::path::absolute(data_dir)?;
        let name = if data == Path::new(DEFAULT_DATA_DIR) {
            "landfall".to_owned()
        } else {
            format!("lf{:04x}", fingerprint(&data))
        };
        Ok(Self { data, run: Path::new("/run").join(&name), prefix: name })
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.data.join("state.db")
    }

    pub(crate) fn access(&self) -> PathBuf {
        self.data.join("access.json")
    }

    pub(crate) fn machine(&self) -> PathBuf {
        self.data.join("machine.json")
    }

    /// The key of instance identity documents.
    pub(crate) fn identity(&self) -> PathBuf {
        self.data.join("identity.key")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.data.join("landfall.log")
    }

    pub(crate) fn agent(&self) -> PathBuf {
        self.data.join("agent")
    }

    pub(crate) fn card(&self) -> PathBuf {
        self.data.join("card")
    }

    /// What the card's namespaces begin with: not what the agent's do, as each
    /// removes what bears its own prefix and it does not know.
    pub(crate) fn card_prefix(&self) -> String {
        format!("{}vpc", self.prefix)
    }

    pub(crate) fn pid(&self) -> PathBuf {
        self.run.join("landfall.pid")
    }

    /// Makes the directories, readable by root alone: secrets lie in them.
    pub(crate) fn create(&self) -> io::Result<()> {
        for path in [&self.data, &self.run, &self.agent(), &self.card()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        }
        Ok(())
    }
}

/// Reads a JSON document; `None` if there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Replaces a JSON document, for root's eyes only, so that a crash leaves either
/// the old or the new one.
pub(crate) fn write_json<T: Serialize>(path: &Path, value: &T) -> io::Result<()> {
    let aside = path.with_extension("new");
    let mut file =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&serde_json::to_vec_pretty(value)?)?;
    file.sync_all()?;
    fs::rename(&aside, path)
}

/// Sixteen bits of a path (FNV-1a, folded): enough to keep the few installations
/// of one machine apart, short enough for a link's name.
fn fingerprint(path: &Path) -> u16 {
    let hash =
        path.as_os_str().as_encoded_bytes().iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        });
    let [a, b, c, d] = hash.to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installations_do_not_share_names() {
        let of = |path: &str| Layout::new(Path::new(path)).expect("absolute");
        assert_eq!(of("/var/lib/landfall").prefix, "landfall");
        assert_ne!(of("/tmp/a").prefix, of("/tmp/b").prefix);
        assert_ne!(of("/tmp/a").run, of("/tmp/b").run);
    }

    #[test]
    fn documents_are_for_root_alone() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("x.json");
        assert_eq!(read_json::<u32>(&path).expect("absent is fine"), None);
        write_json(&path, &7).expect("written");
        write_json(&path, &8).expect("replaced");
        assert_eq!(read_json::<u32>(&path).expect("read"), Some(8));
        let mode = fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

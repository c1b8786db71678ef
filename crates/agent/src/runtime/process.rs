//! A containerd of our own, for machines that bring none.
//!
//! It is started once and outlives us: its containers must not notice when the
//! agent is upgraded. The next agent finds it by its pid file and socket, and
//! only [`stop`] ends it.

use super::Error;
use super::connection::Connection;
use containerd_client::services::v1 as api;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// How long containerd may take to answer after its start, or to end.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where our own containerd keeps its things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Images and file systems: survives a reboot.
    pub data: PathBuf,
    /// Sockets and running state: does not. Must be short, because a socket's
    /// path has room for 108 bytes.
    pub run: PathBuf,
}

impl Paths {
    /// The socket of the API.
    pub fn socket(&self) -> PathBuf {
        self.run.join("containerd.sock")
    }

    fn pid_file(&self) -> PathBuf {
        self.run.join("containerd.pid")
    }

    fn state(&self) -> PathBuf {
        self.run.join("state")
    }

    fn config(&self) -> PathBuf {
        self.data.join("config.toml")
    }

    /// What containerd writes about itself.
    pub fn log(&self) -> PathBuf {
        self.data.join("containerd.log")
    }
}

/// Finds our containerd, or starts it, and connects.
pub async fn start(paths: &Paths, namespace: &str) -> Result<Connection, Error> {
    if paths.socket().as_os_str().len() > 90 {
        return Err(Error::NoStart(format!(
            "the path {} is too long for a socket",
            paths.socket().display()
        )));
    }
    let starter = paths.clone();
    let launched = tokio::task::spawn_blocking(move || launch_once(&starter)).await;
    launched.map_err(|error| Error::NoStart(error.to_string()))??;
    let socket = paths.socket();
    let ready = async {
        loop {
            if running(paths).is_none() {
                return Err(Error::NoStart(tail(&paths.log())));
            }
            if let Ok(connection) = Connection::open(&socket, namespace).await {
                let version = connection.version().version(connection.request(())).await;
                if version.is_ok() {
                    return Ok(connection);
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ready)
        .await
        .map_err(|_| Error::NoStart(format!("no answer on {}", socket.display())))?
}

/// The process that the pid file names, if it is our containerd.
pub fn running(paths: &Paths) -> Option<Pid> {
    let pid: i32 = fs::read_to_string(paths.pid_file()).ok()?.trim().parse().ok()?;
    // The number may have passed to another process since.
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let config = paths.config();
    let ours =
        command.split(|byte| *byte == 0).any(|word| word == config.as_os_str().as_encoded_bytes());
    (ours || command.is_empty() && is_beginning(pid)).then(|| Pid::from_raw(pid))
}

/// Whether a process without a command line is a child of ours that is about to
/// have one: the kernel lets us go on when its old memory is gone, which is before
/// its new memory is filled.
fn is_beginning(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name before may hold anything, parentheses too.
    let mut fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
    let (state, parent) = (fields.next(), fields.next());
    state != Some("Z") && parent.and_then(|pid| pid.parse().ok()) == Some(std::process::id())
}

/// Starts it unless it runs; an agent and a command that loads an image may both
/// want it at the same moment.
fn launch_once(paths: &Paths) -> Result<(), Error> {
    for dir in [&paths.data, &paths.run] {
        fs::create_dir_all(dir).map_err(Error::io("make", dir))?;
    }
    let path = paths.data.join("start.lock");
    let file = fs::File::create(&path).map_err(Error::io("write", &path))?;
    let locked = Flock::lock(file, FlockArg::LockExclusive);
    let _lock = locked.map_err(|(_, errno)| Error::io("lock", &path)(errno.into()))?;
    if running(paths).is_none() { launch(paths) } else { Ok(()) }
}

fn launch(paths: &Paths) -> Result<(), Error> {
    let config = configuration(paths);
    fs::write(paths.config(), config).map_err(Error::io("write", paths.config()))?;
    if let Err(error) = remove_half_made(&paths.state().join("io.containerd.runtime.v2.task")) {
        tracing::warn!(%error, "what was half made stays");
    }
    // Shims that outlive it write there too: each at the end, not over the others.
    let open = || {
        let log = fs::OpenOptions::new().create(true).append(true).open(paths.log())?;
        log.set_len(0).map(|()| log)
    };
    let log = open().map_err(Error::io("write", paths.log()))?;
    let errors = log.try_clone().map_err(Error::io("write", paths.log()))?;
    let mut child = Command::new("containerd")
        .arg("--config")
        .arg(paths.config())
        // runc is often where only root looks.
        .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
        // A notification meant for us must not be answered by it.
        .env_remove("NOTIFY_SOCKET")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(errors)
        // Its own group: a Ctrl-C at our terminal is not for it.
        .process_group(0)
        .spawn()
        .map_err(|error| Error::NoStart(format!("containerd cannot be run: {error}")))?;
    let pid = child.id().to_string();
    // While we live, it is our child, and somebody must take note of its end.
    std::thread::spawn(move || drop(child.wait()));
    fs::write(paths.pid_file(), pid).map_err(Error::io("write", paths.pid_file()))
}

/// Removes the directories of containers whose shim had not said yet where it
/// listens when containerd died. The next containerd would take them for those of a
/// dead shim, fail to ask runc about what runc never heard of, and then find each
/// in its way when the container is made anew. Nothing runs in such a directory
/// and nothing is mounted there.
fn remove_half_made(namespaces: &Path) -> io::Result<()> {
    let found = match fs::read_dir(namespaces) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?,
    };
    for namespace in found {
        for bundle in fs::read_dir(namespace?.path())? {
            let bundle = bundle?.path();
            // The second is its name from containerd 2 on.
            let said = ["address", "bootstrap.json"].map(|name| bundle.join(name).exists());
            if said == [false, false] {
                fs::remove_dir_all(&bundle)?;
            }
        }
    }
    Ok(())
}

fn configuration(paths: &Paths) -> String {
    let quoted = |path: PathBuf| format!("{:?}", path.to_string_lossy());
    let root = quoted(paths.data.join("root"));
    let state = quoted(paths.state());
    let socket = quoted(paths.socket());
    let ttrpc = quoted(paths.run.join("containerd.sock.ttrpc"));
    let opt = quoted(paths.data.join("opt"));
    format!(
        "version = 2
root = {root}
state = {state}
disabled_plugins = [
  \"io.containerd.grpc.v1.cri\",
  \"io.containerd.snapshotter.v1.aufs\",
  \"io.containerd.snapshotter.v1.blockfile\",
  \"io.containerd.snapshotter.v1.btrfs\",
  \"io.containerd.snapshotter.v1.devmapper\",
  \"io.containerd.snapshotter.v1.native\",
  \"io.containerd.snapshotter.v1.zfs\",
  \"io.containerd.tracing.processor.v1.otlp\",
  \"io.containerd.internal.v1.tracing\",
  \"io.containerd.nri.v1.nri\",
]

[grpc]
  address = {socket}

[ttrpc]
  address = {ttrpc}

[plugins.\"io.containerd.internal.v1.opt\"]
  path = {opt}
"
    )
}

/// Ends our containerd, if it runs, and waits until it is gone.
pub async fn stop(paths: &Paths) -> Result<(), Error> {
    for (signal, patience) in [(Signal::SIGTERM, PATIENCE), (Signal::SIGKILL, PATIENCE)] {
        let Some(pid) = running(paths) else { break };
        match kill(pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => return Err(Error::io("end", paths.pid_file())(errno.into())),
        }
        let gone = async {
            while running(paths).is_some() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(patience, gone).await.is_ok() {
            break;
        }
    }
    Ok(())
}

/// Removes our namespace, which must be empty, from a containerd that stays.
pub async fn leave(connection: &Connection, namespace: &str) {
    let message = api::DeleteNamespaceRequest { name: namespace.to_owned() };
    if let Err(status) = connection.namespaces().delete(connection.request(message)).await {
        tracing::debug!(namespace, error = status.message(), "namespace not removed");
    }
}

/// The end of a log, for an error that would otherwise explain nothing.
fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" / ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_containers_whose_shim_never_spoke_are_removed() {
        let directory = tempfile::tempdir().expect("a directory");
        let namespaces = directory.path().join("tasks");
        remove_half_made(&namespaces).expect("nothing is no error");
        for (name, file) in [("old-0", "address"), ("new-0", "bootstrap.json"), ("half-0", "log")] {
            let bundle = namespaces.join("lf").join(name);
            fs::create_dir_all(bundle.join("rootfs")).expect("made");
            fs::write(bundle.join(file), "").expect("written");
        }
        remove_half_made(&namespaces).expect("removed");
        let left = fs::read_dir(namespaces.join("lf")).expect("read");
        let mut left: Vec<_> = left.map(|entry| entry.expect("read").file_name()).collect();
        left.sort();
        assert_eq!(left, ["new-0", "old-0"]);
    }
}

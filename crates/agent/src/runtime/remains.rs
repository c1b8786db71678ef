//! What containerd leaves behind of containers that it gave up.
//!
//! Where the making or the start of a container is given up (because it failed, because
//! its caller has gone, because containerd has its own limits), containerd asks the shim
//! to clear away, and forgets both after some seconds. A shim that still waits for its
//! runc then answers nobody, and goes on for ever: with a container, if runc comes
//! through after all. So runcs that make what is to be removed are ended, upon which
//! their shim goes on; and a shim that outlives its task is, with all that it holds.

use super::Error;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// For a shim whose last container is gone, to be gone too.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between looks whether it is.
const LOOK: Duration = Duration::from_millis(10);

/// A process of the machine's own, by what it was called with.
struct Process {
    pid: Pid,
    words: Vec<String>,
}

/// Ends the runcs that make or start a container, if there are any: `root` is where
/// ours keep their state.
pub(super) fn end_makers(root: &Path, runtime_id: &str) {
    let root = root.to_string_lossy();
    for process in processes() {
        let makes = |word: &String| word == "create" || word == "start";
        let ours = process.words.iter().any(|word| word.starts_with(&*root));
        let its = process.words.last().is_some_and(|word| word == runtime_id);
        if ours && its && process.words.iter().any(makes) {
            tracing::warn!(container = runtime_id, pid = %process.pid, "ending its runc");
            _ = kill(process.pid, Signal::SIGKILL);
        }
    }
}

/// Ends what there still is of the shims of a task, none of whose containers is known any
/// more: them, and what containerd would have had cleared away, had it not given up.
pub(super) async fn end_shims(namespace: &str, task_id: &str) -> Result<(), Error> {
    let limit = tokio::time::Instant::now() + PATIENCE;
    let shims = loop {
        let (own, of) = (namespace.to_owned(), task_id.to_owned());
        let found = tokio::task::spawn_blocking(move || shims(&own, &of)).await;
        let found = found.unwrap_or_default();
        if found.is_empty() || tokio::time::Instant::now() >= limit {
            break found;
        }
        tokio::time::sleep(LOOK).await;
    };
    for shim in shims {
        tracing::warn!(task = task_id, pid = %shim.process.pid, "ending a shim that is left");
        let (own, of) = (namespace.to_owned(), task_id.to_owned());
        let ended = tokio::task::spawn_blocking(move || shim.end(&own, &of)).await;
        ended.map_err(|error| Error::Spec(error.to_string()))??;
    }
    Ok(())
}

struct Shim {
    process: Process,
    /// The directory with those of all containers, if it is in one of them.
    bundles: Option<PathBuf>,
}

impl Shim {
    /// Kills it, and has another of its kind clear away what it held.
    fn end(&self, namespace: &str, task_id: &str) -> Result<(), Error> {
        _ = kill(self.process.pid, Signal::SIGKILL);
        let Some(bundles) = &self.bundles else { return Ok(()) };
        let (Some(program), Some(address)) =
            (self.process.words.first(), self.process.after("-address"))
        else {
            return Ok(());
        };
        let entries = fs::read_dir(bundles).map_err(Error::io("read", bundles))?;
        for bundle in entries.flatten().map(|entry| entry.path()) {
            let name = bundle.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !is_of(&name, task_id) {
                continue;
            }
            let mut command = Command::new(program);
            let named = ["-namespace", namespace, "-address", address, "-id", &name, "-bundle"];
            let told = command.args(named).arg(&bundle).arg("delete").current_dir(&bundle);
            let done = told.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            done.status().map_err(Error::io("run", program))?;
            // What it unmounted is no longer in there.
            crate::error::unless_missing(fs::remove_dir_all(&bundle))
                .map_err(Error::io("remove", &bundle))?;
        }
        Ok(())
    }
}

/// The shims of a task.
fn shims(namespace: &str, task_id: &str) -> Vec<Shim> {
    let of_task = |process: &Process| {
        let program = process.words.first().and_then(|word| word.rsplit('/').next());
        program.is_some_and(|name| name.starts_with("containerd-shim-"))
            && process.after("-namespace") == Some(namespace)
            && process.after("-id").is_some_and(|id| is_of(id, task_id))
            // One that is being started, or clears away, is somebody's.
            && !process.words.iter().any(|word| word == "start" || word == "delete")
    };
    let with_bundles = |process: Process| {
        let bundle = fs::read_link(format!("/proc/{}/cwd", process.pid)).ok();
        let bundles = bundle.and_then(|path| path.parent().map(Path::to_path_buf));
        let bundles = bundles.filter(|path| path.ends_with(namespace));
        Shim { process, bundles }
    };
    processes().into_iter().filter(of_task).map(with_bundles).collect()
}

fn is_of(runtime_id: &str, task_id: &str) -> bool {
    runtime_id.rsplit_once('-').is_some_and(|(task, _)| task == task_id)
}

impl Process {
    /// The word after this one.
    fn after(&self, word: &str) -> Option<&str> {
        let at = self.words.iter().position(|it| it == word)?;
        self.words.get(at + 1).map(String::as_str)
    }
}

/// The processes that see the files that we see: none of a container does, whatever it
/// calls itself.
fn processes() -> Vec<Process> {
    let own = fs::read_link("/proc/self/ns/mnt").ok();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let read = |entry: fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        let command = fs::read(entry.path().join("cmdline")).ok()?;
        let words = command.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        let words: Vec<_> = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
        let named = words.iter().any(|word| word.contains("runc"));
        let at_home = || fs::read_link(entry.path().join("ns/mnt")).ok() == own;
        (named && at_home()).then(|| Process { pid: Pid::from_raw(pid), words })
    };
    entries.filter_map(read).collect()
}

//! Programs that are run inside a container that runs already.

use super::Error;
use super::connection::Connection;
use crate::engine::Checkup;
use containerd_client::services::v1 as api;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use serde_json::{Value, json};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

/// How long a program that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// How much of what a program writes is kept, in bytes; as Docker does.
const KEPT: usize = 4096;

/// Runs a program as the container's own process is run, and waits for its end. What it
/// writes comes through a pipe in the directory `pipes`.
///
/// One that took longer than `limit` was killed, and one that cannot be run has Docker's
/// exit code for that.
pub(super) async fn run(
    connection: &Connection,
    pipes: &Path,
    runtime_id: &str,
    command: &[String],
    limit: Duration,
) -> Result<Checkup, Error> {
    let process = process(connection, runtime_id, command).await?;
    let id = unique();
    let mut pipe = Pipe::open(pipes, &id).map_err(Error::io("make a pipe in", pipes))?;
    let exec = Exec { connection, runtime_id, id };
    let whole = async {
        exec.make(process, &pipe.path).await?;
        let code = exec.through(limit).await;
        // Whatever came of it, nothing of it stays. When that is done, all that it wrote
        // is in the pipe.
        exec.remove().await;
        code
    };
    let (code, output) = read_beside(&mut pipe.end, whole).await;
    if let Some(code) = code? {
        return Ok(Checkup { exit_code: i32::try_from(code).unwrap_or(255), output });
    }
    let late = format!("Health check exceeded timeout ({limit:?})");
    let output = if output.is_empty() { late } else { format!("{late}: {output}") };
    Ok(Checkup { exit_code: -1, output })
}

/// A named pipe that nobody waits at: who writes finds us, and we go on if nobody does.
struct Pipe {
    path: PathBuf,
    end: pipe::Receiver,
}

impl Pipe {
    fn open(directory: &Path, name: &str) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let path = directory.join(name);
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // We hold the other end as well, so that it does not end before it has begun.
        let end = pipe::OpenOptions::new().read_write(true).open_receiver(&path);
        let end = end.inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(Self { path, end })
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        drop(fs::remove_file(&self.path));
    }
}

/// What comes of `work`, and the beginning of what is written meanwhile. The rest is read,
/// too: nobody shall wait until there is room.
async fn read_beside<T>(end: &mut pipe::Receiver, work: impl Future<Output = T>) -> (T, String) {
    let (mut kept, mut is_cut) = (Vec::new(), false);
    let mut take = |bytes: &[u8]| {
        let room = KEPT - kept.len();
        is_cut |= bytes.len() > room;
        kept.extend(bytes.iter().take(room));
    };
    let mut work = pin!(work);
    let mut buffer = [0; KEPT];
    let done = loop {
        tokio::select! {
            biased;
            done = &mut work => break done,
            read = end.read(&mut buffer) => match read {
                Ok(length) => take(buffer.get(..length).unwrap_or_default()),
                Err(_) => break work.await,
            },
        }
    };
    while let Ok(length @ 1..) = end.try_read(&mut buffer) {
        take(buffer.get(..length).unwrap_or_default());
    }
    let mut output = String::from_utf8_lossy(&kept).into_owned();
    if is_cut {
        output.push_str("...");
    }
    (done, output)
}

struct Exec<'a> {
    connection: &'a Connection,
    runtime_id: &'a str,
    id: String,
}

impl Exec<'_> {
    async fn make(&self, process: Vec<u8>, output: &Path) -> Result<(), Error> {
        let output = output.to_string_lossy().into_owned();
        let message = api::ExecProcessRequest {
            container_id: self.runtime_id.to_owned(),
            exec_id: self.id.clone(),
            spec: Some(prost_types::Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
                value: process,
            }),
            stdout: output.clone(),
            stderr: output,
            ..api::ExecProcessRequest::default()
        };
        let made = self.connection.tasks().exec(self.connection.request(message)).await;
        made.map(drop).map_err(Error::rpc("take a program"))
    }

    async fn through(&self, limit: Duration) -> Result<Option<u32>, Error> {
        // From the start on: a container may be so starved that even this takes long.
        let end = tokio::time::Instant::now() + limit;
        let message = api::StartRequest {
            container_id: self.runtime_id.to_owned(),
            exec_id: self.id.clone(),
        };
        let mut tasks = self.connection.tasks();
        let started = tasks.start(self.connection.request(message));
        match tokio::time::timeout_at(end, started).await {
            Err(_) => return Ok(None),
            Ok(Ok(_)) => {}
            Ok(Err(status)) if super::is_lost(&status) => {
                return Err(Error::rpc("run a program")(status));
            }
            Ok(Err(status)) => {
                tracing::debug!(container = self.runtime_id, error = status.message(), "not run");
                return Ok(Some(126));
            }
        }
        match tokio::time::timeout_at(end, self.ended()).await {
            Ok(code) => code.map(Some),
            Err(_) => Ok(None),
        }
    }

    async fn ended(&self) -> Result<u32, Error> {
        let message =
            api::WaitRequest { container_id: self.runtime_id.to_owned(), exec_id: self.id.clone() };
        let answer = self.connection.tasks().wait(self.connection.request(message)).await;
        Ok(answer.map_err(Error::rpc("wait for a program"))?.into_inner().exit_status)
    }

    async fn remove(&self) {
        let (container_id, exec_id) = (self.runtime_id.to_owned(), self.id.clone());
        let message = api::DeleteProcessRequest { container_id, exec_id };
        let gone = || {
            let message = self.connection.request(message.clone());
            async move { self.connection.tasks().delete_process(message).await }
        };
        if gone().await.is_ok() {
            return;
        }
        let (container_id, exec_id) = (self.runtime_id.to_owned(), self.id.clone());
        let kill = api::KillRequest { container_id, exec_id, signal: 9, all: false };
        drop(self.connection.tasks().kill(self.connection.request(kill)).await);
        drop(tokio::time::timeout(PATIENCE, self.ended()).await);
        if let Err(status) = gone().await {
            // It goes with its container at the latest.
            tracing::debug!(container = self.runtime_id, error = status.message(), "not removed");
        }
    }
}

/// The process of the container itself, but for what it runs.
async fn process(
    connection: &Connection,
    runtime_id: &str,
    command: &[String],
) -> Result<Vec<u8>, Error> {
    let message = api::GetContainerRequest { id: runtime_id.to_owned() };
    let answer = connection.containers().get(connection.request(message)).await;
    let record = answer.map_err(Error::rpc("find a container"))?.into_inner().container;
    let spec = record.and_then(|record| record.spec).map(|spec| spec.value).unwrap_or_default();
    let malformed = |error: serde_json::Error| Error::Spec(error.to_string());
    let mut spec: Value = serde_json::from_slice(&spec).map_err(malformed)?;
    let mut process = spec.get_mut("process").map(Value::take).unwrap_or_default();
    process["args"] = json!(command);
    process["terminal"] = json!(false);
    serde_json::to_vec(&process).map_err(malformed)
}

/// A name that no other program in the container has, not even one that an agent
/// before us left there.
fn unique() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("x{:x}-{}-{count}", crate::clock::now().0, std::process::id())
}

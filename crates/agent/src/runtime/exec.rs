//! Programs that are run inside a container that runs already.

use super::Error;
use super::connection::Connection;
use containerd_client::services::v1 as api;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a program that was killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs a program as the container's own process is run, and waits for its end.
///
/// Answers its exit code, or nothing if it took longer than `limit` and was killed. A
/// program that cannot be run has Docker's exit code for that.
pub(super) async fn run(
    connection: &Connection,
    runtime_id: &str,
    command: &[String],
    limit: Duration,
) -> Result<Option<u32>, Error> {
    let process = process(connection, runtime_id, command).await?;
    let exec = Exec { connection, runtime_id, id: unique() };
    exec.make(process).await?;
    let code = exec.through(limit).await;
    // Whatever came of it, nothing of it stays.
    exec.remove().await;
    code
}

/// Where the output of programs goes.
const NOWHERE: &str = "file:///dev/null";

struct Exec<'a> {
    connection: &'a Connection,
    runtime_id: &'a str,
    id: String,
}

impl Exec<'_> {
    async fn make(&self, process: Vec<u8>) -> Result<(), Error> {
        let message = api::ExecProcessRequest {
            container_id: self.runtime_id.to_owned(),
            exec_id: self.id.clone(),
            spec: Some(prost_types::Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Process".to_owned(),
                value: process,
            }),
            // Without any, what is written comes back as an error.
            stdout: NOWHERE.to_owned(),
            stderr: NOWHERE.to_owned(),
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

//! What a task can ask of its agent: what it is, what it uses, and its
//! credentials, at `http://169.254.170.2`.
//!
//! Each task's namespace has that address on its own loopback, and a listener of
//! its own there: a *door*. Who comes through it is of that task, so nothing is
//! told apart by source address, no rule rewrites a packet, and no path leads to
//! another task. A door opens before the first container starts and closes before
//! the namespace goes.
//!
//! - [`routes`] says which path is what; [`metadata`] and [`stats`] write the
//!   documents, in the forms of the official agent;
//! - [`limit`] keeps a task that asks without pause from being a burden.

mod limit;
mod metadata;
mod routes;
mod stats;

use crate::credentials::Credentials;
use crate::engine::{Attachment, Failure, Network, NetworkPhase, Task, TaskArn, TaskSpec};
use crate::error::chain;
use crate::netns::{self, Namespaces, Networks, TASK_ENDPOINT};
use crate::rim::Rim;
use crate::runtime::Containers;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use limit::Limit;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections to one door at once; more wait.
const CONNECTIONS: usize = 32;
/// For the head of a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// The namespaces of tasks, each with its door.
pub(crate) struct Doors {
    namespaces: Arc<Namespaces>,
    inside: Arc<Inside>,
    /// By the short ids of the tasks. What is dropped closes.
    open: Mutex<BTreeMap<String, JoinSet<()>>>,
}

/// What is behind the doors.
pub(crate) struct Inside {
    containers: Arc<dyn Containers>,
    credentials: Arc<Credentials>,
    /// There once the engine is, which needs the doors to begin.
    rim: OnceLock<Rim>,
}

impl Doors {
    pub(crate) fn new(
        namespaces: Arc<Namespaces>,
        containers: Arc<dyn Containers>,
        credentials: Arc<Credentials>,
    ) -> Self {
        let inside = Arc::new(Inside { containers, credentials, rim: OnceLock::new() });
        Self { namespaces, inside, open: Mutex::default() }
    }

    /// Says where tasks are known, and opens the doors of those that an agent before
    /// us has started.
    pub(crate) async fn lead_to(&self, rim: Rim) {
        let tasks = rim.state().await.tasks;
        // There is one engine in an agent's life.
        _ = self.inside.rim.set(rim);
        let started = |task: &&Task| task.network == NetworkPhase::Ready;
        for task in tasks.values().filter(started).filter(|task| has_door(&task.spec)) {
            if let Err(error) = self.open(&task.spec).await {
                let task = &task.spec.arn;
                tracing::error!(%task, error = chain(&error), "the task cannot ask us anything");
            }
        }
    }

    async fn open(&self, task: &TaskSpec) -> Result<(), netns::Error> {
        let mut open = self.open.lock().await;
        let short_id = task.arn.short_id();
        if open.contains_key(&short_id) {
            return Ok(());
        }
        let mut doors = JoinSet::new();
        for room in self.namespaces.rooms(task) {
            let listener = self.namespaces.open_door(&room).await?;
            doors.spawn(serve(listener, self.inside.clone(), task.arn.clone()));
        }
        open.insert(short_id, doors);
        Ok(())
    }
}

#[async_trait]
impl Networks for Doors {
    fn attach(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure> {
        self.namespaces.attach(task)
    }

    async fn prepare(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure> {
        let places = self.namespaces.prepare(task).await?;
        if has_door(task) {
            self.open(task).await.map_err(|error| error.failure())?;
        }
        Ok(places)
    }

    async fn remove(&self, short_id: &str) -> Result<(), netns::Error> {
        let doors = self.open.lock().await.remove(short_id);
        if let Some(mut doors) = doors {
            // A socket would keep the namespace.
            doors.shutdown().await;
        }
        self.namespaces.remove(short_id).await
    }

    fn list(&self) -> Result<BTreeSet<String>, netns::Error> {
        self.namespaces.list()
    }

    fn path(&self, task: &TaskSpec, index: usize) -> Option<PathBuf> {
        self.namespaces.path(task, index)
    }
}

impl Inside {
    /// What the engine knows of a task.
    async fn task(&self, arn: &TaskArn) -> Option<Task> {
        self.rim.get()?.task(arn.clone()).await
    }
}

/// Whether a task has a namespace of its own to have a door in.
fn has_door(task: &TaskSpec) -> bool {
    match task.network {
        Network::Awsvpc(_) | Network::Isolated | Network::Bridge => true,
        Network::Host => false,
    }
}

/// Answers whoever comes through the door of a task.
async fn serve(listener: TcpListener, inside: Arc<Inside>, task: TaskArn) {
    let limit = Arc::new(Limit::new(Instant::now()));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of files, perhaps: others are being closed meanwhile.
                tracing::warn!(%task, %error, "nobody can come in");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (inside, task, limit) = (inside.clone(), task.clone(), limit.clone());
        connections.spawn(async move {
            let service = service_fn(|request: http::Request<hyper::body::Incoming>| {
                let (inside, task, limit) = (inside.clone(), task.clone(), limit.clone());
                async move {
                    let answer = if limit.admits(Instant::now()) {
                        routes::answer(&inside, &task, request.method(), request.uri()).await
                    } else {
                        routes::too_many()
                    };
                    Ok::<_, Infallible>(answer.map(|body| Full::new(Bytes::from(body))))
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%task, %error, "a connection ended");
            }
        });
    }
}

/// The variables by which a container of a task finds what is here, as the SDKs
/// and the official agent name them.
pub(crate) fn environment(spec: &TaskSpec, runtime_id: &str) -> BTreeMap<String, String> {
    if !has_door(spec) {
        return BTreeMap::new();
    }
    let at = |version: &str| format!("http://{TASK_ENDPOINT}/{version}/{runtime_id}");
    let mut all = BTreeMap::from([
        ("ECS_CONTAINER_METADATA_URI".to_owned(), at("v3")),
        ("ECS_CONTAINER_METADATA_URI_V4".to_owned(), at("v4")),
    ]);
    if let Some(id) = &spec.credentials_id {
        let path = format!("/v2/credentials/{id}");
        all.insert("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI".to_owned(), path);
    }
    all
}

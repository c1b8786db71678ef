//! What a task can ask of its agent: what it is, what it uses, and its
//! credentials, at `http://169.254.170.2`.
//!
//! Each task's namespace has that address on its own loopback, and a listener of
//! its own there: a *door*. Who comes through it is of that task, so nothing is
//! told apart by source address, no rule rewrites a packet, and no path leads to
//! another task. A door opens before the first container starts and closes before
//! the namespace goes.
//!
//! Tasks in the machine's network share one door there, with everybody on the machine:
//! there a task is whom the path names, and only who knows an unguessable id can name
//! one, as with the official agent.
//!
//! - [`routes`] says which path is what; [`metadata`] and [`stats`] write the
//!   documents, in the forms of the official agent;
//! - [`tags`] and [`protection`] ask the control plane in a task's stead;
//! - [`introspection`] tells the machine's operator, not a task, what runs here;
//! - [`limit`] keeps a task that asks without pause from being a burden.

mod answer;
mod introspection;
mod limit;
mod metadata;
mod protection;
mod routes;
mod stats;
mod tags;

use crate::api::{Api, Identity};
use crate::credentials::Credentials;
use crate::engine::{Attachment, Failure, Network, NetworkPhase, Task, TaskArn, TaskSpec};
use crate::error::chain;
use crate::netns::{self, Door, Namespaces, Networks, TASK_ENDPOINT};
use crate::rim::{Rim, StateDir};
use crate::runtime::Directories;
use crate::usage::{Meter, Storage};
use answer::Answer;
use async_trait::async_trait;
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use limit::Limit;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Connections to one door at once; more wait.
const CONNECTIONS: usize = 32;
/// For the head of a request.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is asked.
type Request = http::Request<hyper::body::Incoming>;

/// The namespaces of tasks, each with its door.
pub(crate) struct Doors {
    namespaces: Arc<Namespaces>,
    inside: Arc<Inside>,
    /// By the short ids of the tasks. What is dropped closes.
    open: Mutex<BTreeMap<String, JoinSet<Infallible>>>,
    /// The one of the machine, from the first task in its network on.
    own: Mutex<JoinSet<Infallible>>,
}

/// Who is behind a door.
#[derive(Clone)]
enum Asker {
    /// One task, and nobody else.
    Task(TaskArn),
    /// Any of the tasks in the machine's network.
    Machine,
}

/// By which it is known what tasks use.
pub(crate) struct Meters {
    pub(crate) meter: Arc<Meter>,
    pub(crate) storage: Arc<Storage>,
}

/// What is told of this machine.
pub(crate) struct Machine {
    /// The cluster, as it was configured.
    pub(crate) cluster: String,
    /// The id of its availability zone, which is the same in all accounts.
    pub(crate) zone_id: Option<String>,
    /// What is remembered of tasks, with the volumes that are theirs.
    pub(crate) state: StateDir,
    /// Where the volumes are that no task owns.
    pub(crate) shared_volumes: PathBuf,
}

/// What is behind the doors.
pub(crate) struct Inside {
    meters: Meters,
    credentials: Arc<Credentials>,
    api: Arc<Api>,
    machine: Machine,
    /// There once the engine is, which needs the doors to begin.
    rim: OnceLock<Rim>,
    /// Who this machine is, once it is registered.
    identity: std::sync::Mutex<Option<Identity>>,
    /// The tasks in the machine's network, by their short ids.
    guests: std::sync::Mutex<BTreeMap<String, TaskArn>>,
}

impl Doors {
    pub(crate) fn new(
        namespaces: Arc<Namespaces>,
        meters: Meters,
        credentials: Arc<Credentials>,
        api: Arc<Api>,
        machine: Machine,
    ) -> Self {
        let inside = Arc::new(Inside {
            meters,
            credentials,
            api,
            machine,
            rim: OnceLock::new(),
            identity: std::sync::Mutex::default(),
            guests: std::sync::Mutex::default(),
        });
        Self { namespaces, inside, open: Mutex::default(), own: Mutex::default() }
    }

    /// Says where tasks are known, and opens the doors of those that an agent before
    /// us has started.
    pub(crate) async fn lead_to(&self, rim: Rim) {
        let tasks = rim.state().await.tasks;
        // There is one engine in an agent's life.
        _ = self.inside.rim.set(rim);
        let started = |task: &&Task| task.network == NetworkPhase::Ready;
        for task in tasks.values().filter(started) {
            if !has_room(&task.spec) {
                self.invite(&task.spec.arn).await;
            } else if let Err(error) = self.open(&task.spec).await {
                let task = &task.spec.arn;
                tracing::error!(%task, error = chain(&error), "the task cannot ask us anything");
            }
        }
    }

    /// Says who this machine is.
    pub(crate) fn registered(&self, identity: &Identity) {
        *self.inside.identity.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(identity.clone());
    }

    /// Tells whoever asks at `address` what runs here, as the official agent does. That
    /// somebody else has the address is no reason not to run tasks.
    pub(crate) async fn tell_operator(&self, address: Option<SocketAddr>) -> Infallible {
        if let Some(address) = address {
            match TcpListener::bind(address).await {
                Ok(listener) => {
                    return introspection::serve(listener, self.inside.clone()).await;
                }
                Err(error) => {
                    tracing::warn!(%address, %error, "nobody can ask what runs here");
                }
            }
        }
        std::future::pending().await
    }

    async fn open(&self, task: &TaskSpec) -> Result<(), netns::Error> {
        let mut open = self.open.lock().await;
        let short_id = task.arn.short_id();
        if open.contains_key(&short_id) {
            return Ok(());
        }
        let mut doors = JoinSet::new();
        for room in self.namespaces.rooms(task) {
            let door = self.namespaces.open_door(&room).await?;
            doors.spawn(serve(door, self.inside.clone(), Asker::Task(task.arn.clone())));
        }
        open.insert(short_id, doors);
        Ok(())
    }

    /// Lets a task in the machine's network in by the door of the machine. That somebody
    /// else has the address is no reason not to run the task.
    async fn invite(&self, task: &TaskArn) {
        self.inside.guests().insert(task.short_id(), task.clone());
        let mut own = self.own.lock().await;
        if !own.is_empty() {
            return;
        }
        match self.namespaces.open_own_door().await {
            Ok(door) => {
                own.spawn(serve(door, self.inside.clone(), Asker::Machine));
            }
            Err(error) => tracing::error!(
                %task,
                error = chain(&error),
                "no task in the machine's network can ask us anything: another agent may have \
                 {TASK_ENDPOINT}"
            ),
        }
    }
}

#[async_trait]
impl Networks for Doors {
    fn attach(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure> {
        self.namespaces.attach(task)
    }

    async fn room(&self, task: &TaskSpec, index: usize) -> Result<Option<PathBuf>, Failure> {
        self.namespaces.room(task, index).await
    }

    async fn prepare(&self, task: &TaskSpec) -> Result<BTreeMap<usize, Attachment>, Failure> {
        let places = self.namespaces.prepare(task).await?;
        if has_room(task) {
            self.open(task).await.map_err(|error| error.failure())?;
        } else {
            self.invite(&task.arn).await;
        }
        Ok(places)
    }

    async fn remove(&self, short_id: &str) -> Result<(), netns::Error> {
        self.inside.guests().remove(short_id);
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

    /// The document about a task, without what only the control plane knows.
    fn shown(&self, task: &Task, form: metadata::Form) -> serde_json::Value {
        let identity = self.identity();
        let around = metadata::Around {
            written: self.meters.storage.of(&task.spec.arn),
            identity: identity.as_ref(),
            zone_id: self.machine.zone_id.as_deref(),
            directories: &self.directories(task),
        };
        metadata::task(task, &around, form)
    }

    /// Where the volumes of a task are.
    fn directories(&self, task: &Task) -> Directories {
        let own = self.machine.state.volumes_dir(&task.spec.arn);
        Directories { own, shared: self.machine.shared_volumes.clone() }
    }

    fn guests(&self) -> MutexGuard<'_, BTreeMap<String, TaskArn>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task in the machine's network that is the first to satisfy `is_it`.
    fn guest(&self, is_it: impl Fn(&TaskArn) -> bool) -> Option<TaskArn> {
        self.guests().values().find(|guest| is_it(guest)).cloned()
    }

    /// Who this machine is, if it is registered.
    fn identity(&self) -> Option<Identity> {
        self.identity.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Whether a task has a namespace of its own to have a door in.
fn has_room(task: &TaskSpec) -> bool {
    match task.network {
        Network::Awsvpc(_) | Network::Isolated | Network::Bridge => true,
        Network::Host => false,
    }
}

/// Answers whoever comes through a door.
async fn serve(door: Door, inside: Arc<Inside>, asker: Asker) -> Infallible {
    let what = match &asker {
        Asker::Task(task) => task.to_string(),
        Asker::Machine => "the machine's network".to_owned(),
    };
    answer_all(door.listener(), &what, move |request| {
        let (inside, asker) = (inside.clone(), asker.clone());
        async move { routes::answer(&inside, &asker, request).await }
    })
    .await
}

/// Answers everybody who connects, as often as anybody may ask here.
async fn answer_all<F, A>(listener: &TcpListener, what: &str, answer: F) -> Infallible
where
    F: Fn(Request) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send,
{
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
                tracing::warn!(what, %error, "nobody can come in");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (answer, limit, what) = (answer.clone(), limit.clone(), what.to_owned());
        connections.spawn(async move {
            let service = service_fn(|request: Request| {
                let (answer, limit) = (answer.clone(), limit.clone());
                async move {
                    let answer = if limit.admits(Instant::now()) {
                        answer(request).await
                    } else {
                        answer::too_many()
                    };
                    Ok::<_, Infallible>(answer.map(|body| Full::new(Bytes::from(body))))
                }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(what, %error, "a connection ended");
            }
        });
    }
}

/// The variables by which a container of a task finds what is here, as the SDKs
/// and the official agent name them.
pub(crate) fn environment(spec: &TaskSpec, runtime_id: &str) -> BTreeMap<String, String> {
    let at = |version: &str| format!("http://{TASK_ENDPOINT}/{version}/{runtime_id}");
    let mut all = BTreeMap::from([
        ("ECS_CONTAINER_METADATA_URI".to_owned(), at("v3")),
        ("ECS_CONTAINER_METADATA_URI_V4".to_owned(), at("v4")),
        ("ECS_AGENT_URI".to_owned(), at("api")),
    ]);
    if let Some(id) = &spec.credentials_id {
        let path = format!("/v2/credentials/{id}");
        all.insert("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI".to_owned(), path);
    }
    all
}

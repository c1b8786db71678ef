//! Containers in containerd, by its gRPC.

mod file_systems;

use super::allowance::Allowance;
use super::cgroup::Cgroups;
use super::connection::Connection;
use super::spec::{self, Parts};
use super::user::{self, User};
use super::volumes::{self, Directories, Mounted};
use super::{
    Containers, Error, Order, Pulled, Usage, WaitError, devices, environment, exec, init, is_lost,
    mounts, remains,
};
use crate::config::Config;
use crate::engine::{
    Checkup, Exit, Failure, FailureKind, FoundState, HealthCheck, RegistryLogin, Sharing, Signal,
};
use crate::error::unless_missing;
use crate::images::{Image, Images, SNAPSHOTTER};
use crate::netns::Place;
use async_trait::async_trait;
use containerd_client::services::v1 as api;
use containerd_client::services::v1::container::Runtime;
use containerd_client::types::Mount;
use containerd_client::types::v1::Status;
use file_systems::layers;
use prost::Message;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// The label under which a container's stop signal is kept, so that an agent
/// that did not make the container knows it.
const STOP_SIGNAL: &str = "landfall/stop-signal";

/// How long containerd may take to give up what a dead agent had asked for, and between
/// looks whether it has.
const GIVEN_UP: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(100);

/// Whether a container cannot be made because its directory is there already.
fn is_taken(status: &tonic::Status) -> bool {
    let said = status.message();
    said.contains("failed to start shim: mkdir ") && said.contains("file exists")
}

/// The options of the runc shim that we use; containerd-client has no type for them.
#[derive(Clone, PartialEq, Message)]
struct RuncOptions {
    /// Where runc keeps its state: ours, so that nobody's `runc list` shows it.
    #[prost(string, tag = "7")]
    root: String,
}

/// A containerd, seen from one of its namespaces.
pub struct Containerd {
    connection: Connection,
    images: Arc<Images>,
    cgroups: Cgroups,
    runc_root: PathBuf,
    /// Our first process.
    init: PathBuf,
    /// The volumes that no task owns.
    volumes: PathBuf,
    /// What stands in for S3: files by bucket and key.
    objects: PathBuf,
    allowance: Allowance,
    /// The file systems of containers that wait for their network.
    laid_out: Mutex<HashMap<String, LaidOut>>,
    /// Told when a file system was removed, which only then is garbage.
    garbage: Notify,
}

/// What there is of a container before its process.
struct LaidOut {
    rootfs: Vec<Mount>,
    volumes: Vec<Mounted>,
}

impl Containerd {
    /// Serves containers through `connection`, with its things where `config` has them.
    pub fn new(
        connection: Connection,
        images: Arc<Images>,
        cgroups: Cgroups,
        config: &Config,
    ) -> Result<Self, Error> {
        let laid_out = Mutex::default();
        let init = config.data_dir.join("init");
        init::install(&init)?;
        Ok(Self {
            connection,
            images,
            cgroups,
            runc_root: config.runc_root(),
            init,
            volumes: config.shared_volumes(),
            objects: config.data_dir.join("s3"),
            allowance: Allowance::find(),
            laid_out,
            garbage: Notify::new(),
        })
    }

    /// The images.
    pub fn images(&self) -> &Arc<Images> {
        &self.images
    }

    /// containerd's version.
    pub async fn version(&self) -> Result<String, Error> {
        let answer = self.connection.version().version(self.connection.request(())).await;
        Ok(answer.map_err(Error::rpc("tell its version"))?.into_inner().version)
    }

    /// The image that no registry has: ours.
    async fn own_image(&self) -> Result<Arc<Image>, Error> {
        if let Ok(here) = self.images.local(init::IMAGE).await {
            return Ok(here);
        }
        init::load(&self.connection).await?;
        self.images.local(init::IMAGE).await
    }

    /// Everything up to the process.
    async fn lay_out(&self, order: &Order<'_>) -> Result<LaidOut, Error> {
        let definition = spec::definition(order)?;
        let image = self.images.local(&definition.image).await?;
        let rootfs = self.prepare_rootfs(order.runtime_id, &image).await?;
        let volumes = self.volumes(order, &image).await?;
        let laid_out = LaidOut { rootfs, volumes };
        self.record(order, &image, &laid_out).await?;
        Ok(laid_out)
    }

    /// What a container of this image mounts of the machine.
    async fn volumes(&self, order: &Order<'_>, own: &Arc<Image>) -> Result<Vec<Mounted>, Error> {
        let mut declared = volumes::Declared::new();
        for index in volumes::relatives(order.task, order.index)? {
            let other = spec::definition(&Order { index, ..order.clone() })?;
            let image = if index == order.index {
                Arc::clone(own)
            } else {
                self.images.local(&other.image).await?
            };
            let paths = image.config.volumes.iter().flatten().map(|(path, _)| path.clone());
            declared.insert(index, paths.collect());
        }
        let (own, shared) = (order.volumes.clone(), self.volumes.clone());
        volumes::mounted(order.task, order.index, &Directories { own, shared }, &declared)
    }

    /// Makes the volumes of a container, which comes after whoever it waited for.
    async fn prepare_volumes(&self, order: &Order<'_>, laid_out: &LaidOut) -> Result<(), Error> {
        if order.task.ipc == Sharing::Task {
            make_shared_memory(&self.shared_memory(&order.task.arn.id()))?;
        }
        if laid_out.volumes.is_empty() {
            return Ok(());
        }
        let (all, layers) = (laid_out.volumes.clone(), layers(&laid_out.rootfs));
        let made = tokio::task::spawn_blocking(move || volumes::prepare(&all, &layers)).await;
        made.map_err(|error| Error::Spec(error.to_string()))?
    }

    /// The process that holds what the containers of a task share, if they share
    /// anything and this is not it.
    async fn holder(&self, order: &Order<'_>) -> Result<Option<u32>, Error> {
        let held = order.task.containers.iter().position(|other| other.internal);
        let Some(at) = held.filter(|at| *at != order.index) else { return Ok(None) };
        let runtime_id = format!("{}-{at}", Self::task_of(order.runtime_id));
        let message = api::GetRequest { container_id: runtime_id.clone(), exec_id: String::new() };
        let answer = self.connection.tasks().get(self.connection.request(message)).await;
        let process = answer.map_err(Error::rpc("find a process"))?.into_inner().process;
        Ok(process.map(|process| process.pid))
    }

    /// Waits until containerd answers, and clears away what the one before it began
    /// and did not finish. Whoever asks sets the limit.
    async fn reachable(&self) {
        while let Err(error) = self.version().await {
            tracing::debug!(error = crate::error::chain(&error), "waiting for containerd");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        self.sweep_file_systems().await;
    }

    async fn status(&self, runtime_id: &str) -> Result<Status, Error> {
        let message =
            api::GetRequest { container_id: runtime_id.to_owned(), exec_id: String::new() };
        let answer = self.connection.tasks().get(self.connection.request(message)).await;
        let process = answer.map_err(Error::rpc("find a process"))?.into_inner().process;
        let status = process.and_then(|process| Status::try_from(process.status).ok());
        Ok(status.unwrap_or(Status::Unknown))
    }

    async fn make(&self, order: &Order<'_>) -> Result<(), (FailureKind, Error)> {
        let refuse = |error: Error| (blame(&error), error);
        self.cgroups.prepare(order.task).map_err(refuse)?;
        let ready = self.laid_out().remove(order.runtime_id);
        let laid_out = match ready {
            Some(laid_out) => laid_out,
            None => self.lay_out(order).await.map_err(refuse)?,
        };
        self.prepare_volumes(order, &laid_out).await.map_err(refuse)?;
        // What Docker does when it starts a container, and thus what ECS calls a
        // failure to start: a command that does not exist shows here.
        self.spawn(order, laid_out.rootfs).await.map_err(|error| (FailureKind::Start, error))
    }

    fn laid_out(&self) -> MutexGuard<'_, HashMap<String, LaidOut>> {
        self.laid_out.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn record(
        &self,
        order: &Order<'_>,
        image: &Image,
        laid_out: &LaidOut,
    ) -> Result<(), Error> {
        let definition = spec::definition(order)?;
        let wish = definition.user.as_deref().filter(|user| !user.is_empty());
        let wish = wish.or(image.config.user.as_deref()).unwrap_or_default();
        let user: User = user::find_user(wish, &layers(&laid_out.rootfs))?;
        let variables = environment::read(&self.objects, &definition.environment_files)?;
        let binds = laid_out.volumes.iter().map(|it| it.bind.clone()).collect();
        let task_id = order.task.arn.id();
        let composed = spec::compose(&Parts {
            order,
            image: &image.config,
            user,
            variables,
            binds,
            nodes: devices::find(definition)?,
            holder: self.holder(order).await?,
            memory: self.shared_memory(&task_id),
            init: self.init.clone(),
            cgroup: self.cgroups.container_path(&task_id, order.runtime_id),
            unified: self.cgroups.is_unified(),
            counts_swap: counts_swap(self.cgroups.is_unified()),
            allowance: &self.allowance,
        })?;
        let json = serde_json::to_vec(&composed).map_err(|e| Error::Spec(e.to_string()))?;
        let signal = definition.stop_signal.clone().or_else(|| image.config.stop_signal.clone());
        let mut labels: HashMap<_, _> = order.task.labels(definition).into_iter().collect();
        labels.extend(signal.map(|signal| (STOP_SIGNAL.to_owned(), signal)));
        // containerd refuses labels that are longer than this together.
        labels.retain(|key, value| key.len() + value.len() <= 4096);
        let container = api::Container {
            id: order.runtime_id.to_owned(),
            labels,
            image: image.name.clone(),
            runtime: Some(Runtime {
                name: "io.containerd.runc.v2".to_owned(),
                options: Some(self.runc_options()),
            }),
            spec: Some(prost_types::Any {
                type_url: "types.containerd.io/opencontainers/runtime-spec/1/Spec".to_owned(),
                value: json,
            }),
            snapshotter: SNAPSHOTTER.to_owned(),
            snapshot_key: order.runtime_id.to_owned(),
            ..api::Container::default()
        };
        let message = api::CreateContainerRequest { container: Some(container) };
        let answer = self.connection.containers().create(self.connection.request(message)).await;
        answer.map(drop).map_err(Error::rpc("record a container"))
    }

    async fn spawn(&self, order: &Order<'_>, rootfs: Vec<Mount>) -> Result<(), Error> {
        let definition = spec::definition(order)?;
        let (stdout, stderr) = if definition.terminal {
            // The shim opens it as it would a pipe, which it is to find there.
            let options = || std::fs::OpenOptions::new().create(true).append(true).open(&order.log);
            options().map_err(Error::io("write", &order.log))?;
            (order.log.display().to_string(), String::new())
        } else if definition.interactive {
            // Beside a process that writes, shims open no input.
            let log = format!("file://{}", order.log.display());
            (log.clone(), log)
        } else {
            // Beside the container, and as long as it is there: nobody else is needed.
            let writer = init::writer(&self.init, &order.log);
            (writer.clone(), writer)
        };
        let stdin = if definition.interactive {
            open_input(&order.files.join("stdin"))?
        } else {
            String::new()
        };
        let message = api::CreateTaskRequest {
            container_id: order.runtime_id.to_owned(),
            rootfs,
            terminal: definition.terminal,
            stdin,
            stdout,
            stderr,
            options: Some(self.runc_options()),
            ..api::CreateTaskRequest::default()
        };
        let limit = tokio::time::Instant::now() + GIVEN_UP;
        loop {
            let request = self.connection.request(message.clone());
            match self.connection.tasks().create(request).await {
                // An agent that died had asked for the same, and containerd still makes it,
                // or gives it up: either way it is to go first.
                Err(status) if is_taken(&status) && tokio::time::Instant::now() < limit => {
                    tracing::debug!(container = order.runtime_id, "somebody else made it");
                    drop(self.delete_process(order.runtime_id).await);
                    tokio::time::sleep(AGAIN).await;
                }
                answer => return answer.map(drop).map_err(Error::rpc("make a container")),
            }
        }
    }

    fn runc_options(&self) -> prost_types::Any {
        let options = RuncOptions { root: self.runc_root.to_string_lossy().into_owned() };
        prost_types::Any {
            type_url: "containerd.runc.v1.Options".to_owned(),
            value: options.encode_to_vec(),
        }
    }

    async fn kill(&self, runtime_id: &str, signal: u32, all: bool) -> Result<(), Error> {
        let message = api::KillRequest {
            container_id: runtime_id.to_owned(),
            exec_id: String::new(),
            signal,
            all,
        };
        let answer = self.connection.tasks().kill(self.connection.request(message)).await;
        answer.map(drop).map_err(Error::rpc("send a signal"))
    }

    async fn delete_process(&self, runtime_id: &str) -> Result<(), Error> {
        let message = api::DeleteTaskRequest { container_id: runtime_id.to_owned() };
        let answer = self.connection.tasks().delete(self.connection.request(message)).await;
        tolerate(answer.map(drop), "remove a process")
    }

    async fn stop_signal(&self, runtime_id: &str) -> Result<u32, Error> {
        let message = api::GetContainerRequest { id: runtime_id.to_owned() };
        let answer = self.connection.containers().get(self.connection.request(message)).await;
        let record = answer.map_err(Error::rpc("find a container"))?.into_inner().container;
        let wish = record.and_then(|record| record.labels.get(STOP_SIGNAL).cloned());
        Ok(wish.and_then(|wish| signal_number(&wish)).unwrap_or(15))
    }

    fn shared_memory(&self, task_id: &str) -> PathBuf {
        mounts::shared_memory(self.cgroups.top(), task_id)
    }

    fn task_of(runtime_id: &str) -> &str {
        runtime_id.rsplit_once('-').map_or(runtime_id, |(task, _)| task)
    }
}

#[async_trait]
impl Containers for Containerd {
    async fn pull(
        &self,
        image: &str,
        login: &RegistryLogin,
        place: &Place,
    ) -> Result<Pulled, Failure> {
        let told = |error: Error| Failure::new(FailureKind::Pull, error.message());
        loop {
            if image == init::IMAGE {
                match self.own_image().await {
                    Ok(here) => return Ok(Pulled { digest: here.digest.clone() }),
                    Err(error) if error.is_lost() => self.reachable().await,
                    Err(error) => return Err(told(error)),
                }
            }
            match self.images.ensure(image, login, place).await {
                Ok(pulled) => return Ok(Pulled { digest: pulled.digest.clone() }),
                Err(error) if error.is_lost() => self.reachable().await,
                Err(error) => return Err(error.failure(place)),
            }
        }
    }

    async fn prepare(&self, order: &Order<'_>) {
        let shares = [order.task.pids, order.task.ipc].contains(&Sharing::Task);
        if shares && spec::definition(order).is_ok_and(|it| !it.internal) {
            return; // It takes the process of another, which may not be there yet.
        }
        match self.lay_out(order).await {
            Ok(laid_out) => drop(self.laid_out().insert(order.runtime_id.to_owned(), laid_out)),
            Err(error) => {
                let error = crate::error::chain(&error);
                tracing::debug!(container = order.runtime_id, error, "not prepared");
            }
        }
    }

    async fn create(&self, order: &Order<'_>) -> Result<(), Failure> {
        let mut again = true;
        loop {
            let error = match self.make(order).await {
                Ok(()) => return Ok(()),
                Err((_, error)) if error.is_lost() => {
                    self.reachable().await;
                    error
                }
                // Half made by an agent or a containerd that died.
                Err((_, error)) if is_in_the_way(&error) && again => {
                    again = false;
                    self.sweep_file_systems().await;
                    error
                }
                Err((kind, error)) => return Err(Failure::new(kind, told(kind, &error))),
            };
            let container = order.runtime_id;
            tracing::debug!(container, error = crate::error::chain(&error), "making it anew");
            match self.delete(container).await {
                Err(error) if !error.is_lost() => {
                    return Err(Failure::new(FailureKind::Create, error.message()));
                }
                _ => {}
            }
        }
    }

    async fn start(&self, runtime_id: &str) -> Result<(), Failure> {
        loop {
            let message =
                api::StartRequest { container_id: runtime_id.to_owned(), exec_id: String::new() };
            let answer = self.connection.tasks().start(self.connection.request(message)).await;
            let Err(status) = answer else { return Ok(()) };
            let lost = is_lost(&status);
            if lost {
                self.reachable().await;
            }
            match self.status(runtime_id).await {
                // By an agent or a containerd that died before it said so.
                Ok(Status::Running) => return Ok(()),
                // It may even be over: whoever waits for it will hear.
                Ok(Status::Stopped) if lost => return Ok(()),
                Ok(Status::Created) if lost => {}
                Err(error) if error.is_lost() => {}
                _ => {
                    let text = format!("{DAEMON}{}", status.message());
                    return Err(Failure::new(FailureKind::Start, text));
                }
            }
        }
    }

    async fn restart(&self, order: &Order<'_>) -> Result<(), Failure> {
        loop {
            let begun = async {
                self.delete_process(order.runtime_id).await?;
                let rootfs = self.rootfs(order.runtime_id).await?;
                self.spawn(order, rootfs).await
            };
            match begun.await {
                Ok(()) => return self.start(order.runtime_id).await,
                Err(error) if error.is_lost() => self.reachable().await,
                Err(error) => {
                    let kind = FailureKind::Start;
                    return Err(Failure::new(kind, told(kind, &error)));
                }
            }
        }
    }

    async fn check(&self, runtime_id: &str, check: &HealthCheck) -> Result<Checkup, Error> {
        let HealthCheck { command, timeout, .. } = check;
        let pipes = self.runc_root.with_file_name("checks");
        exec::run(&self.connection, &pipes, runtime_id, command, *timeout).await
    }

    async fn wait(&self, runtime_id: &str) -> Result<Exit, WaitError> {
        let message =
            api::WaitRequest { container_id: runtime_id.to_owned(), exec_id: String::new() };
        match self.connection.tasks().wait(self.connection.request(message)).await {
            Ok(answer) => Ok(Exit {
                code: i32::try_from(answer.into_inner().exit_status).unwrap_or(255),
                out_of_memory: self.cgroups.out_of_memory(Self::task_of(runtime_id), runtime_id),
            }),
            Err(status) if status.code() == tonic::Code::NotFound => Err(WaitError::Gone),
            Err(status) => Err(WaitError::Unreachable(Error::rpc("wait")(status))),
        }
    }

    async fn signal(&self, runtime_id: &str, signal: Signal) -> Result<(), Error> {
        let sent = match signal {
            Signal::Stop => {
                let number = self.stop_signal(runtime_id).await?;
                self.kill(runtime_id, number, false).await
            }
            Signal::Kill => self.kill(runtime_id, 9, true).await,
        };
        // It may have ended by itself in between; whoever waits for it knows.
        sent.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
    }

    async fn delete(&self, runtime_id: &str) -> Result<(), Error> {
        self.laid_out().remove(runtime_id);
        let (root, id) = (self.runc_root.clone(), runtime_id.to_owned());
        let ended = tokio::task::spawn_blocking(move || remains::end_makers(&root, &id)).await;
        ended.map_err(|error| Error::Spec(error.to_string()))?;
        if self.delete_process(runtime_id).await.is_err() {
            // It still runs.
            drop(self.kill(runtime_id, 9, true).await);
            let wait = self.wait(runtime_id);
            drop(tokio::time::timeout(std::time::Duration::from_secs(10), wait).await);
            self.delete_process(runtime_id).await?;
        }
        let message = api::DeleteContainerRequest { id: runtime_id.to_owned() };
        let answer = self.connection.containers().delete(self.connection.request(message)).await;
        tolerate(answer.map(drop), "forget a container")?;
        self.remove_rootfs(runtime_id).await
    }

    async fn delete_task(&self, task_id: &str) -> Result<(), Error> {
        remains::end_shims(self.connection.namespace(), task_id).await?;
        let memory = self.shared_memory(task_id);
        unless_missing(std::fs::remove_dir_all(&memory)).map_err(Error::io("remove", memory))?;
        self.cgroups.end_task(task_id);
        self.cgroups.remove_task(task_id)
    }

    async fn list(&self) -> Result<BTreeMap<String, FoundState>, Error> {
        let message = api::ListContainersRequest { filters: Vec::new() };
        let answer = self.connection.containers().list(self.connection.request(message)).await;
        let records = answer.map_err(Error::rpc("list containers"))?.into_inner().containers;
        let message = api::ListTasksRequest { filter: String::new() };
        let answer = self.connection.tasks().list(self.connection.request(message)).await;
        let tasks = answer.map_err(Error::rpc("list processes"))?.into_inner().tasks;
        let mut found: BTreeMap<String, FoundState> =
            records.into_iter().map(|record| (record.id, FoundState::Recorded)).collect();
        for process in tasks {
            let id = if process.id.is_empty() { process.container_id } else { process.id };
            let state = match Status::try_from(process.status).unwrap_or(Status::Unknown) {
                Status::Created => FoundState::Created,
                Status::Running | Status::Paused | Status::Pausing => FoundState::Running,
                Status::Stopped => FoundState::Stopped(Exit {
                    code: i32::try_from(process.exit_status).unwrap_or(255),
                    out_of_memory: self.cgroups.out_of_memory(Self::task_of(&id), &id),
                }),
                // Its shim is gone, and nobody saw how it ended.
                Status::Unknown => FoundState::Recorded,
            };
            found.insert(id, state);
        }
        for name in self.file_systems().await? {
            found.entry(name).or_insert(FoundState::Recorded);
        }
        Ok(found)
    }

    async fn usage(&self, runtime_id: &str) -> Option<Usage> {
        self.cgroups.usage(Self::task_of(runtime_id), runtime_id)
    }

    async fn written(&self, runtime_id: &str) -> Result<u64, Error> {
        self.rootfs_usage(runtime_id).await
    }
}

/// How Docker's errors begin, which are what ECS shows.
const DAEMON: &str = "Error response from daemon: ";

/// Which step Docker, and thus ECS, would say had failed.
fn blame(error: &Error) -> FailureKind {
    match error {
        // Docker looks for the user and for devices when it starts the container.
        Error::NoUser(_) | Error::NoDevice { .. } => FailureKind::Start,
        Error::NoVolume(_) => FailureKind::HostConfig,
        Error::NoVariables(_) => FailureKind::Resource,
        Error::Connect { .. }
        | Error::Rpc { .. }
        | Error::Io { .. }
        | Error::Spec(_)
        | Error::NoImage(_)
        | Error::BadImage { .. }
        | Error::NoStart(_) => FailureKind::Create,
    }
}

/// An error as Docker would put it.
fn told(kind: FailureKind, error: &Error) -> String {
    match error {
        Error::Rpc { .. } if kind == FailureKind::Start => {
            format!("{DAEMON}failed to create task for container: {}", error.message())
        }
        Error::NoVolume(_) | Error::NoVariables(_) => error.message(),
        Error::Spec(text) => format!("{DAEMON}{text}"),
        Error::Connect { .. }
        | Error::Rpc { .. }
        | Error::Io { .. }
        | Error::NoUser(_)
        | Error::NoDevice { .. }
        | Error::NoImage(_)
        | Error::BadImage { .. }
        | Error::NoStart(_) => format!("{DAEMON}{}", error.message()),
    }
}

/// A pipe that nobody writes to: who reads from it waits, instead of finding the end.
fn open_input(path: &Path) -> Result<String, Error> {
    use nix::errno::Errno;
    match nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRUSR | nix::sys::stat::Mode::S_IWUSR) {
        Ok(()) | Err(Errno::EEXIST) => Ok(path.display().to_string()),
        Err(errno) => Err(Error::io("make", path)(errno.into())),
    }
}

/// A directory for all, as the memory of a single container is.
fn make_shared_memory(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::PermissionsExt;
    let make = || {
        std::fs::create_dir_all(path)?;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o1777))
    };
    make().map_err(Error::io("make", path))
}

/// Whether something is there already that should not be.
fn is_in_the_way(error: &Error) -> bool {
    // AlreadyExists if it is on record; as the system says it, if it is a file.
    ["already exists", "file exists"].iter().any(|words| error.message().contains(words))
}

fn tolerate(answer: Result<(), tonic::Status>, what: &'static str) -> Result<(), Error> {
    match answer {
        Err(status) if status.code() == tonic::Code::NotFound => Ok(()),
        other => other.map_err(Error::rpc(what)),
    }
}

/// The first and the last of the signals without a meaning of their own.
const REAL_TIME: (u32, u32) = (34, 64);

/// `SIGTERM`, `TERM` or `15`; `SIGRTMIN+3` is how systemd wants to be asked.
fn signal_number(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let name = name.to_ascii_uppercase();
    if let Some(real_time) = name.strip_prefix("SIG").unwrap_or(&name).strip_prefix("RT") {
        let number = match (real_time.strip_prefix("MIN"), real_time.strip_prefix("MAX")) {
            (Some(more), _) => REAL_TIME.0.checked_add(distance(more, '+')?),
            (_, Some(less)) => REAL_TIME.1.checked_sub(distance(less, '-')?),
            _ => None,
        };
        return number.filter(|number| (REAL_TIME.0..=REAL_TIME.1).contains(number));
    }
    let full = if name.starts_with("SIG") { name } else { format!("SIG{name}") };
    let signal = nix::sys::signal::Signal::from_str(&full).ok()?;
    u32::try_from(signal as i32).ok()
}

/// Nothing, or a sign with a number.
fn distance(text: &str, sign: char) -> Option<u32> {
    if text.is_empty() { Some(0) } else { text.strip_prefix(sign)?.parse().ok() }
}

fn counts_swap(unified: bool) -> bool {
    unified || Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_go_by_name_or_number() {
        assert_eq!(signal_number("SIGINT"), Some(2));
        assert_eq!(signal_number("quit"), Some(3));
        assert_eq!(signal_number("10"), Some(10));
        assert_eq!(signal_number("SIGRTMIN+3"), Some(37));
        assert_eq!(signal_number("RTMAX"), Some(64));
        assert_eq!(signal_number("SIGRTMAX-1"), Some(63));
        for none in ["SIGNONSENSE", "SIGRTMIN-1", "SIGRTMIN+31", "SIGRTMAX-31", "SIGRT"] {
            assert_eq!(signal_number(none), None, "{none}");
        }
    }
}

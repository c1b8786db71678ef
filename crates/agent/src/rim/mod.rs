//! The rim: carries out what the engine decides, and brings it the news.
//!
//! One task owns the engine and does nothing slow. News comes to it through one
//! bounded queue; each effect runs in a task of its own and answers through the
//! same queue. Before any effect of a batch begins, the state it was decided on
//! is on disk.

mod files;
mod state;

pub use state::StateDir;
pub(crate) use state::{make_private, write_durably, write_whole};

use crate::clock;
use crate::engine::{
    Effect, Engine, EngineState, Failure, FailureKind, FoundState, Input, Inventory, Orphan,
    PullFrom, Report, Settings, Signal, TaskArn, TaskSpec, Which, limits,
};
use crate::error::{Error, chain};
use crate::netns::{Networks, Place};
use crate::runtime::{Containers, Order, WaitError};
use async_trait::async_trait;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{AbortHandle, JoinSet};

/// How much news may wait.
const QUEUE: usize = 256;
/// Between attempts to reach a runtime that does not answer.
const UNREACHABLE: Duration = Duration::from_millis(500);

/// Tells the control plane, until it listens.
#[async_trait]
pub trait Reporter: Send + Sync + 'static {
    /// Returns when the report was taken, or never will be.
    async fn submit(&self, report: &Report);
}

/// What the rim works with.
#[derive(Clone)]
pub struct Tools {
    /// The container runtime.
    pub containers: Arc<dyn Containers>,
    /// The networks.
    pub networks: Arc<dyn Networks>,
    /// The way to the control plane.
    pub reporter: Arc<dyn Reporter>,
    /// The disk.
    pub state: StateDir,
    /// Environment of every container.
    pub environment: BTreeMap<String, String>,
    /// What the engine is told.
    pub settings: Settings,
}

enum Command {
    News(Input),
    Accept(Vec<Input>, oneshot::Sender<()>),
    Candidates(BTreeSet<TaskArn>, oneshot::Sender<Vec<(TaskArn, String)>>),
    State(oneshot::Sender<EngineState>),
    Task(TaskArn, oneshot::Sender<Option<crate::engine::Task>>),
}

/// The way to a running engine.
#[derive(Clone)]
pub struct Rim {
    commands: mpsc::Sender<Command>,
}

impl Rim {
    /// Brings up the engine with what is on disk and on the machine. It moves only
    /// while [`Worker::run`] does; its containers move on by themselves.
    pub async fn start(tools: Tools) -> Result<(Self, Worker), Error> {
        let state = tools.state.clone();
        let loaded = tokio::task::spawn_blocking(move || state.load()).await;
        let loaded = loaded.map_err(|error| Error::Config(error.to_string()))??;
        let inventory = Inventory {
            containers: inventory(&*tools.containers).await?,
            networks: tools.networks.list()?,
        };
        let (commands, inbox) = mpsc::channel(QUEUE);
        let mut worker = Worker {
            engine: Engine::resume(loaded).with(tools.settings),
            tools,
            commands: commands.clone(),
            inbox,
            running: JoinSet::new(),
            preparing: HashMap::new(),
            pulling: HashMap::new(),
        };
        let effects = worker.engine.handle(Input::Found(inventory), clock::now());
        worker.commit(effects, Vec::new()).await;
        Ok((Self { commands }, worker))
    }

    /// Hands over news, and returns when the engine has it on disk. `false` if
    /// the engine is gone.
    pub async fn accept(&self, inputs: Vec<Input>) -> bool {
        let (done, wait) = oneshot::channel();
        let sent = self.commands.send(Command::Accept(inputs, done)).await;
        sent.is_ok() && wait.await.is_ok()
    }

    /// The running tasks that are not in `listed`, with their clusters.
    pub async fn stop_candidates(&self, listed: BTreeSet<TaskArn>) -> Vec<(TaskArn, String)> {
        let (reply, answer) = oneshot::channel();
        drop(self.commands.send(Command::Candidates(listed, reply)).await);
        answer.await.unwrap_or_default()
    }

    /// A copy of what the engine knows of a task.
    pub async fn task(&self, arn: TaskArn) -> Option<crate::engine::Task> {
        let (reply, answer) = oneshot::channel();
        drop(self.commands.send(Command::Task(arn, reply)).await);
        answer.await.ok().flatten()
    }

    /// A copy of all the engine knows.
    pub async fn state(&self) -> EngineState {
        let (reply, answer) = oneshot::channel();
        drop(self.commands.send(Command::State(reply)).await);
        answer.await.unwrap_or_default()
    }
}

/// The containers there are, as soon as the runtime answers: it may be gone for a while
/// when we come, as at any other time.
async fn inventory(
    containers: &dyn Containers,
) -> Result<BTreeMap<String, FoundState>, crate::runtime::Error> {
    loop {
        match containers.list().await {
            Err(error) if error.is_lost() => {
                tracing::warn!(error = chain(&error), "waiting for the runtime");
                tokio::time::sleep(UNREACHABLE).await;
            }
            other => return other,
        }
    }
}

/// The engine with its hands.
pub struct Worker {
    engine: Engine,
    tools: Tools,
    commands: mpsc::Sender<Command>,
    inbox: mpsc::Receiver<Command>,
    running: JoinSet<()>,
    /// The preparations of networks under way, to be given up if need be.
    preparing: HashMap<TaskArn, AbortHandle>,
    /// The same of images: to be told, since what a pull goes on to make of its
    /// container must be whole before it is removed.
    pulling: HashMap<Which, (watch::Sender<bool>, AbortHandle)>,
}

impl Worker {
    /// Works until `stop` becomes true. What is under way then is dropped, and
    /// found again at the next start.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut batch = Vec::new();
        loop {
            let now = clock::now();
            // Never none at all: a duty that does not go away must not make us spin.
            let least = Duration::from_millis(5);
            let pause = self.engine.next_deadline().map(|at| at.since(now).max(least));
            tokio::select! {
                received = self.inbox.recv_many(&mut batch, 64) => if received == 0 { return },
                () = tokio::time::sleep(pause.unwrap_or_default()), if pause.is_some() => {
                    batch.push(Command::News(Input::Tick));
                }
                _ = stop.wait_for(|stop| *stop) => return,
                Some(ended) = self.running.join_next() => {
                    // Work that was given up is no news. Work that panicked will
                    // never answer: better to end, and find what it left.
                    if let Err(error) = ended
                        && error.is_panic()
                    {
                        std::panic::resume_unwind(error.into_panic());
                    }
                    continue;
                }
            }
            let (mut effects, mut accepted) = (Vec::new(), Vec::new());
            for command in batch.drain(..) {
                match command {
                    Command::News(input) => effects.extend(self.handle(input)),
                    Command::Accept(inputs, done) => {
                        for input in inputs {
                            effects.extend(self.handle(input));
                        }
                        accepted.push(done);
                    }
                    Command::Candidates(listed, reply) => {
                        drop(reply.send(self.engine.stop_candidates(&listed)));
                    }
                    Command::State(reply) => drop(reply.send(self.engine.state().clone())),
                    Command::Task(arn, reply) => {
                        drop(reply.send(self.engine.state().tasks.get(&arn).cloned()));
                    }
                }
            }
            self.commit(effects, accepted).await;
        }
    }

    fn handle(&mut self, input: Input) -> Vec<Effect> {
        tracing::trace!(?input, "news");
        self.engine.handle(input, clock::now())
    }

    /// Makes what was decided durable, then says so and begins the work.
    async fn commit(&mut self, effects: Vec<Effect>, accepted: Vec<oneshot::Sender<()>>) {
        let dirty = self.engine.take_dirty();
        let tasks = &self.engine.state().tasks;
        let tasks: Vec<_> = dirty.iter().filter_map(|arn| tasks.get(arn)).cloned().collect();
        if !tasks.is_empty() {
            self.save(tasks).await;
        }
        for done in accepted {
            _ = done.send(());
        }
        for effect in effects {
            self.begin(effect);
        }
    }

    /// Saves until it succeeds: an agent without a disk must not act.
    async fn save(&self, tasks: Vec<crate::engine::Task>) {
        let tasks = Arc::new(tasks);
        loop {
            let (state, tasks) = (self.tools.state.clone(), tasks.clone());
            let saved = tokio::task::spawn_blocking(move || {
                tasks.iter().try_for_each(|task| state.save(task))
            });
            match saved.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => tracing::error!(error = chain(&error), "state not saved"),
                Err(error) => tracing::error!(%error, "state not saved"),
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn begin(&mut self, effect: Effect) {
        tracing::debug!(?effect, "begin");
        let hand = Hand { tools: self.tools.clone(), commands: self.commands.clone() };
        match effect {
            Effect::PrepareNetwork(spec) => {
                let arn = spec.arn.clone();
                let handle = self.running.spawn(async move { hand.prepare_network(&spec).await });
                self.preparing.insert(arn, handle);
            }
            Effect::RemoveNetwork(spec) => {
                let preparation = self.preparing.remove(&spec.arn);
                if let Some(preparation) = &preparation {
                    preparation.abort();
                }
                self.running.spawn(async move {
                    ended(preparation.as_ref()).await;
                    hand.remove_network(&spec).await;
                });
            }
            Effect::Pull { spec, index, runtime_id, from } => {
                let which = Which { task: spec.arn.clone(), index };
                let (teller, ear) = watch::channel(false);
                let handle = self.running.spawn(async move {
                    hand.pull(&spec, index, &runtime_id, from, ear).await;
                });
                self.pulling.retain(|_, (_, handle)| !handle.is_finished());
                self.pulling.insert(which, (teller, handle));
            }
            Effect::GiveUpPull(which) => {
                // A pull that others wait for too goes on: see `Images`.
                if let Some((teller, _)) = self.pulling.get(&which) {
                    _ = teller.send(true);
                }
            }
            Effect::Create { spec, index, runtime_id } => {
                self.running.spawn(async move { hand.create(&spec, index, &runtime_id).await });
            }
            Effect::Start { which, runtime_id } => {
                self.running.spawn(async move { hand.start(which, &runtime_id).await });
            }
            Effect::Restart { spec, index, runtime_id } => {
                self.running.spawn(async move { hand.restart(&spec, index, &runtime_id).await });
            }
            Effect::Check { spec, index, runtime_id } => {
                self.running.spawn(async move { hand.check(&spec, index, &runtime_id).await });
            }
            Effect::Await { which, runtime_id } => {
                self.running.spawn(async move { hand.await_exit(which, &runtime_id).await });
            }
            Effect::Signal { spec, index, runtime_id, signal } => {
                self.running.spawn(async move {
                    let which = Which { task: spec.arn.clone(), index };
                    hand.signal(which, &runtime_id, signal).await;
                });
            }
            Effect::Delete { which, runtime_id } => {
                let pull = self.pulling.remove(&which);
                self.running.spawn(async move {
                    ended(pull.as_ref().map(|(_, pull)| pull)).await;
                    hand.delete(which, &runtime_id).await;
                });
            }
            Effect::DeleteOrphan { runtime_id, last } => {
                self.running.spawn(async move { hand.delete_orphan(runtime_id, last).await });
            }
            Effect::RemoveOrphanNetwork { short_id } => {
                self.running.spawn(async move { hand.remove_orphan_network(short_id).await });
            }
            Effect::Report(report) => {
                self.running.spawn(async move {
                    hand.tools.reporter.submit(&report).await;
                    let (task, number) = (report.task, report.number);
                    hand.tell(Input::Reported { task, number }).await;
                });
            }
            Effect::Forget(task) => {
                let state = self.tools.state.clone();
                self.preparing.remove(&task);
                self.running.spawn_blocking(move || {
                    if let Err(error) = state.forget(&task) {
                        tracing::warn!(%task, error = chain(&error), "not forgotten");
                    }
                });
            }
        }
    }
}

/// What one effect needs to be carried out and answered.
struct Hand {
    tools: Tools,
    commands: mpsc::Sender<Command>,
}

impl Hand {
    async fn tell(&self, input: Input) {
        drop(self.commands.send(Command::News(input)).await);
    }

    async fn prepare_network(&self, spec: &Arc<TaskSpec>) {
        let made = tokio::time::timeout(limits::NETWORK, self.tools.networks.prepare(spec)).await;
        let result = made.unwrap_or_else(|_| {
            let text = "the network interface did not appear in time";
            Err(Failure::new(FailureKind::Network, text))
        });
        self.tell(Input::NetworkReady { task: spec.arn.clone(), result }).await;
    }

    async fn remove_network(&self, spec: &Arc<TaskSpec>) {
        let (short_id, id) = (spec.arn.short_id(), spec.arn.id());
        let removed = self.removed(&short_id, self.tools.networks.remove(&short_id)).await;
        let cleared = self.removed(&id, self.tools.containers.delete_task(&id)).await;
        let (state, task) = (self.tools.state.clone(), spec.arn.clone());
        let emptied = tokio::task::spawn_blocking(move || state.remove_volumes(&task));
        let emptied = emptied.await.unwrap_or_else(|error| Err(Error::Config(error.to_string())));
        let emptied = self.removed(&id, std::future::ready(emptied)).await;
        let (task, gone) = (spec.arn.clone(), removed && cleared && emptied);
        self.tell(Input::NetworkRemoved { task, gone }).await;
    }

    async fn pull(
        &self,
        spec: &Arc<TaskSpec>,
        index: usize,
        runtime_id: &str,
        from: PullFrom,
        mut ear: watch::Receiver<bool>,
    ) {
        let Some(container) = spec.containers.get(index) else { return };
        let namespace = self.tools.networks.path(spec, index);
        let place = match namespace.filter(|_| from == PullFrom::Task) {
            Some(namespace) => Place::Task { namespace, resolv_conf: files::resolv_conf(spec) },
            None => Place::Host,
        };
        let pull = self.tools.containers.pull(&container.image, &container.registry, &place);
        let result = tokio::select! {
            result = tokio::time::timeout(limits::PULL, pull) => result,
            Ok(_) = ear.wait_for(|given_up| *given_up) => return,
        };
        let result = result.unwrap_or_else(|_| Err(Failure::timeout("pulled", limits::PULL)));
        if result.is_ok()
            && let Ok(order) = self.order(spec, index, runtime_id)
        {
            let prepared = self.tools.containers.prepare(&order);
            drop(tokio::time::timeout(limits::CREATE, prepared).await);
        }
        let which = Which { task: spec.arn.clone(), index };
        self.tell(Input::Pulled(which, result.map(|pulled| Some(pulled.digest)))).await;
    }

    async fn create(&self, spec: &Arc<TaskSpec>, index: usize, runtime_id: &str) {
        let result = self.try_create(spec, index, runtime_id).await;
        let which = Which { task: spec.arn.clone(), index };
        self.tell(Input::Created(which, result)).await;
    }

    async fn try_create(
        &self,
        spec: &Arc<TaskSpec>,
        index: usize,
        runtime_id: &str,
    ) -> Result<(), Failure> {
        let order = self.order(spec, index, runtime_id)?;
        // Its network may still be on its way, but not the namespace it is made in.
        let made = async {
            self.tools.networks.room(spec, index).await?;
            self.tools.containers.create(&order).await
        };
        let made = tokio::time::timeout(limits::CREATE, made).await;
        made.unwrap_or_else(|_| Err(Failure::timeout("created", limits::CREATE)))
    }

    fn order<'a>(
        &self,
        spec: &'a TaskSpec,
        index: usize,
        runtime_id: &'a str,
    ) -> Result<Order<'a>, Failure> {
        let dir = self.tools.state.task_dir(&spec.arn);
        let files = dir.join(format!("etc-{index}"));
        let places = self.tools.networks.attach(spec)?;
        let hostname = files::hostname(spec, index, runtime_id);
        files::write(&files, spec, index, &places, &hostname).map_err(|error| {
            let text = format!("cannot write into {}: {error}", files.display());
            Failure::new(FailureKind::Create, text)
        })?;
        let mut environment = self.tools.environment.clone();
        // Whoever names one region means it for both variables.
        let container = spec.containers.get(index);
        let names = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let pins_region = |c: &crate::engine::ContainerSpec| {
            names.iter().any(|name| c.environment.contains_key(*name))
        };
        if container.is_some_and(pins_region) {
            environment.retain(|name, _| !names.contains(&name.as_str()));
        }
        environment.extend(crate::endpoints::environment(spec, runtime_id));
        environment.extend(files::link_variables(spec, index, &places));
        Ok(Order {
            runtime_id,
            task: spec,
            index,
            netns: self.tools.networks.path(spec, index),
            log: files::log(&dir, container.map_or("", |c| &c.name), index),
            volumes: self.tools.state.volumes_dir(&spec.arn),
            hostname,
            files,
            environment,
        })
    }

    async fn start(&self, which: Which, runtime_id: &str) {
        let started = self.tools.containers.start(runtime_id);
        let result = tokio::time::timeout(limits::START, started).await;
        let result = result.unwrap_or_else(|_| Err(Failure::timeout("started", limits::START)));
        let ok = result.is_ok();
        self.tell(Input::Started(which.clone(), result)).await;
        if ok {
            self.await_exit(which, runtime_id).await;
        }
    }

    async fn restart(&self, spec: &Arc<TaskSpec>, index: usize, runtime_id: &str) {
        let result = self.try_restart(spec, index, runtime_id).await;
        let ok = result.is_ok();
        let which = Which { task: spec.arn.clone(), index };
        self.tell(Input::Restarted(which.clone(), result)).await;
        if ok {
            self.await_exit(which, runtime_id).await;
        }
    }

    async fn try_restart(
        &self,
        spec: &Arc<TaskSpec>,
        index: usize,
        runtime_id: &str,
    ) -> Result<(), Failure> {
        let order = self.order(spec, index, runtime_id)?;
        let begun = self.tools.containers.restart(&order);
        let begun = tokio::time::timeout(limits::START, begun).await;
        begun.unwrap_or_else(|_| Err(Failure::timeout("started", limits::START)))
    }

    async fn check(&self, spec: &Arc<TaskSpec>, index: usize, runtime_id: &str) {
        let wish = spec.containers.get(index).and_then(|spec| spec.health_check.as_ref());
        let Some(wish) = wish else { return };
        let checkup = match self.tools.containers.check(runtime_id, wish).await {
            Ok(checkup) => Some(checkup),
            Err(error) => {
                tracing::warn!(container = runtime_id, error = chain(&error), "not checked");
                None
            }
        };
        self.tell(Input::Checked(Which { task: spec.arn.clone(), index }, checkup)).await;
    }

    async fn await_exit(&self, which: Which, runtime_id: &str) {
        loop {
            match self.tools.containers.wait(runtime_id).await {
                Ok(exit) => return self.tell(Input::Exited(which, exit)).await,
                Err(WaitError::Gone) => return self.tell(Input::Vanished(which)).await,
                Err(error @ WaitError::Unreachable(_)) => {
                    tracing::warn!(container = runtime_id, error = chain(&error), "asking again");
                    tokio::time::sleep(UNREACHABLE).await;
                }
            }
        }
    }

    async fn signal(&self, which: Which, runtime_id: &str, signal: Signal) {
        let sent = self.tools.containers.signal(runtime_id, signal);
        match tokio::time::timeout(limits::SIGNAL, sent).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(container = runtime_id, error = chain(&error), "not signalled");
                self.tell(Input::SignalFailed(which)).await;
            }
            Err(_) => self.tell(Input::SignalFailed(which)).await,
        }
    }

    async fn delete(&self, which: Which, runtime_id: &str) {
        let gone = self.removed(runtime_id, self.tools.containers.delete(runtime_id)).await;
        self.tell(Input::Deleted { which, gone }).await;
    }

    async fn delete_orphan(&self, runtime_id: String, last: bool) {
        tracing::warn!(container = runtime_id, "removing a container without a task");
        let containers = &self.tools.containers;
        let mut gone = self.removed(&runtime_id, containers.delete(&runtime_id)).await;
        if gone && last {
            let task = runtime_id.rsplit_once('-').map_or(&*runtime_id, |(task, _)| task);
            gone = self.removed(task, containers.delete_task(task)).await;
        }
        self.tell(Input::OrphanRemoved { orphan: Orphan::Container(runtime_id), gone }).await;
    }

    async fn remove_orphan_network(&self, short_id: String) {
        tracing::warn!(namespace = short_id, "removing a namespace without a task");
        let gone = self.removed(&short_id, self.tools.networks.remove(&short_id)).await;
        self.tell(Input::OrphanRemoved { orphan: Orphan::Network(short_id), gone }).await;
    }

    /// Whether the removal of something has succeeded within its time.
    async fn removed<E: std::error::Error>(
        &self,
        what: &str,
        removal: impl Future<Output = Result<(), E>>,
    ) -> bool {
        match tokio::time::timeout(limits::DELETE, removal).await {
            Ok(Ok(())) => return true,
            Ok(Err(error)) => tracing::warn!(what, error = chain(&error), "not removed yet"),
            Err(_) => tracing::warn!(what, "not removed in time"),
        }
        false
    }
}

/// Waits for what was given up to have ended: only then may what it made be removed.
async fn ended(given_up: Option<&AbortHandle>) {
    while given_up.is_some_and(|task| !task.is_finished()) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

//! The task engine: what has to be done for each task, decided without doing it.
//!
//! The engine is a function from news to work. News arrives as [`Input`], with
//! the time; work leaves as [`Effect`]s, and what comes of them returns as news.
//! It has no clock, starts no thread and touches no file, so that the simulator
//! can drive it through a thousand hostile afternoons in a second, and so that
//! a bug found there can be replayed.
//!
//! Nothing is remembered about work beyond that it is under way: what is owed
//! is derived from the state of the task after every piece of news
//! ([`steps`]). An agent that restarts loads the state, is told what the runtime
//! holds ([`Input::Found`]), and finds the same duties again.
//!
//! Invariants, which the property test holds:
//! - a container is never created twice, nor started again but by its restart policy;
//! - what is known of a container, and whether a task is wanted, only move forward;
//! - every task that stops is reported stopped, once, with the codes its
//!   containers exited with, and a task that ran is reported running before.

mod failure;
mod found;
mod health;
mod model;
mod order;
mod spec;
mod steps;
#[cfg(test)]
mod tests;

pub use failure::{Failure, FailureKind, REASON_LIMIT, clip};
pub use model::{
    Checks, Checkup, Container, Desired, EngineState, Health, Known, NetworkPhase, PullFrom, Task,
    Work,
};
pub use order::can_come_up;
pub use spec::{
    Attachment, Binding, Condition, ContainerSpec, DEFAULT_STOP_TIMEOUT, Dependency, Device, Eni,
    HealthCheck, Link, LogConfig, MountPoint, Network, PortMapping, Protocol, RegistryLogin,
    RestartPolicy, Sharing, TaskArn, TaskSpec, VolumeSource, VolumesFrom,
};

use ident::Timestamp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How long each step may take, as the official agent has it. The rim keeps
/// them: it drops the work and answers [`Failure::timeout`].
pub mod limits {
    use std::time::Duration;

    /// For an image.
    pub const PULL: Duration = Duration::from_hours(2);
    /// For a container to be made.
    pub const CREATE: Duration = Duration::from_mins(4);
    /// For a process to start.
    pub const START: Duration = Duration::from_mins(3);
    /// For the network: the card has five minutes to bring the interface,
    /// and we have one to set it up.
    pub const NETWORK: Duration = Duration::from_mins(6);
    /// For a signal to be delivered.
    pub const SIGNAL: Duration = Duration::from_secs(30);
    /// For a container's remains to be removed.
    pub const DELETE: Duration = Duration::from_mins(2);
}

/// How many tasks that are over are remembered at most.
pub const REMEMBERED: usize = 1000;
/// Signals that failed, and kills without effect, are repeated after this.
pub const RETRY: Duration = Duration::from_secs(10);
/// Removals that failed are repeated after this, and then after ever longer,
pub const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// but never longer than this: they are owed until they succeed.
pub const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// How often a container is asked to stop before it is killed unasked.
const STOP_ATTEMPTS: u32 = 5;

/// When something that has failed `failures` times before is tried again.
fn next_attempt(failures: &mut u32, now: Timestamp) -> Timestamp {
    let pause = FIRST_PAUSE.saturating_mul(1 << (*failures).min(16)).min(LONGEST_PAUSE);
    *failures = failures.saturating_add(1);
    now.after(pause)
}

/// A container of a task: by position, because that is unique.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Which {
    /// The task.
    pub task: TaskArn,
    /// The position of the container in the task's definition.
    pub index: usize,
}

/// News.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The control plane wants this of a task.
    Want {
        /// The task, as far as it was described.
        spec: Box<TaskSpec>,
        /// What is wanted.
        desired: Desired,
    },
    /// A task cannot be run here at all; it is reported stopped.
    Refuse {
        /// What could be read of it.
        spec: Box<TaskSpec>,
        /// Why, as the API will show it.
        reason: String,
    },
    /// The control plane confirmed that these are to stop, after a manifest that lacked them.
    Stop(Vec<TaskArn>),
    /// A network is ready, or cannot be made.
    NetworkReady {
        /// Whose.
        task: TaskArn,
        /// The places of its containers on the bridge, those that have one, by position.
        result: Result<BTreeMap<usize, Attachment>, Failure>,
    },
    /// A network is gone, or could not be removed.
    NetworkRemoved {
        /// Whose.
        task: TaskArn,
        /// Whether it is gone.
        gone: bool,
    },
    /// An image is here, with this digest, or cannot be had.
    Pulled(Which, Result<Option<String>, Failure>),
    /// A container was made, or cannot be.
    Created(Which, Result<(), Failure>),
    /// A container's process was started, or cannot be.
    Started(Which, Result<(), Failure>),
    /// A container's process is gone.
    Exited(Which, Exit),
    /// The runtime no longer knows a container.
    Vanished(Which),
    /// A container's process was started again, or cannot be.
    Restarted(Which, Result<(), Failure>),
    /// What came of a health check; nothing if nobody could be asked.
    Checked(Which, Option<Checkup>),
    /// A signal could not be delivered.
    SignalFailed(Which),
    /// What was left of a container is gone, or could not be removed.
    Deleted {
        /// Which.
        which: Which,
        /// Whether it is gone.
        gone: bool,
    },
    /// Something that belongs to no task is gone, or could not be removed.
    OrphanRemoved {
        /// What.
        orphan: Orphan,
        /// Whether it is gone.
        gone: bool,
    },
    /// The control plane took a report, or will never take it.
    Reported {
        /// Whose.
        task: TaskArn,
        /// Which.
        number: u64,
    },
    /// After a restart: everything there is.
    Found(Inventory),
    /// Nothing happened but time.
    Tick,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its exit code; 128 + n if signal n ended it.
    pub code: i32,
    /// Whether the kernel killed something in the container for its use of memory.
    pub out_of_memory: bool,
}

/// What there is on the machine when the agent starts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory {
    /// The runtime's containers, by the runtime's name for them.
    pub containers: BTreeMap<String, FoundState>,
    /// The short ids of the tasks that have a network namespace.
    pub networks: BTreeSet<String>,
}

/// The state the runtime reports for a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FoundState {
    /// It is on record, or has at least a file system, but no process.
    Recorded,
    /// Its process waits to be started.
    Created,
    /// Its process runs.
    Running,
    /// Its process is gone.
    Stopped(Exit),
}

/// Something on the machine that belongs to no task: an agent ran it that has lost
/// its memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Orphan {
    /// A namespace, by the short id of its task.
    Network(String),
    /// A container, by the runtime's name for it.
    Container(String),
}

impl Orphan {
    /// What the orphans of one task have in common: its short id.
    fn family(&self) -> String {
        match self {
            Self::Network(short_id) => short_id.clone(),
            Self::Container(runtime_id) => {
                let id = runtime_id.rsplit_once('-').map_or(runtime_id.as_str(), |(id, _)| id);
                spec::end_of(id).to_owned()
            }
        }
    }
}

/// How the removal of something goes.
#[derive(Clone, Copy, Debug, Default)]
struct Removal {
    busy: bool,
    failures: u32,
    retry_at: Option<Timestamp>,
}

/// Which signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The one that asks: the container's, the image's, or SIGTERM.
    Stop,
    /// SIGKILL.
    Kill,
}

/// Work for the rim.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Effect {
    /// Make the task's namespace, or finish one half made, and wait for its interface.
    PrepareNetwork(Arc<TaskSpec>),
    /// Fetch the image of a container, and make of the container what needs no network.
    Pull { spec: Arc<TaskSpec>, index: usize, runtime_id: String, from: PullFrom },
    /// Nobody waits for the image of a container any more; other tasks may.
    GiveUpPull(Which),
    /// Make a container with its process waiting, replacing one half made.
    Create { spec: Arc<TaskSpec>, index: usize, runtime_id: String },
    /// Start the process, and from then on wait for it to end.
    Start { which: Which, runtime_id: String },
    /// Start the process of a container, which has ended, once more, and wait for its end.
    Restart { spec: Arc<TaskSpec>, index: usize, runtime_id: String },
    /// Run the health check of a container.
    Check { spec: Arc<TaskSpec>, index: usize, runtime_id: String },
    /// Wait for the end of a process that runs already.
    Await { which: Which, runtime_id: String },
    /// Send a signal.
    Signal { spec: Arc<TaskSpec>, index: usize, runtime_id: String, signal: Signal },
    /// Remove what is left of a container.
    Delete { which: Which, runtime_id: String },
    /// Remove a container that belongs to no task, and if it is the `last` of its
    /// kin, what they shared.
    DeleteOrphan { runtime_id: String, last: bool },
    /// Remove a namespace that is no task's.
    RemoveOrphanNetwork { short_id: String },
    /// Remove the task's namespace, giving up its preparation if that is under way.
    RemoveNetwork(Arc<TaskSpec>),
    /// Tell the control plane, until it listens.
    Report(Report),
    /// Remove logs and state of a task that is over.
    Forget(TaskArn),
}

/// What the control plane is told about a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which task.
    pub task: TaskArn,
    /// In which cluster.
    pub cluster: String,
    /// Counts the reports of a task, so that an answer finds its question.
    pub number: u64,
    /// `Running` or `Stopped`.
    pub status: Known,
    /// Why the task as a whole stopped; nearly always empty.
    pub reason: String,
    /// What changed, in order; a container may appear twice.
    pub containers: Vec<ContainerReport>,
    /// When the first image was asked for.
    pub pull_started_at: Option<Timestamp>,
    /// When the last image was here.
    pub pull_stopped_at: Option<Timestamp>,
    /// When the first essential container stopped.
    pub execution_stopped_at: Option<Timestamp>,
}

/// What the control plane is told about a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerReport {
    /// Which, by position.
    pub index: usize,
    /// Which, by name.
    pub name: String,
    /// `Running` or `Stopped`.
    pub status: Known,
    /// With which code, if it ever ran.
    pub exit_code: Option<i32>,
    /// Why it stopped, if there is more to say than the code.
    pub reason: Option<String>,
    /// The runtime's name for it.
    pub runtime_id: String,
    /// The digest of its image.
    pub image_digest: Option<String>,
    /// By which ports of the instance it is reached.
    pub bindings: Vec<Binding>,
}

/// What the engine is told once and for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// From where new tasks have their images pulled.
    pub pull_from: PullFrom,
    /// How long a task that is over is remembered, so that a late copy of its payload
    /// does not bring it back to life. Its logs go with it. The official agent calls
    /// this `ECS_ENGINE_TASK_CLEANUP_WAIT_DURATION`.
    pub cleanup_wait: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { pull_from: PullFrom::default(), cleanup_wait: Duration::from_hours(3) }
    }
}

/// The engine. See the module.
#[derive(Clone, Debug, Default)]
pub struct Engine {
    state: EngineState,
    settings: Settings,
    dirty: BTreeSet<TaskArn>,
    /// Not remembered: a new agent finds those that are left.
    orphans: BTreeMap<Orphan, Removal>,
}

impl Engine {
    /// An engine that goes on where another left off.
    pub fn resume(state: EngineState) -> Self {
        Self { state, ..Self::default() }
    }

    /// The same with these settings.
    #[must_use]
    pub fn with(self, settings: Settings) -> Self {
        Self { settings, ..self }
    }

    /// Everything it remembers.
    pub fn state(&self) -> &EngineState {
        &self.state
    }

    /// The tasks whose durable state changed since this was last asked. They
    /// must be on disk before any effect decided meanwhile is carried out.
    pub fn take_dirty(&mut self) -> BTreeSet<TaskArn> {
        std::mem::take(&mut self.dirty)
    }

    /// When a [`Input::Tick`] is due, if nothing else happens.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let orphans = self.orphans.values().filter_map(|removal| removal.retry_at);
        self.state.tasks.values().flat_map(|task| self.deadlines(task)).chain(orphans).min()
    }

    /// Known tasks that run but are not in `listed` (from a manifest).
    pub fn stop_candidates(&self, listed: &BTreeSet<TaskArn>) -> Vec<(TaskArn, String)> {
        let tasks = self.state.tasks.iter();
        tasks
            .filter(|(arn, task)| task.desired == Desired::Running && !listed.contains(*arn))
            .map(|(arn, task)| (arn.clone(), task.spec.cluster.clone()))
            .collect()
    }

    /// Takes news in, and says what is to be done about it.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Want { spec, desired } => self.want(*spec, desired, now, &mut effects),
            Input::Refuse { spec, reason } => {
                let arn = spec.arn.clone();
                if !self.state.tasks.contains_key(&arn) {
                    let mut task = Task::new(*spec, Desired::Stopped);
                    task.reason = Some(clip(&reason));
                    self.admit(task);
                }
                self.step(&arn, now, &mut effects, |_| {});
            }
            Input::Stop(tasks) => {
                for arn in tasks {
                    self.step(&arn, now, &mut effects, |task| task.desired = Desired::Stopped);
                }
            }
            Input::NetworkReady { task, result } => {
                self.step(&task, now, &mut effects, |task| steps::network_ready(task, result, now));
            }
            Input::NetworkRemoved { task, gone } => {
                self.step(&task, now, &mut effects, |task| steps::network_removed(task, gone, now));
            }
            Input::Pulled(which, result) => self.step(&which.task, now, &mut effects, |task| {
                steps::pulled(task, which.index, result, now);
            }),
            Input::Created(which, result) => self.step(&which.task, now, &mut effects, |task| {
                steps::created(task, which.index, result, now);
            }),
            Input::Started(which, result) => self.step(&which.task, now, &mut effects, |task| {
                steps::started(task, which.index, result, now);
            }),
            Input::Exited(which, exit) => self.step(&which.task, now, &mut effects, |task| {
                steps::exited(task, which.index, exit, now);
            }),
            Input::Vanished(which) => self.step(&which.task, now, &mut effects, |task| {
                steps::vanished(task, which.index);
            }),
            Input::Restarted(which, result) => self.step(&which.task, now, &mut effects, |task| {
                steps::restarted(task, which.index, result, now);
            }),
            Input::Checked(which, checkup) => self.step(&which.task, now, &mut effects, |task| {
                health::checked(task, which.index, checkup, now);
            }),
            Input::SignalFailed(which) => self.step(&which.task, now, &mut effects, |task| {
                steps::signal_failed(task, which.index, now);
            }),
            Input::Deleted { which, gone } => self.step(&which.task, now, &mut effects, |task| {
                steps::deleted(task, which.index, gone, now);
            }),
            Input::OrphanRemoved { orphan, gone } => self.orphan_removed(&orphan, gone, now),
            Input::Reported { task, number } => {
                self.step(&task, now, &mut effects, |task| steps::reported(task, number));
            }
            Input::Found(inventory) => self.found(&inventory, now, &mut effects),
            Input::Tick => {
                for arn in self.due(now) {
                    self.step(&arn, now, &mut effects, |_| {});
                }
            }
        }
        self.remove_orphans(now, &mut effects);
        self.forget(now, &mut effects);
        effects
    }

    fn want(
        &mut self,
        spec: TaskSpec,
        desired: Desired,
        now: Timestamp,
        effects: &mut Vec<Effect>,
    ) {
        let arn = spec.arn.clone();
        if !self.state.tasks.contains_key(&arn) {
            let mut task = Task::new(spec, desired);
            if let Network::Awsvpc(_) = task.spec.network {
                task.pull_from = self.settings.pull_from;
            }
            self.admit(task);
        }
        // Wishes only move forward: a payload that was overtaken wakes nobody.
        self.step(&arn, now, effects, |task| task.desired = task.desired.max(desired));
    }

    fn admit(&mut self, task: Task) {
        let arn = task.spec.arn.clone();
        // What bears its name is its own from now on.
        self.orphans.retain(|orphan, _| orphan.family() != arn.short_id());
        self.dirty.insert(arn.clone());
        self.state.tasks.insert(arn, task);
    }

    /// Applies `change` to a task, then derives what is owed to it.
    fn step(
        &mut self,
        arn: &TaskArn,
        now: Timestamp,
        effects: &mut Vec<Effect>,
        change: impl FnOnce(&mut Task),
    ) {
        let Some(task) = self.state.tasks.get_mut(arn) else { return };
        let before = task.durable();
        change(task);
        steps::drive(task, now, effects);
        if task.durable() != before {
            self.dirty.insert(arn.clone());
        }
    }

    fn found(&mut self, inventory: &Inventory, now: Timestamp, effects: &mut Vec<Effect>) {
        let tasks = self.state.tasks.values();
        let ours: BTreeSet<&str> =
            tasks.flat_map(|task| task.containers.iter().map(|c| c.runtime_id.as_str())).collect();
        for runtime_id in inventory.containers.keys() {
            if !ours.contains(runtime_id.as_str()) {
                self.orphans.entry(Orphan::Container(runtime_id.clone())).or_default();
            }
        }
        let ids: BTreeSet<String> = self.state.tasks.keys().map(TaskArn::short_id).collect();
        for short_id in inventory.networks.difference(&ids) {
            self.orphans.entry(Orphan::Network(short_id.clone())).or_default();
        }
        let arns: Vec<TaskArn> = self.state.tasks.keys().cloned().collect();
        for arn in arns {
            let mut resumed = Vec::new();
            self.step(&arn, now, effects, |task| {
                found::found(task, inventory, now, &mut resumed);
            });
            effects.append(&mut resumed);
        }
    }

    /// As with any task: containers one at a time and last to first, because of the
    /// shim they share, and then the network.
    fn remove_orphans(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let mut seen = BTreeSet::new();
        let mut due = Vec::new();
        for (orphan, removal) in self.orphans.iter_mut().rev() {
            let waits = removal.retry_at.is_some_and(|at| at > now);
            if seen.insert(orphan.family()) && !removal.busy && !waits {
                removal.busy = true;
                removal.retry_at = None;
                due.push(orphan.clone());
            }
        }
        for orphan in due {
            let family = orphan.family();
            effects.push(match orphan {
                Orphan::Network(short_id) => Effect::RemoveOrphanNetwork { short_id },
                Orphan::Container(runtime_id) => {
                    let kin =
                        |o: &&Orphan| matches!(o, Orphan::Container(_)) && o.family() == family;
                    let last = self.orphans.keys().filter(kin).count() == 1;
                    Effect::DeleteOrphan { runtime_id, last }
                }
            });
        }
    }

    fn orphan_removed(&mut self, orphan: &Orphan, gone: bool, now: Timestamp) {
        if gone {
            self.orphans.remove(orphan);
        } else if let Some(removal) = self.orphans.get_mut(orphan) {
            removal.busy = false;
            removal.retry_at = Some(next_attempt(&mut removal.failures, now));
        }
    }

    fn due(&self, now: Timestamp) -> Vec<TaskArn> {
        let tasks = self.state.tasks.iter();
        tasks
            .filter(|(_, task)| self.deadlines(task).any(|at| at <= now))
            .map(|(arn, _)| arn.clone())
            .collect()
    }

    /// Every moment at which something becomes due for a task although nothing happens.
    fn deadlines<'a>(&self, task: &'a Task) -> impl Iterator<Item = Timestamp> + use<'a> {
        let forgotten = task.finished_at.map(|at| at.after(self.settings.cleanup_wait));
        steps::deadlines(task).chain(forgotten)
    }

    /// Drops tasks that have been over for long, or are too many.
    fn forget(&mut self, now: Timestamp, effects: &mut Vec<Effect>) {
        let tasks = self.state.tasks.iter();
        let mut over: Vec<(Timestamp, TaskArn)> =
            tasks.filter_map(|(arn, task)| Some((task.finished_at?, arn.clone()))).collect();
        over.sort_unstable();
        let excess = over.len().saturating_sub(REMEMBERED);
        for (position, (at, arn)) in over.into_iter().enumerate() {
            if position < excess || now >= at.after(self.settings.cleanup_wait) {
                self.state.tasks.remove(&arn);
                self.dirty.remove(&arn);
                effects.push(Effect::Forget(arn));
            }
        }
    }
}

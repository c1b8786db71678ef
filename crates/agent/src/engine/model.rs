//! What the engine knows of a task: what was asked for, and how far it got.

use super::spec::{Attachment, TaskArn, TaskSpec};
use ident::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// How far a container has got. It only ever moves forward.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Known {
    /// Nothing has been done.
    #[default]
    None,
    /// Its image is here.
    Pulled,
    /// It exists, and its process waits to be started.
    Created,
    /// Its process runs.
    Running,
    /// Its process is gone, or will never be.
    Stopped,
}

/// Whether a task is to run. It only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Desired {
    /// It is to run.
    Running,
    /// It is to stop.
    Stopped,
}

/// The work that is under way for a container. Not remembered across restarts:
/// what has become of it is then seen in the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Its image is being fetched.
    Pull,
    /// It is being made.
    Create,
    /// Its process is being started.
    Start,
    /// Its process, which has ended, is being started again.
    Restart,
    /// What is left of it is being removed.
    Delete,
}

/// From where the images of a task with an interface of its own are pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum PullFrom {
    /// From the machine, as on EC2.
    #[default]
    Host,
    /// Through that interface, as on Fargate since platform version 1.4.0: its
    /// routes and security groups decide, and no pull begins before it is there.
    Task,
}

impl fmt::Display for PullFrom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Host => "host",
            Self::Task => "task",
        })
    }
}

impl FromStr for PullFrom {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "host" => Ok(Self::Host),
            "task" => Ok(Self::Task),
            _ => Err(format!("{text:?} is none of host, task")),
        }
    }
}

/// How far the network of a task is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum NetworkPhase {
    /// Not begun.
    #[default]
    Absent,
    /// Under way, or left half done by an agent that died.
    Preparing,
    /// Containers can be put into it.
    Ready,
    /// Being removed.
    Removing,
    /// Nothing is left of it.
    Gone,
}

/// What its health check says of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Health {
    /// There is no check, or it has not said anything yet.
    #[default]
    Unknown,
    /// The latest check passed.
    Healthy,
    /// Too many checks in a row have failed.
    Unhealthy,
}

impl Health {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
        }
    }
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkup {
    /// As the command ended: 0 if it passed, -1 if it took longer than its time.
    pub exit_code: i32,
    /// What it wrote, to either stream, or the beginning of that.
    pub output: String,
}

impl Checkup {
    /// One that wrote nothing.
    pub fn silent(exit_code: i32) -> Self {
        Self { exit_code, output: String::new() }
    }
}

/// How the checks of a container go. A new agent begins anew.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checks {
    /// When the next one is due.
    pub due: Option<Timestamp>,
    /// One is under way.
    pub busy: bool,
    /// How many have failed in a row.
    pub failures: u32,
    /// What came of the latest.
    pub latest: Option<Checkup>,
}

/// What we remember of a container.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Its name in the task definition.
    pub name: String,
    /// How far it got.
    pub known: Known,
    /// Whether its process ever ran.
    pub ran: bool,
    /// The exit code of its process, if it had one.
    pub exit_code: Option<i32>,
    /// Why it stopped, as the API will show it.
    pub reason: Option<String>,
    /// The digest of its image's manifest.
    pub image_digest: Option<String>,
    /// The runtime's name for it.
    pub runtime_id: String,
    /// Its place on the bridge, if it has one.
    #[serde(default)]
    pub attachment: Option<Attachment>,
    /// When it was made.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// When its process was gone.
    pub finished_at: Option<Timestamp>,
    /// What its health check says.
    #[serde(default)]
    pub health: Health,
    /// Since when it says so.
    #[serde(default)]
    pub health_since: Option<Timestamp>,
    /// Its process has ended, and is to be started again.
    #[serde(default)]
    pub restarting: bool,
    /// How often its process was started again.
    #[serde(default)]
    pub restarts: u32,
    /// When that was last.
    #[serde(default)]
    pub restarted_at: Option<Timestamp>,
    /// When it is killed, if it has been asked to stop.
    pub kill_at: Option<Timestamp>,
    /// Whether SIGKILL has been sent.
    pub killed: bool,
    /// It is to be removed: a step towards a running process failed, or its process
    /// was lost from sight, or it was not wanted any more before it ran. Whether
    /// something runs all the same nobody knows, so that it counts as stopped only
    /// once nothing of it is left.
    #[serde(default)]
    pub doomed: bool,
    /// Nothing of it is left in the runtime.
    pub deleted: bool,
    /// How much of its life the control plane has acknowledged.
    pub acked: Known,
    /// What is being done to it.
    #[serde(skip)]
    pub work: Option<Work>,
    /// A signal or a removal that failed is tried again then.
    #[serde(skip)]
    pub retry_at: Option<Timestamp>,
    /// How many removals have failed.
    #[serde(skip)]
    pub failures: u32,
    /// How its health checks go.
    #[serde(skip)]
    pub checks: Checks,
}

impl Container {
    /// Whether its process is to run and nothing keeps it from its work.
    pub fn serves(&self) -> bool {
        self.known == Known::Running && !self.doomed && !self.restarting && self.kill_at.is_none()
    }

    /// Whether it is doomed, and something of it may still be there.
    pub fn lingers(&self) -> bool {
        self.doomed && self.known != Known::Stopped
    }
}

/// What we remember of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// What was asked for.
    pub spec: Arc<TaskSpec>,
    /// Whether it is to run.
    pub desired: Desired,
    /// From where its images are pulled.
    #[serde(default)]
    pub pull_from: PullFrom,
    /// How far its network is.
    pub network: NetworkPhase,
    /// Its containers, in the order of the definition.
    pub containers: Vec<Container>,
    /// Why the whole task stopped, where it is no container's fault.
    pub reason: Option<String>,
    /// Whether every container ran, or had run, at one moment.
    pub reached_running: bool,
    /// How much of its life the control plane has acknowledged.
    pub acked: Known,
    /// When the first image was asked for.
    pub pull_started_at: Option<Timestamp>,
    /// When the last image was here.
    pub pull_stopped_at: Option<Timestamp>,
    /// When the first essential container stopped.
    pub execution_stopped_at: Option<Timestamp>,
    /// When nothing was left to do for it.
    pub finished_at: Option<Timestamp>,
    /// The number of the latest report.
    pub report_number: u64,
    /// The report that is on its way.
    #[serde(skip)]
    pub reporting: Option<super::Report>,
    /// The network's preparation or removal is under way, not merely owed.
    #[serde(skip)]
    pub network_busy: bool,
    /// A removal of the network that failed is tried again then.
    #[serde(skip)]
    pub network_retry_at: Option<Timestamp>,
    /// How many removals of the network have failed.
    #[serde(skip)]
    pub network_failures: u32,
}

impl Task {
    /// Where the task is, by the rule of the protocol: as far as its slowest
    /// container, where a container that is through counts as running.
    pub fn known(&self) -> Known {
        if self.containers.iter().all(|c| c.known == Known::Stopped) {
            return Known::Stopped;
        }
        self.containers.iter().map(|c| c.known.min(Known::Running)).min().unwrap_or(Known::Stopped)
    }

    /// A task nothing has been done for.
    pub fn new(spec: TaskSpec, desired: Desired) -> Self {
        let id = spec.arn.id();
        let containers = spec.containers.iter().enumerate();
        let containers = containers
            .map(|(index, container)| Container {
                name: container.name.clone(),
                known: Known::None,
                ran: false,
                exit_code: None,
                reason: None,
                image_digest: None,
                runtime_id: format!("{id}-{index}"),
                attachment: None,
                created_at: None,
                started_at: None,
                finished_at: None,
                health: Health::Unknown,
                health_since: None,
                restarting: false,
                restarts: 0,
                restarted_at: None,
                kill_at: None,
                killed: false,
                doomed: false,
                deleted: false,
                acked: Known::None,
                work: None,
                retry_at: None,
                failures: 0,
                checks: Checks::default(),
            })
            .collect();
        Self {
            spec: Arc::new(spec),
            desired,
            pull_from: PullFrom::Host,
            network: NetworkPhase::Absent,
            containers,
            reason: None,
            reached_running: false,
            acked: Known::None,
            pull_started_at: None,
            pull_stopped_at: None,
            execution_stopped_at: None,
            finished_at: None,
            report_number: 0,
            reporting: None,
            network_busy: false,
            network_retry_at: None,
            network_failures: 0,
        }
    }

    /// The part of the task that must be on disk before anybody hears of it.
    ///
    /// The early steps are left out: an agent that restarts sees in the runtime
    /// how far they got, and a write per step would be the larger half of the
    /// time it takes to start a container from a cached image.
    pub(super) fn durable(&self) -> Self {
        let mut task = self.clone();
        task.reporting = None;
        task.network_busy = false;
        task.network_retry_at = None;
        task.network_failures = 0;
        task.report_number = 0;
        if task.network < NetworkPhase::Removing {
            task.network = NetworkPhase::Absent;
        }
        task.pull_started_at = None;
        task.pull_stopped_at = None;
        for container in &mut task.containers {
            container.work = None;
            container.retry_at = None;
            container.failures = 0;
            container.checks = Checks::default();
            container.image_digest = None;
            if container.known <= Known::Created {
                container.known = Known::None;
                container.attachment = None;
            }
        }
        task
    }
}

/// Everything the engine remembers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineState {
    /// The tasks it has been told of and has not forgotten.
    pub tasks: BTreeMap<TaskArn, Task>,
}

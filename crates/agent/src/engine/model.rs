//! What the engine knows of a task: what was asked for, and how far it got.
//!
//! These are the engine's own words. They are made from ACS messages in one
//! place (`acs::convert`), and nothing here knows that ACS exists.

use ident::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

/// How long a container may ignore its stop signal if its definition is silent.
pub const DEFAULT_STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A task's ARN. It is the only name of a task that the protocol uses.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskArn(String);

impl TaskArn {
    /// Wraps an ARN as the control plane wrote it.
    pub fn new(arn: impl Into<String>) -> Self {
        Self(arn.into())
    }

    /// The ARN.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part of the ARN, made safe for file and container names: the
    /// control plane is trusted, but not with our file system.
    pub fn id(&self) -> String {
        let tail = self.0.rsplit('/').next().unwrap_or_default();
        let id: String = tail.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
        if id.is_empty() { "0".to_owned() } else { id }
    }
}

impl TaskArn {
    /// The first part of [`TaskArn::id`], for names that must be short.
    pub fn short_id(&self) -> String {
        self.id().chars().take(12).collect()
    }
}

impl fmt::Display for TaskArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A task as the control plane wants it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSpec {
    /// Its name.
    pub arn: TaskArn,
    /// The cluster it runs in, as reports must name it.
    pub cluster: String,
    /// The family of its definition.
    pub family: String,
    /// The revision of its definition.
    pub version: String,
    /// What it is attached to.
    pub network: Network,
    /// CPU of all containers together, in vCPU.
    pub cpu: Option<f64>,
    /// Memory of all containers together, in MiB.
    pub memory_mib: Option<u64>,
    /// Its containers, in the order of the definition, which is the order they start in.
    pub containers: Vec<ContainerSpec>,
    /// By which its containers ask for the credentials of its role, if it has one.
    #[serde(default)]
    pub credentials_id: Option<String>,
}

/// What a task's containers see of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A namespace of its own, with a network interface in it.
    Awsvpc(Eni),
    /// A namespace of its own with nothing but loopback.
    Isolated,
    /// The instance's own namespace.
    Host,
}

/// The network interface of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    /// `eni-…`, for messages.
    pub id: String,
    /// By which the link is found on the host, in lower case with colons.
    pub mac: String,
    /// Addresses with the length of the subnet's prefix.
    pub ipv4: Vec<(Ipv4Addr, u8)>,
    /// Addresses with the length of the subnet's prefix.
    pub ipv6: Vec<(Ipv6Addr, u8)>,
    /// Where the default route goes.
    pub gateway_v4: Option<Ipv4Addr>,
    /// Where the default route goes.
    pub gateway_v6: Option<Ipv6Addr>,
    /// Resolvers; the host's own if there are none.
    pub name_servers: Vec<IpAddr>,
    /// Domains to search.
    pub search: Vec<String>,
    /// The private DNS name, which becomes the host name.
    pub hostname: Option<String>,
}

/// A container as the control plane wants it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerSpec {
    /// Its name in the task definition.
    pub name: String,
    /// The image as the definition names it.
    pub image: String,
    /// Arguments; the image's own if absent.
    pub command: Option<Vec<String>>,
    /// Program; the image's own if absent.
    pub entry_point: Option<Vec<String>>,
    /// Added to the image's environment.
    pub environment: BTreeMap<String, String>,
    /// CPU shares, of 1024 per vCPU.
    pub cpu: u64,
    /// The hard limit.
    pub memory_mib: Option<u64>,
    /// The soft limit.
    pub memory_reservation_mib: Option<u64>,
    /// Whether the task stops when this container does.
    pub essential: bool,
    /// How long the stop signal may be ignored.
    pub stop_timeout: Option<Duration>,
    /// The signal that asks the container to stop; the image's own if absent.
    pub stop_signal: Option<String>,
    /// User, with or without group; the image's own if absent.
    pub user: Option<String>,
    /// Working directory; the image's own if absent.
    pub working_dir: Option<String>,
    /// Host name, where the task has no network interface to name it.
    pub hostname: Option<String>,
    /// All capabilities and devices.
    pub privileged: bool,
    /// No writes to the root file system.
    pub readonly_rootfs: bool,
    /// Capabilities beyond the default ones.
    pub cap_add: Vec<String>,
    /// Default capabilities to do without.
    pub cap_drop: Vec<String>,
    /// Limits by name: soft, hard.
    pub ulimits: BTreeMap<String, (u64, u64)>,
    /// Kernel parameters of the task's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Size of `/dev/shm`.
    pub shm_size: Option<u64>,
    /// Memory file systems: path to mount options.
    pub tmpfs: BTreeMap<String, String>,
    /// Extra lines for the hosts file: name, address.
    pub extra_hosts: Vec<(String, String)>,
    /// How the registry wants us to identify ourselves.
    pub registry: RegistryLogin,
    /// The container's own ARN, for metadata.
    pub arn: Option<String>,
    /// Labels of the docker configuration.
    pub labels: BTreeMap<String, String>,
}

/// How the registry of an image wants us to identify ourselves.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum RegistryLogin {
    /// Not at all.
    #[default]
    Anonymous,
    /// By name and password.
    Basic {
        /// Name.
        username: String,
        /// Password. It reaches the disk with the task's state, which only root can read.
        password: String,
    },
}

impl fmt::Debug for RegistryLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Anonymous => f.write_str("Anonymous"),
            Self::Basic { username, .. } => write!(f, "Basic({username})"),
        }
    }
}

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
    /// What is left of it is being removed.
    Delete,
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
    /// When its process started.
    pub started_at: Option<Timestamp>,
    /// When its process was gone.
    pub finished_at: Option<Timestamp>,
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
}

impl Container {
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
                started_at: None,
                finished_at: None,
                kill_at: None,
                killed: false,
                doomed: false,
                deleted: false,
                acked: Known::None,
                work: None,
                retry_at: None,
                failures: 0,
            })
            .collect();
        Self {
            spec: Arc::new(spec),
            desired,
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
            container.image_digest = None;
            if container.known <= Known::Created {
                container.known = Known::None;
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

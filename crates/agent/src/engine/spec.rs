//! What is wanted of a task, in the engine's own words. They are made from ACS
//! messages in one place (`acs::convert`), and nothing here knows that ACS exists.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
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
    /// The end of [`TaskArn::id`], for names that must be short.
    pub fn short_id(&self) -> String {
        end_of(&self.id()).to_owned()
    }
}

/// The last twelve digits of a task's id. Its first are the time, which tasks that begin
/// together have in common.
pub(super) fn end_of(id: &str) -> &str {
    id.len().checked_sub(12).and_then(|from| id.get(from..)).unwrap_or(id)
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
    /// The service that it is of, if it is of one.
    #[serde(default)]
    pub service: Option<String>,
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
    /// What its containers can mount, by name.
    #[serde(default)]
    pub volumes: BTreeMap<String, VolumeSource>,
    /// Whose processes its containers see.
    #[serde(default)]
    pub pids: Sharing,
    /// Whose queues, semaphores and shared memory its containers see.
    #[serde(default)]
    pub ipc: Sharing,
}

impl TaskSpec {
    /// A task of this name with nothing in it yet.
    pub fn new(arn: TaskArn) -> Self {
        Self {
            arn,
            cluster: String::new(),
            family: String::new(),
            version: String::new(),
            service: None,
            network: Network::Isolated,
            cpu: None,
            memory_mib: None,
            containers: Vec::new(),
            credentials_id: None,
            volumes: BTreeMap::new(),
            pids: Sharing::Own,
            ipc: Sharing::Own,
        }
    }

    /// Whether a container of this task has a place on the bridge.
    pub fn is_bridged(&self, container: &ContainerSpec) -> bool {
        self.network == Network::Bridge && !container.internal && !container.offline
    }

    /// The labels of one of its containers: its own, and over them those by which
    /// the official agent says what a container is.
    pub fn labels(&self, container: &ContainerSpec) -> BTreeMap<String, String> {
        let ours = [
            ("cluster", self.cluster.as_str()),
            ("container-name", &container.name),
            ("task-arn", self.arn.as_str()),
            ("task-definition-family", &self.family),
            ("task-definition-version", &self.version),
        ];
        let ours =
            ours.map(|(name, value)| (format!("com.amazonaws.ecs.{name}"), value.to_owned()));
        container.labels.clone().into_iter().chain(ours).collect()
    }
}

/// Whose namespace the containers of a task are in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sharing {
    /// Each its own.
    #[default]
    Own,
    /// The task's, which an internal container holds.
    Task,
    /// The machine's.
    Host,
    /// Each its own, and of memory not even a place where it could be shared.
    Nothing,
}

/// Where the files of a volume are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeSource {
    /// Somewhere that is empty when the task begins, and gone after it.
    Task,
    /// In this directory of the machine.
    Host(String),
    /// Somewhere that stays, for whoever names it.
    Shared,
}

/// A volume, seen by a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountPoint {
    /// The volume's name in the task.
    pub volume: String,
    /// Where the container sees it.
    pub path: String,
    /// Whether it may only look.
    pub read_only: bool,
}

/// All that another container mounts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// The other's name.
    pub container: String,
    /// Whether this one may only look.
    pub read_only: bool,
}

/// A device of the machine, for a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// What it is called on the machine; a directory means all devices in it.
    pub host: String,
    /// What the container calls it.
    pub path: String,
    /// Letters out of `rwm`.
    pub access: String,
}

/// What a task's containers see of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// A namespace of its own, with a network interface in it.
    Awsvpc(Eni),
    /// A namespace of its own with nothing but loopback.
    Isolated,
    /// A namespace for each container, all of them on one bridge of the instance.
    Bridge,
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

/// Which transport a port is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Ports of a container that are to be reached at ports of the instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortMapping {
    /// The first and the last port of the container.
    pub container: (u16, u16),
    /// Whether the definition names a range, be it of one.
    pub is_range: bool,
    /// The first of as many ports of the instance; any that are free if absent.
    pub host: Option<u16>,
    /// Their transport.
    pub protocol: Protocol,
}

/// Another container of the task that this one knows by a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The other's name in the task definition.
    pub container: String,
    /// By which name it is known.
    pub alias: String,
}

/// The place of a container on the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its address there.
    pub ipv4: Ipv4Addr,
    /// The machine's own address there.
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    /// By which ports of the instance it is reached, in the order of its mappings.
    pub bindings: Vec<Binding>,
}

impl Attachment {
    /// The ports of the instance that lead to it.
    pub fn ports(&self) -> impl Iterator<Item = (Protocol, u16)> {
        let all = self.bindings.iter().map(|binding| (binding.protocol, binding.host));
        all.flat_map(|(protocol, (first, last))| (first..=last).map(move |at| (protocol, at)))
    }
}

/// What a [`PortMapping`] has become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The first and the last port of the container.
    pub container: (u16, u16),
    /// Whether the definition names a range.
    pub is_range: bool,
    /// The first and the last port of the instance.
    pub host: (u16, u16),
    /// Their transport.
    pub protocol: Protocol,
    /// Whether they lead to the container by IPv6 too.
    #[serde(default)]
    pub ipv6: bool,
}

impl Binding {
    /// The addresses of the instance at which the ports are, as Docker writes them.
    pub fn addresses(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once("0.0.0.0").chain(self.ipv6.then_some("::"))
    }

    /// Each port of the instance with that of the container.
    pub fn pairs(&self) -> impl Iterator<Item = (u16, u16)> {
        (self.host.0..=self.host.1).zip(self.container.0..=self.container.1)
    }
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
    /// Whether it is ours and not in the definition: nobody is told of it.
    pub internal: bool,
    /// What has to be so before it comes up.
    pub depends_on: Vec<Dependency>,
    /// How long others wait for it to end or to be healthy, from its start on.
    pub start_timeout: Option<Duration>,
    /// How it is found out whether it does its work.
    pub health_check: Option<HealthCheck>,
    /// Whether it is started again when it ends.
    pub restart_policy: Option<RestartPolicy>,
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
    /// Its ports that the instance's lead to, if it is on the bridge.
    pub ports: Vec<PortMapping>,
    /// Other containers on the bridge that it knows by name.
    pub links: Vec<Link>,
    /// Whether it has no network, though its task has.
    pub offline: bool,
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
    /// Name servers instead of the task's.
    pub dns: Vec<String>,
    /// Domains to search instead of the task's.
    pub dns_search: Vec<String>,
    /// Files of variables, as the definition names them: added to the environment
    /// unless they are there.
    pub environment_files: Vec<String>,
    /// Volumes of the task.
    pub mount_points: Vec<MountPoint>,
    /// Volumes of other containers.
    pub volumes_from: Vec<VolumesFrom>,
    /// Devices of the machine.
    pub devices: Vec<Device>,
    /// Whether a first process of ours passes on signals and reaps orphans.
    pub init: bool,
    /// Memory and swap together, in bytes; -1 for no limit. Twice the memory if absent.
    pub memory_swap: Option<i64>,
    /// How readily memory is swapped, up to 100.
    pub swappiness: Option<u64>,
    /// Whether its output goes to a terminal.
    pub terminal: bool,
    /// Whether its input stays open, though nobody writes.
    pub interactive: bool,
    /// What Docker calls security options.
    pub security_options: Vec<String>,
    /// How the registry wants us to identify ourselves.
    pub registry: RegistryLogin,
    /// The container's own ARN, for metadata.
    pub arn: Option<String>,
    /// Labels of the docker configuration.
    pub labels: BTreeMap<String, String>,
    /// Where the definition would have its output go.
    pub log: LogConfig,
}

/// Where a definition would have the output of a container go. It is kept on the machine
/// whatever this says; a log service would be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// `awslogs`, or empty if the definition leaves it to the machine.
    pub driver: String,
    /// What the driver is told.
    pub options: BTreeMap<String, String>,
}

/// A container that has to be somewhere before another comes up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dependency {
    /// Its name.
    pub on: String,
    /// How far it has to be.
    pub condition: Condition,
}

/// How far a container has to be for another to come up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// It exists: what follows from sharing its volumes.
    Create,
    /// Its process runs, or ran.
    Start,
    /// Its process has ended.
    Complete,
    /// Its process has ended well.
    Success,
    /// Its health check has passed.
    Healthy,
}

/// A command that finds out whether a container does its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Program and arguments, run inside the container.
    pub command: Vec<String>,
    /// From the end of one check to the next.
    pub interval: Duration,
    /// After this, a check has failed.
    pub timeout: Duration,
    /// As many failures in a row make it unhealthy.
    pub retries: u32,
    /// Failures are not counted so long after the start.
    pub start_period: Duration,
}

/// When a container that has ended is started again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartPolicy {
    /// After these exit codes it is not.
    pub ignored_exit_codes: Vec<i32>,
    /// Nor if it ran for less than this.
    pub attempt_period: Duration,
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

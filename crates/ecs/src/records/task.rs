//! A task.

use ident::{
    Arn, AttachmentId, ClusterName, ContainerInstanceId, EniId, Family, Scope, SubnetId, Tags,
    TaskId, Timestamp,
};
use net::mac::MacAddress;
use sched::lifecycle::{Desired, Event, Needs, Phase, step};
use sched::resources::Need;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;
use std::sync::Arc;
use store::{Record, View};
use wire::ecs;

/// See the module. What is wanted of it, how its interface's attachment fares and
/// whether its machine is connected all follow from other things and are not here.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// Whose it is, and where.
    pub scope: Scope,
    /// Its id.
    pub id: TaskId,
    /// The cluster it runs in.
    pub cluster: ClusterName,
    /// The family of its definition.
    pub family: Family,
    /// The revision of its definition.
    pub revision: u32,
    /// The container instance that it was placed on.
    pub instance: ContainerInstanceId,
    /// The availability zone that it is in; empty outside of EC2.
    pub zone: String,
    /// How far it has come.
    pub phase: Phase,
    /// Which phases it stops at.
    pub needs: Needs,
    /// Its share of the instance.
    pub need: Need,
    /// What it was launched as.
    pub launch_type: LaunchType,
    /// The group it belongs to, `family:…` if nobody said.
    pub group: String,
    /// Who started it, in his own words.
    pub started_by: Option<String>,
    /// What differs from the definition.
    pub overrides: ecs::TaskOverride,
    /// Its tags.
    pub tags: Tags,
    /// Its containers, in the order of the definition.
    pub containers: Vec<Container>,
    /// Its own network interface, if it has one.
    pub interface: Option<Interface>,
    /// The role that its containers act in, if it has one.
    #[serde(default)]
    pub role: Option<TaskRole>,
    /// The role that its agent acts in on its behalf, if it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_role: Option<TaskRole>,
    /// When things happened to it.
    pub times: Times,
    /// Why it stops or stopped.
    pub stop: Option<Stop>,
    /// Until when its service is not to stop it.
    #[serde(default)]
    pub protected_until: Option<Timestamp>,
    /// How often this record was changed.
    pub version: u64,
}

/// What a task is launched as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum LaunchType {
    Ec2,
    External,
}

/// When things happened to a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Times {
    pub created: Timestamp,
    pub pull_started: Option<Timestamp>,
    pub pull_stopped: Option<Timestamp>,
    pub started: Option<Timestamp>,
    pub stopping: Option<Timestamp>,
    pub execution_stopped: Option<Timestamp>,
    pub stopped: Option<Timestamp>,
}

/// Why a task stops.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// In AWS's classification, if it has one for this.
    pub code: Option<StopCode>,
    /// In words.
    pub reason: String,
}

/// AWS's classification of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum StopCode {
    TaskFailedToStart,
    EssentialContainerExited,
    UserInitiated,
    TerminationNotice,
}

/// A task's network interface. EC2 keeps the interface itself; these are the
/// facts about it that never change, and that are shown when it is long gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// ECS's own name for the attachment.
    pub attachment: AttachmentId,
    /// The interface.
    pub eni: EniId,
    /// The subnet it is in.
    pub subnet: SubnetId,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its private address.
    pub ipv4: Ipv4Addr,
    /// Its name in the VPC, if the VPC gives names.
    pub private_dns_name: Option<String>,
}

/// What a role of a task is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RolePurpose {
    /// Its containers act in it.
    Application,
    /// Its agent acts in it, for what has to be had before its containers start.
    Execution,
}

/// A role of a task, and the credentials that it has of it now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskRole {
    /// The role's ARN.
    pub arn: String,
    /// By which the containers ask for credentials; it stays when those are replaced.
    pub credentials_id: String,
    /// The key id of the credentials; none once they are revoked.
    pub key: Option<String>,
    /// That of those which they replaced, and which have not ended yet or hardly: each
    /// last far longer than they overlap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub older: Option<String>,
}

/// A container of a task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Container {
    /// Its id, the last part of its ARN.
    pub id: String,
    /// Its name in the definition.
    pub name: String,
    /// The image, as the definition names it.
    pub image: String,
    /// The image's digest, once the agent knows it.
    pub image_digest: Option<String>,
    /// The runtime's name for it, once there is one.
    pub runtime_id: Option<String>,
    /// How far it has come.
    pub status: ContainerStatus,
    /// What it exited with.
    pub exit_code: Option<i32>,
    /// What went wrong with it.
    pub reason: Option<String>,
    /// The host ports it got.
    pub network_bindings: Vec<ecs::NetworkBinding>,
    /// How it fares, by its own health check.
    pub health: Health,
    /// Its CPU units, if it has some of its own.
    pub cpu: i32,
    /// Its hard memory limit, in MiB.
    pub memory: Option<i32>,
    /// Its soft memory limit, in MiB.
    pub memory_reservation: Option<i32>,
    /// Whether its health is checked at all.
    pub health_checked: bool,
    /// Whether the task ends with it.
    pub essential: bool,
    /// The GPUs that it has to itself.
    #[serde(default)]
    pub gpu_ids: Vec<String>,
}

/// How far a container has come, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum ContainerStatus {
    Pending,
    Running,
    Stopped,
}

/// How a container or a task fares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Health {
    Healthy,
    Unhealthy,
    #[default]
    Unknown,
}

impl Task {
    /// Its ARN.
    pub fn arn(&self) -> Arn {
        crate::names::task_arn(&self.scope, &self.cluster, &self.id)
    }

    /// Its roles, with what each is for.
    pub fn roles(&self) -> impl Iterator<Item = (RolePurpose, &TaskRole)> {
        let own = self.role.iter().map(|role| (RolePurpose::Application, role));
        own.chain(self.execution_role.iter().map(|role| (RolePurpose::Execution, role)))
    }

    /// The same, to change what credentials there are of them.
    pub fn roles_mut(&mut self) -> impl Iterator<Item = &mut TaskRole> {
        self.role.iter_mut().chain(&mut self.execution_role)
    }

    /// The ARN of its definition.
    pub fn definition_arn(&self) -> Arn {
        crate::names::definition_arn(&self.scope, &self.family, self.revision)
    }

    /// Lets `event` happen to the task, with everything that follows from it, and
    /// says whether it was news.
    ///
    /// Why a task stops has to be said before ([`Self::because`]): the first
    /// reason stays.
    pub fn hear(&mut self, event: Event, now: Timestamp) -> bool {
        let Some(next) = step(self.phase, event, self.needs) else { return false };
        let before = std::mem::replace(&mut self.phase, next);
        if next == Phase::Running {
            self.times.started.get_or_insert(now);
        }
        if before.desired() != next.desired() {
            self.times.stopping.get_or_insert(now);
        }
        if next >= Phase::Deprovisioning {
            for container in &mut self.containers {
                container.status = ContainerStatus::Stopped;
            }
        }
        if next == Phase::Stopped {
            self.times.stopped.get_or_insert(now);
        }
        self.touch();
        true
    }

    /// Notes why the task stops, unless that is known already.
    pub fn because(&mut self, code: Option<StopCode>, reason: impl Into<String>) {
        if self.stop.is_none() {
            self.stop = Some(Stop { code, reason: reason.into() });
        }
    }

    /// Counts a change.
    pub fn touch(&mut self) {
        self.version = self.version.saturating_add(1);
    }

    /// How the task fares: as its essential containers whose health is checked.
    pub fn health(&self) -> Health {
        let checked = self.containers.iter().filter(|c| c.essential && c.health_checked);
        let all: Vec<Health> = checked.map(|container| container.health).collect();
        if all.contains(&Health::Unhealthy) {
            Health::Unhealthy
        } else if all.is_empty() || all.contains(&Health::Unknown) {
            Health::Unknown
        } else {
            Health::Healthy
        }
    }
}

impl LaunchType {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ec2 => "EC2",
            Self::External => "EXTERNAL",
        }
    }
}

impl StopCode {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TaskFailedToStart => "TaskFailedToStart",
            Self::EssentialContainerExited => "EssentialContainerExited",
            Self::UserInitiated => "UserInitiated",
            Self::TerminationNotice => "TerminationNotice",
        }
    }
}

impl ContainerStatus {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Running => "RUNNING",
            Self::Stopped => "STOPPED",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Running, Self::Stopped]
            .into_iter()
            .find(|status| status.as_str() == text)
    }
}

impl Health {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "HEALTHY",
            Self::Unhealthy => "UNHEALTHY",
            Self::Unknown => "UNKNOWN",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Healthy, Self::Unhealthy, Self::Unknown]
            .into_iter()
            .find(|health| health.as_str() == text)
    }
}

impl Record for Task {
    const KIND: &'static str = "ecs.task";

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let cluster = &self.cluster;
        let group = TasksOf::Group(cluster, &self.group);
        let desired = TasksOf::Desired(cluster, self.phase.desired());
        let mut indexes = vec![
            group.posting(),
            desired.posting(),
            (super::BY_INSTANCE, self.instance.to_string()),
            (super::BY_FAMILY, self.family.to_string()),
            (super::BY_PHASE, self.phase.as_str().to_owned()),
        ];
        let starter = self.started_by.as_deref();
        indexes.extend(starter.map(|who| TasksOf::Starter(cluster, who).posting()));
        let acts = self.roles().any(|(_, role)| role.key.is_some());
        indexes.extend(acts.then(|| (super::WITH_CREDENTIALS, String::new())));
        indexes
    }
}

/// Some tasks of a cluster, which there is an index of.
#[derive(Clone, Copy, Debug)]
pub enum TasksOf<'a> {
    /// Those of which this is wanted.
    Desired(&'a ClusterName, Desired),
    /// Those of a group, such as a service's: [`Self::service`].
    Group(&'a ClusterName, &'a str),
    /// Those that somebody started, in his own words.
    Starter(&'a ClusterName, &'a str),
}

impl TasksOf<'_> {
    /// The group of a service's tasks.
    pub fn service(name: &str) -> String {
        format!("service:{name}")
    }

    /// The tasks, ordered by id.
    pub fn find<'v>(
        self,
        view: &'v View,
        scope: &Scope,
    ) -> impl Iterator<Item = Arc<Task>> + use<'v> {
        let (index, value) = self.posting();
        view.by::<Task>(scope, index, &value)
    }

    /// All tasks that a cluster has, ordered by what is wanted of them, then by id.
    pub fn cluster<'v>(
        view: &'v View,
        scope: &Scope,
        name: &ClusterName,
    ) -> impl Iterator<Item = Arc<Task>> + use<'v> {
        let running = TasksOf::Desired(name, Desired::Running).find(view, scope);
        running.chain(TasksOf::Desired(name, Desired::Stopped).find(view, scope))
    }

    /// The index, and what it has for these tasks. No name of a cluster has a slash.
    fn posting(self) -> (&'static str, String) {
        match self {
            Self::Desired(cluster, desired) => {
                ("desired", format!("{cluster}/{}", desired.as_str()))
            }
            Self::Group(cluster, group) => ("group", format!("{cluster}/{group}")),
            Self::Starter(cluster, who) => ("started-by", format!("{cluster}/{who}")),
        }
    }
}

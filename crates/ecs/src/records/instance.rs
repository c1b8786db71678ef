//! A container instance: a machine with an agent, as its cluster knows it.

use ident::{Arn, ClusterName, ContainerInstanceId, InstanceId, Scope, Tags, Timestamp};
use sched::resources::Capacity;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use store::Record;

/// What the GPUs of a machine are called, as a resource.
pub(crate) const GPU: &str = "GPU";

/// See the module. What remains of its capacity is not here: it follows from
/// the tasks ([`crate::fleets`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerInstance {
    /// Whose it is, and where.
    pub scope: Scope,
    /// Its id.
    pub id: ContainerInstanceId,
    /// The cluster it registered with.
    pub cluster: ClusterName,
    /// The EC2 instance that it is; none if it is a machine of its own.
    pub ec2_instance: Option<InstanceId>,
    /// When it registered first.
    pub registered_at: Timestamp,
    /// Whether it takes tasks.
    pub status: InstanceStatus,
    /// The agent's session with us, while there is one.
    pub session: Option<AgentSession>,
    /// When the agent last came or went.
    pub session_changed_at: Timestamp,
    /// What it brings.
    pub capacity: Capacity,
    /// What else it registered. Of these placement counts the GPUs: [`Self::gpus`].
    pub other_resources: Vec<wire::ecs::Resource>,
    /// Its attributes: what the agent sent, and what we know of the machine.
    pub attributes: BTreeMap<String, Option<String>>,
    /// Which of them a user put, so that they outlast what an agent registers.
    #[serde(default)]
    pub custom: BTreeSet<String>,
    /// What the agent is.
    pub version_info: VersionInfo,
    /// Its tags.
    pub tags: Tags,
    /// How its parts fare, as the agent says.
    pub health: Vec<wire::ecs::InstanceHealthCheckResult>,
    /// Whether somebody took it out of its cluster, rather than that its machine
    /// came anew.
    #[serde(default)]
    pub deregistered: bool,
    /// How often this record was changed.
    pub version: u64,
}

/// Whether a container instance takes tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum InstanceStatus {
    /// It does.
    Active,
    /// It keeps those it has.
    Draining,
    /// It is gone for good, and its tasks with it.
    Inactive,
}

/// A session that an agent has with us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentSession {
    /// Which one: a newer session takes the place of an older.
    pub id: String,
}

/// What an agent says that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct VersionInfo {
    pub agent_version: Option<String>,
    pub agent_hash: Option<String>,
    pub docker_version: Option<String>,
}

impl InstanceStatus {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Draining => "DRAINING",
            Self::Inactive => "INACTIVE",
        }
    }
}

impl ContainerInstance {
    /// Its ARN.
    pub fn arn(&self) -> Arn {
        crate::names::instance_arn(&self.scope, &self.cluster, &self.id)
    }

    /// Whether its agent has a session with us.
    pub fn connected(&self) -> bool {
        self.session.is_some()
    }

    /// The ids of its GPUs.
    pub fn gpus(&self) -> BTreeSet<&str> {
        let all = self.other_resources.iter().filter(|one| one.name.as_deref() == Some(GPU));
        all.flat_map(|one| one.string_set_value.iter().flatten()).map(String::as_str).collect()
    }

    /// Whether it registered as a machine outside of EC2.
    pub fn is_external(&self) -> bool {
        self.attributes.contains_key("ecs.capability.external")
    }
}

impl Record for ContainerInstance {
    const KIND: &'static str = "ecs.container-instance";

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn id(&self) -> String {
        self.id.to_string()
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        let mut indexes = vec![
            (super::BY_CLUSTER, self.cluster.to_string()),
            (super::BY_STATUS, self.status.as_str().to_owned()),
        ];
        indexes.extend(self.ec2_instance.iter().map(|id| (super::BY_EC2_INSTANCE, id.to_string())));
        if !self.connected() {
            indexes.push((super::BY_CONNECTION, super::DISCONNECTED.to_owned()));
        }
        indexes
    }
}

//! A revision of a task definition.

use ident::{Arn, Family, Scope, Tags, Timestamp};
use serde::{Deserialize, Serialize};
use store::Record;
use wire::ecs;

/// What its user registered, and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Definition {
    /// Whose it is, and where.
    pub scope: Scope,
    /// The family it belongs to.
    pub family: Family,
    /// Its number in the family, from 1 on; never given twice.
    pub revision: u32,
    /// Whether tasks may be started from it.
    pub status: DefinitionStatus,
    /// When it was registered.
    pub registered_at: Timestamp,
    /// Who registered it, as an ARN.
    pub registered_by: String,
    /// Its tags.
    pub tags: Tags,
    /// What it says.
    pub spec: Spec,
    /// When it was deregistered, if it was.
    #[serde(default)]
    pub deregistered_at: Option<Timestamp>,
    /// When its deletion was asked for, if it was.
    #[serde(default)]
    pub delete_requested_at: Option<Timestamp>,
}

/// How far a family has counted its revisions. It outlives them, so that the
/// number of a deleted one is not given again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FamilyCount {
    /// Whose family it is, and where.
    pub scope: Scope,
    /// Its name.
    pub family: Family,
    /// The last number that was given.
    pub last: u32,
}

/// Whether tasks may be started from a task definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DefinitionStatus {
    /// They may.
    Active,
    /// They may not; those that run go on.
    Inactive,
    /// They may not, and once none is left the definition is gone.
    DeleteInProgress,
}

/// The content of a task definition, in AWS's own words.
///
/// This is the one record that keeps shapes of the wire. A definition must come
/// back as it was given, whatever parameters AWS adds to it, and it is read by
/// people and by the payload compiler, not by the scheduler.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[allow(missing_docs)] // Named as in AWS's model.
pub struct Spec {
    pub container_definitions: Vec<ecs::ContainerDefinition>,
    pub volumes: Vec<ecs::Volume>,
    pub placement_constraints: Vec<ecs::TaskDefinitionPlacementConstraint>,
    pub network_mode: NetworkMode,
    pub requires_compatibilities: Vec<String>,
    pub cpu: Option<String>,
    pub memory: Option<String>,
    pub task_role_arn: Option<String>,
    pub execution_role_arn: Option<String>,
    pub pid_mode: Option<String>,
    pub ipc_mode: Option<String>,
    pub proxy_configuration: Option<ecs::ProxyConfiguration>,
    pub inference_accelerators: Vec<ecs::InferenceAccelerator>,
    pub ephemeral_storage: Option<ecs::EphemeralStorage>,
    pub runtime_platform: Option<ecs::RuntimePlatform>,
    pub enable_fault_injection: Option<bool>,
    pub trusted_execution_configuration: Option<ecs::TrustedExecutionConfiguration>,
}

/// How a task's containers are connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum NetworkMode {
    /// What a definition that says nothing means on Linux.
    #[default]
    Bridge,
    Host,
    Awsvpc,
    None,
}

impl NetworkMode {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Host => "host",
            Self::Awsvpc => "awsvpc",
            Self::None => "none",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Bridge, Self::Host, Self::Awsvpc, Self::None]
            .into_iter()
            .find(|mode| mode.as_str() == text)
    }
}

impl DefinitionStatus {
    /// As the API writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Inactive => "INACTIVE",
            Self::DeleteInProgress => "DELETE_IN_PROGRESS",
        }
    }
}

impl Definition {
    /// Its ARN.
    pub fn arn(&self) -> Arn {
        crate::names::definition_arn(&self.scope, &self.family, self.revision)
    }

    /// The id of a revision. Padded, so that revisions are ordered as numbers.
    pub fn id_of(family: &Family, revision: u32) -> String {
        format!("{family}:{revision:010}")
    }
}

impl Record for Definition {
    const KIND: &'static str = "ecs.task-definition";

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn id(&self) -> String {
        Self::id_of(&self.family, self.revision)
    }

    fn indexes(&self) -> Vec<(&'static str, String)> {
        vec![
            (super::BY_FAMILY, self.family.to_string()),
            (super::BY_STATUS, self.status.as_str().to_owned()),
        ]
    }
}

impl Record for FamilyCount {
    const KIND: &'static str = "ecs.task-definition-family";

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn id(&self) -> String {
        self.family.to_string()
    }
}

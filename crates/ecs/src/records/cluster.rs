//! A cluster.

use ident::{Arn, ClusterName, Scope, Tags, Timestamp};
use serde::{Deserialize, Serialize};
use store::Record;
use wire::ecs::{CapacityProviderStrategyItem, ClusterConfiguration, ClusterSetting};

/// A name under which container instances and tasks gather.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Whose it is, and where.
    pub scope: Scope,
    /// Its name, which is its id.
    pub name: ClusterName,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was deleted, if it was. It is to be seen for a while yet.
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
    /// Its tags.
    pub tags: Tags,
    /// Its settings as its maker gave them.
    pub settings: Vec<ClusterSetting>,
    /// Its configuration, likewise.
    pub configuration: Option<ClusterConfiguration>,
    /// The capacity providers that it names.
    pub capacity_providers: Vec<String>,
    /// What tasks without a launch type are to be spread over.
    pub default_strategy: Vec<CapacityProviderStrategyItem>,
    /// The namespace that its services connect in.
    pub service_connect_namespace: Option<String>,
}

impl Cluster {
    /// Whether it takes instances and tasks.
    pub fn is_active(&self) -> bool {
        self.deleted_at.is_none()
    }

    /// Its ARN.
    pub fn arn(&self) -> Arn {
        crate::names::cluster_arn(&self.scope, &self.name)
    }
}

impl Record for Cluster {
    const KIND: &'static str = "ecs.cluster";

    fn scope(&self) -> &Scope {
        &self.scope
    }

    fn id(&self) -> String {
        self.name.to_string()
    }
}

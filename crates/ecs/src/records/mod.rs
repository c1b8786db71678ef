//! What we keep. One writer per field: `ecs` writes these and nobody else does;
//! what EC2 keeps of a task's interface is EC2's.

mod account_setting;
mod cluster;
mod definition;
mod instance;
mod task;

pub use account_setting::AccountSetting;
pub use cluster::Cluster;
pub use definition::{Definition, DefinitionStatus, FamilyCount, NetworkMode, Spec};
pub(crate) use instance::GPU;
pub use instance::{AgentSession, ContainerInstance, InstanceStatus, VersionInfo};
pub use task::{
    Container, ContainerStatus, Health, Interface, LaunchType, RolePurpose, Stop, StopCode, Task,
    TaskRole, TasksOf, Times,
};

pub(crate) use crate::tags::{read as tags, show as show_tags};

use store::Registry;

/// `registry`, and the records of this crate, with what is derived from them.
#[must_use]
pub fn records(registry: Registry) -> Registry {
    let registry = registry
        .record::<AccountSetting>()
        .record::<Cluster>()
        .record::<Definition>()
        .record::<FamilyCount>()
        .record::<ContainerInstance>()
        .record::<Task>();
    crate::fleets::derived(registry)
}

/// The index of container instances by cluster.
pub const BY_CLUSTER: &str = "cluster";
/// The index of tasks by the container instance they are on.
pub const BY_INSTANCE: &str = "instance";
/// The index of task definitions and of tasks by family.
pub const BY_FAMILY: &str = "family";
/// The index of tasks by their phase, as the API writes it.
pub const BY_PHASE: &str = "phase";
/// The index of tasks that have credentials of a role: all have the same value.
pub const WITH_CREDENTIALS: &str = "with-credentials";
/// The index of container instances and of task definitions by their status, as
/// the API writes it.
pub const BY_STATUS: &str = "status";
/// The index of container instances by the EC2 instance they are.
pub const BY_EC2_INSTANCE: &str = "ec2-instance";
/// The index of container instances whose agent is away, all under [`DISCONNECTED`].
pub const BY_CONNECTION: &str = "connection";
/// What [`BY_CONNECTION`] has.
pub const DISCONNECTED: &str = "DISCONNECTED";

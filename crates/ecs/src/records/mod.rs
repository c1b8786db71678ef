//! What we keep. One writer per field: `ecs` writes these and nobody else does;
//! what EC2 keeps of a task's interface is EC2's.

mod account_setting;
mod cluster;
mod definition;
mod instance;
mod task;

pub use account_setting::AccountSetting;
pub use cluster::Cluster;
pub use definition::{Definition, DefinitionStatus, NetworkMode, Spec};
pub use instance::{AgentSession, ContainerInstance, InstanceStatus, VersionInfo};
pub use task::{
    Container, ContainerStatus, Health, Interface, LaunchType, Stop, StopCode, Task, Times,
};

use crate::Error;
use ident::Tags;
use std::collections::BTreeMap;
use store::Registry;
use wire::ecs::Tag;

/// `registry`, and the records of this crate.
#[must_use]
pub fn records(registry: Registry) -> Registry {
    registry
        .record::<AccountSetting>()
        .record::<Cluster>()
        .record::<Definition>()
        .record::<ContainerInstance>()
        .record::<Task>()
}

/// The index of tasks and container instances by cluster.
pub const BY_CLUSTER: &str = "cluster";
/// The index of tasks by the container instance they are on.
pub const BY_INSTANCE: &str = "instance";
/// The index of task definitions and of tasks by family.
pub const BY_FAMILY: &str = "family";
/// The index of tasks by who started them.
pub const BY_STARTED_BY: &str = "started-by";
/// The index of tasks by their phase, as the API writes it.
pub const BY_PHASE: &str = "phase";
/// The index of container instances by their status, as the API writes it.
pub const BY_STATUS: &str = "status";
/// The index of container instances by the EC2 instance they are.
pub const BY_EC2_INSTANCE: &str = "ec2-instance";

/// The prefix of the keys that AWS, and nobody else, gives to things.
const RESERVED: &str = "aws:";

/// Tags as a request brings them. How many there may be and what they may be
/// made of is in the model; here is what it does not say.
pub(crate) fn tags(tags: Option<Vec<Tag>>) -> Result<Tags, Error> {
    let mut all = BTreeMap::new();
    for tag in tags.unwrap_or_default() {
        let key = tag.key.ok_or_else(|| Error::invalid("Tag keys can not be null."))?;
        if key.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED)) {
            return Err(Error::invalid(format!(
                "Tag keys starting with '{RESERVED}' are reserved for system use: {key}"
            )));
        }
        if all.insert(key.clone(), tag.value.unwrap_or_default()).is_some() {
            return Err(Error::invalid(format!("Duplicate tag keys are not allowed: {key}")));
        }
    }
    Ok(Tags(all))
}

/// Tags as a response shows them.
pub(crate) fn show_tags(tags: &Tags) -> Vec<Tag> {
    let show = |(key, value): (&str, &str)| Tag {
        key: Some(key.to_owned()),
        value: Some(value.to_owned()),
    };
    tags.iter().map(show).collect()
}

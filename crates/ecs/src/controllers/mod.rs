//! What moves tasks on when nobody asks. Each controller looks at the state,
//! plans, and commits; in the commit it looks again, because what it planned on
//! may be a few milliseconds old.

pub mod credentials;
pub mod definitions;
pub mod lifecycle;
pub mod liveness;
pub mod reaper;
mod vigil;

use crate::acs::Sessions;
use chassis::Controller;
use std::time::Duration;

/// As many tasks as one commit moves on: each may write a record of its own and
/// one of EC2's, and a commit holds 128.
pub(crate) const BATCH: usize = 32;

/// What whoever runs this service may decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long an agent may be away before its tasks count as lost.
    pub agent_grace: Duration,
    /// How long tasks that stopped, container instances that left and clusters
    /// that were deleted can be seen.
    pub retention: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { agent_grace: Duration::from_mins(10), retention: Duration::from_hours(1) }
    }
}

/// The controllers of this service. `sessions` are those that the ACS service of
/// the same process has.
pub fn controllers(sessions: &Sessions, settings: Settings) -> Vec<Box<dyn Controller>> {
    vec![
        Box::new(lifecycle::Lifecycle::new(settings.agent_grace)),
        Box::new(credentials::Credentials::default()),
        Box::new(definitions::Deletion),
        Box::new(liveness::Liveness::new(sessions.clone())),
        Box::new(reaper::Reaper::new(settings.retention)),
    ]
}

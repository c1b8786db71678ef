//! Why a step failed, and the one mapping to the names that ECS shows.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

/// Containers' reasons are cut off here by the API.
pub const REASON_LIMIT: usize = 1024;

/// Why a step towards a running container failed, without its story.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// The image could not be had.
    Pull,
    /// The registry does not know us.
    PullAuth,
    /// The image's manifest could not be had.
    PullManifest,
    /// The container could not be made.
    Create,
    /// The container's process could not be started.
    Start,
    /// A volume that the container mounts is none of the task.
    HostConfig,
    /// Something that the container needs could not be had.
    Resource,
    /// The container could not be stopped.
    Stop,
    /// The container could not be removed.
    Remove,
    /// The network could not be made.
    Network,
    /// The step took too long.
    Timeout,
    /// The kernel killed the container for its use of memory.
    OutOfMemory,
    /// The container is no longer there.
    Vanished,
    /// The task was told to stop before its images were pulled.
    StoppedBeforePull,
    /// The task cannot be run by this agent.
    Unsupported,
}

impl FailureKind {
    /// The name that the ECS API and its documentation use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pull => "CannotPullContainerError",
            Self::PullAuth => "CannotPullContainerAuthError",
            Self::PullManifest => "CannotPullImageManifestError",
            Self::Create => "CannotCreateContainerError",
            Self::Start => "CannotStartContainerError",
            Self::HostConfig => "HostConfigError",
            Self::Resource => "ResourceInitializationError",
            Self::Stop => "CannotStopContainerError",
            Self::Remove => "CannotRemoveContainerError",
            Self::Network => "ContainerNetworkingError",
            Self::Timeout => "DockerTimeoutError",
            Self::OutOfMemory => "OutOfMemoryError",
            Self::Vanished => "ContainerVanishedError",
            Self::StoppedBeforePull => "TaskStoppedBeforePullBeginError",
            // Sic: this is how the official agent spells it, and tools match on it.
            Self::Unsupported => "UnrecogniedTaskError",
        }
    }
}

/// Why a step failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Its kind.
    pub kind: FailureKind,
    /// Its story.
    pub text: String,
}

impl Failure {
    /// A failure with its story.
    pub fn new(kind: FailureKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }

    /// A step that took longer than it may.
    pub fn timeout(towards: &str, after: Duration) -> Self {
        let text = format!(
            "Could not transition to {towards}; timed out after waiting {}s",
            after.as_secs()
        );
        Self::new(FailureKind::Timeout, text)
    }

    /// The kernel killed the container.
    pub fn out_of_memory() -> Self {
        Self::new(FailureKind::OutOfMemory, "Container killed due to memory usage")
    }

    /// The runtime does not know a container that we know.
    pub fn vanished() -> Self {
        Self::new(FailureKind::Vanished, "No container matching saved ID found")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.name(), self.text)
    }
}

/// `text` within the API's limit, cut between characters.
pub fn clip(text: &str) -> String {
    if text.len() <= REASON_LIMIT {
        return text.to_owned();
    }
    let end = (0..=REASON_LIMIT).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    text[..end].to_owned()
}

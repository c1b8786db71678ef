//! A conversation with one agent, without a socket.
//!
//! What is owed to the agent follows from the phases of its instance's tasks
//! ([`sched::lifecycle::duties`]); what this session remembers is only what it has
//! said already. A new session remembers nothing and says everything again, which
//! agents take for the repetition it is. So a lost frame costs a session at worst.

use super::payload::{self, compile};
use crate::names;
use crate::records::{BY_INSTANCE, ContainerInstance, InstanceStatus, RolePurpose, Task};
use ident::{Arn, ClusterName, ContainerInstanceId, Scope, TaskId, Timestamp};
use sched::lifecycle::{Desired, Duty, Phase, duties};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use store::View;
use wire::acs::{
    HeartbeatMessage, IAMRoleCredentialsMessage, Message, PayloadMessage, TaskIdentifier,
    TaskManifestMessage, TaskStopVerificationAck, TaskStopVerificationMessage,
};

/// How often we say that we are there. Agents hang up after a minute of silence.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// How long an agent may be silent, though it has to answer heartbeats.
const SILENCE: Duration = Duration::from_secs(100);
/// As many tasks as one frame carries: a frame is at most a megabyte.
const TASKS_PER_FRAME: usize = 10;

/// See the module.
#[derive(Debug)]
pub struct AcsSession {
    scope: Scope,
    cluster: ClusterName,
    instance: ContainerInstanceId,
    id: String,
    /// Numbers the frames, for their ids.
    frames: u64,
    /// Whether the agent was told which tasks it should have.
    greeted: bool,
    /// What the agent was told to do with each task.
    told: BTreeMap<TaskId, Desired>,
    /// The key id of the credentials that it was last told for each role of a task.
    keys: BTreeMap<(TaskId, RolePurpose), String>,
    /// Answers to what it said.
    answers: Vec<Message>,
    heartbeat_at: Timestamp,
    heard_at: Timestamp,
}

impl AcsSession {
    /// A session with the agent of `instance`. Its `id` is its own.
    pub fn new(instance: &ContainerInstance, id: impl Into<String>, now: Timestamp) -> Self {
        Self {
            scope: instance.scope.clone(),
            cluster: instance.cluster.clone(),
            instance: instance.id.clone(),
            id: id.into(),
            frames: 0,
            greeted: false,
            told: BTreeMap::new(),
            keys: BTreeMap::new(),
            answers: vec![],
            heartbeat_at: now.after(HEARTBEAT),
            heard_at: now,
        }
    }

    /// The frames that are due. Calling again without a change yields nothing.
    pub fn poll(&mut self, view: &View, now: Timestamp) -> Vec<Message> {
        let mut frames = std::mem::take(&mut self.answers);
        let tasks: Vec<Arc<Task>> = view
            .by::<Task>(&self.scope, BY_INSTANCE, self.instance.as_str())
            .filter(|task| task.phase < Phase::Stopped)
            .collect();
        if !self.greeted {
            self.greeted = true;
            frames.push(self.manifest(view, &tasks, now));
        }
        frames.extend(self.payloads(view, &tasks, now));
        frames.extend(self.credentials(view, &tasks));
        if now >= self.heartbeat_at {
            self.heartbeat_at = now.after(HEARTBEAT);
            frames.push(self.heartbeat());
        }
        frames
    }

    /// Takes in what the agent says.
    #[allow(clippy::wildcard_enum_match_arm)] // Most frames are ours to say, not to hear.
    pub fn on_frame(&mut self, view: &View, frame: &Message, now: Timestamp) {
        self.heard_at = now;
        match frame {
            Message::TaskStopVerificationMessage(message) => {
                let answer = self.verify(view, message, now);
                self.answers.push(answer);
            }
            Message::NackRequest(nack) => {
                tracing::warn!(
                    instance = %self.instance,
                    reason = nack.reason.as_deref().unwrap_or_default(),
                    "the agent refuses a frame"
                );
            }
            Message::ErrorMessage(error) => {
                tracing::warn!(
                    instance = %self.instance,
                    message = error.message.as_deref().unwrap_or_default(),
                    "the agent reports an error"
                );
            }
            // Acknowledgements: that it is there is all they tell us. The rest is
            // ours to say, or unknown, and ignored as agents ignore ours.
            _ => {}
        }
    }

    /// When to poll next if nothing happens.
    pub fn wake_at(&self) -> Timestamp {
        self.heartbeat_at.min(self.heard_at.after(SILENCE))
    }

    /// Whether the agent has been silent for so long that it cannot be there.
    pub fn is_silent(&self, now: Timestamp) -> bool {
        now.since(self.heard_at) >= SILENCE
    }

    /// Whether the instance is gone from its cluster, so that there is nothing more
    /// to say.
    pub fn is_over(&self, view: &View) -> bool {
        view.get::<ContainerInstance>(&self.scope, self.instance.as_str())
            .is_none_or(|instance| instance.status == InstanceStatus::Inactive)
    }

    /// Says what tasks the agent should have. What it has beyond them it asks
    /// about, and is told to stop.
    fn manifest(&mut self, view: &View, tasks: &[Arc<Task>], now: Timestamp) -> Message {
        let tasks = tasks.iter().map(|task| identifier(task, task.phase.desired()));
        TaskManifestMessage {
            cluster_arn: Some(self.cluster_arn()),
            container_instance_arn: Some(self.instance_arn()),
            generated_at: Some(now.0),
            message_id: Some(self.message_id()),
            tasks: Some(tasks.collect()),
            timeline: Some(i64::try_from(view.revision().0).unwrap_or(i64::MAX)),
        }
        .into()
    }

    /// Tells the agent to run and to stop what it was not told yet.
    fn payloads(&mut self, view: &View, tasks: &[Arc<Task>], now: Timestamp) -> Vec<Message> {
        self.told.retain(|id, _| tasks.iter().any(|task| task.id == *id));
        let mut stops = vec![];
        let mut runs = vec![];
        for task in tasks {
            let Some(desired) = owed(task.phase) else { continue };
            if self.told.get(&task.id).is_some_and(|told| *told >= desired) {
                continue;
            }
            match compile(view, task, desired) {
                Ok(compiled) if desired == Desired::Stopped => stops.push(compiled),
                Ok(compiled) => runs.push(compiled),
                // Tried again when next there is something to say, if only that we are there.
                Err(error) => {
                    tracing::error!(
                        task = %task.id,
                        error = &error as &dyn std::error::Error,
                        "a task cannot be sent to its agent"
                    );
                    continue;
                }
            }
            self.told.insert(task.id.clone(), desired);
            let keys = task.roles().filter_map(|(purpose, role)| {
                Some(((task.id.clone(), purpose), role.key.clone()?))
            });
            self.keys.extend(keys);
        }
        // Stops first: they make room.
        let all: Vec<_> = stops.into_iter().chain(runs).collect();
        all.chunks(TASKS_PER_FRAME)
            .map(|tasks| {
                PayloadMessage {
                    cluster_arn: Some(self.cluster_arn()),
                    container_instance_arn: Some(self.instance_arn()),
                    generated_at: Some(now.0),
                    message_id: Some(self.message_id()),
                    seq_num: Some(i32::try_from(view.revision().0).unwrap_or(i32::MAX)),
                    tasks: Some(tasks.to_vec()),
                    timeline: None,
                }
                .into()
            })
            .collect()
    }

    /// Tells the agent the credentials of tasks, where it has older ones or, as a new
    /// process, none.
    fn credentials(&mut self, view: &View, tasks: &[Arc<Task>]) -> Vec<Message> {
        self.keys.retain(|(id, _), _| tasks.iter().any(|task| task.id == *id));
        let mut frames = vec![];
        // Before, the agent does not know the task.
        let known = tasks.iter().filter(|task| task.phase >= Phase::Pending);
        for (task, (purpose, role)) in known.flat_map(|task| task.roles().map(move |it| (task, it)))
        {
            let of = (task.id.clone(), purpose);
            let Some(key) = role.key.as_ref().filter(|key| self.keys.get(&of) != Some(key)) else {
                continue;
            };
            let role_type = match purpose {
                RolePurpose::Application => "TaskApplication",
                RolePurpose::Execution => "TaskExecution",
            };
            let message = IAMRoleCredentialsMessage {
                message_id: Some(self.message_id()),
                role_type: Some(role_type.to_owned()),
                task_arn: Some(task.arn().to_string()),
                task_cluster_arn: Some(self.cluster_arn()),
                role_credentials: payload::credentials(view, role),
            };
            self.keys.insert(of, key.clone());
            frames.push(message.into());
        }
        frames
    }

    fn heartbeat(&mut self) -> Message {
        HeartbeatMessage { healthy: Some(true), message_id: Some(self.message_id()) }.into()
    }

    /// Which of the tasks that the agent asks about it should indeed stop: those
    /// that are ours and not to run here. An agent also has tasks of its own,
    /// whose ARNs are no ARNs of ours.
    fn verify(
        &self,
        view: &View,
        message: &TaskStopVerificationMessage,
        now: Timestamp,
    ) -> Message {
        let candidates = message.stop_candidates.iter().flatten();
        let stops = candidates.filter(|candidate| {
            let arn = candidate.task_arn.as_deref().unwrap_or_default();
            let Some((cluster, id)) = names::task_from_arn(&self.scope, arn) else { return false };
            let task = view.get::<Task>(&self.scope, id.as_str());
            let to_run_here = task.is_some_and(|task| {
                task.instance == self.instance && task.phase.desired() == Desired::Running
            });
            cluster == self.cluster && !to_run_here
        });
        TaskStopVerificationAck {
            generated_at: Some(now.0),
            message_id: message.message_id.clone(),
            stop_tasks: Some(stops.cloned().collect()),
        }
        .into()
    }

    fn cluster_arn(&self) -> String {
        names::cluster_arn(&self.scope, &self.cluster).to_string()
    }

    fn instance_arn(&self) -> String {
        names::instance_arn(&self.scope, &self.cluster, &self.instance).to_string()
    }

    fn message_id(&mut self) -> String {
        self.frames = self.frames.saturating_add(1);
        format!("{}-{}", self.id, self.frames)
    }
}

/// What we owe it to the agent to say of a task in this phase.
fn owed(phase: Phase) -> Option<Desired> {
    duties(phase).iter().find_map(|duty| match duty {
        Duty::DeliverPayload => Some(Desired::Running),
        Duty::DeliverStop => Some(Desired::Stopped),
        Duty::AttachEni | Duty::RegisterTargets | Duty::DrainTargets | Duty::ReleaseEni => None,
    })
}

fn identifier(task: &Task, desired: Desired) -> TaskIdentifier {
    let cluster: Arn = names::cluster_arn(&task.scope, &task.cluster);
    TaskIdentifier {
        desired_status: Some(desired.as_str().to_owned()),
        task_arn: Some(task.arn().to_string()),
        task_cluster_arn: Some(cluster.to_string()),
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

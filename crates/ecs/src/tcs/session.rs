//! A telemetry session, without a socket.

use crate::names;
use crate::records::{self, ContainerInstance, Health, Task};
use ident::{ContainerInstanceId, Scope, Timestamp};
use sched::lifecycle::Phase;
use std::time::Duration;
use store::Txn;
use wire::Fault;
use wire::ecs::InstanceHealthCheckResult;
use wire::tcs::{
    AckPublishHealth, AckPublishInstanceStatus, AckPublishMetric, HeartbeatMessage, InstanceStatus,
    Message, TaskHealth,
};

/// How often we say that we are there. Agents hang up after a minute of silence.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub struct TcsSession {
    heartbeat_at: Timestamp,
}

/// What an agent had to say.
#[derive(Clone, Debug, PartialEq)]
pub enum News {
    /// How the containers of tasks fare.
    Health(Vec<TaskHealth>),
    /// How the instance itself fares.
    Instance(Vec<InstanceStatus>),
}

impl TcsSession {
    /// A new session.
    pub fn new(now: Timestamp) -> Self {
        Self { heartbeat_at: now.after(HEARTBEAT) }
    }

    /// The frame that is due by itself.
    pub fn poll(&mut self, now: Timestamp) -> Option<Message> {
        if now < self.heartbeat_at {
            return None;
        }
        self.heartbeat_at = now.after(HEARTBEAT);
        Some(HeartbeatMessage { healthy: Some(true) }.into())
    }

    /// When to poll next.
    pub fn wake_at(&self) -> Timestamp {
        self.heartbeat_at
    }

    /// Understands a frame: what to answer, and what is new.
    ///
    /// Agents sign each frame and put the signature before the JSON. The session
    /// was let in by a signature, so this one is looked at for its shape only.
    pub fn on_frame(&self, text: &str) -> Result<(Option<Message>, Option<News>), Fault> {
        let (headers, json) = wire::tcs::split(text);
        let signed = headers.lines().any(|line| line.starts_with("Authorization:"));
        if !headers.is_empty() && !signed {
            return Err(Fault::client("BadRequestException", "The frame is not signed."));
        }
        let ok = || Some("ok".to_owned());
        #[allow(clippy::wildcard_enum_match_arm)] // All the rest are our own frames.
        Ok(match Message::decode(json)? {
            Message::PublishMetricsRequest(_) => {
                (Some(AckPublishMetric { message: ok() }.into()), None)
            }
            Message::PublishHealthRequest(request) => {
                let news = News::Health(request.tasks.unwrap_or_default());
                (Some(AckPublishHealth { message: ok() }.into()), Some(news))
            }
            Message::PublishInstanceStatusRequest(request) => {
                let news = News::Instance(request.statuses.unwrap_or_default());
                (Some(AckPublishInstanceStatus { message: ok() }.into()), Some(news))
            }
            _ => (None, None),
        })
    }
}

/// Keeps what an agent said, of its own instance and tasks. What is known already
/// writes nothing, because agents repeat themselves every twenty seconds.
pub fn record(txn: &mut Txn, scope: &Scope, instance: &ContainerInstanceId, news: &News) {
    match news {
        News::Health(tasks) => {
            for task in tasks {
                health(txn, scope, instance, task);
            }
        }
        News::Instance(statuses) => {
            let Some(found) = txn
                .get::<ContainerInstance>(scope, instance.as_str())
                .filter(|found| found.status != records::InstanceStatus::Inactive)
            else {
                return;
            };
            let said: Vec<_> = statuses.iter().map(check).collect();
            // When it was looked at changes each time and is no news by itself.
            let gist = |all: &[InstanceHealthCheckResult]| {
                let part = |one: &InstanceHealthCheckResult| {
                    (one.r#type.clone(), one.status.clone(), one.status_reason.clone())
                };
                all.iter().map(part).collect::<Vec<_>>()
            };
            if gist(&found.health) != gist(&said) {
                txn.put(ContainerInstance {
                    health: said,
                    version: found.version.saturating_add(1),
                    ..ContainerInstance::clone(&found)
                });
            }
        }
    }
}

fn health(txn: &mut Txn, scope: &Scope, instance: &ContainerInstanceId, said: &TaskHealth) {
    let arn = said.task_arn.as_deref().unwrap_or_default();
    let Some((_, id)) = names::task_from_arn(scope, arn) else { return };
    // What is STOPPED is history.
    let found = txn
        .get::<Task>(scope, id.as_str())
        .filter(|task| task.instance == *instance && task.phase != Phase::Stopped);
    let Some(found) = found else { return };
    let mut task = Task::clone(&found);
    for one in said.containers.iter().flatten() {
        let name = one.container_name.as_deref().unwrap_or_default();
        let container = task.containers.iter_mut().find(|container| container.name == name);
        let health = one.health_status.as_deref().and_then(Health::parse);
        if let (Some(container), Some(health)) = (container, health) {
            container.health = health;
        }
    }
    if task != *found {
        task.touch();
        txn.put(task);
    }
}

/// The two protocols have different names for the same parts.
fn check(status: &InstanceStatus) -> InstanceHealthCheckResult {
    let part = match status.r#type.as_deref() {
        Some("ContainerRuntime") => "CONTAINER_RUNTIME",
        Some("AcceleratedCompute") => "ACCELERATED_COMPUTE",
        Some("Daemon") => "DAEMON",
        Some(other) => other,
        None => "",
    };
    InstanceHealthCheckResult {
        r#type: Some(part.to_owned()),
        status: status.status.clone(),
        status_reason: status.status_reason.clone(),
        last_updated: status.last_updated,
        last_status_change: status.last_status_change,
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;

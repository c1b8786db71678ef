//! What health checks say, as TCS wants it.

use super::TASKS_PER_FRAME;
use crate::api::Identity;
use crate::engine::{EngineState, Known};
use ident::Timestamp;
use wire::tcs::{self, Message};

/// The health of every container that runs and is checked.
pub(super) fn report(state: &EngineState) -> Vec<tcs::TaskHealth> {
    let tasks = state.tasks.values().filter_map(|task| {
        let all = task.spec.containers.iter().zip(&task.containers);
        let checked =
            all.filter(|(spec, c)| spec.health_check.is_some() && c.known == Known::Running);
        let containers = checked.map(|(_, container)| tcs::ContainerHealth {
            container_name: Some(container.name.clone()),
            health_status: Some(container.health.as_str().to_owned()),
            status_since: container
                .health_since
                .or(container.started_at)
                .map(|at| wire::Timestamp::from_millis(at.0)),
            ..tcs::ContainerHealth::default()
        });
        let containers: Vec<_> = containers.collect();
        (!containers.is_empty()).then(|| tcs::TaskHealth {
            containers: Some(containers),
            task_arn: Some(task.spec.arn.as_str().to_owned()),
            task_definition_family: Some(task.spec.family.clone()),
            task_definition_version: Some(task.spec.version.clone()),
            ..tcs::TaskHealth::default()
        })
    });
    tasks.collect()
}

/// The frames that carry a report.
pub(super) fn frames(
    report: &[tcs::TaskHealth],
    identity: &Identity,
    id: &str,
    now: Timestamp,
) -> Vec<Message> {
    let frames: Vec<_> = report.chunks(TASKS_PER_FRAME).collect();
    let last = frames.len().saturating_sub(1);
    let frame = |(position, tasks): (usize, &[tcs::TaskHealth])| -> Message {
        tcs::PublishHealthRequest {
            metadata: Some(tcs::HealthMetadata {
                cluster: Some(identity.cluster.clone()),
                container_instance: Some(identity.instance.clone()),
                fin: Some(position == last),
                message_id: Some(id.to_owned()),
            }),
            tasks: Some(tasks.to_vec()),
            timestamp: Some(wire::Timestamp::from_millis(now.0)),
        }
        .into()
    };
    frames.into_iter().enumerate().map(frame).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{ContainerSpec, Desired, Health, HealthCheck, Task, TaskArn, TaskSpec};
    use std::time::Duration;

    #[test]
    fn only_what_runs_and_is_checked_is_told() {
        let check = HealthCheck {
            command: Vec::new(),
            interval: Duration::ZERO,
            timeout: Duration::ZERO,
            retries: 1,
            start_period: Duration::ZERO,
        };
        let container = |name: &str, checked: bool| ContainerSpec {
            name: name.to_owned(),
            health_check: checked.then(|| check.clone()),
            ..ContainerSpec::default()
        };
        let spec = TaskSpec {
            family: "f".to_owned(),
            version: "1".to_owned(),
            containers: vec![
                container("web", true),
                container("side", false),
                container("over", true),
            ],
            ..TaskSpec::new(TaskArn::new("arn:t/1"))
        };
        let mut task = Task::new(spec, Desired::Running);
        for container in &mut task.containers[..2] {
            container.known = Known::Running;
        }
        task.containers[0].health = Health::Unhealthy;
        task.containers[0].health_since = Some(Timestamp(5000));
        let mut state = EngineState::default();
        state.tasks.insert(task.spec.arn.clone(), task);
        let told = report(&state);
        let web = &told[0].containers.as_ref().expect("containers")[..];
        assert_eq!(web.len(), 1);
        assert_eq!(web[0].health_status.as_deref(), Some("UNHEALTHY"));
        assert_eq!(web[0].status_since, Some(wire::Timestamp::from_millis(5000)));
        let (cluster, instance) = ("c".to_owned(), "i".to_owned());
        let identity = Identity { cluster, instance, ..Identity::default() };
        assert!(frames(&[], &identity, "m", Timestamp(1)).is_empty());
        let many = vec![told[0].clone(); 11];
        let frames = frames(&many, &identity, "m", Timestamp(1));
        let [Message::PublishHealthRequest(first), Message::PublishHealthRequest(second)] =
            &frames[..]
        else {
            panic!("ten to a frame")
        };
        let fin = |frame: &tcs::PublishHealthRequest| frame.metadata.as_ref().and_then(|m| m.fin);
        assert_eq!((fin(first), fin(second)), (Some(false), Some(true)));
    }
}

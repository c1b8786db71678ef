//! What agents tell of their containers' health.

use super::*;
use crate::testing::{World, ready, scope};
use store::StoreError;
use wire::ecs::HealthCheck;
use wire::tcs::{ContainerHealth, PublishHealthRequest, PublishInstanceStatusRequest};

const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=A/20261121/us-east-1/ecs/\
    aws4_request, SignedHeaders=host;x-amz-date, Signature=00\r\nHost: 127.0.0.1:9800\r\n\
    X-Amz-Date: 20261121T193735Z\r\n\r\n";

fn keep(world: &World, instance: &ContainerInstanceId, news: &News) {
    ready(world.platform.store.transact(|txn| {
        record(txn, &scope(), instance, news);
        Ok::<_, StoreError>(())
    }))
    .expect("kept");
}

#[test]
fn signed_frames_are_understood_and_acknowledged() {
    let session = TcsSession::new(Timestamp(0));
    let metrics = r#"{"type":"PublishMetricsRequest","message":{"metadata":{"cluster":"demo",
        "containerInstance":"arn","fin":true,"idle":true,"messageId":"m"},"timestamp":1795289855.677}}"#;
    let (answer, news) = session.on_frame(&format!("{SIGNED}{metrics}")).expect("understood");
    assert_eq!(answer.expect("an answer").kind(), "AckPublishMetric");
    assert_eq!(news, None);
    let fault = session.on_frame(&format!("Host: x\r\n\r\n{metrics}")).expect_err("unsigned");
    assert_eq!(fault.code, "BadRequestException");
    assert!(session.on_frame("nonsense").is_err());
}

#[test]
fn heartbeats_come_by_themselves() {
    let mut session = TcsSession::new(Timestamp(0));
    assert_eq!(session.poll(Timestamp(0)), None);
    assert_eq!(session.poll(session.wake_at()).expect("due").kind(), "HeartbeatMessage");
    assert_eq!(session.poll(Timestamp(0).after(HEARTBEAT)), None);
}

#[test]
fn health_reaches_the_task_it_belongs_to() {
    let world = World::new();
    let (instance, other) = (world.instance(1), world.instance(2));
    world.define(|request| {
        let container = &mut request.container_definitions.as_mut().expect("containers")[0];
        container.health_check = Some(HealthCheck {
            command: Some(vec!["CMD".to_owned(), "true".to_owned()]),
            ..Default::default()
        });
    });
    let id = world.run_one();
    let task = world.task(&id);
    let said = |status: &str| {
        News::Health(vec![TaskHealth {
            task_arn: Some(task.arn().to_string()),
            containers: Some(vec![ContainerHealth {
                container_name: Some("web".to_owned()),
                health_status: Some(status.to_owned()),
                ..Default::default()
            }]),
            ..Default::default()
        }])
    };
    let elsewhere = if task.instance == instance.id { &other.id } else { &instance.id };
    keep(&world, elsewhere, &said("UNHEALTHY"));
    assert_eq!(world.task(&id).containers[0].health, Health::Unknown, "not its to say");
    keep(&world, &task.instance, &said("HEALTHY"));
    assert_eq!(world.task(&id).containers[0].health, Health::Healthy);
    assert_eq!(world.shown(&id).health_status.as_deref(), Some("HEALTHY"));
    let revision = world.view().revision();
    keep(&world, &task.instance, &said("HEALTHY"));
    assert_eq!(world.view().revision(), revision, "no news");
}

#[test]
fn frames_carry_what_is_kept() {
    let session = TcsSession::new(Timestamp(0));
    let frame = |message: Message| format!("{SIGNED}{}", message.encode().expect("a frame"));
    let health = PublishHealthRequest { tasks: Some(vec![]), ..Default::default() };
    let (answer, news) = session.on_frame(&frame(health.into())).expect("understood");
    assert_eq!(answer.expect("an answer").kind(), "AckPublishHealth");
    assert_eq!(news, Some(News::Health(vec![])));

    let status = InstanceStatus {
        r#type: Some("ContainerRuntime".to_owned()),
        status: Some("OK".to_owned()),
        ..Default::default()
    };
    let request =
        PublishInstanceStatusRequest { statuses: Some(vec![status]), ..Default::default() };
    let (answer, news) = session.on_frame(&frame(request.into())).expect("understood");
    assert_eq!(answer.expect("an answer").kind(), "AckPublishInstanceStatus");

    let world = World::new();
    let instance = world.instance(1);
    keep(&world, &instance.id, &news.expect("news"));
    let kept = world.instance_record(&instance.id).health;
    assert_eq!(kept[0].r#type.as_deref(), Some("CONTAINER_RUNTIME"));
}

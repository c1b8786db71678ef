//! The socket around telemetry: who has to leave.

use super::*;
use crate::acs::end::{NORMAL, SUPERSEDED, UNWELCOME};
use crate::testing::{World, ready};
use chassis::{Outgoing, Principal};
use wire::tcs::{InstanceStatus as Status, PublishInstanceStatusRequest};

fn query(instance: &ContainerInstance) -> Query {
    [("containerInstance".to_owned(), instance.arn().to_string())].into()
}

fn caller(world: &World, instance: &ContainerInstance) -> Cx {
    world.cx(Principal::Instance(instance.ec2_instance.clone().expect("an EC2 instance")))
}

fn status(text: &str) -> String {
    let status = Status {
        r#type: Some("ContainerRuntime".to_owned()),
        status: Some(text.to_owned()),
        ..Default::default()
    };
    let request =
        PublishInstanceStatusRequest { statuses: Some(vec![status]), ..Default::default() };
    Message::from(request).encode().expect("a frame")
}

fn known(world: &World, instance: &ContainerInstance) -> Option<String> {
    world.instance_record(&instance.id).health.first().and_then(|check| check.status.clone())
}

#[tokio::test]
async fn what_a_superseded_session_says_is_not_heard() {
    let world = World::new();
    let instance = world.register(1, None);
    let service = TcsService::default();
    let serve = |socket| service.serve(caller(&world, &instance), query(&instance), socket);
    let ((socket_1, mut agent_1), (socket_2, mut agent_2)) = (Socket::pair(), Socket::pair());
    let (start_2, started_2) = tokio::sync::oneshot::channel();
    let session_2 = async {
        started_2.await.expect("the play has begun");
        serve(socket_2).await;
    };
    let play = async {
        agent_1.send(status("OK")).await.expect("there");
        assert!(matches!(agent_1.recv().await, Some(Outgoing::Text(_))), "acknowledged");
        assert_eq!(known(&world, &instance).as_deref(), Some("OK"));

        start_2.send(()).expect("the second session waits");
        agent_2.send(status("IMPAIRED")).await.expect("there");
        assert!(matches!(agent_2.recv().await, Some(Outgoing::Text(_))), "acknowledged");
        // Late, if there is anybody left to take it.
        let _: Result<(), _> = agent_1.send(status("OK")).await;
        let end = agent_1.recv().await;
        assert!(matches!(&end, Some(Outgoing::Close(NORMAL, why)) if why == SUPERSEDED), "{end:?}");
        assert_eq!(known(&world, &instance).as_deref(), Some("IMPAIRED"));
        drop(agent_2);
    };
    tokio::join!(serve(socket_1), session_2, play);
}

#[tokio::test]
async fn who_is_deregistered_is_told_so() {
    let world = World::new();
    let instance = world.register(1, None);
    let service = TcsService::default();
    let (socket, mut agent) = Socket::pair();
    let serve = service.serve(caller(&world, &instance), query(&instance), socket);
    let play = async {
        agent.send(status("OK")).await.expect("there");
        assert!(matches!(agent.recv().await, Some(Outgoing::Text(_))), "acknowledged");
        let request = wire::ecs::DeregisterContainerInstanceRequest {
            container_instance: Some(instance.id.to_string()),
            ..Default::default()
        };
        ready(crate::api::deregister_container_instance(&world.root(), request)).expect("gone");
        let end = agent.recv().await;
        let Some(Outgoing::Close(UNWELCOME, why)) = &end else { panic!("{end:?}") };
        assert_eq!(why, "InactiveInstanceException");
    };
    tokio::join!(serve, play);
}

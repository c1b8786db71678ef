//! The socket around a session: who gets in, and who has to leave.

use super::*;
use crate::acs::end::{BAD_TEXT, NORMAL};
use crate::testing::{World, scope};
use chassis::{Outgoing, Peer};
use ident::InstanceId;
use wire::acs::HeartbeatAckRequest;

fn query(instance: &ContainerInstance) -> Query {
    let arn = instance.arn().to_string();
    let pairs = [("containerInstanceArn", &*arn), ("agentVersion", "1.105.1")];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn caller(world: &World, instance: &ContainerInstance) -> Cx {
    world.cx(Principal::Instance(instance.ec2_instance.clone().expect("an EC2 instance")))
}

async fn kind(peer: &mut Peer) -> String {
    match peer.recv().await {
        Some(Outgoing::Text(text)) => {
            Message::decode(&text).expect("a frame of ours").kind().to_owned()
        }
        other => format!("{other:?}"),
    }
}

#[test]
fn an_agent_speaks_for_its_own_instance() {
    let world = World::new();
    let (mine, other) = (world.register(1, None), world.register(2, None));
    let service = AcsService::new(Sessions::default());
    let admit = |cx: &Cx, query: &Query| {
        crate::testing::ready(service.admit(cx, query)).map_err(|fault| fault.code)
    };
    assert_eq!(admit(&caller(&world, &mine), &query(&mine)), Ok(()));
    assert_eq!(admit(&caller(&world, &mine), &query(&other)), Err("AccessDeniedException".into()));
    assert_eq!(admit(&world.root(), &query(&mine)), Err("AccessDeniedException".into()));
    let unknown = ContainerInstance {
        id: ident::ContainerInstanceId::mint(9),
        ec2_instance: Some(InstanceId::mint(1)),
        ..mine.clone()
    };
    assert_eq!(
        admit(&caller(&world, &mine), &query(&unknown)),
        Err("InactiveInstanceException".into())
    );
    assert_eq!(
        admit(&caller(&world, &mine), &Query::new()),
        Err("InactiveInstanceException".into())
    );
    // The same machine under a new name: the old one is gone for good.
    world.register(1, None);
    assert_eq!(
        admit(&caller(&world, &mine), &query(&mine)),
        Err("InactiveInstanceException".into())
    );
}

#[tokio::test]
async fn a_newer_session_takes_the_seat() {
    let world = World::new();
    let instance = world.register(1, None);
    let service = AcsService::new(Sessions::default());
    let serve = |socket| service.serve(caller(&world, &instance), query(&instance), socket);
    let ((socket_1, mut agent_1), (socket_2, mut agent_2)) = (Socket::pair(), Socket::pair());
    let (start_2, started_2) = tokio::sync::oneshot::channel();
    let (end_1, ended_1) = tokio::sync::oneshot::channel();

    let session_1 = async {
        serve(socket_1).await;
        end_1.send(()).expect("the play goes on");
    };
    let session_2 = async {
        started_2.await.expect("the play has begun");
        serve(socket_2).await;
    };
    let play = async {
        assert_eq!(kind(&mut agent_1).await, "TaskManifestMessage");
        let before = world.instance_record(&instance.id);
        assert!(before.connected());
        assert_eq!(before.version_info.agent_version.as_deref(), Some("1.105.1"));

        start_2.send(()).expect("the second session waits");
        assert_eq!(kind(&mut agent_2).await, "TaskManifestMessage");
        let Some(Outgoing::Close(code, reason)) = agent_1.recv().await else {
            panic!("the first session was not closed");
        };
        assert_eq!((code, &*reason), (NORMAL, "A newer session took over"));
        ended_1.await.expect("the first session ends");

        let now = world.instance_record(&instance.id);
        assert!(now.connected(), "the end of the first is not the end of the second");
        assert_ne!(now.session, before.session);
        drop(agent_2);
    };
    tokio::join!(session_1, session_2, play);
    assert!(!world.instance_record(&instance.id).connected());
}

#[test]
fn an_older_session_cannot_overtake_a_newer_one() {
    let world = World::new();
    let instance = world.register(1, None);
    let sessions = Sessions::default();
    let [older, newer] = ["s-1", "s-2"].map(|id| sessions.open(&scope(), &instance.id, id));
    let connect = |seat: &Seat| {
        let version = VersionInfo::default();
        crate::testing::ready(connect(&world.platform, seat, &version)).expect("noted")
    };
    assert!(connect(&newer).is_some());
    assert!(connect(&older).is_none(), "its seat is taken");
    // The older one leaves, as it does when it notices.
    drop(older);
    world.disconnect(&instance, "s-1");
    assert!(world.instance_record(&instance.id).connected());
    assert!(newer.is_held());
}

/// The same machine, installed anew, comes as another container instance.
#[tokio::test]
async fn who_came_anew_is_not_who_it_was() {
    let world = World::new();
    let old = world.register(1, None);
    let service = AcsService::new(Sessions::default());
    let (socket, mut agent) = Socket::pair();
    let serve = service.serve(caller(&world, &old), query(&old), socket);
    let play = async {
        assert_eq!(kind(&mut agent).await, "TaskManifestMessage");
        let new = world.register(1, None);
        assert_ne!(new.id, old.id);
        let Some(Outgoing::Close(code, reason)) = agent.recv().await else {
            panic!("the old session was not closed");
        };
        assert_eq!((code, &*reason), (UNWELCOME, "InactiveInstanceException"));
        new
    };
    let ((), new) = tokio::join!(serve, play);
    assert!(!world.instance_record(&old.id).connected());
    assert!(!world.instance_record(&new.id).connected(), "it has not opened a session yet");
}

#[tokio::test]
async fn nonsense_ends_the_conversation() {
    let world = World::new();
    let instance = world.register(1, None);
    let service = AcsService::new(Sessions::default());
    let (socket, mut peer) = Socket::pair();
    let serve = service.serve(caller(&world, &instance), query(&instance), socket);
    let play = async {
        assert_eq!(kind(&mut peer).await, "TaskManifestMessage");
        let ack = Message::from(HeartbeatAckRequest::default()).encode().expect("a frame");
        peer.send(ack).await.expect("there");
        peer.send("{\"type\":").await.expect("there");
        match peer.recv().await {
            Some(Outgoing::Close(code, _)) => assert_eq!(code, BAD_TEXT),
            other => panic!("{other:?}"),
        }
    };
    tokio::join!(serve, play);
    assert!(!world.instance_record(&instance.id).connected());
    assert_eq!(instance.scope, scope());
}

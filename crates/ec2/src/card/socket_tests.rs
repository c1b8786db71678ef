//! The websocket, played from the card's side.

use super::frame::Frame;
use super::socket::CardSocket;
use crate::task_eni::{TaskEni, release, state};
use crate::testing::World;
use chassis::{Outgoing, Peer, Principal, Query, Socket, SocketService};
use ident::InstanceId;
use net::flow::{Action, Direction, Flow, FlowsTold};
use net::plan::{CardPlan, CardReport};
use std::collections::BTreeMap;
use tokio::task::JoinSet;

fn connect(
    world: &World,
    service: &CardSocket,
    instance: &InstanceId,
    running: &mut JoinSet<()>,
) -> Peer {
    let (socket, peer) = Socket::pair();
    let cx = world.caller(Principal::Instance(instance.clone()));
    let service = service.clone();
    running.spawn(async move { service.serve(cx, Query::new(), socket).await });
    peer
}

async fn plan(peer: &mut Peer) -> CardPlan {
    match peer.recv().await {
        Some(Outgoing::Text(text)) => match Frame::read(&text) {
            Ok(Frame::CardPlan(plan)) => plan,
            other => panic!("not a plan: {other:?}"),
        },
        other => panic!("not a text: {other:?}"),
    }
}

async fn obey(peer: &Peer, plan: &CardPlan) {
    let enis = plan.vpcs.iter().flat_map(|vpc| &vpc.enis);
    let present = enis.map(|eni| eni.eni.clone()).collect();
    let report = CardReport { generation: plan.generation, present, failed: BTreeMap::new() };
    peer.send(Frame::CardReport(report).write().expect("writable")).await.expect("connected");
}

#[tokio::test]
async fn a_card_hears_of_changes_and_its_reports_count() {
    let world = World::new();
    let (service, mut running) = (CardSocket::new(), JoinSet::new());
    let instance = world.machine().id;
    let mut peer = connect(&world, &service, &instance, &mut running);
    assert_eq!(plan(&mut peer).await.vpcs[0].enis.len(), 1);

    let subnet = world.subnets()[0].net.id.clone();
    let eni = world.provision(&instance, &subnet).expect("provisioned").net.id;
    let with = plan(&mut peer).await;
    assert_eq!(with.vpcs[0].enis.len(), 2);
    obey(&peer, &with).await;

    let scope = world.cx.scope();
    let mut changes = world.cx.store().subscribe();
    while state(&world.view(), scope, &eni) != TaskEni::Attached {
        changes.changed().await;
    }
    world.transact(|txn| release(txn, scope, &eni)).expect("released");
    let without = plan(&mut peer).await;
    assert_eq!(without.vpcs[0].enis.len(), 1);
    obey(&peer, &without).await;
    while state(&world.view(), scope, &eni) != TaskEni::Gone {
        changes.changed().await;
    }
}

#[tokio::test]
async fn a_newer_session_closes_the_older_one() {
    let world = World::new();
    let (service, mut running) = (CardSocket::new(), JoinSet::new());
    let instance = world.machine().id;
    let mut old = connect(&world, &service, &instance, &mut running);
    plan(&mut old).await;
    let mut new = connect(&world, &service, &instance, &mut running);
    plan(&mut new).await;
    let close = Outgoing::Close(4000, "a newer session has taken over".to_owned());
    assert_eq!(old.recv().await, Some(close));
    running.join_next().await.expect("one").expect("it ended");

    // The older one's end did not take the newer one's place away.
    let mut newest = connect(&world, &service, &instance, &mut running);
    plan(&mut newest).await;
    assert!(matches!(new.recv().await, Some(Outgoing::Close(4000, _))));
}

#[tokio::test]
async fn nonsense_ends_the_conversation() {
    let world = World::new();
    let (service, mut running) = (CardSocket::new(), JoinSet::new());
    let instance = world.machine().id;
    let mut peer = connect(&world, &service, &instance, &mut running);
    plan(&mut peer).await;
    peer.send("{}").await.expect("connected");
    assert!(matches!(peer.recv().await, Some(Outgoing::Close(1008, _))));
}

#[tokio::test]
async fn only_instances_are_let_in() {
    let world = World::new();
    let service = CardSocket::new();
    let instance = world.machine().id;
    let stranger = InstanceId::mint(7);
    for (principal, code) in [
        (Principal::Root, Some("UnauthorizedOperation")),
        (Principal::Instance(stranger), Some("InvalidInstanceID.NotFound")),
        (Principal::Instance(instance), None),
    ] {
        let admitted = service.admit(&world.caller(principal), &Query::new()).await;
        assert_eq!(admitted.err().map(|fault| fault.code.into_owned()).as_deref(), code);
    }
}

#[tokio::test]
async fn a_card_is_asked_for_flows_and_believed_of_what_was_asked() {
    let world = World::new();
    let (service, mut running) = (CardSocket::new(), JoinSet::new());
    let (scope, machine) = (world.cx.scope(), world.machine());
    let (instance, eni) = (machine.id, machine.primary_eni);
    let ask = |address| service.flows(scope, &instance, [eni.clone()].into(), address);
    assert_eq!(ask(None).await, None, "there is no card");
    let mut peer = connect(&world, &service, &instance, &mut running);
    plan(&mut peer).await;

    let address = "10.0.0.5".parse().ok();
    let answer = async {
        let Some(Outgoing::Text(text)) = peer.recv().await else { panic!("not a text") };
        let Ok(Frame::FlowsAsked(asked)) = Frame::read(&text) else { panic!("{text}") };
        assert_eq!((asked.address, asked.enis), (address, [eni.clone()].into()));
        let flow = |eni: &ident::EniId| Flow {
            eni: eni.clone(),
            direction: Direction::Egress,
            action: Action::Accept,
            protocol: 6,
            source: address.expect("an address"),
            destination: address.expect("an address"),
            source_port: 1,
            destination_port: 2,
            counted: None,
            start: None,
        };
        let flows = vec![flow(&eni), flow(&ident::EniId::mint(77))];
        let told = |number| FlowsTold { number, flows: flows.clone(), is_cut: true };
        // One that nobody asked for does no harm.
        for number in [asked.number + 100, asked.number] {
            let text = Frame::FlowsTold(told(number)).write().expect("writable");
            peer.send(text).await.expect("connected");
        }
        vec![flow(&eni)]
    };
    let (told, expected) = tokio::join!(ask(address), answer);
    let told = told.expect("an answer");
    assert_eq!((told.flows, told.is_cut), (expected, true));

    // A card that is silent is waited for, but not for ever.
    tokio::time::pause();
    assert_eq!(ask(None).await, None);
    drop(peer);
    while running.join_next().await.is_some() {}
    assert_eq!(ask(None).await, None);
}

//! Security groups on real packets.

use crate::lab::Lab;
use crate::packets::{Probe, Receiver, Sender};
use crate::world::{HTTP, World, anywhere, from, members, plan};
use net::judge::Content;
use net::model::Traffic;
use nix::sys::socket::SockProtocol;
use std::io::{Read, Write};

#[test]
fn two_tasks_on_port_80_reach_each_other_only_by_rules() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[2]));
    world.group(1, &[], &[]);
    world.group(2, &[], &[]);
    lab.apply(&world.plan(1));
    let (a, b) = (lab.task(&a), lab.task(&b));
    let _servers = (a.listen(80), b.listen(80), b.listen(81));

    assert!(a.is_refused(&b, 80), "neither gate is open");
    world.group(1, &[], &[anywhere(Traffic::All)]);
    lab.apply(&world.plan(2));
    assert!(a.is_refused(&b, 80), "the receiver's gate is shut");
    world.group(1, &[], &[]);
    world.group(2, &[anywhere(HTTP)], &[]);
    lab.apply(&world.plan(3));
    assert!(a.is_refused(&b, 80), "the sender's gate is shut");
    world.group(1, &[], &[from("10.0.1.11/32", HTTP)]);
    lab.apply(&world.plan(4));
    a.connect(&b, 80);
    assert!(a.is_refused(&b, 81), "the rules name one port");
    assert!(b.is_refused(&a, 80), "a permission has a direction");
}

#[test]
fn subnets_of_a_vpc_reach_each_other() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(2, 10, &[1]));
    world.group(1, &[members(1, HTTP)], &[anywhere(Traffic::All)]);
    lab.apply(&world.plan(1));
    let (a, b) = (lab.task(&a), lab.task(&b));
    let _servers = (a.listen(80), b.listen(80));
    a.connect(&b, 80);
    b.connect(&a, 80);
}

#[test]
fn a_reference_to_a_group_follows_its_members() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[2]));
    world.group(1, &[], &[anywhere(Traffic::All)]);
    world.group(2, &[members(3, HTTP)], &[]);
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let _server = task_b.listen(80);
    assert!(task_a.is_refused(&task_b, 80), "nobody is in the group");

    world.enis.retain(|eni| eni.id != a.id);
    let a = net::model::Eni { groups: [crate::world::sg(1), crate::world::sg(3)].into(), ..a };
    world.enis.push(a);
    lab.apply(&world.plan(2));
    task_a.connect(&task_b, 80);
}

#[test]
fn a_revoked_rule_refuses_new_connections_and_leaves_the_old() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[2]));
    world.group(1, &[], &[anywhere(Traffic::All)]);
    world.group(2, &[anywhere(HTTP)], &[]);
    lab.apply(&world.plan(1));
    let (a, b) = (lab.task(&a), lab.task(&b));
    let server = b.listen(80);
    let mut near = a.connect(&b, 80);
    let (mut far, _) = server.accept().expect("accepted");
    let mut talk = |word: &[u8; 4]| {
        let mut heard = [0; 4];
        near.write_all(word).expect("said");
        far.read_exact(&mut heard).expect("heard");
        far.write_all(&heard).expect("answered");
        near.read_exact(&mut heard).expect("heard back");
        assert_eq!(heard, *word);
    };
    talk(b"ping");

    world.group(1, &[], &[]);
    world.group(2, &[], &[]);
    lab.apply(&world.plan(2));
    talk(b"pong");
    assert!(a.is_refused(&b, 80));
}

#[test]
fn two_vpcs_with_the_same_addresses_do_not_see_each_other() {
    let mut lab = Lab::new();
    let (mut one, mut other) = (World::new(1), World::new(2));
    let open = [anywhere(Traffic::All)];
    let (a, b) = (one.eni(1, 10, &[1]), one.eni(1, 11, &[1]));
    let (c, d) = (other.eni(1, 10, &[1]), other.eni(1, 12, &[1]));
    one.group(1, &open, &open);
    other.group(1, &open, &open);
    lab.apply(&plan(1, &[&one, &other]));
    let (a, b, c, d) = (lab.task(&a), lab.task(&b), lab.task(&c), lab.task(&d));
    let servers = (a.listen(80), b.listen(80), c.listen(80), d.listen(80));

    let peer = |from: &crate::lab::Task, to, server: &std::net::TcpListener| {
        let near = from.connect(to, 80);
        let (far, _) = server.accept().expect("accepted");
        assert_eq!(near.local_addr().expect("an address"), far.peer_addr().expect("an address"));
    };
    peer(&b, &a, &servers.0);
    peer(&d, &c, &servers.2);
    // 10.0.1.12 exists, but in the other VPC.
    let stranger =
        crate::lab::connect(&a.netns, d.address, 80, std::time::Duration::from_millis(300));
    stranger.expect_err("there is no such address");
}

#[test]
fn a_packet_of_9001_bytes_passes_whole() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(2, 11, &[1]));
    let open = [anywhere(Traffic::All)];
    world.group(1, &open, &open);
    lab.apply(&world.plan(1));
    let (a, b) = (lab.task(&a), lab.task(&b));
    let receiver = Receiver::of(&b, SockProtocol::Udp);
    let probe = Probe::new(&a, b.address, Content::Udp { port: 9 }, 1);
    Sender::of(&a).send(&Probe { length: 9001, ..probe });
    assert_eq!(receiver.next(), (1, 9001));
}

#[test]
fn counters_say_who_sent_and_who_was_refused() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[2]));
    let open = [anywhere(Traffic::All)];
    world.group(1, &[], &[from("10.0.0.0/16", Traffic::Udp { from: 1, to: 2 })]);
    world.group(2, &[anywhere(Traffic::Udp { from: 2, to: 3 })], &open);
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let receiver = Receiver::of(&task_b, SockProtocol::Udp);
    let sender = Sender::of(&task_a);
    for port in [1, 3, 2] {
        sender.send(&Probe::new(&task_a, task_b.address, Content::Udp { port }, port));
    }
    assert_eq!(receiver.next().0, 2);
    let before = lab.with(async |card| card.counters().await).expect("counters");
    let of = |eni: &net::model::Eni| before[&eni.id];
    assert_eq!((of(&a).sent.packets, of(&a).kept_in.packets), (2, 1), "{before:?}");
    assert_eq!((of(&b).received.packets, of(&b).kept_out.packets), (1, 1), "{before:?}");
    assert_eq!(of(&b).received.bytes, 80);

    world.group(2, &open, &open);
    lab.apply(&world.plan(2));
    let after = lab.with(async |card| card.counters().await).expect("counters");
    assert!(after[&a.id].sent.packets >= 2, "new rules do not make counters forget");
    assert!(after[&b.id].kept_out.packets >= 1);
}

#[test]
fn a_new_interface_inherits_no_flow_of_the_former_owner() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[2]));
    world.group(1, &[], &[anywhere(Traffic::All)]);
    world.group(2, &[anywhere(Traffic::Udp { from: 9, to: 9 })], &[]);
    world.group(3, &[anywhere(Traffic::Udp { from: 10, to: 10 })], &[]);
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let (near, far) = (task_a.bind_udp(4321), task_b.bind_udp(9));
    let mut buffer = [0; 1];
    near.send_to(b"?", (b.ipv4, 9)).expect("sent");
    let (_, back) = far.recv_from(&mut buffer).expect("received");
    far.send_to(b"!", back).expect("answered");
    near.recv(&mut buffer).expect("the tracker knows the flow");

    world.remove(&b.id);
    let next = net::model::Eni {
        id: ident::EniId::mint(77),
        groups: [crate::world::sg(3)].into(),
        ..b.clone()
    };
    world.add(next.clone());
    lab.apply(&world.plan(2));
    let task = lab.task(&next);
    let (nine, ten) = (task.bind_udp(9), task.bind_udp(10));
    // The same flow as before, and then one that its own group permits.
    near.send_to(b"?", (b.ipv4, 9)).expect("sent");
    near.send_to(b"?", (b.ipv4, 10)).expect("sent");
    ten.recv(&mut buffer).expect("received");
    nine.set_nonblocking(true).expect("set");
    nine.recv(&mut buffer).expect_err("it went before, and is not here");
}

//! Interfaces with more than one IPv4 address.

use crate::lab::{Lab, PATIENCE, Task, connect, is_refused, link_with_mac, sh};
use crate::packets::{Probe, Receiver, Sender};
use crate::world::{HTTP, World, anywhere, members};
use net::judge::Content;
use net::model::{Eni, Traffic};
use nix::sys::socket::SockProtocol;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

const UDP: Content = Content::Udp { port: 9 };
const UDP_9: Traffic = Traffic::Udp { from: 9, to: 9 };

/// A client, with 10.0.1.20 besides its own address, and a server, with 10.0.1.21,
/// whose group lets the client's group in and nobody else.
fn two_with_two() -> (World, Eni, Eni) {
    let mut world = World::new(1);
    let (client, server) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[2]));
    let client = world.secondary(&client.id, &[20]);
    let server = world.secondary(&server.id, &[21]);
    world.group(1, &[], &[anywhere(Traffic::All)]);
    world.group(2, &[members(1, HTTP), members(1, UDP_9)], &[anywhere(Traffic::All)]);
    (world, client, server)
}

fn both(task: &Task) -> [Ipv4Addr; 2] {
    [task.address, task.secondary[0]]
}

#[test]
fn every_address_answers_and_is_in_the_interfaces_groups() {
    let mut lab = Lab::new();
    let (mut world, client, server) = two_with_two();
    let stranger = world.eni(1, 12, &[3]);
    world.group(3, &[], &[anywhere(Traffic::All)]);
    lab.apply(&world.plan(1));
    let (client, server) = (lab.task(&client), lab.task(&server));
    let stranger = lab.task(&stranger);
    let _servers = both(&server).map(|own| server.listen_at(own, 80));
    let _closed = both(&server).map(|own| server.listen_at(own, 81));
    for own in both(&server) {
        connect(&client.netns, own, 80, PATIENCE).expect("the client's group may");
        assert!(is_refused(&client.netns, own, 81), "{own}: not that port");
        assert!(is_refused(&stranger.netns, own, 80), "{own}: not that group");
    }

    // And every address of the client is its group's.
    let (sender, receiver) = (Sender::of(&client), Receiver::of(&server, SockProtocol::Udp));
    let mut number = 0;
    for source in both(&client) {
        for to in both(&server) {
            number += 1;
            let probe = Probe::new(&client, to, UDP, number);
            sender.send(&Probe { source: source.into(), ..probe });
            assert_eq!(receiver.next().0, number, "{source} to {to}");
        }
    }
}

#[test]
fn an_address_that_is_not_assigned_is_nobodys() {
    let mut lab = Lab::new();
    let (mut world, client, server) = two_with_two();
    lab.apply(&world.plan(1));
    let (client_task, server_task) = (lab.task(&client), lab.task(&server));
    let third = Ipv4Addr::new(10, 0, 1, 77);
    server_task.sh(&format!("ip addr add {third}/32 dev eth0"));
    let listener = server_task.listen_at(third, 80);
    assert!(is_refused(&client_task.netns, third, 80), "nothing leads there");
    drop(listener);
    server_task.sh(&format!("ip addr del {third}/32 dev eth0"));

    let (sender, receiver) =
        (Sender::of(&client_task), Receiver::of(&server_task, SockProtocol::Udp));
    let kept_in = |lab: &mut Lab| {
        let counters = lab.with(async |card| card.counters().await).expect("counters");
        counters[&client.id].kept_in.packets
    };
    let honest = |number| Probe::new(&client_task, server_task.secondary[0], UDP, number);
    sender.send(&honest(1));
    assert_eq!(receiver.next().0, 1, "the way is known, so that no ARP is needed");

    let before = kept_in(&mut lab);
    sender.send(&Probe { source: third.into(), ..honest(2) });
    sender.send(&honest(3));
    assert_eq!(receiver.next().0, 3, "the forged one went before and did not arrive");
    assert_eq!(kept_in(&mut lab) - before, 1);

    // Assigned, it works; taken away, it does not any more.
    let own = IpAddr::from([10, 0, 1, 20]);
    world.secondary(&client.id, &[20, 77]);
    lab.apply(&world.plan(2));
    sender.send(&Probe { source: third.into(), ..honest(4) });
    assert_eq!(receiver.next().0, 4);
    world.secondary(&client.id, &[77]);
    lab.apply(&world.plan(3));
    let before = kept_in(&mut lab);
    sender.send(&Probe { source: own, ..honest(5) });
    sender.send(&honest(6));
    assert_eq!(receiver.next().0, 6);
    assert_eq!(kept_in(&mut lab) - before, 1);
    assert_eq!(lab.apply(&world.plan(3)).changes(), 0);
}

/// What was permitted to the one that had the address is not permitted to the other.
#[test]
fn a_flow_does_not_follow_an_address_to_another_interface() {
    let mut lab = Lab::new();
    let (mut world, client, server) = two_with_two();
    let heir = world.eni(1, 12, &[3]);
    world.group(3, &[members(1, Traffic::Udp { from: 10, to: 10 })], &[]);
    lab.apply(&world.plan(1));
    let (client, heir_task) = (lab.task(&client), lab.task(&heir));
    let server_task = lab.task(&server);
    let moving = server_task.secondary[0];
    let bind = |task: &Task, port: u16| {
        let socket = task.run(move || UdpSocket::bind((moving, port))).expect("a socket");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        socket
    };
    let (near, far) = (client.bind_udp(4321), bind(&server_task, 9));
    let mut buffer = [0; 1];
    near.send_to(b"?", (moving, 9)).expect("sent");
    let (_, back) = far.recv_from(&mut buffer).expect("received");
    far.send_to(b"!", back).expect("answered");
    near.recv(&mut buffer).expect("the tracker knows the flow");

    world.secondary(&server.id, &[]);
    world.secondary(&heir.id, &[21]);
    lab.apply(&world.plan(2));
    heir_task.sh(&format!("ip addr add {moving}/32 dev eth0"));
    let (nine, ten) = (bind(&heir_task, 9), bind(&heir_task, 10));
    // The same flow as before, and then one that the heir's own group permits.
    near.send_to(b"?", (moving, 9)).expect("sent");
    near.send_to(b"?", (moving, 10)).expect("sent");
    ten.recv(&mut buffer).expect("received");
    nine.set_nonblocking(true).expect("set");
    nine.recv(&mut buffer).expect_err("it went before, and is not here");
}

#[test]
fn the_node_has_every_address_and_speaks_from_the_first() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let node = world.host_eni(1, 30, &[1]);
    // Lower and higher ones, so that it is not the order which makes the first the first.
    world.secondary(&node.id, &[5, 40]);
    let task = world.eni(2, 10, &[2]);
    let open = [anywhere(Traffic::All)];
    world.group(1, &[members(2, HTTP)], &open);
    world.group(2, &[members(1, HTTP)], &open);
    lab.apply(&world.plan(1));
    let name = link_with_mac(&lab.host, &node).expect("it stays");
    let addresses = sh(&lab.host, &format!("ip -4 -o addr show {name}"));
    for wanted in ["10.0.1.30/24", "10.0.1.5/32", "10.0.1.40/32"] {
        assert!(addresses.contains(wanted), "{addresses}");
    }
    let task = lab.task(&task);
    for last in [30, 5, 40] {
        let own = Ipv4Addr::new(10, 0, 1, last);
        let _server = crate::lab::listen(&lab.host, own, 80);
        connect(&task.netns, own, 80, PATIENCE).expect("a connection");
    }
    let server = task.listen(80);
    let _stream = connect(&lab.host, task.address, 80, PATIENCE).expect("a connection");
    let (_, from) = server.accept().expect("there");
    assert_eq!(from.ip(), IpAddr::from([10, 0, 1, 30]));
    let near = sh(&lab.host, "ip route get 10.0.1.99");
    assert!(near.contains("src 10.0.1.30"), "{near}");

    world.secondary(&node.id, &[40]);
    lab.apply(&world.plan(2));
    let addresses = sh(&lab.host, &format!("ip -4 -o addr show {name}"));
    assert!(!addresses.contains("10.0.1.5/") && addresses.contains("10.0.1.40/32"), "{addresses}");
    assert_eq!(lab.apply(&world.plan(2)).changes(), 0);
}

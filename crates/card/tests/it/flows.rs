//! What passed and what did not, as it is told.

use crate::lab::{Lab, PATIENCE, now};
use crate::packets::{Probe, Receiver, Sender};
use crate::world::{World, anywhere, from};
use net::flow::{Action, Counted, Direction, Flow, FlowsAsked, MOST_FLOWS};
use net::judge::Content;
use net::model::{Eni, Service, Traffic};
use nix::sys::socket::SockProtocol;
use std::io::{Read, Write};
use std::net::IpAddr;
use tokio::time::Instant;

const ALL: FlowsAsked =
    FlowsAsked { number: 7, enis: std::collections::BTreeSet::new(), address: None };

/// Everything about a flow but when it began: from where and which port, to where and
/// which port.
type Row = (String, Direction, Action, u8, String, String, Option<u64>);

fn row(flow: &Flow) -> Row {
    let end = |address: IpAddr, port| format!("{address} {port}");
    (
        flow.eni.to_string(),
        flow.direction,
        flow.action,
        flow.protocol,
        end(flow.source, flow.source_port),
        end(flow.destination, flow.destination_port),
        flow.counted.map(|counted| counted.packets),
    )
}

/// The rows of one protocol, in order.
fn rows(flows: &[Flow], protocol: u8) -> Vec<Row> {
    let mut rows: Vec<Row> =
        flows.iter().filter(|flow| flow.protocol == protocol).map(row).collect();
    rows.sort();
    rows
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort();
    rows
}

#[test]
fn what_passes_is_told_at_both_ends_and_both_ways() {
    let mut lab = Lab::new();
    let mut world = World::dual_stack(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(2, 10, &[1]));
    let all = [anywhere(Traffic::All), from("::/0", Traffic::All)];
    world.group(1, &all, &all);
    let plan = world.plan(1);
    lab.apply(&plan);
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let before = now();

    let server = task_b.listen(80);
    let mut near = task_a.connect(&task_b, 80);
    let (mut far, _) = server.accept().expect("accepted");
    near.write_all(&[1; 1000]).expect("said");
    far.read_exact(&mut [0; 1000]).expect("heard");
    far.write_all(&[2; 5000]).expect("answered");
    near.read_exact(&mut [0; 5000]).expect("heard");
    let port = near.local_addr().expect("an address").port();
    let told = lab.flows(&plan, &ALL);
    assert_eq!((told.number, told.is_cut, told.flows.len()), (7, false, 4), "{told:?}");
    for flow in &told.flows {
        let there = flow.source == IpAddr::V4(a.ipv4);
        let (source, destination) = if there { (&a, &b) } else { (&b, &a) };
        assert_eq!(flow.destination, IpAddr::V4(destination.ipv4));
        let expected = if flow.direction == Direction::Egress { source } else { destination };
        assert_eq!((&flow.eni, flow.action, flow.protocol), (&expected.id, Action::Accept, 6));
        let ports = if there { (port, 80) } else { (80, port) };
        assert_eq!((flow.source_port, flow.destination_port), ports);
        let said = if there { 1000 } else { 5000 };
        let Counted { packets, bytes } = flow.counted.expect("counted");
        assert!(packets >= 2 && (said..said + packets * 60 + 1).contains(&bytes), "{flow:?}");
        let start = flow.start.expect("known");
        // The kernel's timestamps are its clock's, cut to milliseconds.
        assert!(start.0 >= before.0 - 1 && start <= now(), "{start:?} {before:?}");
    }

    // Datagrams of both IP versions, one way; then an answer to the first.
    let sender = Sender::of(&task_a);
    let socket = task_b.bind_udp(53);
    let v4 = Probe::new(&task_a, b.ipv4, Content::Udp { port: 53 }, 1);
    let receiver = Receiver::of_v6(&task_b, SockProtocol::Udp);
    let v6 = Probe::new(&task_a, task_b.v6(), Content::Udp { port: 53 }, 2);
    sender.send(&v4);
    sender.send(&v6);
    sender.send(&v6);
    assert_eq!([receiver.next().0, receiver.next().0], [2, 2]);
    let (_, asker) = socket.recv_from(&mut [0; 99]).expect("heard");
    let told = lab.flows(&plan, &ALL).flows;
    let pass = |eni: &Eni, way, from: (IpAddr, u16), to: (IpAddr, u16), packets| {
        let end = |(address, port): (IpAddr, u16)| format!("{address} {port}");
        (eni.id.to_string(), way, Action::Accept, 17, end(from), end(to), Some(packets))
    };
    let [a4, b4] = [&a, &b].map(|eni| IpAddr::V4(eni.ipv4));
    let [a6, b6] = [&task_a, &task_b].map(|task| IpAddr::V6(task.v6()));
    let ([a4, b4], [a6, b6]) = ([(a4, 30_001), (b4, 53)], [(a6, 30_002), (b6, 53)]);
    let mut expected = vec![
        pass(&a, Direction::Egress, a4, b4, 1),
        pass(&b, Direction::Ingress, a4, b4, 1),
        pass(&a, Direction::Egress, a6, b6, 2),
        pass(&b, Direction::Ingress, a6, b6, 2),
    ];
    // That nobody listens at the other is an ICMPv6 error about it: the same flow.
    assert_eq!(rows(&told, 17), sorted(expected.clone()));

    socket.send_to(b"yes", asker).expect("answered");
    expected.push(pass(&b, Direction::Egress, b4, a4, 1));
    expected.push(pass(&a, Direction::Ingress, b4, a4, 1));
    let expected = sorted(expected);
    let deadline = Instant::now() + PATIENCE;
    while rows(&lab.flows(&plan, &ALL).flows, 17) != expected {
        assert!(Instant::now() < deadline, "{:#?}", lab.flows(&plan, &ALL).flows);
    }

    let of_b = FlowsAsked { enis: [b.id.clone()].into(), ..ALL };
    let told = lab.flows(&plan, &of_b).flows;
    assert!(told.len() == 5 && told.iter().all(|flow| flow.eni == b.id), "{told:#?}");
    let about = FlowsAsked { address: Some(a6.0), ..ALL };
    assert_eq!(rows(&lab.flows(&plan, &about).flows, 17).len(), 2);
    assert_eq!(lab.flows(&plan, &about).flows.len(), 2);
}

#[test]
fn what_a_gate_refuses_is_told_with_how_much_it_was() {
    let mut lab = Lab::new();
    let mut world = World::dual_stack(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(2, 10, &[2]));
    let all = [anywhere(Traffic::All), from("::/0", Traffic::All)];
    world.group(1, &[], &all);
    world.group(2, &[], &[]);
    let plan = world.plan(1);
    lab.apply(&plan);
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let sender = Sender::of(&task_a);
    let (tcp, udp) = (Content::Tcp { port: 80 }, Content::Udp { port: 53 });
    let ends = [(IpAddr::V4(a.ipv4), IpAddr::V4(b.ipv4)), (task_a.v6().into(), task_b.v6().into())];

    // Out of the one, and not into the other.
    let mut expected = Vec::new();
    for (from, to) in ends {
        let ping = if to.is_ipv4() {
            Content::Icmp { kind: 8, code: 0 }
        } else {
            Content::Icmpv6 { kind: 128, code: 0 }
        };
        for (content, ports, times) in
            [(tcp, (30_001, 80), 3), (udp, (30_001, 53), 2), (ping, (0, 0), 1)]
        {
            for _ in 0..times {
                sender.send(&Probe::new(&task_a, to, content, 1));
            }
            let [from, to] =
                [(from, ports.0), (to, ports.1)].map(|(at, port)| format!("{at} {port}"));
            let row = |eni: &Eni, way, action| {
                let (from, to) = (from.clone(), to.clone());
                (eni.id.to_string(), way, action, content.protocol(), from, to, Some(times))
            };
            expected.push(row(&a, Direction::Egress, Action::Accept));
            expected.push(row(&b, Direction::Ingress, Action::Reject));
        }
    }
    let told = lab.flows(&plan, &ALL).flows;
    assert_eq!(sorted(told.iter().map(row).collect()), sorted(expected));
    for flow in &told {
        let bytes = flow.counted.map(|counted| counted.bytes / counted.packets);
        assert_eq!(bytes, Some(80), "{flow:?}");
        assert!(now().0 - flow.start.expect("known").0 < 10_000, "{flow:?}");
    }

    // Not even out of the one; under a false name neither.
    let back = Sender::of(&task_b);
    let honest = Probe::new(&task_b, a.ipv4, tcp, 2);
    back.send(&honest);
    back.send(&Probe { source: [10, 0, 2, 77].into(), ..honest });
    back.send(&Probe::new(&task_b, task_a.v6(), udp, 3));
    let told = lab.flows(&plan, &FlowsAsked { enis: [b.id.clone()].into(), ..ALL }).flows;
    let told = told.iter().filter(|flow| flow.direction == Direction::Egress).map(row);
    let row = |protocol, from: &str, to: &str| {
        let (from, to) = (from.to_owned(), to.to_owned());
        (b.id.to_string(), Direction::Egress, Action::Reject, protocol, from, to, Some(1))
    };
    let expected = vec![
        row(6, "10.0.2.10 30002", "10.0.1.10 80"),
        row(6, "10.0.2.77 30002", "10.0.1.10 80"),
        row(17, "fd00:0:0:2::10 30003", "fd00:0:0:1::10 53"),
    ];
    assert_eq!(sorted(told.collect()), sorted(expected));

    // What packets have put there is no change of the rules.
    let reapplied = lab.with(async |card| card.reapply().await);
    reapplied.expect("a plan").expect("applied");
    assert_eq!(lab.card.last_work().changes(), 0, "{:?}", lab.card.last_work());
    lab.restart();
    assert_eq!(lab.apply(&plan).loaded, 0, "and another card finds them in force");
}

#[test]
fn a_flood_is_counted_and_not_remembered_whole() {
    const FLOOD: u16 = 20_000;
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b, c) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[2]), world.eni(1, 12, &[2]));
    world.group(1, &[], &[anywhere(Traffic::All)]);
    world.group(2, &[anywhere(Traffic::Udp { from: 53, to: 53 })], &[]);
    let plan = world.plan(1);
    lab.apply(&plan);
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let _c = lab.task(&c);
    let sender = Sender::of(&task_a);
    for number in 0..FLOOD {
        sender.send(&Probe::new(&task_a, b.ipv4, Content::Tcp { port: 80 }, number));
    }
    let told = lab.flows(&plan, &ALL);
    let refused = |eni: &Eni| {
        let of = |flow: &&Flow| flow.eni == eni.id && flow.action == Action::Reject;
        told.flows.iter().filter(of).count()
    };
    // 200 at once, and 10 a second for as long as it took.
    assert!((200..1000).contains(&refused(&b)), "{}", refused(&b));
    assert!(!told.is_cut && told.flows.len() <= MOST_FLOWS);
    let counters = lab.with(async |card| card.counters().await).expect("counters");
    assert_eq!(counters[&b.id].kept_out.packets, u64::from(FLOOD), "all of it was dropped");

    // Another's is still told, and what is permitted passes.
    sender.send(&Probe::new(&task_a, c.ipv4, Content::Tcp { port: 80 }, 1));
    let told = lab.flows(&plan, &FlowsAsked { enis: [c.id.clone()].into(), ..ALL }).flows;
    assert_eq!(told.len(), 1, "{told:?}");
    let receiver = Receiver::of(&task_b, SockProtocol::Udp);
    sender.send(&Probe::new(&task_a, b.ipv4, Content::Udp { port: 53 }, 2));
    assert_eq!(receiver.next().0, 2);
}

#[test]
fn an_interface_takes_its_flows_along() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[2]));
    world.group(1, &[], &[anywhere(Traffic::All)]);
    world.group(2, &[anywhere(Traffic::Udp { from: 53, to: 53 })], &[]);
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let sender = Sender::of(&task_a);
    let receiver = Receiver::of(&task_b, SockProtocol::Udp);
    sender.send(&Probe::new(&task_a, b.ipv4, Content::Tcp { port: 80 }, 1));
    sender.send(&Probe::new(&task_a, b.ipv4, Content::Udp { port: 53 }, 2));
    assert_eq!(receiver.next().0, 2);
    let of = |eni: &Eni, plan| {
        lab.flows(plan, &FlowsAsked { enis: [eni.id.clone()].into(), ..ALL }).flows.len()
    };
    assert_eq!((of(&a, &world.plan(1)), of(&b, &world.plan(1))), (2, 2));

    // Another comes with the address of the one that goes.
    world.remove(&b.id);
    let mut heir = world.eni(1, 11, &[2]);
    world.remove(&heir.id);
    heir.id = ident::EniId::mint(99);
    heir.mac.0[1] = 9;
    world.add(heir.clone());
    drop(task_b);
    let plan = world.plan(2);
    lab.apply(&plan);
    let told = lab.flows(&plan, &FlowsAsked { enis: [heir.id].into(), ..ALL }).flows;
    assert_eq!(told, []);
    let told = lab.flows(&plan, &ALL).flows;
    assert!(told.iter().all(|flow| flow.eni != b.id), "{told:?}");
}

#[test]
fn what_the_vpc_offers_itself_is_no_flow() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    world.names = Some(true);
    let a = world.eni(1, 10, &[1]);
    world.group(1, &[], &[]);
    world.serve(&a.id, &[Service::Resolver]);
    let plan = world.plan(1);
    lab.apply(&plan);
    let task = lab.task(&a);
    let server = IpAddr::from([169, 254, 169, 253]);
    drop(crate::lab::connect(&task.netns, server, 53, PATIENCE).expect("the resolver"));
    assert!(crate::lab::is_refused(&task.netns, [10, 0, 1, 99], 53), "nobody is there");
    let told = lab.flows(&plan, &ALL).flows;
    assert_eq!(told, []);
}

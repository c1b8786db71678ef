//! Tasks that lie about who they are.

use crate::lab::{Lab, Task};
use crate::packets::{Probe, Receiver, Sender};
use crate::world::{World, anywhere};
use net::judge::Content;
use net::model::{Eni, Traffic};
use nix::sys::socket::SockProtocol;
use std::net::Ipv4Addr;
use tokio::time::Instant;

const UDP: Content = Content::Udp { port: 9 };

fn open_world() -> (World, Eni, Eni) {
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(1, 11, &[1]));
    let open = [anywhere(Traffic::All)];
    world.group(1, &open, &open);
    (world, a, b)
}

/// How many of the interface's packets were kept in.
fn kept_in(lab: &mut Lab, eni: &Eni) -> u64 {
    lab.with(async |card| card.counters().await).expect("counters")[&eni.id].kept_in.packets
}

/// Makes the router's hardware address known for good as that of `at`, so that no ARP is
/// needed in what follows.
pub(crate) fn pin_router(lab: &Lab, task: &Task, at: Ipv4Addr) {
    let links = crate::lab::sh(
        &lab.router(),
        &format!("ip -o link show $(ip -o route get {} | sed 's/.*dev //; s/ .*//')", task.address),
    );
    let mac = links.split("link/ether ").nth(1).and_then(|rest| rest.split(' ').next());
    let mac = mac.expect("the card end's hardware address");
    task.sh(&format!("ip neigh replace {at} lladdr {mac} dev eth0 nud permanent"));
}

#[test]
fn another_source_address_is_dropped() {
    let mut lab = Lab::new();
    let (world, a, b) = open_world();
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    pin_router(&lab, &task_a, task_b.address);
    let before = kept_in(&mut lab, &a);
    let receiver = Receiver::of(&task_b, SockProtocol::Udp);
    let sender = Sender::of(&task_a);
    let honest = Probe::new(&task_a, task_b.address, UDP, 2);
    sender.send(&Probe { source: "10.0.1.77".parse().expect("an address"), number: 1, ..honest });
    sender.send(&honest);
    assert_eq!(receiver.next().0, 2, "the forged one went before and did not arrive");
    assert_eq!(kept_in(&mut lab, &a) - before, 1);
}

#[test]
fn without_the_check_another_source_address_passes() {
    let mut lab = Lab::new();
    let (mut world, a, b) = open_world();
    world.enis[0].source_dest_check = false;
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let receiver = Receiver::of(&task_b, SockProtocol::Udp);
    let probe = Probe::new(&task_a, task_b.address, UDP, 1);
    let source = "192.0.2.7".parse().expect("an address");
    Sender::of(&task_a).send(&Probe { source, ..probe });
    assert_eq!(receiver.next().0, 1);
}

#[test]
fn another_hardware_address_is_dropped() {
    let mut lab = Lab::new();
    let (world, a, b) = open_world();
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let _server = task_b.listen(80);
    task_a.sh("ip link set eth0 address 02:00:00:99:99:99");
    pin_router(&lab, &task_a, task_b.address);
    // What comes back is still addressed to the right one: take it all.
    task_a.sh("ip link set eth0 promisc on");
    let before = kept_in(&mut lab, &a);
    assert!(task_a.is_refused(&task_b, 80));
    assert!(kept_in(&mut lab, &a) > before);
    task_a.sh(&format!("ip link set eth0 address {}", a.mac));
    task_a.connect(&task_b, 80);
}

#[test]
fn arp_for_somebody_else_gets_no_answer() {
    let mut lab = Lab::new();
    let (world, a, b) = open_world();
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    task_a.sh("ip addr add 10.0.1.77/32 dev eth0");
    let sender = Sender::of(&task_a);
    let honest = Probe::new(&task_a, task_b.address, UDP, 2);
    let state = || task_a.sh(&format!("ip neigh show {} dev eth0", task_b.address));

    // The kernel asks in the name of the packet's source.
    sender.send(&Probe { source: "10.0.1.77".parse().expect("an address"), number: 1, ..honest });
    let receiver = Receiver::of(&task_b, SockProtocol::Udp);
    let deadline = Instant::now() + crate::lab::PATIENCE;
    while !state().contains("FAILED") {
        assert!(Instant::now() < deadline, "{}", state());
        assert!(!state().contains("REACHABLE"), "{}", state());
    }
    sender.send(&honest);
    assert_eq!(receiver.next().0, 2);
    assert!(state().contains("REACHABLE"), "{}", state());
}

#[test]
fn nobody_else_answers_for_a_tasks_own_address() {
    let mut lab = Lab::new();
    let (world, a, _) = open_world();
    lab.apply(&world.plan(1));
    let task = lab.task(&a);
    let other = lab.task(&world.enis[1]);
    // Asks for its own address and for one that nobody has, then for another's,
    // whose answer tells that the others had their time.
    task.sh("ip addr del 10.0.1.10/24 dev eth0; ip addr add 10.0.1.10/32 dev eth0; \
             ip route add 10.0.1.0/24 dev eth0");
    let sender = Sender::of(&task);
    for (number, nobody) in [(1, "10.0.1.10"), (2, "10.0.1.200")] {
        let to: std::net::IpAddr = nobody.parse().expect("an address");
        sender.send(&Probe::new(&task, to, UDP, number));
    }
    let receiver = Receiver::of(&other, SockProtocol::Udp);
    sender.send(&Probe::new(&task, other.address, UDP, 3));
    assert_eq!(receiver.next().0, 3);
    let neighbours = task.sh("ip neigh show dev eth0");
    let answered: Vec<_> = neighbours.lines().filter(|line| line.contains("lladdr")).collect();
    assert!(answered.iter().all(|line| line.starts_with("10.0.1.11 ")), "{neighbours}");
}

#[test]
fn the_router_itself_answers_nothing_but_arp() {
    let mut lab = Lab::new();
    let (world, a, _) = open_world();
    lab.apply(&world.plan(1));
    let task = lab.task(&a);
    let gateway: std::net::IpAddr = "10.0.1.1".parse().expect("an address");
    assert!(crate::lab::is_refused(&task.netns, gateway, 80));
    assert!(task.sh("ip neigh show 10.0.1.1").contains("lladdr"), "it answers ARP");
    // Without IPv6 in the plan there is none to talk to.
    let addresses = crate::lab::sh(
        &lab.router(),
        "ip -6 -o addr show scope global; ip -6 -o addr show scope link",
    );
    assert_eq!(addresses, "");
}

//! Packets of known flows do not ask the rules: that is so, only theirs, and they are
//! counted all the same.

use crate::lab::{Lab, PATIENCE, Task, sh};
use crate::packets::{Probe, Sender};
use crate::spoof::pin_router;
use crate::world::{World, anywhere, from};
use card::Counters;
use net::flow::{Flow, FlowsAsked};
use net::judge::Content;
use net::model::{Eni, Traffic};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use tokio::time::Instant;

const UDP: u8 = 17;
/// More than anybody says in the second for which a flow is believed to be known.
const MANY: u64 = 300;

fn open_world() -> (World, Eni, Eni) {
    let mut world = World::dual_stack(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(2, 10, &[1]));
    let open = [anywhere(Traffic::All), from("::/0", Traffic::All)];
    world.group(1, &open, &open);
    (world, a, b)
}

/// Two ends of a flow of datagrams.
struct Talk {
    near: UdpSocket,
    far: UdpSocket,
    to: SocketAddr,
}

impl Talk {
    fn open(a: (&Task, IpAddr, u16), b: (&Task, IpAddr, u16)) -> Self {
        let bind = |(task, address, port): (&Task, IpAddr, u16)| {
            let at = SocketAddr::new(address, port);
            let socket = task.run(move || UdpSocket::bind(at)).expect("a socket");
            socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
            socket
        };
        let talk = Self { near: bind(a), far: bind(b), to: SocketAddr::new(b.1, b.2) };
        talk.goes_on();
        talk
    }

    fn goes_on(&self) {
        self.near.send_to(b"word", self.to).expect("sent");
        let (_, from) = self.far.recv_from(&mut [0; 4]).expect("heard");
        self.far.send_to(b"word", from).expect("answered");
        self.near.recv_from(&mut [0; 4]).expect("heard the answer");
    }

    /// Whether nothing is left to be heard at the far end.
    fn is_silent(&self) -> bool {
        self.far.set_nonblocking(true).expect("a switch");
        let heard = self.far.recv_from(&mut [0; 4]).map_err(|error| error.kind());
        self.far.set_nonblocking(false).expect("a switch");
        heard == Err(ErrorKind::WouldBlock)
    }
}

fn counters(lab: &mut Lab, eni: &Eni) -> Counters {
    lab.with(async |card| card.counters().await).expect("counters")[&eni.id]
}

/// How many packets of the interface the rules themselves have let out.
fn asked(lab: &Lab, eni: &Eni) -> u64 {
    let shown = sh(&lab.router(), &format!("nft list counter inet landfall {}-tx", eni.id));
    let packets = shown.split("packets ").nth(1).and_then(|rest| rest.split(' ').next());
    packets.expect("a counter").parse().expect("a number")
}

/// Waits until a packet of the interface was kept in.
fn await_refusal(lab: &mut Lab, eni: &Eni) {
    let deadline = Instant::now() + PATIENCE;
    while counters(lab, eni).kept_in.packets == 0 {
        assert!(Instant::now() < deadline, "nobody kept it in");
    }
}

/// Two tasks of different subnets whose flow is known.
struct Scene {
    lab: Lab,
    world: World,
    a: Eni,
    task_a: Task,
    task_b: Task,
    talk: Talk,
}

impl Scene {
    /// The flow is from this port to port 9.
    fn open(port: u16) -> Self {
        let mut lab = Lab::new();
        let (world, a, b) = open_world();
        lab.apply(&world.plan(1));
        let (task_a, task_b) = (lab.task(&a), lab.task(&b));
        let (near, far) = (task_a.address.into(), task_b.address.into());
        let talk = Talk::open((&task_a, near, port), (&task_b, far, 9));
        talk.goes_on();
        Self { lab, world, a, task_a, task_b, talk }
    }
}

#[test]
fn most_packets_do_not_ask_the_rules_and_all_are_counted() {
    let mut lab = Lab::new();
    let (world, a, b) = open_world();
    let plan = world.plan(1);
    lab.apply(&plan);
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let v4 = [task_a.address.into(), task_b.address.into()];
    let v6 = [task_a.v6().into(), task_b.v6().into()];
    for (round, [near, far]) in (1..).zip([v4, v6]) {
        let talk = Talk::open((&task_a, near, 4321), (&task_b, far, 9));
        for _ in 1..MANY {
            talk.goes_on();
        }
        let (by_a, by_b) = (counters(&mut lab, &a), counters(&mut lab, &b));
        for tally in [by_a.sent, by_a.received, by_b.sent, by_b.received] {
            assert_eq!(tally.packets, round * MANY, "{near}: {by_a:?} {by_b:?}");
        }
        assert!(asked(&lab, &a) < MANY / 2, "{near}: {} have asked", asked(&lab, &a));
    }
    let bytes = MANY * (20 + 8 + 4) + MANY * (40 + 8 + 4);
    assert_eq!(counters(&mut lab, &a).sent.bytes, bytes);

    let everything = FlowsAsked { number: 1, enis: BTreeSet::new(), address: None };
    let told = lab.flows(&plan, &everything).flows;
    let of = |flow: &&Flow| flow.protocol == UDP;
    let seen: Vec<_> = told.iter().filter(of).map(|flow| flow.counted).collect();
    // Two flows, there and back, each seen from both ends.
    assert_eq!(seen.len(), 8, "{told:?}");
    for counted in seen {
        assert_eq!(counted.map(|counted| counted.packets), Some(MANY), "{told:?}");
    }
}

#[test]
fn nobody_else_may_use_a_known_flow() {
    // As a probe of the number 1 would be.
    let Scene { mut lab, mut world, a, task_a, task_b, talk } = Scene::open(30_001);
    let c = world.eni(1, 11, &[1]);
    lab.apply(&world.plan(2));
    let task_c = lab.task(&c);
    talk.goes_on();

    // By another interface, as if it came from this one.
    let udp = Content::Udp { port: 9 };
    let probe = Probe { length: 32, ..Probe::new(&task_a, task_b.address, udp, 1) };
    Sender::of(&task_c).send(&probe);
    await_refusal(&mut lab, &c);
    assert!(talk.is_silent());

    // By this interface, but another hardware address.
    talk.goes_on();
    task_a.sh("ip link set eth0 address 0e:99:99:99:99:99");
    pin_router(&lab, &task_a, Ipv4Addr::new(10, 0, 1, 1));
    talk.near.send_to(b"word", talk.to).expect("sent");
    await_refusal(&mut lab, &a);
    assert!(talk.is_silent());
}

#[test]
fn what_is_longer_than_what_has_passed_asks_again() {
    let Scene { lab, task_a, task_b, talk, .. } = Scene::open(4321);
    let far = task_b.address;
    // Somebody makes the way narrower.
    let to_b = format!("$(ip -o route get {far} | sed 's/.*dev //; s/ .*//')");
    sh(&lab.router(), &format!("ip link set {to_b} mtu 1500"));
    talk.goes_on();
    talk.near.send_to(&[1; 3000], talk.to).expect("sent");
    let deadline = Instant::now() + PATIENCE;
    while !task_a.sh(&format!("ip route get {far}")).contains("mtu 1500") {
        assert!(Instant::now() < deadline, "the error never came");
    }
    assert!(talk.is_silent());
}

#[test]
fn a_known_flow_ends_with_what_permitted_it() {
    let Scene { mut lab, mut world, a, task_a: _a, task_b: _b, talk } = Scene::open(4321);
    // Everybody may, so EC2 does not track it, and nobody may any more.
    world.group(1, &[], &[]);
    lab.apply(&world.plan(2));
    talk.near.send_to(b"word", talk.to).expect("sent");
    await_refusal(&mut lab, &a);
    assert!(talk.is_silent());
}

#[test]
fn another_card_takes_over() {
    let Scene { mut lab, world, a, task_a: _a, task_b: _b, talk } = Scene::open(4321);
    for round in 1..3 {
        for _ in 0..MANY {
            talk.goes_on();
        }
        assert!(asked(&lab, &a) < MANY, "{} have asked in {round} rounds", asked(&lab, &a));
        lab.restart();
        lab.apply(&world.plan(1));
        let shown = sh(
            &lab.router(),
            "for link in $(ip -o link | cut -d: -f2 | cut -d@ -f1); do tc filter show dev $link ingress; done",
        );
        let programs = shown.lines().filter(|line| line.contains("direct-action")).count();
        assert_eq!(programs, 2, "one for each interface: {shown}");
    }
    let before = asked(&lab, &a);
    talk.goes_on();
    assert!(asked(&lab, &a) > before, "what its predecessor knew is nothing to it");
}

//! Flows that end with the rules that let them pass, and those that do not.

use crate::lab::{Lab, Task};
use crate::packets::{Probe, Receiver, Sender};
use crate::world::{HTTP, World, anywhere, from, members};
use net::judge::Content;
use net::model::{Rule, Traffic};
use nix::sys::socket::SockProtocol;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long the other end may take to hear something. The kernel repeats what was lost
/// within it, so one who hears nothing never will.
const LONG: Duration = Duration::from_secs(2);

/// A connection from one task to port 80 of another.
struct Talk {
    near: TcpStream,
    far: TcpStream,
}

impl Talk {
    fn open(a: &Task, b: &Task) -> Self {
        let server = b.listen(80);
        let near = a.connect(b, 80);
        let (far, _) = server.accept().expect("accepted");
        let mut talk = Self { near, far };
        assert!(talk.goes_on());
        talk
    }

    /// Whether both hear each other.
    fn goes_on(&mut self) -> bool {
        Self::hears(&mut self.near, &mut self.far) && Self::hears(&mut self.far, &mut self.near)
    }

    fn hears(from: &mut TcpStream, to: &mut TcpStream) -> bool {
        from.write_all(b"word").expect("said");
        to.set_read_timeout(Some(LONG)).expect("a timeout");
        match to.read_exact(&mut [0; 4]) {
            Ok(()) => true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Two tasks that talk; `rules` are those of the second one's group, `next` those that
/// they become. Returns whether the talk outlives that.
fn outlives(rules: (&[Rule], &[Rule]), next: (&[Rule], &[Rule])) -> bool {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(2, 10, &[2]));
    world.group(1, &[], &[anywhere(Traffic::All)]);
    world.group(2, rules.0, rules.1);
    lab.apply(&world.plan(1));
    let (a, b) = (lab.task(&a), lab.task(&b));
    let mut talk = Talk::open(&a, &b);
    world.group(2, next.0, next.1);
    lab.apply(&world.plan(2));
    talk.goes_on()
}

#[test]
fn a_flow_for_everybody_ends_with_its_rule() {
    let (http, all) = ([anywhere(HTTP)], [anywhere(Traffic::All)]);
    assert!(!outlives((&http, &all), (&[], &all)));
    // Without the rule for all answers it would have been tracked.
    assert!(outlives((&http, &[]), (&[], &[])));
    // A narrower rule, or one about a group, has its flows tracked.
    assert!(outlives((&[from("10.0.1.0/24", HTTP)], &all), (&[], &all)));
    assert!(outlives((&[members(1, HTTP)], &all), (&[], &all)));
    // So long as something permits it, it goes on.
    assert!(outlives((&http, &all), (&[from("10.0.0.0/8", HTTP)], &all)));
    assert!(!outlives((&http, &all), (&[from("10.0.9.0/24", HTTP)], &all)));
}

#[test]
fn each_interface_tracks_for_itself() {
    let mut lab = Lab::new();
    let mut world = World::new(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(2, 10, &[2]));
    let all = [anywhere(Traffic::All)];
    // The first one would not track what it sends; the second one does.
    world.group(1, &all, &all);
    world.group(2, &[members(1, HTTP)], &[]);
    lab.apply(&world.plan(1));
    let (task_a, task_b) = (lab.task(&a), lab.task(&b));
    let mut talk = Talk::open(&task_a, &task_b);
    world.group(2, &[], &[]);
    lab.apply(&world.plan(2));
    assert!(talk.goes_on(), "the second one tracks it");
    // Nobody may send out any more; a card that has just been started sees to it too.
    world.group(1, &all, &[]);
    lab.restart();
    lab.apply(&world.plan(3));
    assert!(!talk.goes_on(), "the first one does not");
}

#[test]
fn datagrams_and_ipv6_are_no_different_and_icmp_is_always_tracked() {
    let mut lab = Lab::new();
    let mut world = World::dual_stack(1);
    let (a, b) = (world.eni(1, 10, &[1]), world.eni(2, 10, &[2]));
    let all = [anywhere(Traffic::All), from("::/0", Traffic::All)];
    let dns = Traffic::Udp { from: 53, to: 53 };
    let ping = Traffic::Icmpv6 { kind: None, code: None };
    world.group(1, &[], &all);
    world.group(2, &[from("::/0", dns), from("::/0", ping), from("::/0", HTTP)], &all);
    lab.apply(&world.plan(1));
    let (a, b) = (lab.task(&a), lab.task(&b));
    let marks = || -> Vec<String> {
        let text = crate::lab::sh(&lab.router(), "cat /proc/net/nf_conntrack");
        let words = |line: &str| {
            let of = |which: &str| {
                let found = line.split_whitespace().find(|word| word.starts_with(which));
                found.unwrap_or_default().to_owned()
            };
            let protocol = line.split_whitespace().nth(2).unwrap_or_default();
            format!("{protocol} {} {}", of("dport="), of("mark="))
        };
        let mut lines: Vec<_> = text.lines().map(words).collect();
        lines.sort();
        lines
    };
    let sender = Sender::of(&a);
    let receiver = Receiver::of_v6(&b, SockProtocol::Udp);
    let _server = b.listen_at(b.v6(), 80);
    let _near = crate::lab::connect(&a.netns, b.v6(), 80, crate::lab::PATIENCE).expect("connected");
    for (number, content) in
        [(2, Content::Icmpv6 { kind: 128, code: 0 }), (3, Content::Udp { port: 53 })]
    {
        sender.send(&Probe::new(&a, b.v6(), content, number));
    }
    assert_eq!(receiver.next().0, 3);
    assert_eq!(marks(), ["icmpv6  mark=0", "tcp dport=80 mark=2", "udp dport=53 mark=2"]);
    world.group(2, &[], &all);
    lab.apply(&world.plan(2));
    let text = crate::lab::sh(&lab.router(), "cat /proc/net/nf_conntrack");
    assert!(text.lines().count() == 1 && text.contains("icmpv6"), "{text}");
}

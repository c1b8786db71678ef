//! The judge and the kernel, asked the same questions.

use crate::lab::{Lab, Task};
use crate::packets::{Probe, Receiver, Sender};
use crate::world::{World, from, members};
use net::judge::{Content, Packet, judge};
use net::model::{Rule, Traffic};
use nix::sys::socket::SockProtocol;
use std::collections::BTreeSet;

/// Numbers that look random and are the same in every run.
struct Rng(u64);

impl Rng {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        let at = self.below(u64::try_from(choices.len()).expect("a length"));
        choices[usize::try_from(at).expect("an index")]
    }

    fn rule(&mut self) -> Rule {
        let traffic = match self.below(8) {
            0 => Traffic::All,
            1 | 2 => Traffic::Tcp { from: self.pick(&[80, 81]), to: self.pick(&[80, 81, 82]) },
            3 | 4 => Traffic::Udp { from: self.pick(&[80, 81]), to: self.pick(&[80, 81, 65535]) },
            5 => Traffic::Icmp { kind: Some(8), code: self.pick(&[None, Some(0), Some(1)]) },
            6 => Traffic::Icmp { kind: self.pick(&[None, Some(13), Some(0)]), code: None },
            _ => Traffic::Protocol(self.pick(&[1, 6, 17])),
        };
        let block = ["10.0.1.0/24", "10.0.2.0/24", "10.0.0.0/16", "10.0.1.10/32", "10.0.1.11/31"];
        match self.below(2) {
            0 => from(self.pick(&block), traffic),
            _ => members(self.pick(&[1, 2, 3, 4, 5]), traffic),
        }
    }

    fn rules(&mut self) -> Vec<Rule> {
        (0..3 + self.below(4)).map(|_| self.rule()).collect()
    }

    fn content(&mut self) -> Content {
        match self.below(3) {
            0 => Content::Tcp { port: self.pick(&[79, 80, 81, 82]) },
            1 => Content::Udp { port: self.pick(&[79, 80, 81, 82]) },
            // Requests, and an answer and a redirect that belong to nothing.
            _ => Content::Icmp { kind: self.pick(&[8, 8, 13, 0, 5]), code: self.pick(&[0, 0, 1]) },
        }
    }
}

/// A port that only the last probe goes to, and the rule that lets it.
const SENTINEL: u16 = 4000;

#[test]
fn the_judge_agrees_with_the_kernel() {
    let mut passed = 0;
    let mut cases = 0;
    for seed in 1..=3 {
        let mut rng = Rng(seed);
        let mut lab = Lab::new();
        let mut world = World::new(1);
        for (subnet, last) in [(1, 10), (1, 11), (1, 12), (2, 10), (2, 11)] {
            let own = rng.pick(&[1, 2, 3, 4]);
            // Group 6 is everybody's and lets the sentinels pass.
            world.eni(subnet, last, &[own, rng.pick(&[1, 2, 3, 4]), 6]);
        }
        for group in 1..=4 {
            let (ingress, egress) = (rng.rules(), rng.rules());
            world.group(group, &ingress, &egress);
        }
        let sentinel = members(6, Traffic::Udp { from: SENTINEL, to: SENTINEL });
        world.group(6, std::slice::from_ref(&sentinel), std::slice::from_ref(&sentinel));
        let plan = world.plan(1);
        lab.apply(&plan);
        // In the plan's order, which is not that of their making.
        world.enis.sort_by(|a, b| a.id.cmp(&b.id));
        let tasks: Vec<Task> = world.enis.iter().map(|eni| lab.task(eni)).collect();
        let (some_cases, some_passed) = compare(&plan.vpcs[0], &tasks, &mut rng, seed);
        cases += some_cases;
        passed += some_passed;
    }
    println!("{passed} of {cases} packets passed");
    assert!(cases >= 300 && passed >= cases / 10 && passed <= cases * 9 / 10, "{passed}/{cases}");
}

/// Sends a packet of every kind from everybody to everybody, and compares what
/// arrives with the verdicts.
fn compare(plan: &net::plan::VpcPlan, tasks: &[Task], rng: &mut Rng, seed: u64) -> (usize, usize) {
    let senders: Vec<Sender> = tasks.iter().map(Sender::of).collect();
    let protocols = [SockProtocol::Tcp, SockProtocol::Udp, SockProtocol::Icmp];
    let receivers: Vec<[Receiver; 3]> =
        tasks.iter().map(|task| protocols.map(|protocol| Receiver::of(task, protocol))).collect();
    let pairs: Vec<(usize, usize)> = (0..tasks.len())
        .flat_map(|a| (0..tasks.len()).map(move |b| (a, b)))
        .filter(|(a, b)| a != b)
        .collect();

    let mut number = 0;
    let mut expected: Vec<[BTreeSet<u16>; 3]> = vec![Default::default(); tasks.len()];
    let mut questions = Vec::new();
    for _ in 0..6 {
        for &(a, b) in &pairs {
            number += 1;
            let content = rng.content();
            senders[a].send(&Probe::new(&tasks[a], tasks[b].address, content, number));
            let packet = Packet::opening(&plan.enis[a], tasks[b].address, content);
            let verdict = judge(plan, &packet);
            questions.push(format!("{number}: {packet:?} {verdict:?}"));
            if verdict.passes() {
                expected[b][lane(content)].insert(number);
            }
        }
    }
    let asked = usize::from(number);
    let passed = expected.iter().flatten().map(BTreeSet::len).sum();

    // Packets of one sender keep their order: when its last one has arrived, so
    // have all the others that ever will.
    let mut sentinels = vec![BTreeSet::new(); tasks.len()];
    for &(a, b) in &pairs {
        number += 1;
        let content = Content::Udp { port: SENTINEL };
        senders[a].send(&Probe::new(&tasks[a], tasks[b].address, content, number));
        sentinels[b].insert(number);
    }
    for (b, lanes) in receivers.iter().enumerate() {
        let mut arrived: [BTreeSet<u16>; 3] = Default::default();
        let mut wait_for = sentinels[b].clone();
        while !wait_for.is_empty() {
            let (number, _) = lanes[1].next();
            if !wait_for.remove(&number) {
                arrived[1].insert(number);
            }
        }
        for (arrived, lane) in arrived.iter_mut().zip(lanes) {
            arrived.extend(std::iter::from_fn(|| lane.waiting()));
        }
        assert_eq!(
            arrived,
            expected[b],
            "seed {seed}, at {}\n{}",
            tasks[b].address,
            questions.join("\n")
        );
    }
    (asked, passed)
}

fn lane(content: Content) -> usize {
    match content {
        Content::Tcp { .. } => 0,
        Content::Udp { .. } => 1,
        Content::Icmp { .. } | Content::Protocol(_) => 2,
    }
}

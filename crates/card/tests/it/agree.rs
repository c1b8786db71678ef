//! The judge and the kernel, asked the same questions.

use crate::lab::{Lab, Task};
use crate::packets::{Probe, Receiver, Sender};
use crate::world::{World, from, listed, members, plan};
use card::netns::Netns;
use net::judge::{Content, Gate, Packet, is_tracked, judge};
use net::model::{Rule, Traffic};
use net::plan::VpcPlan;
use nix::sys::socket::SockProtocol;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

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
        let traffic = match self.below(10) {
            0 => Traffic::All,
            1 | 2 => Traffic::Tcp { from: self.pick(&[80, 81]), to: self.pick(&[80, 81, 82]) },
            3 | 4 => Traffic::Udp { from: self.pick(&[80, 81]), to: self.pick(&[80, 81, 65535]) },
            5 => Traffic::Icmp { kind: Some(8), code: self.pick(&[None, Some(0), Some(1)]) },
            6 => Traffic::Icmp { kind: self.pick(&[None, Some(13), Some(0)]), code: None },
            7 => Traffic::Icmpv6 { kind: Some(128), code: self.pick(&[None, Some(0), Some(1)]) },
            8 => Traffic::Icmpv6 { kind: self.pick(&[None, Some(129), Some(3)]), code: None },
            _ => Traffic::Protocol(self.pick(&[1, 6, 17, 58])),
        };
        let block = [
            "10.0.1.0/24",
            "10.0.2.0/24",
            "0.0.0.0/0",
            "10.0.1.10/32",
            "10.0.1.20/32",
            "10.0.1.11/31",
            "fd00:0:0:1::/64",
            "fd00:0:0:2::/63",
            "::/0",
            "fd00:0:0:1::10/128",
            "fd00:0:0:1::10/123",
        ];
        match self.below(5) {
            0 | 1 => from(self.pick(&block), traffic),
            2 => listed(self.pick(&[1, 2, 3]), traffic),
            _ => members(self.pick(&[1, 2, 3, 4, 5]), traffic),
        }
    }

    fn rules(&mut self) -> Vec<Rule> {
        (0..3 + self.below(4)).map(|_| self.rule()).collect()
    }

    fn content(&mut self, to: IpAddr) -> Content {
        let code = self.pick(&[0, 0, 1]);
        match (self.below(3), to) {
            (0, _) => Content::Tcp { port: self.pick(&[79, 80, 81, 82]) },
            (1, _) => Content::Udp { port: self.pick(&[79, 80, 81, 82]) },
            // Requests, and an answer and an error that belong to nothing.
            (_, IpAddr::V4(_)) => Content::Icmp { kind: self.pick(&[8, 8, 13, 0, 5]), code },
            (_, IpAddr::V6(_)) => Content::Icmpv6 { kind: self.pick(&[128, 128, 129, 3]), code },
        }
    }

    /// Two VPCs have the same addresses, and nothing else in common.
    fn world(&mut self, number: u8) -> World {
        let mut world = World::dual_stack(number);
        for (subnet, last) in [(1, 10), (1, 11), (1, 12), (2, 10), (2, 11)] {
            let own = self.pick(&[1, 2, 3, 4]);
            // Group 6 is everybody's and lets the sentinels pass.
            let eni = world.eni(subnet, last, &[own, self.pick(&[1, 2, 3, 4]), 6]);
            let at = world.enis.iter_mut().find(|other| other.id == eni.id);
            at.expect("it was added").source_dest_check = self.below(3) > 0;
        }
        for (at, lasts) in [(0, &[20][..]), (4, &[21, 22])] {
            let id = world.enis[at].id.clone();
            world.secondary(&id, lasts);
        }
        for group in 1..=4 {
            let (mut ingress, mut egress) = (self.rules(), self.rules());
            // Flows are untracked only where both directions have such a rule.
            for rules in [&mut ingress, &mut egress] {
                let all = [Traffic::All, Traffic::Udp { from: 0, to: 65535 }, Traffic::Protocol(6)];
                for everybody in ["0.0.0.0/0", "::/0"] {
                    if self.below(3) == 0 {
                        rules.push(from(everybody, self.pick(&all)));
                    }
                }
            }
            world.group(group, &ingress, &egress);
        }
        world.prefix_list(1, &["10.0.1.0/28", "10.0.1.12/30", "10.0.2.10/32", "fd00:0:0:2::/64"]);
        world.prefix_list(2, &["fd00:0:0:1::10/128", "fd00:0:0:1::11/128"]);
        let sentinel = members(6, Traffic::Udp { from: SENTINEL, to: SENTINEL });
        world.group(6, std::slice::from_ref(&sentinel), std::slice::from_ref(&sentinel));
        world
    }
}

/// A port that only the last probe goes to, and the rule that lets it.
const SENTINEL: u16 = 4000;
/// How often everybody sends something to everybody.
const ROUNDS: usize = 20;

#[test]
fn the_judge_agrees_with_the_kernel() {
    let (mut passed, mut cases, mut untracked) = (0, 0, 0);
    for seed in 1..=3 {
        let mut rng = Rng(seed);
        let mut lab = Lab::new();
        let worlds = [rng.world(1), rng.world(2)];
        let plan = plan(1, &[&worlds[0], &worlds[1]]);
        lab.apply(&plan);
        let mut nodes = Vec::new();
        for (world, vpc) in worlds.iter().zip(&plan.vpcs) {
            for (at, eni) in vpc.enis.iter().enumerate() {
                let eni = world.enis.iter().find(|other| other.id == eni.eni);
                nodes.push(Node::new(lab.task(eni.expect("planned")), vpc, at));
            }
        }
        let (some_cases, some_passed) = compare(&mut nodes, &mut rng, seed);
        untracked += compare_marks(&lab, &worlds[0], &plan.vpcs[0]);
        cases += some_cases;
        passed += some_passed;
    }
    println!("{passed} of {cases} packets passed, {untracked} began flows that are not tracked");
    assert!(untracked >= 10, "{untracked}");
    assert!(cases >= 4000 && passed >= cases / 10 && passed <= cases * 9 / 10, "{passed}/{cases}");
}

/// Compares what the kernel has noted of the flows of the first VPC with whether the judge
/// would have its interfaces track them; returns how many are not tracked.
fn compare_marks(lab: &Lab, world: &World, plan: &VpcPlan) -> usize {
    let routers = lab.routers();
    let own = routers.iter().find(|path| {
        let name = path.to_string_lossy();
        let vpc = world.enis[0].vpc.as_str();
        name.ends_with(&vpc[vpc.len() - 11..])
    });
    let router = Netns::open(own.expect("a router")).expect("a namespace");
    let owner = |address| plan.enis.iter().find(|eni| eni.addresses().any(|own| own == address));
    let mut untracked = 0;
    for line in crate::lab::sh(&router, "cat /proc/net/nf_conntrack").lines() {
        let find = |name: &str| line.split_whitespace().find_map(|word| word.strip_prefix(name));
        let [source, destination] = ["src=", "dst="]
            .map(|name| find(name).expect("an end").parse::<IpAddr>().expect("an address"));
        let port = find("dport=").map(|port| port.parse().expect("a port"));
        let content = match (line.split_whitespace().nth(2).expect("a protocol"), port) {
            ("tcp", Some(port)) => Content::Tcp { port },
            ("udp", Some(port)) => Content::Udp { port },
            ("icmp", None) => Content::Icmp { kind: 8, code: 0 },
            (_, _) => Content::Icmpv6 { kind: 128, code: 0 },
        };
        let (Some(sender), Some(receiver)) = (owner(source), owner(destination)) else { continue };
        let opening = Packet::opening(sender, destination, content).expect("dual stack");
        let packet = Packet { source, ..opening };
        let out = u32::from(!is_tracked(plan, sender, Gate::Egress, &packet));
        let into = u32::from(!is_tracked(plan, receiver, Gate::Ingress, &packet));
        let expected = (out | into << 1).to_string();
        // Where the source check is off, the address does not say whose link it was.
        if plan.enis.iter().all(|eni| eni.source_dest_check || eni.eni == receiver.eni) {
            assert_eq!(find("mark="), Some(expected.as_str()), "{line}");
        } else {
            let low = |mark: &str| mark.parse::<u32>().expect("a mark") & 2;
            assert_eq!(find("mark=").map(low), Some(low(&expected)), "{line}");
        }
        untracked += usize::from(out | into != 0);
    }
    untracked
}

/// How many kinds of receivers a task has.
const LANES: usize = 6;

struct Node<'a> {
    task: Task,
    plan: &'a VpcPlan,
    /// Which of the plan's interfaces it is.
    at: usize,
    sender: Sender,
    receivers: Vec<Receiver>,
    expected: [BTreeSet<u16>; LANES],
    sentinels: [BTreeSet<u16>; 2],
}

impl<'a> Node<'a> {
    fn new(task: Task, plan: &'a VpcPlan, at: usize) -> Self {
        let v4 = [SockProtocol::Tcp, SockProtocol::Udp, SockProtocol::Icmp];
        let v6 = [SockProtocol::Tcp, SockProtocol::Udp, SockProtocol::IcmpV6];
        let v4 = v4.map(|protocol| Receiver::of(&task, protocol));
        let v6 = v6.map(|protocol| Receiver::of_v6(&task, protocol));
        Self {
            sender: Sender::of(&task),
            receivers: v4.into_iter().chain(v6).collect(),
            task,
            plan,
            at,
            expected: Default::default(),
            sentinels: Default::default(),
        }
    }
}

impl Node<'_> {
    /// One of its IPv4 addresses.
    fn any_v4(&self, rng: &mut Rng) -> Ipv4Addr {
        let all: Vec<_> =
            [self.task.address].into_iter().chain(self.task.secondary.clone()).collect();
        rng.pick(&all)
    }
}

/// Sends packets of every kind from everybody to everybody in each VPC, some of
/// them under a false name, and compares what arrives with the verdicts.
fn compare(nodes: &mut [Node<'_>], rng: &mut Rng, seed: u64) -> (usize, usize) {
    let mut number = 0;
    let mut questions = Vec::new();
    let (mut asked, mut passed) = (0, 0);
    for round in 0..=ROUNDS {
        for a in 0..nodes.len() {
            for b in 0..nodes.len() {
                if a == b || nodes[a].plan.vpc != nodes[b].plan.vpc {
                    continue;
                }
                let (v4, v6) = (nodes[b].any_v4(rng), nodes[b].task.v6());
                for (version, to) in [IpAddr::V4(v4), IpAddr::V6(v6)].into_iter().enumerate() {
                    number += 1;
                    // Packets of one sender to one receiver keep their order: when
                    // the last has arrived, so have all others that ever will.
                    if round == ROUNDS {
                        let content = Content::Udp { port: SENTINEL };
                        nodes[a].sender.send(&Probe::new(&nodes[a].task, to, content, number));
                        nodes[b].sentinels[version].insert(number);
                        continue;
                    }
                    let content = rng.content(to);
                    let mut probe = Probe::new(&nodes[a].task, to, content, number);
                    if to.is_ipv4() {
                        probe.source = nodes[a].any_v4(rng).into();
                    }
                    if rng.below(8) == 0 {
                        // Somebody else's address, a stranger's, or the router's.
                        let last = rng.pick(&["12", "77", "1"]);
                        let text = ["10.0.1.", "fd00:0:0:1::"][version].to_owned() + last;
                        let source: IpAddr = text.parse().expect("an address");
                        // What comes from itself, the receiver would drop.
                        probe.source = if source == to { probe.source } else { source };
                    }
                    nodes[a].sender.send(&probe);
                    let eni = &nodes[a].plan.enis[nodes[a].at];
                    let opening = Packet::opening(eni, to, content).expect("dual stack");
                    let packet = Packet { source: probe.source, ..opening };
                    let verdict = judge(nodes[a].plan, &packet);
                    questions.push(format!("{number}: {packet:?} {verdict:?}"));
                    asked += 1;
                    if verdict.passes() {
                        passed += 1;
                        nodes[b].expected[lane(content) + 3 * version].insert(number);
                    }
                }
            }
        }
    }
    for node in nodes {
        let mut arrived: [BTreeSet<u16>; LANES] = Default::default();
        for (version, mut wait_for) in node.sentinels.clone().into_iter().enumerate() {
            let lane = 1 + 3 * version;
            while !wait_for.is_empty() {
                let (number, _) = node.receivers[lane].next();
                if !wait_for.remove(&number) {
                    arrived[lane].insert(number);
                }
            }
        }
        for (arrived, receiver) in arrived.iter_mut().zip(&node.receivers) {
            arrived.extend(std::iter::from_fn(|| receiver.waiting()));
        }
        for (arrived, expected) in arrived.iter().zip(&node.expected) {
            let differ: Vec<_> = arrived.symmetric_difference(expected).collect();
            let about = |number: &u16| questions.get(usize::from(number - 1)).cloned();
            assert!(
                differ.is_empty(),
                "seed {seed}, at {} of {}:\n{:#?}",
                node.task.address,
                node.plan.vpc,
                differ.into_iter().map(|n| (arrived.contains(n), about(n))).collect::<Vec<_>>()
            );
        }
    }
    (asked, passed)
}

fn lane(content: Content) -> usize {
    match content {
        Content::Tcp { .. } => 0,
        Content::Udp { .. } => 1,
        Content::Icmp { .. } | Content::Icmpv6 { .. } | Content::Protocol(_) => 2,
    }
}

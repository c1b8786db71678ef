//! The judge's table, and what holds for every table.

use super::*;
use crate::compile::{VpcView, card_plan};
use crate::model::{Eni, SecurityGroup, Subnet, Vpc};
use crate::plan::{CardPlan, EniUser};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use ident::{Generation, SubnetId, VpcId};
use proptest::prelude::*;

fn sg(n: u8) -> SecurityGroupId {
    SecurityGroupId::mint(u128::from(n))
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, 10 + n)
}

/// The interface with this number, in these groups.
fn eni(n: u8, groups: impl IntoIterator<Item = u8>) -> Eni {
    Eni {
        id: EniId::mint(u128::from(n)),
        vpc: VpcId::mint(1),
        subnet: SubnetId::mint(1),
        mac: MacAddress([2, 0, 0, 0, 0, n]),
        ipv4: address(n),
        groups: groups.into_iter().map(sg).collect(),
        source_dest_check: true,
    }
}

fn rule(traffic: Traffic, peer: Peer) -> Rule {
    Rule { traffic, peer }
}

fn cidr(text: &str) -> Peer {
    Peer::Cidr(text.parse().expect("a block"))
}

fn group(n: u8, ingress: Vec<Rule>, egress: Vec<Rule>) -> SecurityGroup {
    SecurityGroup { id: sg(n), vpc: VpcId::mint(1), ingress, egress }
}

fn plan(enis: &[Eni], groups: &[SecurityGroup]) -> VpcPlan {
    whole_plan(enis, groups).vpcs.remove(0)
}

fn whole_plan(enis: &[Eni], groups: &[SecurityGroup]) -> CardPlan {
    let block = "10.0.0.0/16".parse().expect("a block");
    let vpc = Vpc { id: VpcId::mint(1), cidrs: vec![block], vni: 1 };
    let subnet = Subnet {
        id: SubnetId::mint(1),
        vpc: vpc.id.clone(),
        cidr: "10.0.1.0/24".parse().expect("a block"),
    };
    let view = VpcView {
        vpc: &vpc,
        subnets: vec![&subnet],
        enis: enis.iter().collect(),
        groups: groups.iter().collect(),
    };
    let local: BTreeMap<_, _> = enis.iter().map(|eni| (eni.id.clone(), EniUser::Task)).collect();
    card_plan(Generation(1), &[view], &local)
}

fn from(plan: &VpcPlan, n: u8, destination: Ipv4Addr, content: Content) -> Packet {
    let sender = plan.enis.iter().find(|eni| eni.eni == EniId::mint(u128::from(n)));
    Packet::opening(sender.expect("an interface"), destination, content)
}

const HTTP: Traffic = Traffic::Tcp { from: 80, to: 80 };
const GET: Content = Content::Tcp { port: 80 };

#[test]
fn each_gate_alone_stops_a_packet() {
    let out = || rule(Traffic::All, cidr("0.0.0.0/0"));
    let into = || rule(HTTP, Peer::Group(sg(1)));
    let enis = [eni(1, [1]), eni(2, [2])];
    let fate = |ingress: Vec<Rule>, egress: Vec<Rule>| {
        let plan = plan(&enis, &[group(1, vec![], egress), group(2, ingress, vec![])]);
        match judge(&plan, &from(&plan, 1, address(2), GET)) {
            Verdict::Accept(Grounds::Permitted { egress, ingress }) => {
                assert_eq!((egress.group, ingress.group), (&sg(1), &sg(2)));
                "accept"
            }
            Verdict::Accept(Grounds::Tracked) => "tracked",
            Verdict::Reject(Obstacle::Egress { eni, groups }) => {
                assert_eq!((eni, groups), (&EniId::mint(1), &[sg(1)][..]));
                "egress"
            }
            Verdict::Reject(Obstacle::Ingress { eni, groups }) => {
                assert_eq!((eni, groups), (&EniId::mint(2), &[sg(2)][..]));
                "ingress"
            }
            Verdict::Reject(_) => "other",
        }
    };
    assert_eq!(fate(vec![into()], vec![out()]), "accept");
    assert_eq!(fate(vec![into()], vec![]), "egress");
    assert_eq!(fate(vec![], vec![out()]), "ingress");
    assert_eq!(fate(vec![], vec![]), "egress");
}

#[test]
fn traffic_covers_its_content_and_no_other() {
    let tcp = |from, to| Traffic::Tcp { from, to };
    let icmp = |kind, code| Traffic::Icmp { kind, code };
    let ping = Content::Icmp { kind: 8, code: 0 };
    for (traffic, content, expected) in [
        (Traffic::All, Content::Protocol(47), true),
        (tcp(80, 90), Content::Tcp { port: 80 }, true),
        (tcp(80, 90), Content::Tcp { port: 90 }, true),
        (tcp(80, 90), Content::Tcp { port: 91 }, false),
        (tcp(80, 90), Content::Tcp { port: 79 }, false),
        (tcp(80, 90), Content::Udp { port: 80 }, false),
        (tcp(90, 80), Content::Tcp { port: 85 }, false),
        (Traffic::Udp { from: 0, to: 65535 }, Content::Udp { port: 53 }, true),
        (Traffic::Udp { from: 0, to: 65535 }, Content::Tcp { port: 53 }, false),
        (icmp(None, None), ping, true),
        (icmp(Some(8), None), ping, true),
        (icmp(Some(8), Some(0)), ping, true),
        (icmp(Some(8), Some(1)), ping, false),
        (icmp(Some(13), None), ping, false),
        (Traffic::Icmpv6 { kind: None, code: None }, ping, false),
        (Traffic::Protocol(6), Content::Tcp { port: 1 }, true),
        (Traffic::Protocol(17), Content::Tcp { port: 1 }, false),
        (Traffic::Protocol(1), ping, true),
        (Traffic::Protocol(47), Content::Protocol(47), true),
        (tcp(0, 65535), Content::Protocol(47), false),
    ] {
        assert_eq!(covers(traffic, content), expected, "{traffic:?} {content:?}");
    }
}

#[test]
fn only_a_packet_with_its_interfaces_addresses_is_weighed() {
    let open = || vec![rule(Traffic::All, cidr("0.0.0.0/0"))];
    let mut router = eni(2, [1]);
    router.source_dest_check = false;
    let plan = plan(&[eni(1, [1]), router], &[group(1, open(), open())]);
    let fate = |n: u8, change: fn(&mut Packet)| {
        let mut packet = from(&plan, n, address(3 - n), GET);
        change(&mut packet);
        judge(&plan, &packet)
    };
    let gateway = plan.subnets[0].gateway;
    let spoofed =
        |n: u8| Verdict::Reject(Obstacle::Spoofed { eni: &plan.enis[usize::from(n - 1)].eni });
    assert!(fate(1, |_| ()).passes());
    assert_eq!(fate(1, |packet| packet.source = address(2)), spoofed(1));
    assert_eq!(fate(1, |packet| packet.mac.0[5] = 9), spoofed(1));
    assert!(fate(2, |packet| packet.source = Ipv4Addr::new(192, 0, 2, 1)).passes());
    assert_eq!(fate(2, |packet| packet.mac.0[5] = 9), spoofed(2));
    for impossible in [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST, Ipv4Addr::BROADCAST, gateway] {
        let packet = Packet { source: impossible, ..from(&plan, 2, address(1), GET) };
        assert_eq!(judge(&plan, &packet), spoofed(2), "{impossible}");
    }
    assert_eq!(
        fate(1, |packet| packet.sender = EniId::mint(9)),
        Verdict::Reject(Obstacle::UnknownInterface)
    );
}

#[test]
fn nothing_answers_at_an_address_that_nobody_has() {
    let open = || vec![rule(Traffic::All, cidr("0.0.0.0/0"))];
    let plan = plan(&[eni(1, [1])], &[group(1, open(), open())]);
    for nobody in ["10.0.1.1", "10.0.1.255", "10.0.1.77", "10.0.7.7", "192.0.2.1", "224.0.0.1"] {
        let packet = from(&plan, 1, nobody.parse().expect("an address"), GET);
        assert_eq!(judge(&plan, &packet), Verdict::Reject(Obstacle::NoRoute), "{nobody}");
    }
}

#[test]
fn a_tracked_flow_outlives_its_rules() {
    let plan = plan(&[eni(1, [1]), eni(2, [1])], &[group(1, vec![], vec![])]);
    let mut packet = from(&plan, 1, address(2), GET);
    assert!(!judge(&plan, &packet).passes());
    packet.flow = Flow::Established;
    assert_eq!(judge(&plan, &packet), Verdict::Accept(Grounds::Tracked));
    packet.source = address(3);
    assert!(!judge(&plan, &packet).passes(), "tracking excuses no spoofing");
}

#[test]
fn an_unknown_group_permits_nothing() {
    let open = || vec![rule(Traffic::All, Peer::Group(sg(1)))];
    let plan = plan(&[eni(1, [1]), eni(2, [3])], &[group(1, open(), open())]);
    assert!(!judge(&plan, &from(&plan, 1, address(2), GET)).passes());
    assert!(!judge(&plan, &from(&plan, 2, address(1), GET)).passes());
}

fn arb_traffic() -> impl Strategy<Value = Traffic> {
    prop_oneof![
        Just(Traffic::All),
        (0_u16..6, 0_u16..6).prop_map(|(from, to)| Traffic::Tcp { from, to }),
        (0_u16..6, 0_u16..6).prop_map(|(from, to)| Traffic::Udp { from, to }),
        (proptest::option::of(0_u8..3), proptest::option::of(0_u8..3))
            .prop_map(|(kind, code)| Traffic::Icmp { kind, code }),
        (0_u8..20).prop_map(Traffic::Protocol),
    ]
}

fn arb_peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        (0_u8..4).prop_map(|n| Peer::Group(sg(n))),
        Just(cidr("0.0.0.0/0")),
        Just(cidr("::/0")),
        (0_u8..4, 28_u8..=32).prop_map(|(n, prefix)| {
            let block = ipnet::Ipv4Net::new(address(n), prefix).expect("a prefix");
            Peer::Cidr(block.trunc().into())
        }),
    ]
}

fn arb_rules() -> impl Strategy<Value = Vec<Rule>> {
    let one = (arb_traffic(), arb_peer()).prop_map(|(traffic, peer)| Rule { traffic, peer });
    proptest::collection::vec(one, 0..4)
}

fn arb_content() -> impl Strategy<Value = Content> {
    prop_oneof![
        (0_u16..6).prop_map(|port| Content::Tcp { port }),
        (0_u16..6).prop_map(|port| Content::Udp { port }),
        (0_u8..3, 0_u8..3).prop_map(|(kind, code)| Content::Icmp { kind, code }),
        (18_u8..20).prop_map(Content::Protocol),
    ]
}

fn arb_groups() -> impl Strategy<Value = Vec<SecurityGroup>> {
    let rules = (arb_rules(), arb_rules());
    proptest::collection::vec(rules, 3).prop_map(|rules| {
        let numbered = (0_u8..).zip(rules);
        numbered.map(|(n, (ingress, egress))| group(n, ingress, egress)).collect()
    })
}

fn arb_enis() -> impl Strategy<Value = Vec<Eni>> {
    let groups = proptest::collection::btree_set(0_u8..3, 1..=3);
    proptest::collection::vec(groups, 2..5).prop_map(|groups: Vec<BTreeSet<u8>>| {
        (0_u8..).zip(groups).map(|(n, groups)| eni(n, groups)).collect()
    })
}

/// Whether each interface can open a flow with this content to each other one.
fn reach(plan: &VpcPlan, content: Content) -> Vec<bool> {
    let pairs = plan.enis.iter().flat_map(|a| plan.enis.iter().map(move |b| (a, b)));
    pairs.map(|(a, b)| judge(plan, &Packet::opening(a, b.ipv4, content)).passes()).collect()
}

proptest! {
    #[test]
    fn removing_a_rule_lets_nothing_more_pass(
        enis in arb_enis(), groups in arb_groups(), content in arb_content(), which: prop::sample::Index,
    ) {
        let before = reach(&plan(&enis, &groups), content);
        let mut fewer = groups;
        let mut rules: Vec<&mut Vec<Rule>> =
            fewer.iter_mut().flat_map(|group| [&mut group.ingress, &mut group.egress]).collect();
        rules.retain(|rules| !rules.is_empty());
        prop_assume!(!rules.is_empty());
        let at = which.index(rules.len());
        rules[at].pop();
        let after = reach(&plan(&enis, &fewer), content);
        for (before, after) in before.into_iter().zip(after) {
            prop_assert!(before || !after);
        }
    }

    #[test]
    fn nobody_comes_in_without_an_ingress_rule(
        enis in arb_enis(), mut groups in arb_groups(), content in arb_content(),
    ) {
        for group in &mut groups {
            group.ingress.clear();
        }
        prop_assert!(!reach(&plan(&enis, &groups), content).contains(&true));
    }

    #[test]
    fn nobody_gets_out_without_an_egress_rule(
        enis in arb_enis(), mut groups in arb_groups(), content in arb_content(),
    ) {
        for group in &mut groups {
            group.egress.clear();
        }
        prop_assert!(!reach(&plan(&enis, &groups), content).contains(&true));
    }

    #[test]
    fn order_means_nothing(
        enis in arb_enis(), groups in arb_groups(), content in arb_content(),
    ) {
        let mut backwards: Vec<_> = groups.iter().rev().cloned().collect();
        for group in &mut backwards {
            group.ingress.reverse();
            group.egress.reverse();
        }
        let enis_backwards: Vec<_> = enis.iter().rev().cloned().collect();
        prop_assert_eq!(whole_plan(&enis, &groups), whole_plan(&enis_backwards, &backwards));

        // Nor does it to the judge, who is given what no compiler sorted.
        let sorted = plan(&enis, &groups);
        let mut shuffled = sorted.clone();
        shuffled.groups.reverse();
        for eni in &mut shuffled.enis {
            eni.groups.reverse();
        }
        prop_assert_eq!(reach(&sorted, content), reach(&shuffled, content));
    }

    #[test]
    fn who_is_let_in_was_permitted_by_a_rule_that_matches(
        enis in arb_enis(), groups in arb_groups(), content in arb_content(),
    ) {
        let plan = plan(&enis, &groups);
        for (a, b) in plan.enis.iter().flat_map(|a| plan.enis.iter().map(move |b| (a, b))) {
            if let Verdict::Accept(Grounds::Permitted { egress, ingress }) =
                judge(&plan, &Packet::opening(a, b.ipv4, content))
            {
                prop_assert!(a.groups.contains(egress.group) && b.groups.contains(ingress.group));
                prop_assert!(covers(egress.rule.traffic, content) && covers(ingress.rule.traffic, content));
                prop_assert!(concerns(&plan, &egress.rule.peer, b.ipv4));
                prop_assert!(concerns(&plan, &ingress.rule.peer, a.ipv4));
            }
        }
    }
}

//! The judge's table, and what holds for every table.

use super::*;
use crate::compile::{VpcView, card_plan};
use crate::model::{Eni, PrefixList, SecurityGroup, Subnet, Vpc};
use crate::plan::{CardPlan, EniUser};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;
use core::net::{Ipv4Addr, Ipv6Addr};
use ident::{Generation, PrefixListId, SubnetId, VpcId};
use proptest::prelude::*;

fn sg(n: u8) -> SecurityGroupId {
    SecurityGroupId::mint(u128::from(n))
}

fn address(n: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 1, 10 + n)
}

fn address6(n: u8) -> Ipv6Addr {
    Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, 0x10 + u16::from(n))
}

fn pl(n: u8) -> PrefixListId {
    PrefixListId::mint(u128::from(n))
}

/// The interface with this number, in these groups.
fn eni(n: u8, groups: impl IntoIterator<Item = u8>) -> Eni {
    Eni {
        id: EniId::mint(u128::from(n)),
        vpc: VpcId::mint(1),
        subnet: SubnetId::mint(1),
        mac: MacAddress([2, 0, 0, 0, 0, n]),
        ipv4: address(n),
        secondary_ipv4: vec![],
        ipv6: vec![address6(n)],
        services: BTreeSet::new(),
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
    let wide = "fd00::/56".parse().expect("a block");
    let vpc = Vpc { id: VpcId::mint(1), cidrs: vec![block], ipv6_cidrs: vec![wide], vni: 1 };
    let subnet = Subnet {
        id: SubnetId::mint(1),
        vpc: vpc.id.clone(),
        cidr: "10.0.1.0/24".parse().expect("a block"),
        ipv6_cidr: Some("fd00:0:0:1::/64".parse().expect("a block")),
    };
    let blocks = ["10.0.1.10/31", "fd00:0:0:1::10/127"].map(|text| text.parse().expect("a block"));
    let list = PrefixList { id: pl(1), entries: blocks.to_vec() };
    let view = VpcView {
        vpc: &vpc,
        subnets: vec![&subnet],
        enis: enis.iter().collect(),
        groups: groups.iter().collect(),
        prefix_lists: vec![&list],
        dns: None,
    };
    let local: BTreeMap<_, _> = enis.iter().map(|eni| (eni.id.clone(), EniUser::Task)).collect();
    card_plan(Generation(1), &[view], &local)
}

fn from(plan: &VpcPlan, n: u8, to: impl Into<IpAddr>, content: Content) -> Packet {
    let sender = plan.enis.iter().find(|eni| eni.eni == EniId::mint(u128::from(n)));
    Packet::opening(sender.expect("an interface"), to.into(), content).expect("dual stack")
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
            Verdict::Accept(Grounds::Tracked | Grounds::Service(_)) => "unasked",
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
    let ping6 = Content::Icmpv6 { kind: 128, code: 0 };
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
        (Traffic::Icmpv6 { kind: None, code: None }, ping6, true),
        (Traffic::Icmpv6 { kind: Some(128), code: Some(0) }, ping6, true),
        (Traffic::Icmpv6 { kind: Some(128), code: Some(1) }, ping6, false),
        (Traffic::Icmpv6 { kind: Some(129), code: None }, ping6, false),
        (Traffic::Protocol(58), ping6, true),
        (icmp(None, None), ping6, false),
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
    assert_eq!(fate(1, |packet| packet.source = address(2).into()), spoofed(1));
    assert_eq!(fate(1, |packet| packet.mac.0[5] = 9), spoofed(1));
    assert!(fate(2, |packet| packet.source = Ipv4Addr::new(192, 0, 2, 1).into()).passes());
    assert_eq!(fate(2, |packet| packet.mac.0[5] = 9), spoofed(2));
    assert_eq!(gateway, Some(Ipv4Addr::new(10, 0, 1, 1)));
    for impossible in ["0.0.0.0", "127.0.0.1", "255.255.255.255", "224.0.0.1", "10.0.1.1"] {
        let source = impossible.parse().expect("an address");
        let packet = Packet { source, ..from(&plan, 2, address(1), GET) };
        assert_eq!(judge(&plan, &packet), spoofed(2), "{impossible}");
    }
    for impossible in ["::", "::1", "ff02::1", "fe80::1", "::ffff:10.0.1.12", "fd00:0:0:1::1"] {
        let source = impossible.parse().expect("an address");
        let packet = Packet { source, ..from(&plan, 2, address6(1), GET) };
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
    for nobody in [
        "10.0.1.1",
        "10.0.1.255",
        "10.0.1.77",
        "10.0.7.7",
        "192.0.2.1",
        "224.0.0.1",
        "169.254.169.253",
        "169.254.170.2",
        "fd00:0:0:1::1",
        "fd00:0:0:1::77",
        "2001:db8::1",
    ] {
        let packet = from(&plan, 1, nobody.parse::<IpAddr>().expect("an address"), GET);
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
    packet.source = address(3).into();
    assert!(!judge(&plan, &packet).passes(), "tracking excuses no spoofing");
}

#[test]
fn a_flow_is_untracked_that_everybody_may_open_and_everybody_may_answer() {
    let everybody = |traffic| rule(traffic, cidr("0.0.0.0/0"));
    let (all, some) = (|| everybody(Traffic::All), || rule(Traffic::All, cidr("10.0.0.0/8")));
    let (tcp, udp) = (|from, to| Traffic::Tcp { from, to }, |from, to| Traffic::Udp { from, to });
    let members = || rule(HTTP, Peer::Group(sg(1)));
    let ping = Content::Icmp { kind: 8, code: 0 };
    let dns = Content::Udp { port: 53 };
    for (ingress, egress, content, tracked) in [
        // The examples of EC2's documentation: SSH from some, HTTP from all, ICMP.
        (vec![some()], vec![all()], GET, true),
        (vec![everybody(HTTP)], vec![all()], GET, false),
        (vec![everybody(Traffic::Icmp { kind: None, code: None })], vec![all()], ping, true),
        (vec![all()], vec![all()], ping, true),
        (vec![all()], vec![all()], dns, false),
        // All answers must be permitted, to all.
        (vec![everybody(HTTP)], vec![everybody(tcp(1, 65535))], GET, true),
        (vec![everybody(HTTP)], vec![everybody(tcp(0, 65535))], GET, false),
        (vec![everybody(HTTP)], vec![everybody(udp(0, 65535))], GET, true),
        (vec![everybody(HTTP)], vec![everybody(Traffic::Protocol(6))], GET, false),
        (vec![everybody(HTTP)], vec![some()], GET, true),
        (vec![everybody(HTTP)], vec![rule(Traffic::All, cidr("::/0"))], GET, true),
        (vec![everybody(HTTP)], vec![], GET, true),
        // Another rule that permits it too makes no difference.
        (vec![members(), everybody(HTTP)], vec![all()], GET, false),
        (vec![members()], vec![all()], GET, true),
        (vec![everybody(Traffic::Protocol(17))], vec![all()], dns, false),
        (vec![everybody(Traffic::Protocol(17))], vec![all()], GET, true),
    ] {
        let enis = [eni(1, [1]), eni(2, [2, 3])];
        // The rules of all groups of an interface count together.
        let groups = [
            group(1, vec![], vec![all()]),
            group(2, ingress.clone(), vec![]),
            group(3, vec![], egress.clone()),
        ];
        let plan = plan(&enis, &groups);
        let packet = from(&plan, 1, address(2), content);
        let found = is_tracked(&plan, &plan.enis[1], Gate::Ingress, &packet);
        assert_eq!(found, tracked, "{ingress:?} {egress:?} {content:?}");
        assert!(is_tracked(&plan, &plan.enis[0], Gate::Egress, &packet), "it may get no answers");
    }
}

#[test]
fn an_unknown_group_permits_nothing() {
    let open = || vec![rule(Traffic::All, Peer::Group(sg(1)))];
    let plan = plan(&[eni(1, [1]), eni(2, [3])], &[group(1, open(), open())]);
    assert!(!judge(&plan, &from(&plan, 1, address(2), GET)).passes());
    assert!(!judge(&plan, &from(&plan, 2, address(1), GET)).passes());
}

#[test]
fn services_are_for_whom_they_are_configured() {
    let shut = group(1, vec![], vec![]);
    let may = |services: &[Service]| Eni {
        services: services.iter().copied().collect(),
        source_dest_check: false,
        ..eni(1, [1])
    };
    let (udp53, tcp53) = (Content::Udp { port: 53 }, Content::Tcp { port: 53 });
    let (resolver, metadata) = (Service::Resolver, Service::Metadata);
    for (services, to, content, expected) in [
        (vec![resolver], "169.254.169.253", udp53, Some(resolver)),
        (vec![resolver], "169.254.169.253", tcp53, Some(resolver)),
        (vec![resolver], "10.0.0.2", udp53, Some(resolver)),
        (vec![resolver], "fd00:ec2::253", udp53, Some(resolver)),
        (vec![resolver], "169.254.169.253", GET, None),
        (vec![resolver], "169.254.169.254", GET, None),
        (vec![resolver, metadata], "169.254.169.254", GET, Some(metadata)),
        (vec![resolver, metadata], "fd00:ec2::254", GET, Some(metadata)),
        (vec![metadata], "169.254.169.254", Content::Udp { port: 80 }, None),
        (vec![metadata], "10.0.0.2", udp53, None),
        (vec![metadata], "169.254.170.2", GET, None),
        (vec![], "169.254.169.253", udp53, None),
    ] {
        // Another interface has them all, so the router does have the addresses.
        let other = Eni { services: Service::ALL.into(), ..eni(2, [1]) };
        let plan = plan(&[may(&services), other], core::slice::from_ref(&shut));
        let to: IpAddr = to.parse().expect("an address");
        let mut packet = from(&plan, 1, to, content);
        let expected = expected.map_or(Verdict::Reject(Obstacle::NoRoute), |service| {
            Verdict::Accept(Grounds::Service(service))
        });
        assert_eq!(judge(&plan, &packet), expected, "{services:?} {to} {content:?}");
        packet.source = to;
        assert!(!judge(&plan, &packet).passes(), "nobody speaks for the router");
    }
}

fn arb_traffic() -> impl Strategy<Value = Traffic> {
    prop_oneof![
        Just(Traffic::All),
        (0_u16..6, 0_u16..6).prop_map(|(from, to)| Traffic::Tcp { from, to }),
        (0_u16..6, 0_u16..6).prop_map(|(from, to)| Traffic::Udp { from, to }),
        (proptest::option::of(0_u8..3), proptest::option::of(0_u8..3))
            .prop_map(|(kind, code)| Traffic::Icmp { kind, code }),
        (proptest::option::of(0_u8..3), proptest::option::of(0_u8..3))
            .prop_map(|(kind, code)| Traffic::Icmpv6 { kind, code }),
        (0_u8..20).prop_map(Traffic::Protocol),
    ]
}

fn arb_peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        (0_u8..4).prop_map(|n| Peer::Group(sg(n))),
        Just(cidr("0.0.0.0/0")),
        Just(cidr("::/0")),
        (1_u8..3).prop_map(|n| Peer::PrefixList(pl(n))),
        (0_u8..4, 124_u8..=128).prop_map(|(n, prefix)| {
            let block = ipnet::Ipv6Net::new(address6(n), prefix).expect("a prefix");
            Peer::Cidr(block.trunc().into())
        }),
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
        (0_u8..3, 0_u8..3).prop_map(|(kind, code)| Content::Icmpv6 { kind, code }),
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
    openings(plan, content).map(|(_, _, packet)| judge(plan, &packet).passes()).collect()
}

/// From each interface to each address of each one.
fn openings(
    plan: &VpcPlan,
    content: Content,
) -> impl Iterator<Item = (&EniPlan, &EniPlan, Packet)> {
    let pairs = plan.enis.iter().flat_map(|a| plan.enis.iter().map(move |b| (a, b)));
    pairs.flat_map(move |(a, b)| {
        let packets = b.addresses().filter_map(move |to| Packet::opening(a, to, content));
        packets.map(move |packet| (a, b, packet))
    })
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
        for (a, b, packet) in openings(&plan, content) {
            if let Verdict::Accept(Grounds::Permitted { egress, ingress }) = judge(&plan, &packet) {
                prop_assert!(a.groups.contains(egress.group) && b.groups.contains(ingress.group));
                prop_assert!(covers(egress.rule.traffic, content) && covers(ingress.rule.traffic, content));
                prop_assert!(concerns(&plan, &egress.rule.peer, packet.destination));
                prop_assert!(concerns(&plan, &ingress.rule.peer, packet.source));
            }
        }
    }
}

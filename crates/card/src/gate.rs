//! The rules of security groups, as steps that match what they permit.

use crate::filter::Set;
use crate::rules::{Element, Field, Maps, Part, Rule, Step, octets};
use ident::{PrefixListId, SecurityGroupId};
use ipnet::IpNet;
use net::model::{self, Peer, Traffic};
use net::plan::VpcPlan;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Which end of a packet a rule's peer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Where it comes from: ingress rules.
    Source,
    /// Where it goes to: egress rules.
    Destination,
}

/// An IP version, as an address of it that stands for all.
const FAMILIES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];

/// What matches the packets that a rule permits: nothing, or a rule for each IP
/// version that it can be about.
pub(crate) fn matching(plan: &VpcPlan, rule: &model::Rule, side: Side) -> Vec<Rule> {
    let versions = FAMILIES.into_iter().filter_map(|family| {
        let mut steps = vec![Step::same_family(family)];
        steps.extend(traffic(rule.traffic, family)?);
        steps.extend(peer(plan, &rule.peer, family, side)?);
        Some(steps)
    });
    versions.collect()
}

/// The steps that match a kind of traffic in packets of one IP version.
fn traffic(traffic: Traffic, family: IpAddr) -> Option<Vec<Step>> {
    let is = |protocol| Step::Is(Field::Protocol, vec![protocol]);
    match traffic {
        Traffic::All => Some(vec![]),
        Traffic::Tcp { from, to } => ports(TCP, from, to),
        Traffic::Udp { from, to } => ports(UDP, from, to),
        Traffic::Icmp { kind, code } if family.is_ipv4() => Some(icmp(ICMP, kind, code)),
        Traffic::Icmpv6 { kind, code } if family.is_ipv6() => Some(icmp(ICMPV6, kind, code)),
        Traffic::Icmp { .. } | Traffic::Icmpv6 { .. } => None,
        Traffic::Protocol(number) => Some(vec![is(number)]),
    }
}

fn ports(protocol: u8, from: u16, to: u16) -> Option<Vec<Step>> {
    let mut steps = vec![Step::Is(Field::Protocol, vec![protocol])];
    let (first, last) = (from.to_be_bytes().to_vec(), to.to_be_bytes().to_vec());
    match (from, to) {
        (0, u16::MAX) => {}
        (from, to) if from == to => steps.push(Step::Is(Field::DestinationPort, first)),
        (from, to) if from < to => steps.push(Step::Within(Field::DestinationPort, first, last)),
        (_, _) => return None,
    }
    Some(steps)
}

fn icmp(protocol: u8, kind: Option<u8>, code: Option<u8>) -> Vec<Step> {
    let mut steps = vec![Step::Is(Field::Protocol, vec![protocol])];
    if let Some(kind) = kind {
        steps.push(Step::Is(Field::IcmpType, vec![kind]));
        // A code means nothing without its type.
        steps.extend(code.map(|code| Step::Is(Field::IcmpCode, vec![code])));
    }
    steps
}

/// The steps that match a peer of one IP version; `None` if it can have none.
fn peer(plan: &VpcPlan, peer: &Peer, family: IpAddr, side: Side) -> Option<Vec<Step>> {
    let field = match (side, family) {
        (Side::Source, IpAddr::V4(_)) => Field::Source4,
        (Side::Source, IpAddr::V6(_)) => Field::Source6,
        (Side::Destination, IpAddr::V4(_)) => Field::Destination4,
        (Side::Destination, IpAddr::V6(_)) => Field::Destination6,
    };
    let set = match peer {
        Peer::Cidr(block) if block.addr().is_ipv4() != family.is_ipv4() => return None,
        Peer::Cidr(block) if block.prefix_len() == 0 => return Some(vec![]),
        Peer::Cidr(block) if block.prefix_len() == block.max_prefix_len() => {
            return Some(vec![Step::Is(field, octets(block.addr()))]);
        }
        Peer::Cidr(block) => {
            let network = octets(block.network());
            return Some(vec![Step::Prefix(field, network, block.prefix_len())]);
        }
        Peer::Group(group) => {
            let members = plan.members.get(group)?;
            let any = members.iter().any(|address| address.is_ipv4() == family.is_ipv4());
            any.then(|| members_set(group, family))?
        }
        Peer::PrefixList(list) => {
            let blocks = plan.prefix_lists.get(list)?;
            let any = blocks.iter().any(|block| block.addr().is_ipv4() == family.is_ipv4());
            any.then(|| list_set(list, family))?
        }
    };
    Some(vec![Step::In(vec![field], set)])
}

fn members_set(group: &SecurityGroupId, family: IpAddr) -> String {
    format!("members{}-{group}", version(family))
}

fn list_set(list: &PrefixListId, family: IpAddr) -> String {
    format!("list{}-{list}", version(family))
}

fn version(family: IpAddr) -> char {
    if family.is_ipv4() { '4' } else { '6' }
}

/// The sets that rules refer to by groups and prefix lists. What has nothing of an
/// IP version has no set for it.
pub(crate) fn address_sets(plan: &VpcPlan) -> Vec<(String, Set)> {
    let mut sets = Vec::new();
    let mut add = |name, family: IpAddr, ranges, elements: BTreeSet<Element>| {
        let parts: &'static [Part] = if family.is_ipv4() { &[Part::V4] } else { &[Part::V6] };
        if !elements.is_empty() {
            sets.push((name, Set { parts, maps: Maps::Nothing, ranges, fed: None, elements }));
        }
    };
    for family in FAMILIES {
        for (group, addresses) in &plan.members {
            let own = addresses.iter().filter(|own| own.is_ipv4() == family.is_ipv4());
            let own = own.map(|address| Element::of(&[&octets(*address)])).collect();
            add(members_set(group, family), family, false, own);
        }
        for (list, blocks) in &plan.prefix_lists {
            add(list_set(list, family), family, true, ranges(blocks, family));
        }
    }
    sets
}

/// The blocks of one IP version as ranges that neither overlap nor touch.
fn ranges(blocks: &[IpNet], family: IpAddr) -> BTreeSet<Element> {
    let mut ends: Vec<(u128, u128)> = blocks
        .iter()
        .filter(|block| block.addr().is_ipv4() == family.is_ipv4())
        .map(|block| (number(block.network()), number(block.broadcast())))
        .collect();
    ends.sort_unstable();
    let mut merged: Vec<(u128, u128)> = Vec::new();
    for (first, last) in ends {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            Some(_) | None => merged.push((first, last)),
        }
    }
    let bytes = |number: u128| match family {
        IpAddr::V4(_) => number.to_be_bytes()[12..].to_vec(),
        IpAddr::V6(_) => number.to_be_bytes().to_vec(),
    };
    let greatest = if family.is_ipv4() { u128::from(u32::MAX) } else { u128::MAX };
    let element = |(first, last): (u128, u128)| Element {
        key: bytes(first),
        end: Some(if last == greatest { vec![] } else { bytes(last + 1) }),
        target: String::new(),
    };
    merged.into_iter().map(element).collect()
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn plan() -> VpcPlan {
        let both = ["10.0.2.2", "fd00::2"].map(|text| text.parse().expect("an address"));
        let four = ["10.0.2.3"].map(|text| text.parse().expect("an address"));
        let list = ["10.1.0.0/16", "10.0.0.0/16", "10.0.7.0/24", "fd00:1::/64"];
        VpcPlan {
            vpc: ident::VpcId::mint(1),
            vni: 1,
            cidrs: vec![],
            ipv6_cidrs: vec![],
            subnets: vec![],
            enis: vec![],
            groups: vec![],
            members: BTreeMap::from([
                (SecurityGroupId::mint(1), both.to_vec()),
                (SecurityGroupId::mint(2), four.to_vec()),
                (SecurityGroupId::mint(3), vec![]),
            ]),
            prefix_lists: BTreeMap::from([(
                PrefixListId::mint(1),
                list.map(|text| text.parse().expect("a block")).to_vec(),
            )]),
            dns: None,
        }
    }

    fn shown(rule: &model::Rule, side: Side) -> Vec<String> {
        let show =
            |rule: &Rule| rule.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        matching(&plan(), rule, side).iter().map(show).collect()
    }

    #[test]
    fn traffic_becomes_matches() {
        let tcp = |from, to| Traffic::Tcp { from, to };
        let icmp = |kind, code| Traffic::Icmp { kind, code };
        for (traffic, expected) in [
            (Traffic::All, Some("")),
            (tcp(80, 80), Some("meta l4proto 6; th dport 80; ")),
            (tcp(80, 90), Some("meta l4proto 6; th dport 80-90; ")),
            (tcp(0, 65535), Some("meta l4proto 6; ")),
            (tcp(0, 1), Some("meta l4proto 6; th dport 0-1; ")),
            (tcp(90, 80), None),
            (Traffic::Udp { from: 53, to: 53 }, Some("meta l4proto 17; th dport 53; ")),
            (icmp(None, Some(3)), Some("meta l4proto 1; ")),
            (icmp(Some(8), None), Some("meta l4proto 1; icmp type 8; ")),
            (icmp(Some(3), Some(4)), Some("meta l4proto 1; icmp type 3; icmp code 4; ")),
            (Traffic::Icmpv6 { kind: None, code: None }, None),
            (Traffic::Protocol(50), Some("meta l4proto 50; ")),
        ] {
            let peer = Peer::Cidr("10.1.2.3/16".parse().expect("a block"));
            let found = shown(&model::Rule { traffic, peer }, Side::Source);
            let expected =
                expected.map(|steps| format!("meta nfproto ipv4; {steps}ip saddr 10.1.0.0/16"));
            assert_eq!(found, Vec::from_iter(expected), "{traffic:?}");
        }
        let peer = Peer::Cidr("fd00::/16".parse().expect("a block"));
        for (traffic, expected) in [
            (icmp(None, None), None),
            (
                Traffic::Icmpv6 { kind: Some(128), code: None },
                Some("meta nfproto ipv6; meta l4proto 58; icmp type 128; ip6 daddr fd00::/16"),
            ),
        ] {
            let found = shown(&model::Rule { traffic, peer: peer.clone() }, Side::Destination);
            assert_eq!(found, Vec::from_iter(expected.map(ToOwned::to_owned)), "{traffic:?}");
        }
    }

    #[test]
    fn peers_become_matches_of_the_versions_they_have() {
        let (sg, pl) = (SecurityGroupId::mint, PrefixListId::mint);
        let (v4, v6) = ("meta nfproto ipv4", "meta nfproto ipv6");
        for (peer, expected) in [
            (Peer::Cidr("0.0.0.0/0".parse().expect("a block")), vec![v4.to_owned()]),
            (Peer::Cidr("::/0".parse().expect("a block")), vec![v6.to_owned()]),
            (
                Peer::Cidr("10.0.0.1/32".parse().expect("a block")),
                vec![format!("{v4}; ip daddr 10.0.0.1")],
            ),
            (
                Peer::Group(sg(1)),
                vec![
                    format!("{v4}; ip daddr @members4-{}", sg(1)),
                    format!("{v6}; ip6 daddr @members6-{}", sg(1)),
                ],
            ),
            (Peer::Group(sg(2)), vec![format!("{v4}; ip daddr @members4-{}", sg(2))]),
            (Peer::Group(sg(3)), vec![]),
            (Peer::Group(sg(9)), vec![]),
            (
                Peer::PrefixList(pl(1)),
                vec![
                    format!("{v4}; ip daddr @list4-{}", pl(1)),
                    format!("{v6}; ip6 daddr @list6-{}", pl(1)),
                ],
            ),
            (Peer::PrefixList(pl(2)), vec![]),
        ] {
            let rule = model::Rule { traffic: Traffic::All, peer };
            assert_eq!(shown(&rule, Side::Destination), expected, "{:?}", rule.peer);
        }
    }

    #[test]
    fn ranges_neither_overlap_nor_touch() {
        let blocks = ["10.1.0.0/16", "10.0.0.0/16", "10.0.7.0/24", "255.0.0.0/8", "fd00::/64"];
        let blocks = blocks.map(|text| text.parse().expect("a block"));
        let found: Vec<_> = ranges(&blocks, FAMILIES[0]).into_iter().collect();
        let range = |first: [u8; 4], end: Option<[u8; 4]>| Element {
            key: first.to_vec(),
            end: Some(end.map_or(vec![], |end| end.to_vec())),
            target: String::new(),
        };
        let expected = [range([10, 0, 0, 0], Some([10, 2, 0, 0])), range([255, 0, 0, 0], None)];
        assert_eq!(found, expected);
        let whole = ranges(&["::/0".parse().expect("a block")], FAMILIES[1]);
        assert_eq!(whole.len(), 1);
    }
}

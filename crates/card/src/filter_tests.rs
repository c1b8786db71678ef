//! What changes when plans do.

use super::*;
use ident::{EniId, SecurityGroupId, SubnetId, VpcId};
use net::mac::MacAddress;
use net::model::{self, Peer, Traffic};
use net::plan::{EniUser, GroupPlan};

fn rule(traffic: Traffic, peer: &str) -> model::Rule {
    model::Rule { traffic, peer: Peer::Cidr(peer.parse().expect("a block")) }
}

fn plan() -> VpcPlan {
    let (web, db) = (SecurityGroupId::mint(1), SecurityGroupId::mint(2));
    let from_db = model::Rule { traffic: Traffic::All, peer: Peer::Group(db.clone()) };
    VpcPlan {
        vpc: VpcId::mint(1),
        vni: 1,
        cidrs: vec![],
        ipv6_cidrs: vec![],
        subnets: vec![],
        enis: vec![EniPlan {
            eni: EniId::mint(1),
            mac: MacAddress([2, 0, 0, 0, 0, 1]),
            subnet: SubnetId::mint(1),
            ipv4: Some(Ipv4Addr::new(10, 0, 1, 10)),
            secondary_ipv4: vec![],
            ipv6: vec![],
            services: BTreeSet::new(),
            user: EniUser::Task,
            groups: vec![web.clone(), SecurityGroupId::mint(9)],
            source_dest_check: true,
        }],
        groups: vec![GroupPlan {
            group: web,
            ingress: vec![rule(Traffic::Tcp { from: 80, to: 81 }, "10.0.0.0/16"), from_db],
            egress: vec![rule(Traffic::All, "0.0.0.0/0"), rule(Traffic::All, "::/0")],
        }],
        members: BTreeMap::from([(db, vec![IpAddr::V4(Ipv4Addr::new(10, 0, 2, 2))])]),
        prefix_lists: BTreeMap::new(),
        dns: None,
    }
}

fn name(text: String) -> Name {
    (Table::Inet, text)
}

#[test]
fn a_changed_rule_changes_one_chain() {
    let old = Filter::of(&plan());
    let mut other = plan();
    other.groups[0].ingress.remove(0);
    let (new, nothing) = (Filter::of(&other), Filter::default());
    let changes = new.changes(Some((&old, "in-force-1")), "in-force-2", &nothing);
    let ingress = name(format!("ingress-{}", SecurityGroupId::mint(1)));
    let left = &new.chains[&ingress].rules[0];
    assert_eq!(
        changes,
        [
            Change::DeleteChain("in-force-1", Table::Arp),
            Change::AddChain("in-force-2", Table::Arp, None),
            Change::FlushChain(&ingress),
            Change::AddRule(&ingress, left),
        ]
    );
}

#[test]
fn a_new_member_changes_one_set() {
    let old = Filter::of(&plan());
    let mut other = plan();
    for addresses in other.members.values_mut() {
        *addresses = vec![IpAddr::V4(Ipv4Addr::new(10, 0, 2, 3))];
    }
    let (new, nothing) = (Filter::of(&other), Filter::default());
    let changes = new.changes(Some((&old, "in-force-1")), "in-force-2", &nothing);
    let set = name(format!("members4-{}", SecurityGroupId::mint(2)));
    let [before, after] = [2, 3].map(|last| Element::of(&[&[10, 0, 2, last]]));
    assert_eq!(
        changes,
        [
            Change::DeleteChain("in-force-1", Table::Arp),
            Change::AddChain("in-force-2", Table::Arp, None),
            Change::DeleteElements(&set, Maps::Nothing, vec![&before]),
            Change::AddElements(&set, Maps::Nothing, vec![&after]),
        ]
    );
}

#[test]
fn from_nothing_the_tables_are_made_anew() {
    let (new, nothing) = (Filter::of(&plan()), Filter::default());
    let changes = new.changes(None, "in-force-1", &nothing);
    assert_eq!(changes[0], Change::Afresh);
    let removes = |change: &&Change<'_>| {
        matches!(change, Change::FlushChain(_) | Change::DeleteChain(..) | Change::DeleteSet(_))
    };
    assert_eq!(changes.iter().find(removes), None);
}

#[test]
fn the_marker_tells_rules_and_generations_apart() {
    let one = Filter::of(&plan());
    let other = Filter::of(&VpcPlan { enis: vec![], ..plan() });
    assert_eq!(one.marker(3), Filter::of(&plan()).marker(3));
    assert_ne!(one.marker(3), one.marker(4));
    assert_ne!(one.marker(3), other.marker(3));
    assert!(one.marker(u32::MAX).len() < 128);
}

//! From the state of VPCs to the document that one node's card obeys.
//!
//! The result depends on nothing but the arguments, not even on their order: the
//! same state makes the same plan, byte for byte, so plans can be compared.

use crate::model::{Eni, Peer, PrefixList, Rule, SecurityGroup, Service, Subnet, Vpc};
use crate::plan::{CardPlan, DnsPlan, EniPlan, EniUser, GroupPlan, SubnetPlan, VpcPlan};
use alloc::borrow::ToOwned;
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;
use ident::{EniId, Generation, PrefixListId, SecurityGroupId};
use ipnet::IpNet;

/// One VPC as the control plane knows it: all of it, wherever its parts are.
#[derive(Clone, Debug)]
pub struct VpcView<'a> {
    /// The VPC.
    pub vpc: &'a Vpc,
    /// Its subnets.
    pub subnets: Vec<&'a Subnet>,
    /// Its interfaces on all nodes: they are the members of its groups.
    pub enis: Vec<&'a Eni>,
    /// Its security groups.
    pub groups: Vec<&'a SecurityGroup>,
    /// The prefix lists that its groups' rules may refer to.
    pub prefix_lists: Vec<&'a PrefixList>,
    /// Its resolver, if it has DNS support.
    pub dns: Option<Dns<'a>>,
}

/// The resolver of a VPC.
#[derive(Clone, Copy, Debug)]
pub struct Dns<'a> {
    /// The domain of the names of private addresses.
    pub domain: &'a str,
    /// Whether they have names.
    pub has_names: bool,
}

/// The plan for the node that has the interfaces `local`.
///
/// VPCs without an interface there are left out, and so is an interface that is
/// in no view or whose subnet is missing: what is half known is not connected.
pub fn card_plan(
    generation: Generation,
    vpcs: &[VpcView<'_>],
    local: &BTreeMap<EniId, EniUser>,
) -> CardPlan {
    let mut vpcs: Vec<VpcPlan> = vpcs
        .iter()
        .map(|view| vpc_plan(view, local))
        .filter(|plan| !plan.enis.is_empty())
        .collect();
    vpcs.sort_by(|a, b| a.vpc.cmp(&b.vpc));
    CardPlan { generation, vpcs }
}

fn vpc_plan(view: &VpcView<'_>, local: &BTreeMap<EniId, EniUser>) -> VpcPlan {
    let blocks: BTreeMap<_, _> = view.subnets.iter().map(|subnet| (&subnet.id, *subnet)).collect();
    let mut enis: Vec<EniPlan> = view
        .enis
        .iter()
        .filter(|eni| blocks.contains_key(&eni.subnet))
        .filter_map(|eni| Some(eni_plan(view, eni, *local.get(&eni.id)?)))
        .collect();
    enis.sort_by(|a, b| a.eni.cmp(&b.eni));

    let subnets: BTreeSet<_> = enis.iter().map(|eni| &eni.subnet).collect();
    let subnets = subnets
        .into_iter()
        .filter_map(|id| blocks.get(id))
        .map(|subnet| SubnetPlan {
            subnet: subnet.id.clone(),
            cidr: Some(subnet.cidr),
            gateway: Some(subnet.gateway()),
            ipv6_cidr: subnet.ipv6_cidr,
            ipv6_gateway: subnet.ipv6_gateway(),
        })
        .collect();

    let used: BTreeSet<_> = enis.iter().flat_map(|eni| &eni.groups).collect();
    let mut groups: Vec<GroupPlan> = view
        .groups
        .iter()
        .filter(|group| used.contains(&group.id))
        .map(|group| GroupPlan {
            group: group.id.clone(),
            ingress: sorted(&group.ingress),
            egress: sorted(&group.egress),
        })
        .collect();
    groups.sort_by(|a, b| a.group.cmp(&b.group));

    VpcPlan {
        vpc: view.vpc.id.clone(),
        vni: view.vpc.vni,
        cidrs: view.vpc.cidrs.clone(),
        ipv6_cidrs: view.vpc.ipv6_cidrs.clone(),
        subnets,
        members: members(view, &groups),
        prefix_lists: prefix_lists(view, &groups),
        dns: view.dns.map(|dns| dns_plan(view, dns)),
        enis,
        groups,
    }
}

/// The names of a VPC are those of all its interfaces, wherever they are.
fn dns_plan(view: &VpcView<'_>, dns: Dns<'_>) -> DnsPlan {
    let named = view.enis.iter().filter(|_| dns.has_names);
    let mut named: Vec<_> = named.flat_map(|eni| eni.ipv4_addresses()).collect();
    named.sort_unstable();
    named.dedup();
    DnsPlan { domain: dns.domain.to_owned(), named }
}

fn eni_plan(view: &VpcView<'_>, eni: &Eni, user: EniUser) -> EniPlan {
    let resolver = view.dns.map(|_| Service::Resolver);
    EniPlan {
        eni: eni.id.clone(),
        mac: eni.mac,
        subnet: eni.subnet.clone(),
        ipv4: Some(eni.ipv4),
        secondary_ipv4: eni.secondary_ipv4.clone(),
        ipv6: eni.ipv6.clone(),
        services: eni.services.iter().copied().chain(resolver).collect(),
        user,
        groups: eni.groups.iter().cloned().collect(),
        source_dest_check: eni.source_dest_check,
    }
}

/// Rules in one order and each once: they only permit, so neither matters.
fn sorted(rules: &[Rule]) -> Vec<Rule> {
    let rules: BTreeSet<_> = rules.iter().cloned().collect();
    rules.into_iter().collect()
}

/// Who is in the groups that `groups` refer to. The others' members are nobody's
/// business on the node, and would change its plan for nothing.
fn members(view: &VpcView<'_>, groups: &[GroupPlan]) -> BTreeMap<SecurityGroupId, Vec<IpAddr>> {
    let mut members: BTreeMap<SecurityGroupId, Vec<IpAddr>> = rules(groups)
        .filter_map(|rule| match &rule.peer {
            Peer::Group(group) => Some((group.clone(), Vec::new())),
            Peer::Cidr(_) | Peer::PrefixList(_) => None,
        })
        .collect();
    for eni in &view.enis {
        for group in &eni.groups {
            if let Some(addresses) = members.get_mut(group) {
                addresses.extend(eni.addresses());
            }
        }
    }
    for addresses in members.values_mut() {
        addresses.sort_unstable();
        addresses.dedup();
    }
    members
}

/// What is in the prefix lists that `groups` refer to.
fn prefix_lists(view: &VpcView<'_>, groups: &[GroupPlan]) -> BTreeMap<PrefixListId, Vec<IpNet>> {
    let named = rules(groups).filter_map(|rule| match &rule.peer {
        Peer::PrefixList(list) => Some(list),
        Peer::Cidr(_) | Peer::Group(_) => None,
    });
    let found = named.filter_map(|id| view.prefix_lists.iter().find(|list| list.id == *id));
    found
        .map(|list| {
            let entries: BTreeSet<IpNet> = list.entries.iter().map(IpNet::trunc).collect();
            (list.id.clone(), entries.into_iter().collect())
        })
        .collect()
}

fn rules(groups: &[GroupPlan]) -> impl Iterator<Item = &Rule> {
    groups.iter().flat_map(|group| group.ingress.iter().chain(&group.egress))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mac::MacAddress;
    use crate::model::Traffic;
    use alloc::vec;
    use core::net::Ipv4Addr;
    use ident::{SubnetId, VpcId};

    fn sg(n: u128) -> SecurityGroupId {
        SecurityGroupId::mint(n)
    }

    /// Interface `n` of VPC `vpc`, in the groups `groups`.
    fn eni(n: u8, vpc: u128, groups: &[u128]) -> Eni {
        Eni {
            id: EniId::mint(n.into()),
            vpc: VpcId::mint(vpc),
            subnet: SubnetId::mint(vpc),
            mac: MacAddress([2, 0, 0, 0, 0, n]),
            ipv4: Ipv4Addr::new(10, 0, 1, n),
            secondary_ipv4: vec![],
            ipv6: vec![],
            services: BTreeSet::new(),
            groups: groups.iter().copied().map(sg).collect(),
            source_dest_check: true,
        }
    }

    fn vpc(n: u32) -> (Vpc, Subnet) {
        let id = VpcId::mint(n.into());
        let block = "10.0.0.0/16".parse().expect("a block");
        let cidr = "10.0.1.0/24".parse().expect("a block");
        (
            Vpc { id: id.clone(), cidrs: vec![block], ipv6_cidrs: vec![], vni: n },
            Subnet { id: SubnetId::mint(n.into()), vpc: id, cidr, ipv6_cidr: None },
        )
    }

    fn group(n: u128, from: u128) -> SecurityGroup {
        let rule = Rule { traffic: Traffic::All, peer: Peer::Group(sg(from)) };
        let ingress = vec![rule.clone(), rule];
        SecurityGroup { id: sg(n), vpc: VpcId::mint(1), ingress, egress: vec![] }
    }

    #[test]
    fn a_node_hears_of_its_own_interfaces_and_of_whom_their_rules_name() {
        let (one, subnet) = vpc(1);
        let (other, other_subnet) = vpc(2);
        let (mut here, mut there, third, foreign) =
            (eni(11, 1, &[1]), eni(12, 1, &[2]), eni(13, 1, &[3]), eni(14, 2, &[]));
        here.secondary_ipv4 = vec![Ipv4Addr::new(10, 0, 1, 22), Ipv4Addr::new(10, 0, 1, 21)];
        there.secondary_ipv4 = vec![Ipv4Addr::new(10, 0, 1, 9)];
        let groups = [group(1, 2), group(2, 3), group(3, 3)];
        let views = [
            VpcView {
                vpc: &other,
                subnets: vec![&other_subnet],
                enis: vec![&foreign],
                groups: vec![],
                prefix_lists: vec![],
                dns: None,
            },
            VpcView {
                vpc: &one,
                subnets: vec![&subnet],
                enis: vec![&third, &there, &here],
                groups: groups.iter().collect(),
                prefix_lists: vec![],
                dns: None,
            },
        ];
        let local = BTreeMap::from([(here.id.clone(), EniUser::Task)]);
        let plan = card_plan(Generation(3), &views, &local);

        assert_eq!((plan.generation, plan.vpcs.len()), (Generation(3), 1));
        let plan = &plan.vpcs[0];
        assert_eq!(plan.enis.iter().map(|eni| &eni.eni).collect::<Vec<_>>(), [&here.id]);
        assert_eq!(plan.subnets[0].gateway, Some(Ipv4Addr::new(10, 0, 1, 1)));
        assert_eq!(plan.groups.len(), 1);
        assert_eq!(plan.groups[0].ingress.len(), 1, "the same rule twice is one rule");
        let own = [11, 22, 21].map(|last| IpAddr::from([10, 0, 1, last]));
        assert_eq!(plan.enis[0].addresses().collect::<Vec<_>>(), own, "the primary one first");
        let theirs = [9, 12].map(|last| IpAddr::from([10, 0, 1, last])).to_vec();
        assert_eq!(plan.members, BTreeMap::from([(sg(2), theirs)]), "all of an interface's");
    }

    #[test]
    fn an_interface_without_its_subnet_is_not_connected() {
        let (vpc, _) = vpc(1);
        let here = eni(11, 1, &[1]);
        let view = VpcView {
            vpc: &vpc,
            subnets: vec![],
            enis: vec![&here],
            groups: vec![],
            prefix_lists: vec![],
            dns: None,
        };
        let local = BTreeMap::from([(here.id.clone(), EniUser::Host)]);
        assert_eq!(card_plan(Generation(1), &[view], &local).vpcs, []);
    }

    #[test]
    fn a_resolver_is_for_all_and_knows_the_names_of_all_if_there_are_names() {
        let (vpc, subnet) = vpc(1);
        let (here, mut there) = (eni(11, 1, &[]), eni(12, 1, &[]));
        there.secondary_ipv4 = vec![Ipv4Addr::new(10, 0, 1, 9)];
        let plan = |dns| {
            let view = VpcView {
                vpc: &vpc,
                subnets: vec![&subnet],
                enis: vec![&there, &here],
                groups: vec![],
                prefix_lists: vec![],
                dns,
            };
            let local = BTreeMap::from([(here.id.clone(), EniUser::Task)]);
            card_plan(Generation(1), &[view], &local).vpcs.remove(0)
        };
        let domain = "ec2.internal";
        for (dns, expected) in [
            (None, None),
            (Some(Dns { domain, has_names: false }), Some(vec![])),
            (Some(Dns { domain, has_names: true }), Some(vec![9, 11, 12])),
        ] {
            let plan = plan(dns);
            let has_resolver = plan.enis[0].services.contains(&Service::Resolver);
            assert_eq!(has_resolver, dns.is_some());
            let named = |last| Ipv4Addr::new(10, 0, 1, last);
            let expected = expected.map(|lasts: Vec<u8>| DnsPlan {
                domain: domain.to_owned(),
                named: lasts.into_iter().map(named).collect(),
            });
            assert_eq!(plan.dns, expected);
        }
    }

    #[test]
    fn a_group_that_nobody_is_in_is_empty_rather_than_absent() {
        let (vpc, subnet) = vpc(1);
        let here = eni(11, 1, &[1]);
        let groups = [group(1, 7)];
        let view = VpcView {
            vpc: &vpc,
            subnets: vec![&subnet],
            enis: vec![&here],
            groups: groups.iter().collect(),
            prefix_lists: vec![],
            dns: None,
        };
        let local = BTreeMap::from([(here.id.clone(), EniUser::Task)]);
        let plan = card_plan(Generation(1), &[view], &local);
        assert_eq!(plan.vpcs[0].members, BTreeMap::from([(sg(7), vec![])]));
    }
}

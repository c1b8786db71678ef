//! From the state of VPCs to the document that one node's card obeys.
//!
//! The result depends on nothing but the arguments, not even on their order: the
//! same state makes the same plan, byte for byte, so plans can be compared.

use crate::model::{Eni, Peer, Rule, SecurityGroup, Subnet, Vpc};
use crate::plan::{CardPlan, EniPlan, EniUser, GroupPlan, SubnetPlan, VpcPlan};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::net::IpAddr;
use ident::{EniId, Generation, SecurityGroupId};

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
        .filter_map(|eni| Some(eni_plan(eni, *local.get(&eni.id)?)))
        .collect();
    enis.sort_by(|a, b| a.eni.cmp(&b.eni));

    let subnets: BTreeSet<_> = enis.iter().map(|eni| &eni.subnet).collect();
    let subnets = subnets
        .into_iter()
        .filter_map(|id| blocks.get(id))
        .map(|subnet| SubnetPlan {
            subnet: subnet.id.clone(),
            cidr: subnet.cidr,
            gateway: subnet.gateway(),
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
        subnets,
        members: members(view, &groups),
        enis,
        groups,
    }
}

fn eni_plan(eni: &Eni, user: EniUser) -> EniPlan {
    EniPlan {
        eni: eni.id.clone(),
        mac: eni.mac,
        subnet: eni.subnet.clone(),
        ipv4: eni.ipv4,
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
    let rules = groups.iter().flat_map(|group| group.ingress.iter().chain(&group.egress));
    let mut members: BTreeMap<SecurityGroupId, Vec<IpAddr>> = rules
        .filter_map(|rule| match &rule.peer {
            Peer::Group(group) => Some((group.clone(), Vec::new())),
            Peer::Cidr(_) => None,
        })
        .collect();
    for eni in &view.enis {
        for group in &eni.groups {
            if let Some(addresses) = members.get_mut(group) {
                addresses.push(IpAddr::V4(eni.ipv4));
            }
        }
    }
    for addresses in members.values_mut() {
        addresses.sort_unstable();
        addresses.dedup();
    }
    members
}

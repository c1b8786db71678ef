//! What users of EC2 made, so that a plan can be compiled from it.

use ident::{EniId, Generation, PrefixListId, SecurityGroupId, SubnetId, VpcId};
use net::compile::{Dns, VpcView, card_plan};
use net::mac::MacAddress;
use net::model::{Eni, Peer, PrefixList, Rule, SecurityGroup, Service, Subnet, Traffic, Vpc};
use net::plan::{CardPlan, EniUser};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

/// One VPC, 10.0.0.0/16, with two subnets, 10.0.1.0/24 and 10.0.2.0/24.
#[derive(Clone)]
pub(crate) struct World {
    vpc: Vpc,
    subnets: Vec<Subnet>,
    pub(crate) enis: Vec<Eni>,
    groups: Vec<SecurityGroup>,
    prefix_lists: Vec<PrefixList>,
    users: BTreeMap<EniId, EniUser>,
    /// Whether addresses have names, if the VPC has a resolver.
    pub(crate) names: Option<bool>,
}

/// The domain of the names of addresses.
pub(crate) const DOMAIN: &str = "eu-west-1.compute.internal";

pub(crate) const HTTP: Traffic = Traffic::Tcp { from: 80, to: 80 };

pub(crate) fn sg(n: u8) -> SecurityGroupId {
    SecurityGroupId::mint(n.into())
}

pub(crate) fn anywhere(traffic: Traffic) -> Rule {
    from("0.0.0.0/0", traffic)
}

pub(crate) fn from(block: &str, traffic: Traffic) -> Rule {
    Rule { traffic, peer: Peer::Cidr(block.parse().expect("a block")) }
}

pub(crate) fn members(group: u8, traffic: Traffic) -> Rule {
    Rule { traffic, peer: Peer::Group(sg(group)) }
}

pub(crate) fn pl(n: u8) -> PrefixListId {
    PrefixListId::mint(n.into())
}

pub(crate) fn listed(list: u8, traffic: Traffic) -> Rule {
    Rule { traffic, peer: Peer::PrefixList(pl(list)) }
}

impl World {
    /// The world number `n`: its VPC's and interfaces' ids are like no other's.
    pub(crate) fn new(n: u8) -> Self {
        let id = VpcId::mint(n.into());
        let subnet = |number: u8| Subnet {
            id: SubnetId::mint(u128::from(n) << 8 | u128::from(number)),
            vpc: id.clone(),
            cidr: format!("10.0.{number}.0/24").parse().expect("a block"),
            ipv6_cidr: None,
        };
        let subnets = vec![subnet(1), subnet(2)];
        let cidrs = vec!["10.0.0.0/16".parse().expect("a block")];
        let vpc = Vpc { id, cidrs, ipv6_cidrs: vec![], vni: n.into() };
        let (enis, groups, prefix_lists) = (vec![], vec![], vec![]);
        let users = BTreeMap::new();
        Self { vpc, subnets, enis, groups, prefix_lists, users, names: None }
    }

    /// The same with IPv6: fd00::/56 with the subnets fd00:0:0:1::/64 and
    /// fd00:0:0:2::/64.
    pub(crate) fn dual_stack(n: u8) -> Self {
        let mut world = Self::new(n);
        world.vpc.ipv6_cidrs = vec!["fd00::/56".parse().expect("a block")];
        for (number, subnet) in (1..).zip(&mut world.subnets) {
            let block = format!("fd00:0:0:{number}::/64");
            subnet.ipv6_cidr = Some(block.parse().expect("a block"));
        }
        world
    }

    /// Adds an interface with the address 10.0.`subnet`.`last` for a task, and
    /// fd00:0:0:`subnet`::`last` if the subnet has IPv6, its last digits in decimal.
    pub(crate) fn eni(&mut self, subnet: u8, last: u8, groups: &[u8]) -> Eni {
        let [.., vpc] = self.vpc.vni.to_be_bytes();
        let has_ipv6 = self.subnets[usize::from(subnet - 1)].ipv6_cidr.is_some();
        let ipv6 = has_ipv6.then(|| format!("fd00:0:0:{subnet}::{last}"));
        let ipv6: Option<Ipv6Addr> = ipv6.map(|text| text.parse().expect("an address"));
        let eni = Eni {
            // The first digits differ as well, so that names must not be cut there.
            id: EniId::mint(u128::from_be_bytes([
                0, 0, 0, 0, 0, 0, 0, last, 0, 0, 0, 0, 0, vpc, subnet, last,
            ])),
            vpc: self.vpc.id.clone(),
            subnet: self.subnets[usize::from(subnet - 1)].id.clone(),
            mac: MacAddress([2, 0, 0, vpc, subnet, last]),
            ipv4: Ipv4Addr::new(10, 0, subnet, last),
            secondary_ipv4: vec![],
            ipv6: ipv6.into_iter().collect(),
            services: [].into(),
            groups: groups.iter().copied().map(sg).collect(),
            source_dest_check: true,
        };
        self.add(eni.clone());
        eni
    }

    /// Adds an interface for a task.
    pub(crate) fn add(&mut self, eni: Eni) {
        self.users.insert(eni.id.clone(), EniUser::Task);
        self.enis.push(eni);
    }

    /// The same for the node itself.
    pub(crate) fn host_eni(&mut self, subnet: u8, last: u8, groups: &[u8]) -> Eni {
        let eni = self.eni(subnet, last, groups);
        self.users.insert(eni.id.clone(), EniUser::Host);
        eni
    }

    pub(crate) fn remove(&mut self, eni: &EniId) {
        self.enis.retain(|other| other.id != *eni);
        self.users.remove(eni);
    }

    /// Gives an interface these secondary addresses and no others, each by its last
    /// number in the subnet; returns the interface.
    pub(crate) fn secondary(&mut self, eni: &EniId, lasts: &[u8]) -> Eni {
        let eni = self.enis.iter_mut().find(|other| other.id == *eni).expect("an interface");
        let [a, b, c, _] = eni.ipv4.octets();
        eni.secondary_ipv4 = lasts.iter().map(|last| Ipv4Addr::new(a, b, c, *last)).collect();
        eni.clone()
    }

    /// Makes the rules of a group these.
    pub(crate) fn group(&mut self, n: u8, ingress: &[Rule], egress: &[Rule]) {
        self.groups.retain(|group| group.id != sg(n));
        self.groups.push(SecurityGroup {
            id: sg(n),
            vpc: self.vpc.id.clone(),
            ingress: ingress.to_vec(),
            egress: egress.to_vec(),
        });
    }

    /// Makes the blocks of a prefix list these.
    pub(crate) fn prefix_list(&mut self, n: u8, blocks: &[&str]) {
        let entries = blocks.iter().map(|block| block.parse().expect("a block")).collect();
        self.prefix_lists.retain(|list| list.id != pl(n));
        self.prefix_lists.push(PrefixList { id: pl(n), entries });
    }

    /// Lets an interface use these services and no others.
    pub(crate) fn serve(&mut self, eni: &EniId, services: &[Service]) {
        let eni = self.enis.iter_mut().find(|other| other.id == *eni).expect("an interface");
        eni.services = services.iter().copied().collect();
    }

    pub(crate) fn plan(&self, generation: u64) -> CardPlan {
        plan(generation, &[self])
    }
}

/// The plan for a node that has the interfaces of all these worlds.
pub(crate) fn plan(generation: u64, worlds: &[&World]) -> CardPlan {
    let views: Vec<VpcView<'_>> = worlds
        .iter()
        .map(|world| VpcView {
            vpc: &world.vpc,
            subnets: world.subnets.iter().collect(),
            enis: world.enis.iter().collect(),
            groups: world.groups.iter().collect(),
            prefix_lists: world.prefix_lists.iter().collect(),
            dns: world.names.map(|has_names| Dns { domain: DOMAIN, has_names }),
        })
        .collect();
    let local = worlds.iter().flat_map(|world| world.users.clone()).collect();
    card_plan(Generation(generation), &views, &local)
}

//! The document that a node's card obeys, and what the card answers.
//!
//! A [`CardPlan`] is whole: what it does not name must not exist on the node. It
//! is made by [`crate::compile`] alone, carries a generation, and means the same
//! whenever it is applied, so applying it twice is applying it once.

use crate::mac::MacAddress;
use crate::model::{Rule, Service};
use alloc::collections::{BTreeMap, BTreeSet};
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ident::{EniId, Generation, PrefixListId, SecurityGroupId, SubnetId, VpcId};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// The MTU of every network interface in a VPC, in bytes.
pub const ENI_MTU: u32 = 9001;

/// Everything that one node's card must make true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardPlan {
    /// Which plan this is; the card refuses a lower one than it has.
    pub generation: Generation,
    /// The VPCs that have an interface on the node, in the order of their ids.
    pub vpcs: Vec<VpcPlan>,
}

/// One VPC on one node: a router namespace.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VpcPlan {
    /// The VPC.
    pub vpc: VpcId,
    /// Its VXLAN network identifier.
    pub vni: u32,
    /// Its IPv4 blocks. What is in none of them, or is no known interface's, is
    /// unreachable until a route says otherwise.
    pub cidrs: Vec<Ipv4Net>,
    /// Its IPv6 blocks, of which the same holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6_cidrs: Vec<Ipv6Net>,
    /// The subnets of the interfaces here.
    pub subnets: Vec<SubnetPlan>,
    /// The interfaces on this node.
    pub enis: Vec<EniPlan>,
    /// The groups of these interfaces and their rules.
    pub groups: Vec<GroupPlan>,
    /// Who is in each group that a rule refers to, on whatever node: the private
    /// addresses. A group that nobody is in has an empty list.
    pub members: BTreeMap<SecurityGroupId, Vec<IpAddr>>,
    /// What is in each prefix list that a rule refers to.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub prefix_lists: BTreeMap<PrefixListId, Vec<IpNet>>,
    /// What its resolver knows by itself; a VPC without DNS support has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsPlan>,
}

impl VpcPlan {
    /// The addresses at which the VPC offers `service`.
    pub fn service_addresses(&self, service: Service) -> impl Iterator<Item = IpAddr> + use<> {
        let (v4, v6) = service.link_local();
        let base = self.cidrs.first().map(Ipv4Net::network);
        let base = base.filter(|_| service == Service::Resolver);
        let near = base.map(|base| Ipv4Addr::from(u32::from(base).saturating_add(2)));
        [Some(v4.into()), Some(v6.into()), near.map(IpAddr::V4)].into_iter().flatten()
    }

    /// The services that some interface here may use.
    pub fn services(&self) -> BTreeSet<Service> {
        self.enis.iter().flat_map(|eni| eni.services.iter().copied()).collect()
    }

    /// The router's own addresses: its subnets' gateways, and its services'.
    pub fn own_addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v4 = self.subnets.iter().filter_map(|subnet| subnet.gateway.map(IpAddr::V4));
        let v6 = self.subnets.iter().filter_map(|subnet| subnet.ipv6_gateway.map(IpAddr::V6));
        let services = self.services().into_iter();
        v4.chain(v6).chain(services.flat_map(|service| self.service_addresses(service)))
    }
}

/// What a VPC's resolver answers by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsPlan {
    /// The domain of the names of private addresses, without a dot at its end.
    pub domain: String,
    /// The private IPv4 addresses that have a name there (see [`crate::names`]), on
    /// whatever node, in order; none if the VPC gives no host names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub named: Vec<Ipv4Addr>,
}

/// A subnet as its interfaces see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetPlan {
    /// The subnet.
    pub subnet: SubnetId,
    /// Its IPv4 block; an IPv6-only subnet has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cidr: Option<Ipv4Net>,
    /// The VPC router's address in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// Its IPv6 block; an IPv4-only subnet has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_cidr: Option<Ipv6Net>,
    /// The VPC router's address in that one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<Ipv6Addr>,
}

/// One interface of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EniPlan {
    /// The interface.
    pub eni: EniId,
    /// Its hardware address.
    pub mac: MacAddress,
    /// The subnet it is in.
    pub subnet: SubnetId,
    /// Its primary private IPv4 address; none in an IPv6-only subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<Ipv4Addr>,
    /// Its other private IPv4 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondary_ipv4: Vec<Ipv4Addr>,
    /// Its IPv6 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6: Vec<Ipv6Addr>,
    /// Which of the VPC's own services it may use.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub services: BTreeSet<Service>,
    /// Whose it is.
    pub user: EniUser,
    /// Its security groups.
    pub groups: Vec<SecurityGroupId>,
    /// Whether to drop what it sends with an address that is not its own.
    pub source_dest_check: bool,
}

impl EniPlan {
    /// All its private IPv4 addresses, the primary one first.
    pub fn ipv4_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        self.ipv4.into_iter().chain(self.secondary_ipv4.iter().copied())
    }

    /// All its private addresses, the primary one first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v6 = self.ipv6.iter().copied().map(IpAddr::V6);
        self.ipv4_addresses().map(IpAddr::V4).chain(v6)
    }
}

/// Who uses an interface of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EniUser {
    /// The node itself: the card also gives the interface its address and routes
    /// the VPC's blocks through it, in the host's namespace.
    Host,
    /// A task: the interface appears bare in the host's namespace, and whoever
    /// runs the task finds it there by its hardware address and takes it away.
    Task,
}

/// A security group's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// The group.
    pub group: SecurityGroupId,
    /// What may come in to its members.
    pub ingress: Vec<Rule>,
    /// What may go out of them.
    pub egress: Vec<Rule>,
}

/// What a card has made true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CardReport {
    /// The plan that was applied last.
    pub generation: Generation,
    /// The interfaces that are in place: link, routes and rules.
    pub present: Vec<EniId>,
    /// The interfaces that could not be made, each with the kernel's reason.
    pub failed: BTreeMap<EniId, String>,
}

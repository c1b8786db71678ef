//! The document that a node's card obeys, and what the card answers.
//!
//! A [`CardPlan`] is whole: what it does not name must not exist on the node. It
//! is made by [`crate::compile`] alone, carries a generation, and means the same
//! whenever it is applied, so applying it twice is applying it once.

use crate::mac::MacAddress;
use crate::model::Rule;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr};
use ident::{EniId, Generation, SecurityGroupId, SubnetId, VpcId};
use ipnet::Ipv4Net;
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
    /// The subnets of the interfaces here.
    pub subnets: Vec<SubnetPlan>,
    /// The interfaces on this node.
    pub enis: Vec<EniPlan>,
    /// The groups of these interfaces and their rules.
    pub groups: Vec<GroupPlan>,
    /// Who is in each group that a rule refers to, on whatever node: the private
    /// addresses. A group that nobody is in has an empty list.
    pub members: BTreeMap<SecurityGroupId, Vec<IpAddr>>,
}

/// A subnet as its interfaces see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubnetPlan {
    /// The subnet.
    pub subnet: SubnetId,
    /// Its block.
    pub cidr: Ipv4Net,
    /// The VPC router's address in it.
    pub gateway: Ipv4Addr,
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
    /// Its private address.
    pub ipv4: Ipv4Addr,
    /// Whose it is.
    pub user: EniUser,
    /// Its security groups.
    pub groups: Vec<SecurityGroupId>,
    /// Whether to drop what it sends with an address that is not its own.
    pub source_dest_check: bool,
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

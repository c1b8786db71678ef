//! What users of EC2 make, as far as packets are concerned. Names, tags and
//! times belong to the `ec2` crate's records, which carry these.

use crate::mac::MacAddress;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::Ipv4Addr;
use ident::{EniId, SecurityGroupId, SubnetId, VpcId};
use ipnet::{IpNet, Ipv4Net};
use serde::{Deserialize, Serialize};

/// A virtual private cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Its IPv4 blocks, the primary one first; never empty.
    pub cidrs: Vec<Ipv4Net>,
    /// The VXLAN network identifier that its packets carry between nodes; unique
    /// in the whole installation, 1 to 2^24 - 1.
    pub vni: u32,
}

/// A subnet of a VPC.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subnet {
    /// Its id.
    pub id: SubnetId,
    /// The VPC it is a part of.
    pub vpc: VpcId,
    /// Its IPv4 block.
    pub cidr: Ipv4Net,
}

impl Subnet {
    /// The address of the VPC router in the subnet: the second one.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()).saturating_add(1))
    }
}

/// A network interface with its primary private address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Eni {
    /// Its id.
    pub id: EniId,
    /// The VPC it is in.
    pub vpc: VpcId,
    /// The subnet it is in.
    pub subnet: SubnetId,
    /// Its hardware address.
    pub mac: MacAddress,
    /// Its primary private IPv4 address.
    pub ipv4: Ipv4Addr,
    /// Its security groups, one to five, all of its VPC.
    pub groups: BTreeSet<SecurityGroupId>,
    /// Whether packets must carry the interface's own address (anti-spoofing).
    pub source_dest_check: bool,
}

/// The rules of a security group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecurityGroup {
    /// Its id.
    pub id: SecurityGroupId,
    /// The VPC it belongs to.
    pub vpc: VpcId,
    /// What may come in.
    pub ingress: Vec<Rule>,
    /// What may go out.
    pub egress: Vec<Rule>,
}

/// One permission of a security group: traffic that matches both halves may pass.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Rule {
    /// What kind of traffic.
    pub traffic: Traffic,
    /// Where it comes from (ingress) or goes to (egress).
    pub peer: Peer,
}

/// A kind of traffic, as a rule describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Traffic {
    /// All of it (EC2's protocol `-1`).
    All,
    /// TCP to these destination ports, both ends included.
    Tcp {
        /// The first port.
        from: u16,
        /// The last port.
        to: u16,
    },
    /// UDP to these destination ports, both ends included.
    Udp {
        /// The first port.
        from: u16,
        /// The last port.
        to: u16,
    },
    /// ICMP for IPv4; `None` stands for every type, or every code of the type.
    Icmp {
        /// The ICMP type.
        kind: Option<u8>,
        /// The ICMP code.
        code: Option<u8>,
    },
    /// ICMP for IPv6.
    Icmpv6 {
        /// The ICMPv6 type.
        kind: Option<u8>,
        /// The ICMPv6 code.
        code: Option<u8>,
    },
    /// Any other IP protocol by its number.
    Protocol(u8),
}

/// The other end of what a rule permits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Peer {
    /// Addresses.
    Cidr(IpNet),
    /// The private addresses of every interface that is in the group.
    Group(SecurityGroupId),
}

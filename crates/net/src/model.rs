//! What users of EC2 make, as far as packets are concerned. Names, tags and
//! times belong to the `ec2` crate's records, which carry these.

use crate::mac::MacAddress;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use ident::{EniId, PrefixListId, SecurityGroupId, SubnetId, VpcId};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

/// A virtual private cloud.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vpc {
    /// Its id.
    pub id: VpcId,
    /// Its IPv4 blocks, the primary one first; never empty.
    pub cidrs: Vec<Ipv4Net>,
    /// Its IPv6 blocks, if it has any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6_cidrs: Vec<Ipv6Net>,
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
    /// Its IPv6 block, a /64, if it is a dual-stack one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_cidr: Option<Ipv6Net>,
}

impl Subnet {
    /// The address of the VPC router in the subnet: the second one.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.cidr.network()).saturating_add(1))
    }

    /// The same in its IPv6 block.
    pub fn ipv6_gateway(&self) -> Option<Ipv6Addr> {
        let block = self.ipv6_cidr?;
        Some(Ipv6Addr::from(u128::from(block.network()).saturating_add(1)))
    }
}

/// A network interface with its private addresses.
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
    /// Its other private IPv4 addresses, in the order in which they were assigned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secondary_ipv4: Vec<Ipv4Addr>,
    /// Its IPv6 addresses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ipv6: Vec<Ipv6Addr>,
    /// Which of its VPC's own services it may use.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub services: BTreeSet<Service>,
    /// Its security groups, one to five, all of its VPC.
    pub groups: BTreeSet<SecurityGroupId>,
    /// Whether packets must carry the interface's own address (anti-spoofing).
    pub source_dest_check: bool,
}

impl Eni {
    /// All its private IPv4 addresses, the primary one first.
    pub fn ipv4_addresses(&self) -> impl Iterator<Item = Ipv4Addr> {
        core::iter::once(self.ipv4).chain(self.secondary_ipv4.iter().copied())
    }

    /// All its private addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let v6 = self.ipv6.iter().copied().map(IpAddr::V6);
        self.ipv4_addresses().map(IpAddr::V4).chain(v6)
    }
}

/// What the VPC itself offers to its interfaces, at link-local addresses that mean
/// the same in every VPC. Security groups have no say in it, as on AWS.
///
/// Task credentials and metadata (169.254.170.2) are not among these: they are
/// answered inside the task's own namespace, and nobody has that address outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Service {
    /// The resolver: 169.254.169.253, fd00:ec2::253, and the address after the
    /// router's at the base of the VPC's primary block.
    Resolver,
    /// The instance metadata: 169.254.169.254 and fd00:ec2::254.
    Metadata,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Resolver, Self::Metadata];

    /// Its addresses that are the same everywhere.
    pub fn link_local(self) -> (Ipv4Addr, Ipv6Addr) {
        let (v4, v6) = match self {
            Self::Resolver => (253, 0x253),
            Self::Metadata => (254, 0x254),
        };
        (Ipv4Addr::new(169, 254, 169, v4), Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, v6))
    }

    /// The IP protocols and the port at which it answers.
    pub fn listens(self) -> (&'static [u8], u16) {
        match self {
            Self::Resolver => (&[6, 17], 53),
            Self::Metadata => (&[6], 80),
        }
    }
}

/// A prefix list: blocks of addresses that rules refer to by one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrefixList {
    /// Its id.
    pub id: PrefixListId,
    /// Its blocks, of either IP version.
    pub entries: Vec<IpNet>,
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
    /// The addresses in a prefix list.
    PrefixList(PrefixListId),
}

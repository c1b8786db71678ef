//! Whether a packet passes, and which rule says so, without a kernel.
//!
//! Between two interfaces of a VPC stand two independent gates: the egress rules
//! of the sender's groups and the ingress rules of the receiver's. Each permits
//! or, by saying nothing, refuses; there is no rule that denies. Before them, a
//! packet must bear its interface's own addresses and have somewhere to go.

use crate::mac::MacAddress;
use crate::model::{Peer, Rule, Service, Traffic};
use crate::plan::{EniPlan, VpcPlan};
use core::net::IpAddr;
use ident::{EniId, SecurityGroupId};
use ipnet::IpNet;

/// A packet that an interface sends into its VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The interface it comes out of.
    pub sender: EniId,
    /// The hardware address it comes from.
    pub mac: MacAddress,
    /// The address it comes from.
    pub source: IpAddr,
    /// The address it goes to.
    pub destination: IpAddr,
    /// What it carries.
    pub content: Content,
    /// What the connection tracker says of it.
    pub flow: Flow,
}

impl Packet {
    /// A packet that starts a flow from `eni` and is honest about it; `None` if
    /// the interface has no address of that IP version.
    pub fn opening(eni: &EniPlan, destination: IpAddr, content: Content) -> Option<Self> {
        let source = eni.addresses().find(|own| own.is_ipv4() == destination.is_ipv4())?;
        Some(Self {
            sender: eni.eni.clone(),
            mac: eni.mac,
            source,
            destination,
            content,
            flow: Flow::New,
        })
    }
}

/// What a packet carries, as far as rules can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// TCP.
    Tcp {
        /// The destination port.
        port: u16,
    },
    /// UDP.
    Udp {
        /// The destination port.
        port: u16,
    },
    /// ICMP for IPv4.
    Icmp {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
    /// ICMP for IPv6.
    Icmpv6 {
        /// The type.
        kind: u8,
        /// The code.
        code: u8,
    },
    /// Anything else.
    Protocol(u8),
}

impl Content {
    /// The IP protocol number.
    pub fn protocol(self) -> u8 {
        match self {
            Self::Icmp { .. } => 1,
            Self::Tcp { .. } => 6,
            Self::Udp { .. } => 17,
            Self::Icmpv6 { .. } => 58,
            Self::Protocol(number) => number,
        }
    }
}

/// A packet's place in its flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The first of its flow: the rules decide.
    New,
    /// It belongs to a flow that was let through and goes on (or is an error message
    /// about one). Rules that changed since do not matter, as on AWS: a flow that its
    /// interfaces do not track ([`is_tracked`]) has ended when they no longer permit it.
    Established,
}

/// The fate of a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict<'a> {
    /// It arrives.
    Accept(Grounds<'a>),
    /// It is dropped, in silence.
    Reject(Obstacle<'a>),
}

impl Verdict<'_> {
    /// Whether the packet arrives.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Accept(_))
    }
}

/// Why a packet arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grounds<'a> {
    /// Its flow was let through before.
    Tracked,
    /// It is for a service of the VPC that its sender may use. No group is asked.
    Service(Service),
    /// Both gates permit it. Where several rules do, this is the first one.
    Permitted {
        /// What lets it out of the sender.
        egress: Permit<'a>,
        /// What lets it into the receiver.
        ingress: Permit<'a>,
    },
}

/// A rule that permits a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit<'a> {
    /// The group that has the rule.
    pub group: &'a SecurityGroupId,
    /// The rule.
    pub rule: &'a Rule,
}

/// What stops a packet, in the order in which it would.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obstacle<'a> {
    /// The plan knows no such interface.
    UnknownInterface,
    /// It does not bear the addresses of the interface it comes from, or bears
    /// one that nobody can have.
    Spoofed {
        /// The interface.
        eni: &'a EniId,
    },
    /// No interface has the destination address. The router's own addresses take
    /// no packets, but for the services that the sender may use.
    NoRoute,
    /// No group of the sender permits it to leave.
    Egress {
        /// The sender.
        eni: &'a EniId,
        /// Its groups, none of which has a rule that matches.
        groups: &'a [SecurityGroupId],
    },
    /// No group of the receiver permits it to come in.
    Ingress {
        /// The receiver.
        eni: &'a EniId,
        /// Its groups, none of which has a rule that matches.
        groups: &'a [SecurityGroupId],
    },
}

/// What becomes of `packet` in a router that obeys `plan`.
pub fn judge<'a>(plan: &'a VpcPlan, packet: &Packet) -> Verdict<'a> {
    match weigh(plan, packet) {
        Ok(grounds) => Verdict::Accept(grounds),
        Err(obstacle) => Verdict::Reject(obstacle),
    }
}

fn weigh<'a>(plan: &'a VpcPlan, packet: &Packet) -> Result<Grounds<'a>, Obstacle<'a>> {
    let sender =
        plan.enis.iter().find(|eni| eni.eni == packet.sender).ok_or(Obstacle::UnknownInterface)?;
    if !honest(plan, sender, packet) {
        return Err(Obstacle::Spoofed { eni: &sender.eni });
    }
    if let Some(service) = service(plan, sender, packet) {
        return Ok(Grounds::Service(service));
    }
    let owns = |eni: &&EniPlan| eni.addresses().any(|own| own == packet.destination);
    let receiver = plan.enis.iter().find(owns).ok_or(Obstacle::NoRoute)?;
    if packet.flow == Flow::Established {
        return Ok(Grounds::Tracked);
    }
    let egress = permits(plan, sender, Gate::Egress, packet)
        .next()
        .ok_or(Obstacle::Egress { eni: &sender.eni, groups: &sender.groups })?;
    let ingress = permits(plan, receiver, Gate::Ingress, packet)
        .next()
        .ok_or(Obstacle::Ingress { eni: &receiver.eni, groups: &receiver.groups })?;
    Ok(Grounds::Permitted { egress, ingress })
}

/// Whether the packet's source is one that its interface may send from.
fn honest(plan: &VpcPlan, sender: &EniPlan, packet: &Packet) -> bool {
    let unroutable = match packet.source {
        IpAddr::V4(source) => source.is_broadcast(),
        // Link-local addresses are for neighbours, and the router is the only one.
        IpAddr::V6(source) => source.is_unicast_link_local() || source.to_ipv4_mapped().is_some(),
    };
    let impossible = unroutable
        || packet.source.is_unspecified()
        || packet.source.is_loopback()
        || packet.source.is_multicast()
        || plan.own_addresses().any(|own| own == packet.source);
    packet.mac == sender.mac
        && !impossible
        && (!sender.source_dest_check || sender.addresses().any(|own| own == packet.source))
}

/// The service that the packet is for, if its sender may use it.
fn service(plan: &VpcPlan, sender: &EniPlan, packet: &Packet) -> Option<Service> {
    let here = |service: Service| {
        plan.service_addresses(service).any(|address| address == packet.destination)
    };
    let service = sender.services.iter().copied().find(|service| here(*service))?;
    let port = match packet.content {
        Content::Tcp { port } | Content::Udp { port } => port,
        Content::Icmp { .. } | Content::Icmpv6 { .. } | Content::Protocol(_) => return None,
    };
    let (protocols, its_port) = service.listens();
    (protocols.contains(&packet.content.protocol()) && port == its_port).then_some(service)
}

/// One of the two gates between interfaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    /// Out of the sender.
    Egress,
    /// Into the receiver.
    Ingress,
}

impl Gate {
    /// The one that answers pass at the same interface.
    #[must_use]
    pub fn opposite(self) -> Self {
        match self {
            Self::Egress => Self::Ingress,
            Self::Ingress => Self::Egress,
        }
    }

    /// The end of a packet that the rules there are about.
    fn peer(self, packet: &Packet) -> IpAddr {
        match self {
            Self::Egress => packet.destination,
            Self::Ingress => packet.source,
        }
    }
}

/// All rules of the groups of `eni`, on its side of the gate, that permit `packet`: in
/// the order of its groups and of their rules.
pub fn permits<'a, 'p>(
    plan: &'a VpcPlan,
    eni: &'a EniPlan,
    gate: Gate,
    packet: &'p Packet,
) -> impl Iterator<Item = Permit<'a>> + use<'a, 'p> {
    let peer = gate.peer(packet);
    rules(plan, eni, gate).filter(move |permit| {
        covers(permit.rule.traffic, packet.content) && concerns(plan, &permit.rule.peer, peer)
    })
}

/// All rules of the groups of `eni` on its side of the gate.
fn rules<'a>(
    plan: &'a VpcPlan,
    eni: &'a EniPlan,
    gate: Gate,
) -> impl Iterator<Item = Permit<'a>> + use<'a> {
    let known = eni.groups.iter().filter_map(|id| plan.groups.iter().find(|it| it.group == *id));
    known.flat_map(move |group| {
        let rules = match gate {
            Gate::Egress => &group.egress,
            Gate::Ingress => &group.ingress,
        };
        rules.iter().map(|rule| Permit { group: &group.group, rule })
    })
}

/// The rules of the groups of `eni` on its side of the gate that let flows pass without
/// tracking them, as EC2 documents it: those that permit TCP or UDP with everybody of an
/// IP version, so long as another rule permits all answers to everybody. Such a flow ends
/// when it is no longer permitted; one that is tracked goes on.
///
/// Each comes with what it leaves untracked: of a rule for all traffic, either protocol.
pub fn untracked<'a>(
    plan: &'a VpcPlan,
    eni: &'a EniPlan,
    gate: Gate,
) -> impl Iterator<Item = Rule> + use<'a> {
    let of_all = rules(plan, eni, gate).filter_map(|permit| everybody(permit.rule));
    of_all.flat_map(move |(block, traffic)| {
        let each = match traffic {
            Traffic::Tcp { .. } | Traffic::Udp { .. } => [Some(traffic), None],
            Traffic::All => [Some(ALL_TCP), Some(ALL_UDP)],
            Traffic::Protocol(6) => [Some(ALL_TCP), None],
            Traffic::Protocol(17) => [Some(ALL_UDP), None],
            Traffic::Icmp { .. } | Traffic::Icmpv6 { .. } | Traffic::Protocol(_) => [None, None],
        };
        let answered = move |traffic: &Traffic| {
            let mut back = rules(plan, eni, gate.opposite());
            back.any(|permit| {
                let Some((to, answers)) = everybody(permit.rule) else { return false };
                let is_tcp = matches!(traffic, Traffic::Tcp { .. });
                let all = if is_tcp {
                    [ALL_TCP, Traffic::Protocol(6)]
                } else {
                    [ALL_UDP, Traffic::Protocol(17)]
                };
                let is_v4 = |block: IpNet| block.addr().is_ipv4();
                is_v4(to) == is_v4(block) && (answers == Traffic::All || all.contains(&answers))
            })
        };
        let each = each.into_iter().flatten().filter(answered);
        each.map(move |traffic| Rule { traffic, peer: Peer::Cidr(block) })
    })
}

const ALL_TCP: Traffic = Traffic::Tcp { from: 0, to: u16::MAX };
const ALL_UDP: Traffic = Traffic::Udp { from: 0, to: u16::MAX };

/// The block and the traffic of a rule whose peer is everybody of an IP version.
fn everybody(rule: &Rule) -> Option<(IpNet, Traffic)> {
    match rule.peer {
        Peer::Cidr(block) if block.prefix_len() == 0 => Some((block, rule.traffic)),
        Peer::Cidr(_) | Peer::Group(_) | Peer::PrefixList(_) => None,
    }
}

/// Whether the interface tracks a flow that begins with `packet` and that its gate lets
/// pass. See [`untracked`].
pub fn is_tracked(plan: &VpcPlan, eni: &EniPlan, gate: Gate, packet: &Packet) -> bool {
    let peer = gate.peer(packet);
    !untracked(plan, eni, gate)
        .any(|rule| covers(rule.traffic, packet.content) && concerns(plan, &rule.peer, peer))
}

/// Whether a rule about `traffic` is about a packet with this content.
fn covers(traffic: Traffic, content: Content) -> bool {
    match (traffic, content) {
        (Traffic::All, _) => true,
        (Traffic::Tcp { from, to }, Content::Tcp { port })
        | (Traffic::Udp { from, to }, Content::Udp { port }) => (from..=to).contains(&port),
        (Traffic::Icmp { kind, code }, Content::Icmp { kind: its_kind, code: its_code })
        | (Traffic::Icmpv6 { kind, code }, Content::Icmpv6 { kind: its_kind, code: its_code }) => {
            kind.is_none_or(|kind| kind == its_kind && code.is_none_or(|code| code == its_code))
        }
        (Traffic::Protocol(number), content) => number == content.protocol(),
        (
            Traffic::Tcp { .. }
            | Traffic::Udp { .. }
            | Traffic::Icmp { .. }
            | Traffic::Icmpv6 { .. },
            _,
        ) => false,
    }
}

/// Whether a rule about `peer` is about this address.
fn concerns(plan: &VpcPlan, peer: &Peer, address: IpAddr) -> bool {
    match peer {
        Peer::Cidr(block) => block.contains(&address),
        Peer::Group(group) => {
            plan.members.get(group).is_some_and(|members| members.contains(&address))
        }
        Peer::PrefixList(list) => plan
            .prefix_lists
            .get(list)
            .is_some_and(|blocks| blocks.iter().any(|block| block.contains(&address))),
    }
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;

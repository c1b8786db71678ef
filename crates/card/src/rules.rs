//! The parts that rules are made of: what a rule looks at, what it compares that
//! with, and what becomes of a packet. They print as `nft` would print them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Something of a packet that a rule can look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Field {
    /// The link it came by.
    InLink,
    /// The link it leaves by.
    OutLink,
    /// Its IP version, as the kernel numbers protocol families.
    Family,
    /// Its transport protocol, after all extension headers.
    Protocol,
    /// What the rules themselves have noted of it.
    Mark,
    /// Its Ethernet source.
    EtherSource,
    /// Whose hardware address an ARP message says it is of.
    ArpEtherSource,
    /// Whose IPv4 address an ARP message says it is of.
    ArpSource,
    /// Its IPv4 source.
    Source4,
    /// Its IPv4 destination.
    Destination4,
    /// Its IPv6 source.
    Source6,
    /// Its IPv6 destination.
    Destination6,
    /// Its TCP or UDP destination port.
    DestinationPort,
    /// Both its TCP or UDP ports, the source first.
    Ports,
    /// The ports of a packet that has none: zeros.
    NoPorts,
    /// Its ICMP or ICMPv6 type.
    IcmpType,
    /// Its ICMP or ICMPv6 code.
    IcmpCode,
}

impl Field {
    /// How many bytes it has.
    pub(crate) fn length(self) -> usize {
        match self {
            Self::InLink | Self::OutLink | Self::Source6 | Self::Destination6 => 16,
            Self::EtherSource | Self::ArpEtherSource => 6,
            Self::ArpSource
            | Self::Source4
            | Self::Destination4
            | Self::Mark
            | Self::Ports
            | Self::NoPorts => 4,
            Self::DestinationPort => 2,
            Self::Family | Self::Protocol | Self::IcmpType | Self::IcmpCode => 1,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::InLink => "iifname",
            Self::OutLink => "oifname",
            Self::Family => "meta nfproto",
            Self::Protocol => "meta l4proto",
            Self::Mark => "meta mark",
            Self::EtherSource => "ether saddr",
            Self::ArpEtherSource => "arp saddr ether",
            Self::ArpSource => "arp saddr ip",
            Self::Source4 => "ip saddr",
            Self::Destination4 => "ip daddr",
            Self::Source6 => "ip6 saddr",
            Self::Destination6 => "ip6 daddr",
            Self::DestinationPort => "th dport",
            Self::Ports => "@th,0,32",
            Self::NoPorts => "0",
            Self::IcmpType => "icmp type",
            Self::IcmpCode => "icmp code",
        }
    }

    /// A value of the field as people write it.
    fn show(self, value: &[u8]) -> String {
        if let Ok(octets) = <[u8; 16]>::try_from(value)
            && matches!(self, Self::Source6 | Self::Destination6)
        {
            return Ipv6Addr::from(octets).to_string();
        }
        if let Ok(octets) = <[u8; 4]>::try_from(value) {
            return if self == Self::Mark {
                u32::from_ne_bytes(octets).to_string()
            } else {
                Ipv4Addr::from(octets).to_string()
            };
        }
        if let Ok(number) = <[u8; 2]>::try_from(value) {
            return u16::from_be_bytes(number).to_string();
        }
        match (self, value) {
            (Self::Family, [FAMILY_V4]) => "ipv4".to_owned(),
            (Self::Family, [FAMILY_V6]) => "ipv6".to_owned(),
            (_, [number]) => number.to_string(),
            (_, other) => format!("{other:02x?}"),
        }
    }
}

/// The kernel's number for IPv4 as a protocol family.
pub(crate) const FAMILY_V4: u8 = 2;
/// The same for IPv6.
pub(crate) const FAMILY_V6: u8 = 10;

/// The connection tracker's word on a packet, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// It is of a known flow, or an error message about one.
    Known,
    /// It makes no sense to the tracker.
    Invalid,
}

impl State {
    /// The bits, of which one must be set.
    pub(crate) fn bits(self) -> u32 {
        match self {
            Self::Known => 0b110,
            Self::Invalid => 0b001,
        }
    }
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Verdict {
    /// It may go on.
    Accept,
    /// It is dropped.
    Drop,
    /// The calling chain goes on.
    Return,
    /// Another chain is asked, and this one goes on if that has no verdict.
    Jump(String),
    /// Another chain is asked instead of this one.
    Goto(String),
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => out.write_str("accept"),
            Self::Drop => out.write_str("drop"),
            Self::Return => out.write_str("return"),
            Self::Jump(chain) => write!(out, "jump {chain}"),
            Self::Goto(chain) => write!(out, "goto {chain}"),
        }
    }
}

/// How often something may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Rate {
    /// So often in a second.
    pub(crate) a_second: u32,
    /// And so often at once.
    pub(crate) at_once: u32,
}

/// One step of a rule. A step that does not match ends the rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// The field has this value.
    Is(Field, Vec<u8>),
    /// The field has another value.
    IsNot(Field, Vec<u8>),
    /// The field is between these two, both included.
    Within(Field, Vec<u8>, Vec<u8>),
    /// The field begins with so many bits of this address.
    Prefix(Field, Vec<u8>, u8),
    /// The fields together are in the set, whose element counts the packet if it was
    /// added by one.
    In(Vec<Field>, String),
    /// Adds the fields together to the set, with a counter. If that is full, it does
    /// not match.
    Add(Vec<Field>, String),
    /// No more than so many packets came in a second with this value of the field, but
    /// for a burst of so many at once. The set remembers who has come.
    Seldom(Field, String, Rate),
    /// The tracker says so.
    Tracked(State),
    /// Notes something of the packet.
    SetMark(u32),
    /// Adds these bits to what is noted of its flow.
    MarkFlow(u32),
    /// Counts it with the counter that the map has for the field.
    Count(Field, String),
    /// Gives the verdict that the map has for the field, if it has one.
    Dispatch(Field, String),
    /// Gives a verdict.
    Verdict(Verdict),
}

impl Step {
    /// The packet is of the IP version of `address`.
    pub(crate) fn same_family(address: IpAddr) -> Self {
        let family = if address.is_ipv4() { FAMILY_V4 } else { FAMILY_V6 };
        Self::Is(Field::Family, vec![family])
    }

    /// Goes on with another chain for good.
    pub(crate) fn goto(chain: &str) -> Self {
        Self::Verdict(Verdict::Goto(chain.to_owned()))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Is(field, value) => write!(out, "{} {}", field.name(), field.show(value)),
            Self::IsNot(field, value) => write!(out, "{} != {}", field.name(), field.show(value)),
            Self::Within(field, first, last) => {
                write!(out, "{} {}-{}", field.name(), field.show(first), field.show(last))
            }
            Self::Prefix(field, address, bits) => {
                write!(out, "{} {}/{bits}", field.name(), field.show(address))
            }
            Self::In(fields, set) => write!(out, "{} @{set}", together(fields)),
            Self::Add(fields, set) => write!(out, "add @{set} {{ {} counter }}", together(fields)),
            Self::Seldom(field, set, rate) => write!(
                out,
                "update @{set} {{ {} limit rate {}/second burst {} packets }}",
                field.name(),
                rate.a_second,
                rate.at_once
            ),
            Self::Tracked(State::Known) => out.write_str("ct state established,related"),
            Self::Tracked(State::Invalid) => out.write_str("ct state invalid"),
            Self::MarkFlow(mark) => write!(out, "ct mark set ct mark or {mark}"),
            Self::SetMark(mark) => write!(out, "meta mark set {mark}"),
            Self::Count(field, map) => write!(out, "counter name {} map @{map}", field.name()),
            Self::Dispatch(field, map) => write!(out, "{} vmap @{map}", field.name()),
            Self::Verdict(verdict) => verdict.fmt(out),
        }
    }
}

fn together(fields: &[Field]) -> String {
    fields.iter().map(|field| field.name()).collect::<Vec<_>>().join(" . ")
}

/// A rule: steps, one after another.
pub(crate) type Rule = Vec<Step>;

/// What the elements of a set or a map are, before all else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// The name of a link.
    Link,
    /// A hardware address.
    Ether,
    /// An IPv4 address.
    V4,
    /// An IPv6 address.
    V6,
    /// A transport protocol.
    Protocol,
    /// A port.
    Port,
    /// Two ports, as one number.
    Ports,
}

/// What a map maps to, if it is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Maps {
    /// To nothing: it is a set.
    Nothing,
    /// To verdicts.
    Verdicts,
    /// To counters.
    Counters,
}

/// One element of a set or a map. Its key is the parts one after another, each
/// filled up to a multiple of four bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Element {
    pub(crate) key: Vec<u8>,
    /// The end of a range of keys, itself not in it; empty if there is no greater
    /// key. `None` for a single key.
    pub(crate) end: Option<Vec<u8>>,
    /// The chain to jump to, or the counter; nothing in a set.
    pub(crate) target: String,
}

impl Element {
    /// An element of a set, of these parts.
    pub(crate) fn of(parts: &[&[u8]]) -> Self {
        let mut key = Vec::new();
        for part in parts {
            key.extend_from_slice(part);
            key.resize(key.len().next_multiple_of(4), 0);
        }
        Self { key, end: None, target: String::new() }
    }

    /// The same in a map.
    pub(crate) fn to(self, target: String) -> Self {
        Self { target, ..self }
    }
}

/// The name of a link as the kernel compares it.
pub(crate) fn link_name(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (byte, own) in bytes.iter_mut().zip(name.bytes()) {
        *byte = own;
    }
    bytes
}

/// An address as it is in a packet.
pub(crate) fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

//! What security groups permit, between EC2's words and `net`'s.

use super::text;
use crate::error::Error;
use crate::records::{Direction, GroupRule, SecurityGroup};
use ident::{Arn, Scope, SecurityGroupId, VpcId};
use ipnet::IpNet;
use net::model::{Peer, Rule, Traffic};
use std::collections::BTreeMap;
use wire::ec2 as shapes;

/// A rule that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) rule: Rule,
    pub(super) description: Option<String>,
}

/// How a request's reference to a group becomes one: by id, or else by name.
pub(super) type FindGroup<'a> =
    dyn FnMut(Option<&str>, Option<&str>) -> Result<SecurityGroupId, Error> + 'a;

/// The rules that `permission` stands for: one for each of its sources.
pub(super) fn read(
    permission: &shapes::IpPermission,
    scope: &Scope,
    find: &mut FindGroup<'_>,
) -> Result<Vec<Wanted>, Error> {
    let traffic =
        read_traffic(permission.ip_protocol.as_deref(), permission.from_port, permission.to_port)?;
    let mut wanted = Vec::new();
    let mut add = |peer, description: Option<&String>| -> Result<(), Error> {
        let rule = Rule { traffic, peer };
        wanted.push(Wanted { rule, description: sound_description(description)? });
        Ok(())
    };
    for range in permission.ip_ranges.iter().flatten() {
        let cidr = range.cidr_ip.as_deref().ok_or(Error::Missing("cidrIp"))?;
        add(Peer::Cidr(read_cidr(cidr, Family::V4)?), range.description.as_ref())?;
    }
    for range in permission.ipv6_ranges.iter().flatten() {
        let cidr = range.cidr_ipv6.as_deref().ok_or(Error::Missing("cidrIpv6"))?;
        add(Peer::Cidr(read_cidr(cidr, Family::V6)?), range.description.as_ref())?;
    }
    for pair in permission.user_id_group_pairs.iter().flatten() {
        at_home(pair, scope)?;
        let group = find(pair.group_id.as_deref(), pair.group_name.as_deref())?;
        add(Peer::Group(group), pair.description.as_ref())?;
    }
    if let Some(list) = permission.prefix_list_ids.iter().flatten().next() {
        return Err(Error::NoPrefixList(list.prefix_list_id.clone().unwrap_or_default()));
    }
    if wanted.is_empty() {
        return Err(Error::Missing("cidrIp"));
    }
    Ok(wanted)
}

/// Whether a group is one of this account: others come with peering. That it is
/// of this VPC too, `find` sees to, which knows the VPC; a pair may say which one.
fn at_home(pair: &shapes::UserIdGroupPair, scope: &Scope) -> Result<(), Error> {
    if let Some(peering) = &pair.vpc_peering_connection_id {
        return Err(Error::NoPeering(peering.clone()));
    }
    let named = || pair.group_id.clone().or_else(|| pair.group_name.clone()).unwrap_or_default();
    match &pair.user_id {
        Some(user) if *user != *scope.account.as_str() => Err(Error::NoGroup(named())),
        Some(_) | None => Ok(()),
    }
}

/// What protocol and ports mean together.
pub(super) fn read_traffic(
    protocol: Option<&str>,
    from: Option<i32>,
    to: Option<i32>,
) -> Result<Traffic, Error> {
    let protocol = protocol.ok_or(Error::Missing("ipProtocol"))?.to_ascii_lowercase();
    match protocol.as_str() {
        "-1" | "all" => Ok(Traffic::All),
        "tcp" | "6" => ports(from, to).map(|(from, to)| Traffic::Tcp { from, to }),
        "udp" | "17" => ports(from, to).map(|(from, to)| Traffic::Udp { from, to }),
        "icmp" | "1" => icmp(from, to, "ICMP").map(|(kind, code)| Traffic::Icmp { kind, code }),
        "icmpv6" | "58" => icmp(from.or(Some(-1)), to.or(Some(-1)), "ICMPv6")
            .map(|(kind, code)| Traffic::Icmpv6 { kind, code }),
        other => {
            // Digits alone: Rust would read a sign too, and one of the numbers above
            // must not come by another way.
            let digits = !other.starts_with(['+', '0']) || other == "0";
            let number = other.parse().ok().filter(|_| digits);
            number.map(Traffic::Protocol).ok_or_else(|| {
                Error::Invalid(format!(
                    "Invalid value '{other}' for IP protocol. Unknown protocol."
                ))
            })
        }
    }
}

fn ports(from: Option<i32>, to: Option<i32>) -> Result<(u16, u16), Error> {
    let (Some(from), Some(to)) = (from, to) else {
        return Err(Error::Invalid(
            "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange."
                .to_owned(),
        ));
    };
    // EC2 takes "any" for ports too, and means all of them.
    if (from, to) == (-1, -1) {
        return Ok((0, u16::MAX));
    }
    let port = |port: i32| {
        u16::try_from(port)
            .map_err(|_| Error::Invalid(format!("TCP/UDP port ({port}) out of range")))
    };
    let range = (port(from)?, port(to)?);
    if range.0 > range.1 {
        return Err(Error::Invalid(format!("Invalid TCP/UDP port range ({from}:{to})")));
    }
    Ok(range)
}

fn icmp(
    kind: Option<i32>,
    code: Option<i32>,
    protocol: &str,
) -> Result<(Option<u8>, Option<u8>), Error> {
    let part = |value: Option<i32>, name: &str| match value {
        Some(-1) => Ok(None),
        None => Err(Error::Invalid(format!(
            "Invalid value 'Must specify both from and to ports with {protocol}.' for portRange."
        ))),
        Some(value) => u8::try_from(value)
            .map(Some)
            .map_err(|_| Error::Invalid(format!("{protocol} {name} ({value}) out of range"))),
    };
    match (part(kind, "type")?, part(code, "code")?) {
        (None, Some(code)) => Err(Error::Invalid(format!(
            "{protocol} code ({code}) cannot be specified with all types"
        ))),
        both => Ok(both),
    }
}

/// Which of the two a parameter is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// A block without host bits, as EC2 keeps it: 100.68.0.18/18 is 100.68.0.0/18.
fn read_cidr(cidr: &str, family: Family) -> Result<IpNet, Error> {
    let block: IpNet = cidr.parse().map_err(|_| Error::NotACidr(cidr.to_owned()))?;
    let found = match block {
        IpNet::V4(_) => Family::V4,
        IpNet::V6(_) => Family::V6,
    };
    if found == family { Ok(block.trunc()) } else { Err(Error::NotACidr(cidr.to_owned())) }
}

/// The block of a parameter that takes IPv4 alone, such as the flat form's `CidrIp`.
pub(super) fn read_ipv4(cidr: &str) -> Result<IpNet, Error> {
    read_cidr(cidr, Family::V4)
}

/// The block of a parameter that takes IPv6 alone.
pub(super) fn read_ipv6(cidr: &str) -> Result<IpNet, Error> {
    read_cidr(cidr, Family::V6)
}

pub(super) fn sound_description(description: Option<&String>) -> Result<Option<String>, Error> {
    let Some(description) = description.filter(|text| !text.is_empty()) else { return Ok(None) };
    if sound_text(description) {
        Ok(Some(description.clone()))
    } else {
        Err(Error::Invalid(
            "Invalid rule description. Valid descriptions are strings less than 256 characters \
             from the following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{}!$*"
                .to_owned(),
        ))
    }
}

/// Whether a name or description has only what EC2 allows in both.
pub(super) fn sound_text(text: &str) -> bool {
    text.len() <= 255
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b". _-:/()#,@[]+=&;{}!$*".contains(&b))
}

/// Protocol and ports as the API shows them.
type Words = (String, Option<i32>, Option<i32>);

fn words(traffic: Traffic) -> Words {
    let pair = |kind: Option<u8>, code: Option<u8>| {
        (Some(kind.map_or(-1, i32::from)), Some(code.map_or(-1, i32::from)))
    };
    let (name, (from, to)) = match traffic {
        Traffic::All => ("-1", (None, None)),
        Traffic::Tcp { from, to } => ("tcp", (Some(from.into()), Some(to.into()))),
        Traffic::Udp { from, to } => ("udp", (Some(from.into()), Some(to.into()))),
        Traffic::Icmp { kind, code } => ("icmp", pair(kind, code)),
        Traffic::Icmpv6 { kind, code } => ("icmpv6", pair(kind, code)),
        Traffic::Protocol(number) => return (number.to_string(), None, None),
    };
    (name.to_owned(), from, to)
}

/// The rule in the text of a refusal.
pub(super) fn in_words(rule: &Rule) -> String {
    let peer = match &rule.peer {
        Peer::Cidr(block) => block.to_string(),
        Peer::Group(group) => group.to_string(),
        Peer::PrefixList(list) => list.to_string(),
    };
    let all = |part: Option<u8>| part.map_or("ALL".to_owned(), |part| part.to_string());
    match rule.traffic {
        Traffic::All => format!("peer: {peer}, ALL, ALLOW"),
        Traffic::Tcp { from, to } => {
            format!("peer: {peer}, TCP, from port: {from}, to port: {to}, ALLOW")
        }
        Traffic::Udp { from, to } => {
            format!("peer: {peer}, UDP, from port: {from}, to port: {to}, ALLOW")
        }
        Traffic::Icmp { kind, code } => {
            format!("peer: {peer}, ICMP, type: {}, code: {}, ALLOW", all(kind), all(code))
        }
        Traffic::Icmpv6 { kind, code } => {
            format!("peer: {peer}, ICMPv6, type: {}, code: {}, ALLOW", all(kind), all(code))
        }
        Traffic::Protocol(number) => format!("peer: {peer}, {number}, ALLOW"),
    }
}

/// Rules as permissions: those for the same traffic in one, by their sources.
pub(super) fn show<'a>(
    scope: &Scope,
    rules: impl Iterator<Item = (&'a Rule, Option<&'a String>)>,
) -> Vec<shapes::IpPermission> {
    let mut permissions: BTreeMap<Traffic, shapes::IpPermission> = BTreeMap::new();
    for (rule, description) in rules {
        let permission = permissions.entry(rule.traffic).or_insert_with(|| {
            let (protocol, from, to) = words(rule.traffic);
            shapes::IpPermission {
                from_port: from,
                ip_protocol: Some(protocol),
                ip_ranges: Some(Vec::new()),
                ipv6_ranges: Some(Vec::new()),
                prefix_list_ids: Some(Vec::new()),
                to_port: to,
                user_id_group_pairs: Some(Vec::new()),
            }
        });
        let description = description.cloned();
        match &rule.peer {
            Peer::Cidr(IpNet::V4(block)) => permission
                .ip_ranges
                .get_or_insert_default()
                .push(shapes::IpRange { cidr_ip: text(block), description }),
            Peer::Cidr(IpNet::V6(block)) => permission
                .ipv6_ranges
                .get_or_insert_default()
                .push(shapes::Ipv6Range { cidr_ipv6: text(block), description }),
            Peer::Group(group) => {
                permission.user_id_group_pairs.get_or_insert_default().push(
                    shapes::UserIdGroupPair {
                        description,
                        group_id: text(group),
                        user_id: text(&scope.account),
                        ..Default::default()
                    },
                );
            }
            Peer::PrefixList(list) => permission
                .prefix_list_ids
                .get_or_insert_default()
                .push(shapes::PrefixListId { description, prefix_list_id: text(list) }),
        }
    }
    permissions.into_values().collect()
}

/// A rule with its id.
pub(super) fn show_rule(group: &SecurityGroup, rule: &GroupRule) -> shapes::SecurityGroupRule {
    let (protocol, from, to) = words(rule.rule.traffic);
    let scope = &group.scope;
    let Shown { cidr_ipv4, cidr_ipv6, prefix_list_id, referenced } =
        peer(scope, &group.vpc, &rule.rule.peer);
    shapes::SecurityGroupRule {
        cidr_ipv4,
        cidr_ipv6,
        description: rule.description.clone(),
        // Where there are no ports, this shape says so with a number.
        from_port: from.or(Some(-1)),
        group_id: text(&group.id),
        group_owner_id: text(&scope.account),
        ip_protocol: Some(protocol),
        is_egress: Some(rule.direction == Direction::Egress),
        prefix_list_id,
        referenced_group_info: referenced,
        security_group_rule_arn: text(Arn::new(
            "ec2",
            scope,
            format!("security-group-rule/{}", rule.id),
        )),
        security_group_rule_id: text(&rule.id),
        tags: super::tags::show(&rule.tags),
        to_port: to.or(Some(-1)),
    }
}

/// A rule that has been taken away.
pub(super) fn show_revoked(
    group: &SecurityGroup,
    rule: &GroupRule,
) -> shapes::RevokedSecurityGroupRule {
    let (protocol, from, to) = words(rule.rule.traffic);
    let Shown { cidr_ipv4, cidr_ipv6, prefix_list_id, referenced } =
        peer(&group.scope, &group.vpc, &rule.rule.peer);
    shapes::RevokedSecurityGroupRule {
        cidr_ipv4,
        cidr_ipv6,
        description: rule.description.clone(),
        from_port: from.or(Some(-1)),
        group_id: text(&group.id),
        ip_protocol: Some(protocol),
        is_egress: Some(rule.direction == Direction::Egress),
        prefix_list_id,
        referenced_group_id: referenced.and_then(|group| group.group_id),
        security_group_rule_id: text(&rule.id),
        to_port: to.or(Some(-1)),
    }
}

/// A rule's other end as it is shown: one of these.
#[derive(Default)]
struct Shown {
    cidr_ipv4: Option<String>,
    cidr_ipv6: Option<String>,
    prefix_list_id: Option<String>,
    referenced: Option<shapes::ReferencedSecurityGroup>,
}

fn peer(scope: &Scope, vpc: &VpcId, peer: &Peer) -> Shown {
    match peer {
        Peer::Cidr(IpNet::V4(block)) => Shown { cidr_ipv4: text(block), ..Shown::default() },
        Peer::Cidr(IpNet::V6(block)) => Shown { cidr_ipv6: text(block), ..Shown::default() },
        Peer::PrefixList(list) => Shown { prefix_list_id: text(list), ..Shown::default() },
        Peer::Group(group) => {
            let referenced = shapes::ReferencedSecurityGroup {
                group_id: text(group),
                user_id: text(&scope.account),
                vpc_id: text(vpc),
                ..Default::default()
            };
            Shown { referenced: Some(referenced), ..Shown::default() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traffic_is_what_aws_takes_it_for() {
        for (protocol, from, to, wanted) in [
            ("tcp", Some(80), Some(90), Traffic::Tcp { from: 80, to: 90 }),
            ("6", Some(-1), Some(-1), Traffic::Tcp { from: 0, to: 65535 }),
            ("UDP", Some(53), Some(53), Traffic::Udp { from: 53, to: 53 }),
            ("-1", Some(80), Some(80), Traffic::All),
            ("icmp", Some(8), Some(-1), Traffic::Icmp { kind: Some(8), code: None }),
            ("icmp", Some(-1), Some(-1), Traffic::Icmp { kind: None, code: None }),
            ("icmpv6", None, None, Traffic::Icmpv6 { kind: None, code: None }),
            ("50", None, None, Traffic::Protocol(50)),
        ] {
            let traffic = read_traffic(Some(protocol), from, to).expect(protocol);
            assert_eq!(traffic, wanted);
        }
    }

    #[test]
    fn traffic_that_makes_no_sense_is_refused() {
        for (protocol, from, to, message) in [
            (
                "tcp",
                Some(80),
                None,
                "Invalid value 'Must specify both from and to ports with TCP/UDP.' for portRange.",
            ),
            ("tcp", Some(0), Some(65536), "TCP/UDP port (65536) out of range"),
            ("udp", Some(-1), Some(80), "TCP/UDP port (-1) out of range"),
            ("tcp", Some(90), Some(80), "Invalid TCP/UDP port range (90:80)"),
            ("icmp", Some(256), Some(0), "ICMP type (256) out of range"),
            ("icmp", Some(-1), Some(0), "ICMP code (0) cannot be specified with all types"),
            ("256", None, None, "Invalid value '256' for IP protocol. Unknown protocol."),
            ("+6", None, None, "Invalid value '+6' for IP protocol. Unknown protocol."),
            ("06", None, None, "Invalid value '06' for IP protocol. Unknown protocol."),
            ("http", None, None, "Invalid value 'http' for IP protocol. Unknown protocol."),
        ] {
            let fault = read_traffic(Some(protocol), from, to).expect_err(message).fault();
            assert_eq!((&*fault.code, &*fault.message), ("InvalidParameterValue", message));
        }
    }

    #[test]
    fn blocks_lose_their_host_bits_and_keep_their_family() {
        let block = |cidr, family| read_cidr(cidr, family).map(|block| block.to_string());
        assert_eq!(block("100.68.0.18/18", Family::V4).expect("a block"), "100.68.0.0/18");
        assert_eq!(block("2001:DB8::1/32", Family::V6).expect("a block"), "2001:db8::/32");
        for (bad, family) in [
            ("10.0.0.1", Family::V4),
            ("10.0.0.0/33", Family::V4),
            ("::/0", Family::V4),
            ("0.0.0.0/0", Family::V6),
            ("", Family::V4),
        ] {
            let fault = block(bad, family).expect_err(bad).fault();
            assert_eq!(fault.message, format!("CIDR block {bad} is malformed"));
        }
    }
}

//! The rules of security groups, each by its id: `DescribeSecurityGroupRules` and
//! `ModifySecurityGroupRules`. They are made and revoked in [`permit`].

mod form;
pub(super) mod permit;

use super::filters::{Field, Filters, one};
use super::listing::{Listing, Pages};
use super::rules;
use super::security_groups::by_id;
use crate::error::Error;
use crate::records::{Direction, GroupRule, SecurityGroup};
use chassis::{Cx, Quotas};
use ident::SecurityGroupRuleId;
use ipnet::IpNet;
use net::model::{Peer, Rule};
use std::collections::{BTreeMap, BTreeSet};
use store::Txn;
use wire::ec2 as shapes;

/// Shows rules, of all groups or of some.
pub(super) fn describe(
    cx: &Cx,
    request: shapes::DescribeSecurityGroupRulesRequest,
) -> Result<shapes::DescribeSecurityGroupRulesResult, Error> {
    let ids = request.security_group_rule_ids.unwrap_or_default();
    rule_ids(ids.clone())?;
    let filters = Filters::parse(request.filters, FIELDS, |rule| rule.tags.as_ref())?;
    let pages = Pages { max_results: request.max_results, next_token: request.next_token };
    let listing =
        Listing::parse(cx.scope(), "DescribeSecurityGroupRules", Some(ids), filters, &pages)?;

    let mut all: Vec<shapes::SecurityGroupRule> = Vec::new();
    for group in cx.view().list::<SecurityGroup>(cx.scope()) {
        all.extend(group.rules.iter().map(|rule| rules::show_rule(&group, rule)));
    }
    all.sort_by(|a, b| a.security_group_rule_id.cmp(&b.security_group_rule_id));
    let page = listing.page(all, |rule| rule.security_group_rule_id.as_ref(), Error::NoRuleId)?;
    Ok(shapes::DescribeSecurityGroupRulesResult {
        next_token: page.next_token,
        security_group_rules: Some(page.items),
    })
}

const FIELDS: &[Field<shapes::SecurityGroupRule>] = &[
    Field(&["group-id"], |rule| one(rule.group_id.as_ref())),
    Field(&["security-group-rule-id"], |rule| one(rule.security_group_rule_id.as_ref())),
];

/// Makes rules into others under the same ids: all that the request names, or
/// none. A rule keeps its direction and its kind of peer.
pub(super) async fn modify(
    cx: &Cx,
    request: shapes::ModifySecurityGroupRulesRequest,
) -> Result<shapes::ModifySecurityGroupRulesResult, Error> {
    let group_id = request.group_id.as_deref().ok_or(Error::Missing("groupId"))?;
    let mut wanted = BTreeMap::new();
    for update in request.security_group_rules.unwrap_or_default() {
        let text = update.security_group_rule_id.ok_or(Error::Missing("securityGroupRuleId"))?;
        let id: SecurityGroupRuleId =
            text.parse().map_err(|_| Error::MalformedRuleId(text.clone()))?;
        let rule = update.security_group_rule.ok_or(Error::Missing("securityGroupRule"))?;
        if wanted.insert(id, rule).is_some() {
            return Err(Error::Invalid(format!(
                "The security group rule ID '{text}' must not appear multiple times"
            )));
        }
    }
    let scope = cx.scope();

    cx.store()
        .transact(|txn| {
            let mut group = SecurityGroup::clone(&*by_id(txn, scope, group_id)?);
            for (id, update) in &wanted {
                let known = group.rules.iter().position(|rule| rule.id == *id);
                let at = known.ok_or_else(|| Error::NoRuleId(id.to_string()))?;
                let changed = updated(txn, &group, &group.rules[at], update)?;
                group.rules[at] = changed;
            }
            // Only now: two rules may have changed places.
            let mut seen = BTreeSet::new();
            for rule in &group.rules {
                if !seen.insert((rule.direction, &rule.rule)) {
                    return Err(Error::DuplicateRule(rules::in_words(&rule.rule)));
                }
            }
            within_limits(&group, cx.platform.quotas)?;
            txn.put(group);
            Ok::<_, Error>(())
        })
        .await?;
    Ok(shapes::ModifySecurityGroupRulesResult { r#return: Some(true) })
}

/// What becomes of `rule`. An update that says neither traffic nor peer is about
/// the description alone; any other says all of it.
fn updated(
    txn: &Txn,
    group: &SecurityGroup,
    rule: &GroupRule,
    update: &shapes::SecurityGroupRuleRequest,
) -> Result<GroupRule, Error> {
    let description = rules::sound_description(update.description.as_ref())?;
    let bare = shapes::SecurityGroupRuleRequest {
        description: update.description.clone(),
        ..Default::default()
    };
    if *update == bare {
        return Ok(GroupRule { description, ..rule.clone() });
    }
    let traffic =
        rules::read_traffic(update.ip_protocol.as_deref(), update.from_port, update.to_port)?;
    let peer = new_peer(txn, group, &rule.rule.peer, update)?;
    Ok(GroupRule { rule: Rule { traffic, peer }, description, ..rule.clone() })
}

fn new_peer(
    txn: &Txn,
    group: &SecurityGroup,
    present: &Peer,
    update: &shapes::SecurityGroupRuleRequest,
) -> Result<Peer, Error> {
    let offered = [
        (&update.cidr_ipv4, "an IPv4 CIDR"),
        (&update.cidr_ipv6, "an IPv6 CIDR"),
        (&update.referenced_group_id, "a referenced group id"),
        (&update.prefix_list_id, "a prefix list id"),
    ];
    let (wanted, kind) = match present {
        Peer::Cidr(IpNet::V4(_)) => (&update.cidr_ipv4, "IPv4 CIDR"),
        Peer::Cidr(IpNet::V6(_)) => (&update.cidr_ipv6, "IPv6 CIDR"),
        Peer::Group(_) => (&update.referenced_group_id, "referenced group id"),
        Peer::PrefixList(_) => (&update.prefix_list_id, "prefix list id"),
    };
    if let Some((_, other)) =
        offered.iter().find(|(text, other)| text.is_some() && !other.ends_with(kind))
    {
        return Err(Error::Invalid(format!(
            "You may not specify {other} for an existing {kind} rule."
        )));
    }
    match (present, wanted) {
        (Peer::Cidr(IpNet::V4(_)), Some(cidr)) => Ok(Peer::Cidr(rules::read_ipv4(cidr)?)),
        (Peer::Cidr(IpNet::V6(_)), Some(cidr)) => Ok(Peer::Cidr(rules::read_ipv6(cidr)?)),
        (Peer::Group(_), Some(id)) => Ok(Peer::Group(form::peer(txn, group, Some(id), None)?)),
        (Peer::PrefixList(_), Some(id)) => Err(Error::NoPrefixList(id.clone())),
        (Peer::Cidr(IpNet::V4(_)), None) => Err(Error::Missing("cidrIpv4")),
        (Peer::Cidr(IpNet::V6(_)), None) => Err(Error::Missing("cidrIpv6")),
        (Peer::Group(_), None) => Err(Error::Missing("referencedGroupId")),
        (Peer::PrefixList(_), None) => Err(Error::Missing("prefixListId")),
    }
}

/// Rules are counted for each direction and IP version; one that refers to a
/// group is of both.
fn within_limits(group: &SecurityGroup, quotas: Quotas) -> Result<(), Error> {
    let v6 = |rule: &&GroupRule| matches!(rule.rule.peer, Peer::Cidr(IpNet::V6(_)));
    let v4 = |rule: &&GroupRule| matches!(rule.rule.peer, Peer::Cidr(IpNet::V4(_)));
    for direction in [Direction::Ingress, Direction::Egress] {
        let count = |of: fn(&&GroupRule) -> bool| group.going(direction).filter(of).count();
        let most = group.going(direction).count() - count(v6).min(count(v4));
        let limit = quotas.rules_per_security_group();
        if most > limit {
            return Err(Error::TooManyRules(limit));
        }
    }
    Ok(())
}

fn rule_ids(texts: Vec<String>) -> Result<BTreeSet<SecurityGroupRuleId>, Error> {
    texts.into_iter().map(|text| text.parse().map_err(|_| Error::MalformedRuleId(text))).collect()
}

#[cfg(test)]
#[path = "security_group_rules_tests.rs"]
mod tests;

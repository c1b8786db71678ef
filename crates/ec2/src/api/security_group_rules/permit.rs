//! Letting more through, and less: the operations `Authorize…` and `Revoke…` for
//! both directions.
//!
//! What the four say is read into one type, [`Asked`], and only there the
//! generated ones, which share no trait, are looked at.

use super::form::Flat;
use super::{rule_ids, within_limits};
use crate::api::rules::{self, Wanted};
use crate::api::security_groups::find;
use crate::api::tags;
use crate::error::Error;
use crate::records::{Direction, GroupRule, SecurityGroup, Vpc};
use chassis::Cx;
use ident::{Scope, SecurityGroupRuleId};
use std::collections::BTreeSet;
use store::Txn;
use wire::ec2 as shapes;

/// What a request says of a group's rules. An operation leaves empty what it has
/// no parameter for.
struct Asked {
    direction: Direction,
    group_id: Option<String>,
    group_name: Option<String>,
    flat: Flat,
    ip_permissions: Option<Vec<shapes::IpPermission>>,
    security_group_rule_ids: Option<Vec<String>>,
    tag_specifications: Option<Vec<shapes::TagSpecification>>,
}

impl Asked {
    /// Nothing yet.
    fn of(direction: Direction) -> Self {
        Self {
            direction,
            group_id: None,
            group_name: None,
            flat: Flat::default(),
            ip_permissions: None,
            security_group_rule_ids: None,
            tag_specifications: None,
        }
    }
}

/// Each request with its direction and the members that not all of them have.
macro_rules! asked {
    ($($request:ident is $direction:ident with $($own:ident),+;)*) => {
        $(
            impl From<shapes::$request> for Asked {
                fn from(request: shapes::$request) -> Self {
                    Self {
                        group_id: request.group_id,
                        flat: Flat {
                            protocol: request.ip_protocol,
                            from: request.from_port,
                            to: request.to_port,
                            cidr: request.cidr_ip,
                            group: request.source_security_group_name,
                            owner: request.source_security_group_owner_id,
                        },
                        ip_permissions: request.ip_permissions,
                        $($own: request.$own,)+
                        ..Self::of(Direction::$direction)
                    }
                }
            }
        )*
    };
}

asked! {
    AuthorizeSecurityGroupEgressRequest is Egress with tag_specifications;
    AuthorizeSecurityGroupIngressRequest is Ingress with group_name, tag_specifications;
    RevokeSecurityGroupEgressRequest is Egress with security_group_rule_ids;
    RevokeSecurityGroupIngressRequest is Ingress with group_name, security_group_rule_ids;
}

/// Lets more out.
pub(in crate::api) async fn authorize_egress(
    cx: &Cx,
    request: shapes::AuthorizeSecurityGroupEgressRequest,
) -> Result<shapes::AuthorizeSecurityGroupEgressResult, Error> {
    let rules = Some(authorize(cx, request.into()).await?);
    let r#return = Some(true);
    Ok(shapes::AuthorizeSecurityGroupEgressResult { r#return, security_group_rules: rules })
}

/// Lets more in.
pub(in crate::api) async fn authorize_ingress(
    cx: &Cx,
    request: shapes::AuthorizeSecurityGroupIngressRequest,
) -> Result<shapes::AuthorizeSecurityGroupIngressResult, Error> {
    let rules = Some(authorize(cx, request.into()).await?);
    let r#return = Some(true);
    Ok(shapes::AuthorizeSecurityGroupIngressResult { r#return, security_group_rules: rules })
}

/// Lets less out.
pub(in crate::api) async fn revoke_egress(
    cx: &Cx,
    request: shapes::RevokeSecurityGroupEgressRequest,
) -> Result<shapes::RevokeSecurityGroupEgressResult, Error> {
    let (revoked, unknown) = revoke(cx, request.into()).await?;
    Ok(shapes::RevokeSecurityGroupEgressResult {
        r#return: Some(true),
        revoked_security_group_rules: Some(revoked),
        unknown_ip_permissions: Some(unknown),
    })
}

/// Lets less in.
pub(in crate::api) async fn revoke_ingress(
    cx: &Cx,
    request: shapes::RevokeSecurityGroupIngressRequest,
) -> Result<shapes::RevokeSecurityGroupIngressResult, Error> {
    let (revoked, unknown) = revoke(cx, request.into()).await?;
    Ok(shapes::RevokeSecurityGroupIngressResult {
        r#return: Some(true),
        revoked_security_group_rules: Some(revoked),
        unknown_ip_permissions: Some(unknown),
    })
}

/// Adds all of the rules that the request names, or none.
async fn authorize(cx: &Cx, asked: Asked) -> Result<Vec<shapes::SecurityGroupRule>, Error> {
    let tags = tags::read(asked.tag_specifications, "security-group-rule")?;
    let permissions = asked.ip_permissions.unwrap_or_default();
    let direction = asked.direction;
    let form = asked.flat.or(permissions, direction, cx.scope())?;
    let form = form.ok_or(Error::Missing("ipPermissions"))?;
    let scope = cx.scope();

    let (group, added) = cx
        .store()
        .transact(|txn| {
            let (id, name) = (asked.group_id.as_deref(), asked.group_name.as_deref());
            let mut group = SecurityGroup::clone(&*find(txn, scope, id, name)?);
            let first = group.rules.len();
            for wanted in form.rules(txn, &group)? {
                if group.going(direction).any(|rule| rule.rule == wanted.rule) {
                    return Err(Error::DuplicateRule(rules::in_words(&wanted.rule)));
                }
                group.rules.push(GroupRule {
                    id: SecurityGroupRuleId::mint(cx.bits()),
                    direction,
                    rule: wanted.rule,
                    description: wanted.description,
                    tags: tags.clone(),
                });
            }
            within_limits(&group, cx.platform.quotas)?;
            txn.put(group.clone());
            Ok((group, first))
        })
        .await?;

    Ok(group.rules.iter().skip(added).map(|rule| rules::show_rule(&group, rule)).collect())
}

/// Takes rules away, and says which, and which ones there were not.
///
/// Rules that the group does not have are an error and nothing is revoked;
/// except in a default VPC, where EC2 revokes the others and lists these.
async fn revoke(
    cx: &Cx,
    asked: Asked,
) -> Result<(Vec<shapes::RevokedSecurityGroupRule>, Vec<shapes::IpPermission>), Error> {
    let direction = asked.direction;
    let permissions = asked.ip_permissions.unwrap_or_default();
    let form = asked.flat.or(permissions, direction, cx.scope())?;
    let ids = rule_ids(asked.security_group_rule_ids.unwrap_or_default())?;
    if form.is_some() && !ids.is_empty() {
        return Err(Error::Combination(
            "The parameter securityGroupRuleIds may not be used in combination with ipPermissions"
                .to_owned(),
        ));
    }
    if form.is_none() && ids.is_empty() {
        return Err(Error::Missing("ipPermissions or securityGroupRuleIds"));
    }
    let scope = cx.scope();

    let (group, revoked, unknown) = cx
        .store()
        .transact(|txn| {
            let (id, name) = (asked.group_id.as_deref(), asked.group_name.as_deref());
            let mut group = SecurityGroup::clone(&*find(txn, scope, id, name)?);
            let named = match &form {
                Some(form) => match_rules(&group, direction, form.rules(txn, &group)?),
                None => Named { known: known_ids(&group, direction, &ids)?, unknown: Vec::new() },
            };
            if !named.unknown.is_empty() && !in_default_vpc(txn, &group) {
                return Err(Error::NoRule);
            }
            let revoked: Vec<GroupRule> =
                group.rules.extract_if(.., |rule| named.known.contains(&rule.id)).collect();
            if !revoked.is_empty() {
                txn.put(group.clone());
            }
            Ok((group, revoked, named.unknown))
        })
        .await?;

    let shown = revoked.iter().map(|rule| rules::show_revoked(&group, rule)).collect();
    let unknown = unknown.iter().map(|wanted| (&wanted.rule, wanted.description.as_ref()));
    Ok((shown, rules::show(scope, unknown)))
}

/// The rules that a request to revoke names.
struct Named {
    known: BTreeSet<SecurityGroupRuleId>,
    unknown: Vec<Wanted>,
}

fn match_rules(group: &SecurityGroup, direction: Direction, wanted: Vec<Wanted>) -> Named {
    let mut named = Named { known: BTreeSet::new(), unknown: Vec::new() };
    for wanted in wanted {
        match group.going(direction).find(|rule| rule.rule == wanted.rule) {
            Some(rule) => {
                named.known.insert(rule.id.clone());
            }
            None => named.unknown.push(wanted),
        }
    }
    named
}

fn known_ids(
    group: &SecurityGroup,
    direction: Direction,
    ids: &BTreeSet<SecurityGroupRuleId>,
) -> Result<BTreeSet<SecurityGroupRuleId>, Error> {
    let known = |id: &&SecurityGroupRuleId| group.going(direction).any(|rule| rule.id == **id);
    match ids.iter().find(|id| !known(id)) {
        Some(unknown) => Err(Error::NoRuleId(unknown.to_string())),
        None => Ok(ids.clone()),
    }
}

fn in_default_vpc(txn: &Txn, group: &SecurityGroup) -> bool {
    let scope: &Scope = &group.scope;
    txn.get::<Vpc>(scope, group.vpc.as_str()).is_some_and(|vpc| vpc.is_default)
}

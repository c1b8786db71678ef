//! `AuthorizeSecurityGroupIngress` and `RevokeSecurityGroupIngress`.
//!
//! Both name rules in one of two forms: permissions, which are lists of sources
//! by protocol and ports, or the flat parameters of the first days, which name
//! one source. Revoking also goes by the ids of rules.

use super::{by_id, commit, find, named};
use crate::api::rules::{self, Wanted};
use crate::api::tags;
use crate::error::Error;
use crate::records::{Direction, GroupRule, SecurityGroup, Vpc};
use chassis::Cx;
use ident::{Scope, SecurityGroupId, SecurityGroupRuleId};
use ipnet::IpNet;
use net::model::{Peer, Rule, Traffic};
use std::collections::BTreeSet;
use store::Txn;
use wire::ec2 as shapes;

/// How many rules a group may have for each direction and IP version.
const MAX_RULES: usize = 60;

/// Lets more in: all of the rules that the request names, or none.
pub(in crate::api) async fn authorize(
    cx: &Cx,
    request: shapes::AuthorizeSecurityGroupIngressRequest,
) -> Result<shapes::AuthorizeSecurityGroupIngressResult, Error> {
    let tags = tags::read(request.tag_specifications, "security-group-rule")?;
    let flat = Flat {
        protocol: request.ip_protocol,
        from: request.from_port,
        to: request.to_port,
        cidr: request.cidr_ip,
        group: request.source_security_group_name,
        owner: request.source_security_group_owner_id,
    };
    let permissions = request.ip_permissions.unwrap_or_default();
    let form = flat.or(permissions, cx.scope())?.ok_or(Error::Missing("ipPermissions"))?;
    let dry_run = request.dry_run == Some(true);
    let scope = cx.scope();

    let (group, added) = cx
        .store()
        .transact(|txn| {
            let (id, name) = (request.group_id.as_deref(), request.group_name.as_deref());
            let mut group = SecurityGroup::clone(&*find(txn, scope, id, name)?);
            let first = group.rules.len();
            for wanted in form.rules(txn, &group)? {
                if ingress(&group).any(|rule| rule.rule == wanted.rule) {
                    return Err(Error::DuplicateRule(rules::in_words(&wanted.rule)));
                }
                group.rules.push(GroupRule {
                    id: SecurityGroupRuleId::mint(cx.bits()),
                    direction: Direction::Ingress,
                    rule: wanted.rule,
                    description: wanted.description,
                    tags: tags.clone(),
                });
            }
            within_limits(&group)?;
            txn.put(group.clone());
            commit(dry_run, (group, first))
        })
        .await?;

    let shown = group.rules.iter().skip(added).map(|rule| rules::show_rule(&group, rule));
    Ok(shapes::AuthorizeSecurityGroupIngressResult {
        r#return: Some(true),
        security_group_rules: Some(shown.collect()),
    })
}

/// Lets less in.
///
/// Rules that the group does not have are an error and nothing is revoked;
/// except in a default VPC, where EC2 revokes the others and lists these.
pub(in crate::api) async fn revoke(
    cx: &Cx,
    request: shapes::RevokeSecurityGroupIngressRequest,
) -> Result<shapes::RevokeSecurityGroupIngressResult, Error> {
    let flat = Flat {
        protocol: request.ip_protocol,
        from: request.from_port,
        to: request.to_port,
        cidr: request.cidr_ip,
        group: request.source_security_group_name,
        owner: request.source_security_group_owner_id,
    };
    let form = flat.or(request.ip_permissions.unwrap_or_default(), cx.scope())?;
    let ids = rule_ids(request.security_group_rule_ids.unwrap_or_default())?;
    if form.is_some() && !ids.is_empty() {
        return Err(Error::Combination(
            "The parameter securityGroupRuleIds may not be used in combination with ipPermissions"
                .to_owned(),
        ));
    }
    if form.is_none() && ids.is_empty() {
        return Err(Error::Missing("ipPermissions or securityGroupRuleIds"));
    }
    let dry_run = request.dry_run == Some(true);
    let scope = cx.scope();

    let (group, revoked, unknown) = cx
        .store()
        .transact(|txn| {
            let (id, name) = (request.group_id.as_deref(), request.group_name.as_deref());
            let mut group = SecurityGroup::clone(&*find(txn, scope, id, name)?);
            let named = match &form {
                Some(form) => match_rules(&group, form.rules(txn, &group)?),
                None => Named { known: known_ids(&group, &ids)?, unknown: Vec::new() },
            };
            if !named.unknown.is_empty() && !in_default_vpc(txn, &group) {
                return Err(Error::NoRule);
            }
            let revoked: Vec<GroupRule> =
                group.rules.extract_if(.., |rule| named.known.contains(&rule.id)).collect();
            if !revoked.is_empty() {
                txn.put(group.clone());
            }
            commit(dry_run, (group, revoked, named.unknown))
        })
        .await?;

    let shown = revoked.iter().map(|rule| rules::show_revoked(&group, rule)).collect();
    let unknown = unknown.iter().map(|wanted| (&wanted.rule, wanted.description.as_ref()));
    Ok(shapes::RevokeSecurityGroupIngressResult {
        r#return: Some(true),
        revoked_security_group_rules: Some(shown),
        unknown_ip_permissions: Some(rules::show(scope, unknown)),
    })
}

/// The parameters that name one source without a list.
#[derive(Debug)]
struct Flat {
    protocol: Option<String>,
    from: Option<i32>,
    to: Option<i32>,
    cidr: Option<String>,
    group: Option<String>,
    owner: Option<String>,
}

/// The form in which a request names rules.
#[derive(Debug)]
enum Form {
    Permissions(Vec<shapes::IpPermission>),
    /// One block of addresses.
    Cidr(Traffic, IpNet),
    /// A group by its name or id, and kinds of traffic.
    Group(Vec<Traffic>, String),
}

impl Flat {
    /// The form of the request; none if it names nothing at all.
    fn or(
        self,
        permissions: Vec<shapes::IpPermission>,
        scope: &Scope,
    ) -> Result<Option<Form>, Error> {
        let Self { protocol, from, to, cidr, group, owner } = self;
        let flat = protocol.is_some() || from.is_some() || to.is_some() || cidr.is_some();
        let flat = flat || group.is_some() || owner.is_some();
        if !permissions.is_empty() {
            return if flat {
                Err(Error::Combination(
                    "The parameter ipPermissions may not be used in combination with the \
                     parameters of a single permission"
                        .to_owned(),
                ))
            } else {
                Ok(Some(Form::Permissions(permissions)))
            };
        }
        if !flat {
            return Ok(None);
        }
        // Groups of other accounts come with peering.
        if owner.is_some_and(|owner| owner != *scope.account.as_str()) {
            return Err(Error::NoGroup(group.unwrap_or_default()));
        }
        match (cidr, group) {
            (Some(_), Some(_)) => Err(Error::Combination(
                "The parameter cidrIp may not be used in combination with \
                 sourceSecurityGroupName"
                    .to_owned(),
            )),
            (None, None) => Err(Error::Missing("cidrIp")),
            (Some(cidr), None) => {
                let traffic = rules::read_traffic(protocol.as_deref(), from, to)?;
                Ok(Some(Form::Cidr(traffic, rules::read_ipv4(&cidr)?)))
            }
            (None, Some(group)) if protocol.is_none() && from.is_none() && to.is_none() => {
                Ok(Some(Form::Group(everything(), group)))
            }
            (None, Some(group)) => {
                let traffic = rules::read_traffic(protocol.as_deref(), from, to)?;
                Ok(Some(Form::Group(vec![traffic], group)))
            }
        }
    }
}

/// What a group is let in with if nothing else is said.
fn everything() -> Vec<Traffic> {
    let (from, to) = (0, u16::MAX);
    vec![
        Traffic::Tcp { from, to },
        Traffic::Udp { from, to },
        Traffic::Icmp { kind: None, code: None },
    ]
}

impl Form {
    /// Whether the VPCs that the pairs say their groups are in are that of `group`.
    fn of_vpc(&self, group: &SecurityGroup) -> Result<(), Error> {
        let Self::Permissions(permissions) = self else { return Ok(()) };
        let mut pairs = permissions.iter().flat_map(|it| it.user_id_group_pairs.iter().flatten());
        let said =
            pairs.find_map(|pair| pair.vpc_id.as_ref().filter(|id| **id != *group.vpc.as_str()));
        said.map_or(Ok(()), |id| Err(Error::NoVpc(id.clone())))
    }

    /// The rules that it names, for `group`; each only once.
    fn rules(&self, txn: &Txn, group: &SecurityGroup) -> Result<Vec<Wanted>, Error> {
        let scope = &group.scope;
        let mut find = |id: Option<&str>, name: Option<&str>| peer(txn, group, id, name);
        self.of_vpc(group)?;
        let plain = |traffic, peer| Wanted { rule: Rule { traffic, peer }, description: None };
        let wanted: Vec<Wanted> = match self {
            Self::Permissions(permissions) => {
                let mut wanted = Vec::new();
                for permission in permissions {
                    wanted.extend(rules::read(permission, scope, &mut find)?);
                }
                wanted
            }
            Self::Cidr(traffic, block) => vec![plain(*traffic, Peer::Cidr(*block))],
            Self::Group(traffic, name) => {
                let peer = Peer::Group(find(None, Some(name))?);
                traffic.iter().map(|traffic| plain(*traffic, peer.clone())).collect()
            }
        };
        let mut seen = BTreeSet::new();
        if let Some(twice) = wanted.iter().find(|wanted| !seen.insert(wanted.rule.clone())) {
            return Err(Error::RepeatedRule(rules::in_words(&twice.rule)));
        }
        Ok(wanted)
    }
}

/// The group of the same VPC that a rule of `group` refers to.
fn peer(
    txn: &Txn,
    group: &SecurityGroup,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<SecurityGroupId, Error> {
    let scope = &group.scope;
    match (id, name) {
        (Some(id), _) => {
            let peer = by_id(txn, scope, id)?;
            // Groups of other VPCs come with peering.
            if peer.vpc == group.vpc {
                Ok(peer.id.clone())
            } else {
                Err(Error::GroupOutsideVpc { group: peer.id.clone(), vpc: group.vpc.clone() })
            }
        }
        (None, Some(name)) => named(txn, scope, &group.vpc, name)
            // The CLI puts an id where a name is meant.
            .or_else(|| by_id(txn, scope, name).ok().filter(|peer| peer.vpc == group.vpc))
            .map(|peer| peer.id.clone())
            .ok_or_else(|| Error::NoGroup(name.to_owned())),
        (None, None) => Err(Error::Missing("groupId")),
    }
}

fn ingress(group: &SecurityGroup) -> impl Iterator<Item = &GroupRule> {
    group.going(Direction::Ingress)
}

/// Rules are counted for each IP version; one that refers to a group is of both.
fn within_limits(group: &SecurityGroup) -> Result<(), Error> {
    let v6 = |rule: &&GroupRule| matches!(rule.rule.peer, Peer::Cidr(IpNet::V6(_)));
    let v4 = |rule: &&GroupRule| matches!(rule.rule.peer, Peer::Cidr(IpNet::V4(_)));
    let all = ingress(group).count();
    let most = all - ingress(group).filter(v6).count().min(ingress(group).filter(v4).count());
    if most > MAX_RULES { Err(Error::TooManyRules(MAX_RULES)) } else { Ok(()) }
}

/// The rules that a request to revoke names.
struct Named {
    known: BTreeSet<SecurityGroupRuleId>,
    unknown: Vec<Wanted>,
}

fn match_rules(group: &SecurityGroup, wanted: Vec<Wanted>) -> Named {
    let mut named = Named { known: BTreeSet::new(), unknown: Vec::new() };
    for wanted in wanted {
        match ingress(group).find(|rule| rule.rule == wanted.rule) {
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
    ids: &BTreeSet<SecurityGroupRuleId>,
) -> Result<BTreeSet<SecurityGroupRuleId>, Error> {
    let known = |id: &&SecurityGroupRuleId| ingress(group).any(|rule| rule.id == **id);
    match ids.iter().find(|id| !known(id)) {
        Some(unknown) => Err(Error::NoRuleId(unknown.to_string())),
        None => Ok(ids.clone()),
    }
}

fn rule_ids(texts: Vec<String>) -> Result<BTreeSet<SecurityGroupRuleId>, Error> {
    texts.into_iter().map(|text| text.parse().map_err(|_| Error::MalformedRuleId(text))).collect()
}

fn in_default_vpc(txn: &Txn, group: &SecurityGroup) -> bool {
    let scope: &Scope = &group.scope;
    txn.get::<Vpc>(scope, group.vpc.as_str()).is_some_and(|vpc| vpc.is_default)
}

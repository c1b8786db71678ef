//! The two forms in which requests name rules: permissions, which are lists of
//! peers by protocol and ports, or the flat parameters of the first days, which
//! name one source.

use crate::api::rules::{self, Wanted};
use crate::api::security_groups::{by_id, named};
use crate::error::Error;
use crate::records::{Direction, SecurityGroup};
use ident::{Scope, SecurityGroupId};
use ipnet::IpNet;
use net::model::{Peer, Rule, Traffic};
use std::collections::BTreeSet;
use store::Txn;
use wire::ec2 as shapes;

/// The parameters that name one source without a list.
#[derive(Debug, Default)]
pub(super) struct Flat {
    pub(super) protocol: Option<String>,
    pub(super) from: Option<i32>,
    pub(super) to: Option<i32>,
    pub(super) cidr: Option<String>,
    pub(super) group: Option<String>,
    pub(super) owner: Option<String>,
}

/// The form in which a request names rules.
#[derive(Debug)]
pub(super) enum Form {
    Permissions(Vec<shapes::IpPermission>),
    /// One block of addresses.
    Cidr(Traffic, IpNet),
    /// A group by its name or id, and kinds of traffic.
    Group(Vec<Traffic>, String),
}

impl Flat {
    /// The form of the request; none if it names nothing at all.
    pub(super) fn or(
        self,
        permissions: Vec<shapes::IpPermission>,
        direction: Direction,
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
        // These are from before there was egress to speak of.
        if direction == Direction::Egress {
            return Err(Error::Combination(
                "The parameters of a single permission are not supported for egress; use \
                 ipPermissions"
                    .to_owned(),
            ));
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
    pub(super) fn rules(&self, txn: &Txn, group: &SecurityGroup) -> Result<Vec<Wanted>, Error> {
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
pub(super) fn peer(
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
                Err(Error::PeerOutsideVpc { group: peer.id.clone(), vpc: group.vpc.clone() })
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

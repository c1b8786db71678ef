//! Security groups: making, showing and deleting them. Their rules are in
//! [`super::security_group_rules`].

use super::filters::{Field, Filters, each, nothing, one};
use super::listing::{Listing, Pages};
use super::{rules, tags, text};
use crate::default_vpc::egress_to_all;
use crate::error::Error;
use crate::records::{
    self, BY_GROUP, BY_PEER_GROUP, BY_VPC, DEFAULT_GROUP, DefaultVpc, Direction, Eni, SecurityGroup,
};
use chassis::Cx;
use ident::{Arn, Scope, SecurityGroupId, VpcId};
use net::model::Peer;
use std::sync::Arc;
use store::{Txn, View};
use wire::ec2 as shapes;

/// Makes a group, out of which everything may go and into which nothing comes.
pub(super) async fn create(
    cx: &Cx,
    request: shapes::CreateSecurityGroupRequest,
) -> Result<shapes::CreateSecurityGroupResult, Error> {
    let name = sound_name(request.group_name.as_deref())?;
    let description = sound_description(request.description)?;
    let tags = tags::read(request.tag_specifications, "security-group")?;
    let scope = cx.scope();

    let group = cx
        .store()
        .transact(|txn| {
            let vpc = match &request.vpc_id {
                Some(id) => vpc(txn, scope, id)?,
                None => default_vpc(txn, scope)?,
            };
            let id = vpc.net.id.clone();
            if named(txn, scope, &id, &name).is_some() {
                return Err(Error::DuplicateGroup { name: name.clone(), vpc: id });
            }
            let group = SecurityGroup {
                scope: scope.clone(),
                id: SecurityGroupId::mint(cx.bits()),
                vpc: id,
                name: name.clone(),
                description: description.clone(),
                rules: vec![egress_to_all(cx.bits())?],
                tags: tags.clone(),
            };
            txn.put(group.clone());
            let groups_made = vpc.groups_made.wrapping_add(1);
            txn.put(records::Vpc { groups_made, ..records::Vpc::clone(&vpc) });
            Ok(group)
        })
        .await?;

    Ok(shapes::CreateSecurityGroupResult {
        group_id: text(&group.id),
        security_group_arn: text(arn(&group)),
        tags: tags::show(&group.tags),
    })
}

/// Shows groups with their rules.
pub(super) fn describe(
    cx: &Cx,
    request: shapes::DescribeSecurityGroupsRequest,
) -> Result<shapes::DescribeSecurityGroupsResult, Error> {
    let view = cx.view();
    let mut ids = request.group_ids.unwrap_or_default();
    if let Some(id) = ids.iter().find(|id| id.parse::<SecurityGroupId>().is_err()) {
        return Err(Error::MalformedGroupId(id.clone()));
    }
    // Names are those of the default VPC; elsewhere they are for filters.
    for name in request.group_names.unwrap_or_default() {
        let home = view.get::<DefaultVpc>(cx.scope(), DefaultVpc::ID).ok_or(Error::NoDefaultVpc)?;
        let found = view
            .by::<SecurityGroup>(cx.scope(), BY_VPC, home.vpc.as_str())
            .find(|group| group.name == name);
        match found {
            Some(group) => ids.push(group.id.to_string()),
            None => return Err(Error::NoGroupNamed { name, vpc: home.vpc.clone() }),
        }
    }
    let filters = Filters::parse(request.filters, FIELDS, |shown| shown.group.tags.as_ref())?;
    let pages = Pages { max_results: request.max_results, next_token: request.next_token };
    let listing = Listing::parse(cx.scope(), "DescribeSecurityGroups", Some(ids), filters, &pages)?;

    let all = view.list::<SecurityGroup>(cx.scope()).map(|group| Shown {
        group: show(&group),
        sources: peers_named(&view, &group, Direction::Ingress),
        destinations: peers_named(&view, &group, Direction::Egress),
    });
    let page = listing.page(all, |shown| shown.group.group_id.as_ref(), Error::NoGroup)?;
    Ok(shapes::DescribeSecurityGroupsResult {
        security_groups: Some(page.items.into_iter().map(|shown| shown.group).collect()),
        next_token: page.next_token,
    })
}

/// Deletes a group that nothing is in and no other group's rules refer to.
pub(super) async fn delete(
    cx: &Cx,
    request: shapes::DeleteSecurityGroupRequest,
) -> Result<shapes::DeleteSecurityGroupResult, Error> {
    let scope = cx.scope();

    let id = cx
        .store()
        .transact(|txn| {
            let group =
                find(txn, scope, request.group_id.as_deref(), request.group_name.as_deref())?;
            if group.is_default() {
                return Err(Error::DefaultGroup(group.id.clone()));
            }
            let id = group.id.as_str();
            let used = txn.view().by::<Eni>(scope, BY_GROUP, id).next().is_some();
            let named = txn
                .view()
                .by::<SecurityGroup>(scope, BY_PEER_GROUP, id)
                .any(|other| other.id != group.id);
            // Read as guards: whoever puts an interface into the group writes the
            // interface's subnet, and whoever refers to it writes the other group.
            let _ = txn.by::<records::Subnet>(scope, BY_VPC, group.vpc.as_str());
            let _ = txn.by::<SecurityGroup>(scope, BY_VPC, group.vpc.as_str());
            if used || named {
                return Err(Error::InUse(group.id.to_string()));
            }
            txn.delete::<SecurityGroup>(scope, id);
            Ok(group.id.clone())
        })
        .await?;

    Ok(shapes::DeleteSecurityGroupResult { group_id: text(id), r#return: Some(true) })
}

/// The group that a request means, by id or else by name in the default VPC.
pub(super) fn find(
    txn: &Txn,
    scope: &Scope,
    id: Option<&str>,
    name: Option<&str>,
) -> Result<Arc<SecurityGroup>, Error> {
    match (id, name) {
        (Some(id), None) => by_id(txn, scope, id),
        (Some(id), Some(name)) => {
            let group = by_id(txn, scope, id)?;
            if group.name == name {
                Ok(group)
            } else {
                Err(Error::TwoGroups { id: id.to_owned(), name: name.to_owned() })
            }
        }
        (None, Some(name)) => {
            let vpc = default_vpc(txn, scope)?.net.id.clone();
            named(txn, scope, &vpc, name)
                .ok_or_else(|| Error::NoGroupNamed { name: name.to_owned(), vpc })
        }
        (None, None) => Err(Error::Missing("groupName or groupId")),
    }
}

pub(super) fn by_id(txn: &Txn, scope: &Scope, text: &str) -> Result<Arc<SecurityGroup>, Error> {
    let id: SecurityGroupId = text.parse().map_err(|_| Error::MalformedGroupId(text.to_owned()))?;
    txn.get(scope, id.as_str()).ok_or_else(|| Error::NoGroup(text.to_owned()))
}

pub(super) fn named(
    txn: &Txn,
    scope: &Scope,
    vpc: &VpcId,
    name: &str,
) -> Option<Arc<SecurityGroup>> {
    txn.by::<SecurityGroup>(scope, BY_VPC, vpc.as_str()).find(|group| group.name == name)
}

fn vpc(txn: &Txn, scope: &Scope, text: &str) -> Result<Arc<records::Vpc>, Error> {
    text.parse::<VpcId>()
        .ok()
        .and_then(|id| txn.get::<records::Vpc>(scope, id.as_str()))
        .ok_or_else(|| Error::NoVpc(text.to_owned()))
}

fn default_vpc(txn: &Txn, scope: &Scope) -> Result<Arc<records::Vpc>, Error> {
    let home = txn.get::<DefaultVpc>(scope, DefaultVpc::ID).ok_or(Error::NoDefaultVpc)?;
    vpc(txn, scope, home.vpc.as_str()).map_err(|_| Error::NoDefaultVpc)
}

fn sound_name(name: Option<&str>) -> Result<String, Error> {
    let name = name.unwrap_or_default().trim();
    let refuse = |why: &str| {
        Err(Error::Invalid(format!("Value ({name}) for parameter groupName is invalid. {why}")))
    };
    if name.is_empty() {
        return Err(Error::Missing("groupName"));
    }
    if name.eq_ignore_ascii_case(DEFAULT_GROUP) {
        return Err(Error::Invalid(format!(
            "Cannot use reserved security group name: {DEFAULT_GROUP}"
        )));
    }
    if name.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("sg-")) {
        return refuse("Group names may not be in the format sg-*");
    }
    if name.len() > 255 {
        return refuse("Group names must be less than 256 characters long");
    }
    if !name.is_ascii() {
        return refuse("Character sets beyond ASCII are not supported.");
    }
    if !rules::sound_text(name) {
        return refuse("Valid characters are a-z, A-Z, 0-9, spaces, and ._-:/()#,@[]+=&;{}!$*");
    }
    Ok(name.to_owned())
}

fn sound_description(description: Option<String>) -> Result<String, Error> {
    let description = description.unwrap_or_default();
    if description.is_empty() {
        return Err(Error::Missing("GroupDescription"));
    }
    if !rules::sound_text(&description) {
        return Err(Error::Invalid(format!(
            "Value ({description}) for parameter GroupDescription is invalid. Invalid security \
             group description. Valid descriptions are strings less than 256 characters from the \
             following set:  a-zA-Z0-9. _-:/()#,@[]+=&;{{}}!$*"
        )));
    }
    Ok(description)
}

fn arn(group: &SecurityGroup) -> Arn {
    Arn::new("ec2", &group.scope, format!("security-group/{}", group.id))
}

fn show(group: &SecurityGroup) -> shapes::SecurityGroup {
    let going = |direction| {
        let rules = group.going(direction).map(|rule| (&rule.rule, rule.description.as_ref()));
        Some(rules::show(&group.scope, rules))
    };
    shapes::SecurityGroup {
        description: text(&group.description),
        group_id: text(&group.id),
        group_name: text(&group.name),
        ip_permissions: going(Direction::Ingress),
        ip_permissions_egress: going(Direction::Egress),
        owner_id: text(&group.scope.account),
        security_group_arn: text(arn(group)),
        tags: tags::show(&group.tags),
        vpc_id: text(&group.vpc),
    }
}

/// A group, and the names of the groups that its rules refer to, which an answer does
/// not have but filters may ask for.
struct Shown {
    group: shapes::SecurityGroup,
    sources: Vec<String>,
    destinations: Vec<String>,
}

fn peers_named(view: &View, group: &SecurityGroup, direction: Direction) -> Vec<String> {
    let peers = group.going(direction).filter_map(|rule| match &rule.rule.peer {
        Peer::Group(peer) => view.get::<SecurityGroup>(&group.scope, peer.as_str()),
        Peer::Cidr(_) | Peer::PrefixList(_) => None,
    });
    peers.map(|peer| peer.name.clone()).collect()
}

const FIELDS: &[Field<Shown>] = &[
    Field(&["description"], |shown| one(shown.group.description.as_ref())),
    Field(&["group-id"], |shown| one(shown.group.group_id.as_ref())),
    Field(&["group-name"], |shown| one(shown.group.group_name.as_ref())),
    Field(&["owner-id"], |shown| one(shown.group.owner_id.as_ref())),
    Field(&["vpc-id"], |shown| one(shown.group.vpc_id.as_ref())),
    Field(&["ip-permission.cidr"], |shown| cidrs(shown.group.ip_permissions.as_ref())),
    Field(&["ip-permission.ipv6-cidr"], |shown| ipv6_cidrs(shown.group.ip_permissions.as_ref())),
    Field(&["ip-permission.group-id"], |shown| peers(shown.group.ip_permissions.as_ref())),
    Field(&["ip-permission.user-id"], |shown| peer_owners(shown.group.ip_permissions.as_ref())),
    Field(&["ip-permission.protocol"], |shown| protocols(shown.group.ip_permissions.as_ref())),
    Field(&["ip-permission.from-port"], |shown| from_ports(shown.group.ip_permissions.as_ref())),
    Field(&["ip-permission.to-port"], |shown| to_ports(shown.group.ip_permissions.as_ref())),
    Field(&["egress.ip-permission.cidr"], |shown| {
        cidrs(shown.group.ip_permissions_egress.as_ref())
    }),
    Field(&["egress.ip-permission.ipv6-cidr"], |shown| {
        ipv6_cidrs(shown.group.ip_permissions_egress.as_ref())
    }),
    Field(&["egress.ip-permission.group-id"], |shown| {
        peers(shown.group.ip_permissions_egress.as_ref())
    }),
    Field(&["egress.ip-permission.user-id"], |shown| {
        peer_owners(shown.group.ip_permissions_egress.as_ref())
    }),
    Field(&["egress.ip-permission.protocol"], |shown| {
        protocols(shown.group.ip_permissions_egress.as_ref())
    }),
    Field(&["egress.ip-permission.from-port"], |shown| {
        from_ports(shown.group.ip_permissions_egress.as_ref())
    }),
    Field(&["egress.ip-permission.to-port"], |shown| {
        to_ports(shown.group.ip_permissions_egress.as_ref())
    }),
    Field(&["ip-permission.group-name"], |shown| shown.sources.clone()),
    Field(&["egress.ip-permission.group-name"], |shown| shown.destinations.clone()),
    Field(&["ip-permission.prefix-list-id", "egress.ip-permission.prefix-list-id"], nothing),
];

type Permissions<'a> = Option<&'a Vec<shapes::IpPermission>>;

fn cidrs(permissions: Permissions<'_>) -> Vec<String> {
    let ranges = permissions.into_iter().flatten().flat_map(|it| it.ip_ranges.iter().flatten());
    ranges.filter_map(|range| range.cidr_ip.clone()).collect()
}

fn ipv6_cidrs(permissions: Permissions<'_>) -> Vec<String> {
    let ranges = permissions.into_iter().flatten().flat_map(|it| it.ipv6_ranges.iter().flatten());
    ranges.filter_map(|range| range.cidr_ipv6.clone()).collect()
}

fn pairs(permissions: Permissions<'_>) -> impl Iterator<Item = &shapes::UserIdGroupPair> {
    permissions.into_iter().flatten().flat_map(|it| it.user_id_group_pairs.iter().flatten())
}

fn peers(permissions: Permissions<'_>) -> Vec<String> {
    pairs(permissions).filter_map(|pair| pair.group_id.clone()).collect()
}

fn peer_owners(permissions: Permissions<'_>) -> Vec<String> {
    pairs(permissions).filter_map(|pair| pair.user_id.clone()).collect()
}

fn protocols(permissions: Permissions<'_>) -> Vec<String> {
    each(permissions, |it| it.ip_protocol.clone())
}

fn from_ports(permissions: Permissions<'_>) -> Vec<String> {
    each(permissions, |it| it.from_port.map(|port| port.to_string()))
}

fn to_ports(permissions: Permissions<'_>) -> Vec<String> {
    each(permissions, |it| it.to_port.map(|port| port.to_string()))
}

//! `CreateTags`, `DeleteTags` and `DescribeTags`: tags of whatever has any.

use super::filters::{Field, Filters, one};
use super::listing::{Listing, Pages};
use super::{tags, text};
use crate::error::Error;
use crate::records::{Eni, Instance, SecurityGroup, Subnet, Vpc};
use chassis::Cx;
use ident::{
    EniId, InstanceId, Scope, SecurityGroupId, SecurityGroupRuleId, SubnetId, Tags, VpcId,
};
use std::collections::BTreeSet;
use store::{Record, Txn, View};
use wire::ec2 as shapes;

/// How many resources one request may name.
const MAX_RESOURCES: usize = 1000;
/// How many of them are changed in one commit; the store takes no more than 128.
const AT_ONCE: usize = 100;

/// Gives tags to resources. Of a resource that has the key already, the value
/// changes.
///
/// More resources than fit into one commit are changed in several. A request that
/// names one that does not exist changes none.
pub(super) async fn create(
    cx: &Cx,
    request: shapes::CreateTagsRequest,
) -> Result<shapes::CreateTagsResponse, Error> {
    let added = request.tags.unwrap_or_default();
    if added.is_empty() {
        return Err(Error::Missing("tagSet"));
    }
    let added = tags::sound_all(added)?;
    each(cx, request.resources, |tags| {
        tags.0.extend(added.0.clone());
        tags::within_limits(tags)
    })
    .await?;
    Ok(shapes::CreateTagsResponse {})
}

/// Takes tags away: those of a key, or those of a key and a value, or, if the
/// request names none, all. What is not there is no error.
pub(super) async fn delete(
    cx: &Cx,
    request: shapes::DeleteTagsRequest,
) -> Result<shapes::DeleteTagsResponse, Error> {
    let named = request.tags.unwrap_or_default();
    for tag in &named {
        tags::sound_key(tag.key.as_deref().unwrap_or_default())?;
    }
    each(cx, request.resources, |tags| {
        tags.0.retain(|key, value| {
            let meant = |tag: &shapes::Tag| {
                tag.key.as_ref() == Some(key) && tag.value.as_ref().is_none_or(|it| it == value)
            };
            tags::reserved(key) || !(named.is_empty() || named.iter().any(meant))
        });
        Ok(())
    })
    .await?;
    Ok(shapes::DeleteTagsResponse {})
}

/// Does `change` to the tags of each resource.
async fn each(
    cx: &Cx,
    resources: Option<Vec<String>>,
    change: impl Fn(&mut Tags) -> Result<(), Error>,
) -> Result<(), Error> {
    let ids: BTreeSet<String> = resources.unwrap_or_default().into_iter().collect();
    if ids.is_empty() {
        return Err(Error::Missing("resourceIdSet"));
    }
    if ids.len() > MAX_RESOURCES {
        return Err(Error::Invalid(format!(
            "A request may name at most {MAX_RESOURCES} resources."
        )));
    }
    let found: Vec<Tagged> = ids.iter().map(|id| Tagged::read(id)).collect::<Result<_, _>>()?;

    // First in vain, so that what is refused in the last part is refused in all.
    for store in [cx.store().rehearsal(), cx.store().clone()] {
        for part in found.chunks(AT_ONCE) {
            store
                .transact(|txn| part.iter().try_for_each(|it| it.change(txn, cx.scope(), &change)))
                .await?;
        }
    }
    Ok(())
}

/// What can have tags, by its id.
enum Tagged {
    Eni(EniId),
    Group(SecurityGroupId),
    Instance(InstanceId),
    Rule(SecurityGroupRuleId),
    Subnet(SubnetId),
    Vpc(VpcId),
}

impl Tagged {
    /// What the id stands for: its first letters say that.
    fn read(id: &str) -> Result<Self, Error> {
        let prefix = id.split_once('-').map_or("", |(prefix, _)| prefix);
        let parsed = match prefix {
            "eni" => id.parse().map(Self::Eni),
            "i" => id.parse().map(Self::Instance),
            "sg" => id.parse().map(Self::Group),
            "sgr" => id.parse().map(Self::Rule),
            "subnet" => id.parse().map(Self::Subnet),
            "vpc" => id.parse().map(Self::Vpc),
            _ => return Err(Error::NotAnId(id.to_owned())),
        };
        parsed.map_err(|_| Error::NotAnId(id.to_owned()))
    }

    fn change(
        &self,
        txn: &mut Txn,
        scope: &Scope,
        change: &impl Fn(&mut Tags) -> Result<(), Error>,
    ) -> Result<(), Error> {
        match self {
            Self::Eni(id) => {
                retag(txn, scope, id, Error::NoEni, |it: &mut Eni| change(&mut it.tags))
            }
            Self::Group(id) => {
                retag(txn, scope, id, Error::NoGroup, |it: &mut SecurityGroup| change(&mut it.tags))
            }
            Self::Instance(id) => {
                retag(txn, scope, id, Error::NoInstance, |it: &mut Instance| change(&mut it.tags))
            }
            Self::Subnet(id) => {
                retag(txn, scope, id, Error::NoSubnet, |it: &mut Subnet| change(&mut it.tags))
            }
            Self::Vpc(id) => {
                retag(txn, scope, id, Error::NoVpc, |it: &mut Vpc| change(&mut it.tags))
            }
            Self::Rule(id) => {
                let absent = || Error::NoRuleId(id.to_string());
                let group = txn
                    .view()
                    .list::<SecurityGroup>(scope)
                    .find(|group| group.rules.iter().any(|rule| rule.id == *id))
                    .ok_or_else(absent)?;
                retag(txn, scope, &group.id, Error::NoGroup, |it: &mut SecurityGroup| {
                    let rule = it.rules.iter_mut().find(|rule| rule.id == *id);
                    change(&mut rule.ok_or_else(absent)?.tags)
                })
            }
        }
    }
}

/// Writes the record if the change makes it another.
fn retag<R: Record + Clone + PartialEq>(
    txn: &mut Txn,
    scope: &Scope,
    id: &impl AsRef<str>,
    absent: fn(String) -> Error,
    change: impl FnOnce(&mut R) -> Result<(), Error>,
) -> Result<(), Error> {
    let id = id.as_ref();
    let found = txn.get::<R>(scope, id).ok_or_else(|| absent(id.to_owned()))?;
    let mut changed = R::clone(&found);
    change(&mut changed)?;
    if changed != *found {
        txn.put(changed);
    }
    Ok(())
}

/// Shows tags, each by itself.
pub(super) fn describe(
    cx: &Cx,
    request: shapes::DescribeTagsRequest,
) -> Result<shapes::DescribeTagsResult, Error> {
    let filters = Filters::parse(request.filters, FIELDS, |shown: &Shown| Some(&shown.tag))?;
    let pages = Pages { max_results: request.max_results, next_token: request.next_token };
    let listing = Listing::parse(cx.scope(), "DescribeTags", None, filters, &pages)?;

    let page =
        listing.page(all(&cx.view(), cx.scope()), |shown| Some(&shown.place), Error::NotAnId)?;
    Ok(shapes::DescribeTagsResult {
        tags: Some(page.items.into_iter().map(|shown| shown.description).collect()),
        next_token: page.next_token,
    })
}

/// A tag as it is shown, and as filters see it.
struct Shown {
    description: shapes::TagDescription,
    tag: Vec<shapes::Tag>,
    /// Where it stands in the list: the resource's id, then the key.
    place: String,
}

const FIELDS: &[Field<Shown>] = &[
    Field(&["key"], |shown| one(shown.description.key.as_ref())),
    Field(&["resource-id"], |shown| one(shown.description.resource_id.as_ref())),
    Field(&["resource-type"], |shown| one(shown.description.resource_type.as_ref())),
    Field(&["value"], |shown| one(shown.description.value.as_ref())),
];

/// All tags of a scope.
fn all(view: &View, scope: &Scope) -> Vec<Shown> {
    let mut shown = Vec::new();
    let mut show = |kind: &str, id: &str, tags: &Tags| {
        shown.extend(tags.iter().map(|(key, value)| Shown {
            description: shapes::TagDescription {
                key: text(key),
                resource_id: text(id),
                resource_type: text(kind),
                value: text(value),
            },
            tag: vec![shapes::Tag { key: text(key), value: text(value) }],
            place: format!("{id} {key}"),
        }));
    };
    for vpc in view.list::<Vpc>(scope) {
        show("vpc", vpc.net.id.as_str(), &vpc.tags);
    }
    for subnet in view.list::<Subnet>(scope) {
        show("subnet", subnet.net.id.as_str(), &subnet.tags);
    }
    for group in view.list::<SecurityGroup>(scope) {
        show("security-group", group.id.as_str(), &group.tags);
        for rule in &group.rules {
            show("security-group-rule", rule.id.as_str(), &rule.tags);
        }
    }
    for eni in view.list::<Eni>(scope) {
        show("network-interface", eni.net.id.as_str(), &eni.tags);
    }
    for instance in view.list::<Instance>(scope) {
        show("instance", instance.id.as_str(), &instance.tags);
    }
    shown
}

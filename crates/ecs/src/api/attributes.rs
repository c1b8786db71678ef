//! `PutAttributes`, `DeleteAttributes`, `ListAttributes`.
//!
//! Attributes are names and values that placement can ask for. An agent sends
//! those of its machine when it registers; these operations change those that
//! users gave it, which outlast every registration.

use super::{existing, known_cluster, paging};
use crate::records::{BY_CLUSTER, ContainerInstance, InstanceStatus};
use crate::{Error, names};
use chassis::Cx;
use ident::{ClusterName, ContainerInstanceId};
use std::collections::BTreeMap;
use store::Txn;
use wire::ecs;

/// As many attributes as one request may name.
const MAX_NAMED: usize = 10;
/// As many attributes as users may give one instance.
const MAX_CUSTOM: usize = 10;
/// As long as a name or a value may be.
const LONGEST: usize = 128;
/// How the names begin that only agents and AWS give.
const RESERVED: [&str; 2] = ["ecs.", "com.amazonaws.ecs."];

/// An attribute of one instance, as a request names it.
struct Named {
    target: ContainerInstanceId,
    name: String,
    value: Option<String>,
}

/// Gives container instances attributes, or those that they have other values.
pub(crate) async fn put_attributes(
    cx: &Cx,
    request: ecs::PutAttributesRequest,
) -> Result<ecs::PutAttributesResponse, Error> {
    let cluster = names::cluster(cx.scope(), request.cluster.as_deref())?;
    let named = read(cx, &cluster, request.attributes)?;
    for attribute in &named {
        sound(attribute)?;
    }
    let done = cx.store().transact(|txn| {
        let mut targets = targets(cx, txn, &cluster, &named)?;
        for attribute in &named {
            let Some(target) = targets.get_mut(&attribute.target) else { continue };
            target.attributes.insert(attribute.name.clone(), attribute.value.clone());
            target.custom.insert(attribute.name.clone());
        }
        for target in targets.values() {
            if target.attributes.keys().filter(|name| !reserved(name)).count() > MAX_CUSTOM {
                return Err(Error::TooManyAttributes(target.id.to_string()));
            }
        }
        keep(txn, targets);
        Ok(())
    });
    done.await?;
    let shown = named.into_iter().map(|named| show(cx, &cluster, named)).collect();
    Ok(ecs::PutAttributesResponse { attributes: Some(shown) })
}

/// Takes attributes from container instances, and names those that were there.
pub(crate) async fn delete_attributes(
    cx: &Cx,
    request: ecs::DeleteAttributesRequest,
) -> Result<ecs::DeleteAttributesResponse, Error> {
    let cluster = names::cluster(cx.scope(), request.cluster.as_deref())?;
    let named = read(cx, &cluster, request.attributes)?;
    for attribute in &named {
        if attribute.value.is_some() {
            return Err(Error::invalid(
                "Specify the name and the target of an attribute to delete, but not its value.",
            ));
        }
        sound(attribute)?;
    }
    let gone = cx.store().transact(|txn| {
        let mut targets = targets(cx, txn, &cluster, &named)?;
        let mut gone = vec![];
        for attribute in &named {
            let Some(target) = targets.get_mut(&attribute.target) else { continue };
            target.custom.remove(&attribute.name);
            if let Some(value) = target.attributes.remove(&attribute.name) {
                let (target, name) = (attribute.target.clone(), attribute.name.clone());
                gone.push(show(cx, &cluster, Named { target, name, value }));
            }
        }
        if !gone.is_empty() {
            keep(txn, targets);
        }
        Ok::<_, Error>(gone)
    });
    Ok(ecs::DeleteAttributesResponse { attributes: Some(gone.await?) })
}

/// Lists the attributes of a cluster's instances, one for each on each.
pub(crate) fn list_attributes(
    cx: &Cx,
    request: &ecs::ListAttributesRequest,
) -> Result<ecs::ListAttributesResponse, Error> {
    let scope = cx.scope();
    let view = cx.view();
    let cluster = known_cluster(&view, scope, request.cluster.as_deref())?;
    if request.attribute_value.is_some() && request.attribute_name.is_none() {
        return Err(Error::invalid("attributeName must be specified to filter by attributeValue."));
    }
    let paging = paging(cx, "ListAttributes", request.max_results, request.next_token.as_ref())?;
    let wanted = |name: &String, value: &Option<String>| {
        request.attribute_name.as_ref().is_none_or(|wanted| wanted == name)
            && request.attribute_value.as_deref().is_none_or(|w| value.as_deref() == Some(w))
    };
    let all = view
        .by::<ContainerInstance>(scope, BY_CLUSTER, cluster.name.as_str())
        .filter(|instance| instance.status != InstanceStatus::Inactive)
        .flat_map(|instance| {
            let all = instance.attributes.clone().into_iter();
            all.map(move |(name, value)| Named { target: instance.id.clone(), name, value })
        })
        .filter(|named| wanted(&named.name, &named.value));
    // Ids are of one length, so this is ordered as instance and name are.
    let page = paging.page(all, |named| format!("{}/{}", named.target, named.name));
    let page = page.map(|named| show(cx, &cluster.name, named));
    Ok(ecs::ListAttributesResponse { attributes: Some(page.items), next_token: page.next_token })
}

fn show(cx: &Cx, cluster: &ClusterName, named: Named) -> ecs::Attribute {
    ecs::Attribute {
        name: Some(named.name),
        value: named.value,
        target_id: Some(names::instance_arn(cx.scope(), cluster, &named.target).to_string()),
        target_type: None,
    }
}

fn read(
    cx: &Cx,
    cluster: &ClusterName,
    attributes: Option<Vec<ecs::Attribute>>,
) -> Result<Vec<Named>, Error> {
    let all = attributes.unwrap_or_default();
    if all.is_empty() {
        return Err(Error::invalid("attributes can not be empty."));
    }
    if all.len() > MAX_NAMED {
        return Err(Error::invalid(format!("attributes can have at most {MAX_NAMED} items.")));
    }
    all.into_iter()
        .map(|attribute| {
            let target = attribute.target_id.unwrap_or_default();
            if target.is_empty() {
                return Err(Error::invalid("An attribute must have a targetId."));
            }
            if !target.starts_with("arn:") && attribute.target_type.is_none() {
                return Err(Error::invalid(
                    "An attribute must have a targetType if its targetId is not an ARN.",
                ));
            }
            let target = match names::instance(cx.scope(), cluster, &target) {
                Err(Error::NoContainerInstance(text)) => Err(Error::NoTarget(text)),
                other => other,
            }?;
            let name = attribute.name.unwrap_or_default();
            Ok(Named { target, name, value: attribute.value })
        })
        .collect()
}

/// Whether this is an attribute that users give, and what one is made of.
fn sound(named: &Named) -> Result<(), Error> {
    let Named { name, value, .. } = named;
    if reserved(name) {
        return Err(Error::invalid(format!(
            "Attribute names starting with 'ecs.' or 'com.amazonaws.ecs.' are reserved: {name}"
        )));
    }
    let made_of = |text: &str, more: &[u8]| {
        (1..=LONGEST).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    if !made_of(name, b"-_/\\.") {
        return Err(Error::invalid(format!(
            "Invalid attribute name '{name}'. A name has 1 to {LONGEST} letters, digits, hyphens, \
             underscores, slashes, backslashes and periods."
        )));
    }
    let Some(value) = value else { return Ok(()) };
    if !made_of(value, b"-_.@/\\: ") || value.starts_with(' ') || value.ends_with(' ') {
        return Err(Error::invalid(format!(
            "Invalid attribute value '{value}'. A value has 1 to {LONGEST} letters, digits, \
             hyphens, underscores, periods, at signs, slashes, backslashes, colons and spaces, \
             with no space at either end."
        )));
    }
    Ok(())
}

fn reserved(name: &str) -> bool {
    RESERVED.iter().any(|prefix| name.starts_with(prefix))
}

/// The instances that are named, each once.
fn targets(
    cx: &Cx,
    txn: &Txn,
    cluster: &ClusterName,
    named: &[Named],
) -> Result<BTreeMap<ContainerInstanceId, ContainerInstance>, Error> {
    existing(txn.view(), cx.scope(), cluster)?;
    let find = |id: &ContainerInstanceId| {
        let found = txn
            .get::<ContainerInstance>(cx.scope(), id.as_str())
            .filter(|found| found.cluster == *cluster)
            .filter(|found| found.status != InstanceStatus::Inactive)
            .ok_or_else(|| Error::NoTarget(id.to_string()))?;
        Ok((id.clone(), ContainerInstance::clone(&found)))
    };
    named.iter().map(|attribute| find(&attribute.target)).collect()
}

fn keep(txn: &mut Txn, targets: BTreeMap<ContainerInstanceId, ContainerInstance>) {
    for mut target in targets.into_values() {
        target.version = target.version.saturating_add(1);
        txn.put(target);
    }
}

//! Task definitions: registered, shown, named, taken out of use and deleted.

use super::paging;
use crate::names::DefinitionName;
use crate::records::{BY_FAMILY, Definition, DefinitionStatus, FamilyCount, show_tags};
use crate::{Error, definition, names, show};
use chassis::Cx;
use ident::{Family, Scope};
use std::collections::BTreeMap;
use std::sync::Arc;
use store::{Txn, View};
use wire::ecs;

/// As many revisions as one may ask to be deleted at once.
const MAX_DELETED: usize = 10;

/// Adds a revision to a family.
pub(crate) async fn register_task_definition(
    cx: &Cx,
    request: ecs::RegisterTaskDefinitionRequest,
) -> Result<ecs::RegisterTaskDefinitionResponse, Error> {
    let (family, spec, tags) = definition::accept(request)?;
    let (scope, now, registered_by) = (cx.scope(), cx.now(), cx.caller.arn());

    let registered = cx
        .store()
        .transact(|txn| {
            let registered = Definition {
                scope: scope.clone(),
                family: family.clone(),
                revision: next_revision(txn, scope, &family),
                status: DefinitionStatus::Active,
                registered_at: now,
                registered_by: registered_by.clone(),
                tags: tags.clone(),
                spec: spec.clone(),
                deregistered_at: None,
                delete_requested_at: None,
            };
            txn.put(registered.clone());
            Ok::<_, Error>(registered)
        })
        .await?;

    Ok(ecs::RegisterTaskDefinitionResponse {
        task_definition: Some(show::definition(&registered)),
        tags: Some(show_tags(&registered.tags)),
    })
}

/// Counts on in a family. Through the transaction's own reads, so that two
/// registrations at once cannot both become the same revision.
fn next_revision(txn: &mut Txn, scope: &Scope, family: &Family) -> u32 {
    let counted = txn.get::<FamilyCount>(scope, family.as_str()).map_or(0, |count| count.last);
    // A family may be older than its count.
    let there = txn.by::<Definition>(scope, BY_FAMILY, family.as_str()).last();
    let last = counted.max(there.map_or(0, |there| there.revision)).saturating_add(1);
    txn.put(FamilyCount { scope: scope.clone(), family: family.clone(), last });
    last
}

/// The name of one revision, which is what some operations insist on.
fn one_revision(scope: &Scope, text: &str) -> Result<(Family, u32), Error> {
    let DefinitionName { family, revision } = names::definition(scope, text)?;
    let revision = revision.ok_or_else(|| {
        Error::refused(format!(
            "Revision is missing. Name the task definition as family:revision: {text}"
        ))
    })?;
    Ok((family, revision))
}

/// Takes a revision out of use. What runs of it goes on.
pub(crate) async fn deregister_task_definition(
    cx: &Cx,
    request: ecs::DeregisterTaskDefinitionRequest,
) -> Result<ecs::DeregisterTaskDefinitionResponse, Error> {
    let text = request.task_definition.unwrap_or_default();
    let (scope, now) = (cx.scope(), cx.now());
    let (family, revision) = one_revision(scope, &text)?;
    let id = Definition::id_of(&family, revision);

    let taken = cx
        .store()
        .transact(|txn| {
            let found = txn
                .get::<Definition>(scope, &id)
                .ok_or_else(|| Error::refused("The specified task definition does not exist."))?;
            if found.status != DefinitionStatus::Active {
                return Err(Error::refused("The specified task definition is inactive."));
            }
            let taken = Definition {
                status: DefinitionStatus::Inactive,
                deregistered_at: Some(now),
                ..Definition::clone(&found)
            };
            txn.put(taken.clone());
            Ok(taken)
        })
        .await?;

    Ok(ecs::DeregisterTaskDefinitionResponse { task_definition: Some(show::definition(&taken)) })
}

/// Asks for the deletion of revisions that are out of use. They are gone when the
/// last of their tasks is; the controller sees to that.
pub(crate) async fn delete_task_definitions(
    cx: &Cx,
    request: ecs::DeleteTaskDefinitionsRequest,
) -> Result<ecs::DeleteTaskDefinitionsResponse, Error> {
    let texts = request.task_definitions.unwrap_or_default();
    if texts.is_empty() || texts.len() > MAX_DELETED {
        return Err(Error::invalid(format!(
            "The number of task definitions must be between 1 and {MAX_DELETED}."
        )));
    }
    let (scope, now) = (cx.scope(), cx.now());
    let read = |text: String| Ok::<_, Error>((one_revision(scope, &text)?, text));
    let wanted = texts.into_iter().map(read).collect::<Result<Vec<_>, _>>()?;

    let (deleted, failures) = cx
        .store()
        .transact(|txn| {
            let (mut deleted, mut failures) = (vec![], vec![]);
            for ((family, revision), text) in &wanted {
                match delete(txn, scope, &Definition::id_of(family, *revision), now) {
                    Ok(definition) => deleted.push(definition),
                    Err(reason) => failures.push(ecs::Failure {
                        arn: Some(text.clone()),
                        reason: Some(reason.to_owned()),
                        detail: None,
                    }),
                }
            }
            Ok::<_, Error>((deleted, failures))
        })
        .await?;

    Ok(ecs::DeleteTaskDefinitionsResponse {
        task_definitions: Some(deleted.iter().map(|it| show::definition(it)).collect()),
        failures: Some(failures),
    })
}

/// Marks one revision as on its way out, or says why not. To ask again is no
/// mistake.
fn delete(
    txn: &mut Txn,
    scope: &Scope,
    id: &str,
    now: ident::Timestamp,
) -> Result<Arc<Definition>, &'static str> {
    let found = txn.get::<Definition>(scope, id).ok_or(
        "The specified task definition does not exist. Specify a valid account, family, revision \
         and try again.",
    )?;
    match found.status {
        DefinitionStatus::Active => Err(
            "The specified task definition is still in ACTIVE status. Please deregister the target \
             and try again.",
        ),
        DefinitionStatus::DeleteInProgress => Ok(found),
        DefinitionStatus::Inactive => {
            let leaving = Definition {
                status: DefinitionStatus::DeleteInProgress,
                delete_requested_at: Some(now),
                ..Definition::clone(&found)
            };
            txn.put(leaving.clone());
            Ok(Arc::new(leaving))
        }
    }
}

/// The revision that a name means: the one it says, or the newest active one.
pub(crate) fn named(view: &View, scope: &Scope, name: &DefinitionName) -> Option<Arc<Definition>> {
    match name.revision {
        Some(revision) => view.get(scope, &Definition::id_of(&name.family, revision)),
        None => view
            .by::<Definition>(scope, BY_FAMILY, name.family.as_str())
            .filter(|definition| definition.status == DefinitionStatus::Active)
            .last(),
    }
}

/// Shows one revision.
pub(crate) fn describe_task_definition(
    cx: &Cx,
    request: ecs::DescribeTaskDefinitionRequest,
) -> Result<ecs::DescribeTaskDefinitionResponse, Error> {
    let text = request.task_definition.unwrap_or_default();
    let name = names::definition(cx.scope(), &text)?;
    let with_tags = request.include.iter().flatten().any(|part| part == "TAGS");

    let view = cx.view();
    let found = named(&view, cx.scope(), &name).ok_or(Error::NoDefinition(text))?;
    Ok(ecs::DescribeTaskDefinitionResponse {
        task_definition: Some(show::definition(&found)),
        tags: Some(if with_tags { show_tags(&found.tags) } else { vec![] }),
    })
}

/// Names revisions, in the order of families and numbers or the reverse.
pub(crate) fn list_task_definitions(
    cx: &Cx,
    request: ecs::ListTaskDefinitionsRequest,
) -> Result<ecs::ListTaskDefinitionsResponse, Error> {
    let status = request.status.as_deref().unwrap_or("ACTIVE");
    let descending = request.sort.as_deref() == Some("DESC");
    // A token of one direction would start at the wrong end of the other.
    let list = if descending { "ListTaskDefinitionsDesc" } else { "ListTaskDefinitions" };
    let paging = paging(cx, list, request.max_results, request.next_token.as_ref())?;

    let view = cx.view();
    let prefix = request.family_prefix.unwrap_or_default();
    let mut found: Vec<_> = view
        .list::<Definition>(cx.scope())
        // Despite its name the parameter is the whole family.
        .filter(|definition| prefix.is_empty() || definition.family.as_str() == prefix)
        .filter(|definition| definition.status.as_str() == status)
        .map(|definition| {
            let key = Definition::id_of(&definition.family, definition.revision);
            (if descending { reversed(&key) } else { key }, definition)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let page = paging.page(found, |(key, _)| key.clone()).map(|(_, it)| it.arn().to_string());
    Ok(ecs::ListTaskDefinitionsResponse {
        task_definition_arns: Some(page.items),
        next_token: page.next_token,
    })
}

/// Names families. One with an active revision is active, any other that still has
/// revisions is inactive.
pub(crate) fn list_task_definition_families(
    cx: &Cx,
    request: &ecs::ListTaskDefinitionFamiliesRequest,
) -> Result<ecs::ListTaskDefinitionFamiliesResponse, Error> {
    let paging =
        paging(cx, "ListTaskDefinitionFamilies", request.max_results, request.next_token.as_ref())?;
    let prefix = request.family_prefix.as_deref().unwrap_or_default();
    let view = cx.view();
    let mut families = BTreeMap::<String, bool>::new();
    for definition in view.list::<Definition>(cx.scope()) {
        if definition.family.as_str().starts_with(prefix) {
            let active = families.entry(definition.family.to_string()).or_default();
            *active |= definition.status == DefinitionStatus::Active;
        }
    }
    let wanted = |active: bool| match request.status.as_deref() {
        Some("ACTIVE") => active,
        Some("INACTIVE") => !active,
        _ => true,
    };
    let found = families.into_iter().filter(|(_, active)| wanted(*active)).map(|(name, _)| name);
    let page = paging.page(found, String::clone);
    Ok(ecs::ListTaskDefinitionFamiliesResponse {
        families: Some(page.items),
        next_token: page.next_token,
    })
}

/// A key that sorts the other way round: every byte mirrored, and an end that
/// comes after everything, so that what is longer comes first.
fn reversed(key: &str) -> String {
    let mirror = |byte: u8| char::from(127_u8.saturating_sub(byte));
    key.bytes().map(mirror).chain(std::iter::once('\u{7f}')).collect()
}

#[cfg(test)]
mod tests {
    use super::reversed;

    #[test]
    fn reversed_keys_sort_the_other_way() {
        let mut keys = ["a:1", "a", "b", "a-b", "", "B_2"];
        keys.sort_unstable();
        let mut mirrored = keys;
        mirrored.sort_by_key(|key| reversed(key));
        mirrored.reverse();
        assert_eq!(keys, mirrored);
    }
}

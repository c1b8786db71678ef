//! `RegisterTaskDefinition`, `DescribeTaskDefinition`, `ListTaskDefinitions`.

use super::{caller_arn, paging};
use crate::names::DefinitionName;
use crate::records::{BY_FAMILY, Definition, DefinitionStatus, show_tags};
use crate::{Error, definition, names, show};
use chassis::Cx;
use ident::Scope;
use std::sync::Arc;
use store::View;
use wire::ecs;

/// Adds a revision to a family.
pub(crate) async fn register_task_definition(
    cx: &Cx,
    request: ecs::RegisterTaskDefinitionRequest,
) -> Result<ecs::RegisterTaskDefinitionResponse, Error> {
    let (family, spec, tags) = definition::accept(request)?;
    let (scope, now, registered_by) = (cx.scope(), cx.now(), caller_arn(cx));

    let registered = cx
        .store()
        .transact(|txn| {
            // Through the transaction's own reads, so that two registrations at
            // once cannot both become the same revision.
            let last = txn.by::<Definition>(scope, BY_FAMILY, family.as_str()).last();
            let registered = Definition {
                scope: scope.clone(),
                family: family.clone(),
                revision: last.map_or(1, |last| last.revision.saturating_add(1)),
                status: DefinitionStatus::Active,
                registered_at: now,
                registered_by: registered_by.clone(),
                tags: tags.clone(),
                spec: spec.clone(),
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
    let paging = paging(list, request.max_results, request.next_token.as_ref())?;

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

//! `TagResource`, `UntagResource`, `ListTagsForResource`.

use super::existing;
use crate::names::{self, Resource};
use crate::records::{
    Cluster, ContainerInstance, Definition, DefinitionStatus, InstanceStatus, Task,
};
use crate::{Error, tags};
use chassis::Cx;
use ident::{Scope, Tags};
use sched::lifecycle::Phase;
use std::sync::Arc;
use store::{Txn, View};
use wire::ecs;

/// Gives a resource tags, besides those that it has.
pub(crate) async fn tag_resource(
    cx: &Cx,
    request: ecs::TagResourceRequest,
) -> Result<ecs::TagResourceResponse, Error> {
    let resource = named(cx.scope(), request.resource_arn.as_deref())?;
    let more = tags::read(request.tags)?;
    let done = cx
        .store()
        .transact(|txn| change(txn, cx.scope(), &resource, |tags| crate::tags::add(tags, &more)));
    done.await?;
    Ok(ecs::TagResourceResponse::default())
}

/// Takes tags from a resource.
pub(crate) async fn untag_resource(
    cx: &Cx,
    request: ecs::UntagResourceRequest,
) -> Result<ecs::UntagResourceResponse, Error> {
    let resource = named(cx.scope(), request.resource_arn.as_deref())?;
    let keys = request.tag_keys.unwrap_or_default();
    let done = cx.store().transact(|txn| {
        change(txn, cx.scope(), &resource, |tags| crate::tags::remove(tags, &keys))
    });
    done.await?;
    Ok(ecs::UntagResourceResponse::default())
}

/// Shows the tags of a resource, whatever became of it.
pub(crate) fn list_tags_for_resource(
    cx: &Cx,
    request: &ecs::ListTagsForResourceRequest,
) -> Result<ecs::ListTagsForResourceResponse, Error> {
    let resource = named(cx.scope(), request.resource_arn.as_deref())?;
    let tags = match find(&cx.view(), cx.scope(), &resource)? {
        Found::Cluster(cluster) => tags::show(&cluster.tags),
        Found::Definition(definition) => tags::show(&definition.tags),
        Found::Task(task) => tags::show(&task.tags),
        Found::Instance(instance) => tags::show(&instance.tags),
    };
    Ok(ecs::ListTagsForResourceResponse { tags: Some(tags) })
}

fn named(scope: &Scope, arn: Option<&str>) -> Result<Resource, Error> {
    names::resource(scope, arn.unwrap_or_default())
}

enum Found {
    Cluster(Arc<Cluster>),
    Definition(Arc<Definition>),
    Task(Arc<Task>),
    Instance(Arc<ContainerInstance>),
}

/// What an ARN names. A cluster that is not there is said to be missing by its
/// own fault, whatever of it was named.
fn find(view: &View, scope: &Scope, resource: &Resource) -> Result<Found, Error> {
    let found = match resource {
        Resource::Cluster(name) => Some(Found::Cluster(existing(view, scope, name)?)),
        Resource::Definition(family, revision) => {
            view.get(scope, &Definition::id_of(family, *revision)).map(Found::Definition)
        }
        Resource::Task(cluster, id) => {
            existing(view, scope, cluster)?;
            let found = view.get::<Task>(scope, id.as_str());
            found.filter(|task| task.cluster == *cluster).map(Found::Task)
        }
        Resource::Instance(cluster, id) => {
            existing(view, scope, cluster)?;
            let found = view.get::<ContainerInstance>(scope, id.as_str());
            found.filter(|instance| instance.cluster == *cluster).map(Found::Instance)
        }
        Resource::Service(cluster) => {
            existing(view, scope, cluster)?;
            None
        }
        Resource::Other => None,
    };
    found.ok_or(Error::NoResource)
}

/// Changes the tags of what is in use; what is over keeps those that it has.
fn change(
    txn: &mut Txn,
    scope: &Scope,
    resource: &Resource,
    change: impl FnOnce(&mut Tags) -> Result<(), Error>,
) -> Result<(), Error> {
    match find(txn.view(), scope, resource)? {
        Found::Cluster(found) => {
            let mut cluster = Cluster::clone(&found);
            change(&mut cluster.tags)?;
            txn.put(cluster);
        }
        Found::Definition(found) if found.status == DefinitionStatus::Active => {
            let mut definition = Definition::clone(&found);
            change(&mut definition.tags)?;
            txn.put(definition);
        }
        Found::Definition(_) => return Err(over("task definition", "inactive", "an active")),
        Found::Task(found) if found.phase != Phase::Stopped => {
            let mut task = Task::clone(&found);
            change(&mut task.tags)?;
            txn.put(task);
        }
        Found::Task(_) => return Err(over("task", "stopped", "a running")),
        Found::Instance(found) if found.status != InstanceStatus::Inactive => {
            let mut instance = ContainerInstance::clone(&found);
            change(&mut instance.tags)?;
            txn.put(instance);
        }
        Found::Instance(_) => return Err(over("container instance", "inactive", "an active")),
    }
    Ok(())
}

fn over(what: &str, state: &str, needed: &str) -> Error {
    Error::invalid(format!(
        "The specified {what} is {state}. Specify {needed} {what} and try again."
    ))
}

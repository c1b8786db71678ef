//! `UpdateContainerInstancesState`, `DeregisterContainerInstance`: whether a
//! container instance takes tasks, and its leaving for good.

use super::existing;
use crate::records::{ContainerInstance, InstanceStatus};
use crate::{Error, names, show, view};
use chassis::{Cx, Principal};
use ident::ClusterName;
use std::sync::Arc;
use store::Txn;
use wire::ecs;

/// As many container instances as one request may change.
const MAX_CHANGED: usize = 10;

/// Lets container instances take tasks, or no more of them. Draining stops no
/// task that no service started.
pub(crate) async fn update_container_instances_state(
    cx: &Cx,
    request: ecs::UpdateContainerInstancesStateRequest,
) -> Result<ecs::UpdateContainerInstancesStateResponse, Error> {
    let cluster = names::cluster(cx.scope(), request.cluster.as_deref())?;
    let named = request.container_instances.unwrap_or_default();
    if named.is_empty() {
        return Err(Error::invalid("Container instances cannot be empty."));
    }
    if named.len() > MAX_CHANGED {
        return Err(Error::invalid(format!(
            "Container instances can have at most {MAX_CHANGED} items."
        )));
    }
    let status = match request.status.as_deref() {
        Some("ACTIVE") => InstanceStatus::Active,
        Some("DRAINING") => InstanceStatus::Draining,
        Some(_) | None => {
            return Err(Error::invalid(
                "Container instance status should be one of [ACTIVE,DRAINING]",
            ));
        }
    };
    cx.store()
        .transact(|txn| {
            existing(txn.view(), cx.scope(), &cluster)?;
            let (mut instances, mut failures) = (vec![], vec![]);
            for text in &named {
                let found = match found(cx, txn, &cluster, text) {
                    Err(Error::NoContainerInstance(_)) => {
                        failures.push(show::missing(text));
                        continue;
                    }
                    other => other?,
                };
                if found.status == InstanceStatus::Inactive {
                    failures.push(ecs::Failure {
                        arn: Some(found.arn().to_string()),
                        reason: Some("INACTIVE".to_owned()),
                        detail: None,
                    });
                    continue;
                }
                let mut instance = ContainerInstance::clone(&found);
                if instance.status != status {
                    instance.status = status;
                    instance.version = instance.version.saturating_add(1);
                    txn.put(instance.clone());
                }
                instances.push(show::instance(txn.view(), &instance, &[]));
            }
            Ok(ecs::UpdateContainerInstancesStateResponse {
                container_instances: Some(instances),
                failures: Some(failures),
            })
        })
        .await
}

/// Takes a container instance out of its cluster. Its tasks stop, which has to be
/// meant (`force`); its record stays for a while, as INACTIVE.
pub(crate) async fn deregister_container_instance(
    cx: &Cx,
    request: ecs::DeregisterContainerInstanceRequest,
) -> Result<ecs::DeregisterContainerInstanceResponse, Error> {
    let cluster = names::cluster(cx.scope(), request.cluster.as_deref())?;
    let text = request.container_instance.unwrap_or_default();
    let force = request.force == Some(true);
    let now = cx.now();
    let shown = cx.store().transact(|txn| {
        existing(txn.view(), cx.scope(), &cluster)?;
        let found = found(cx, txn, &cluster, &text)?;
        if found.status == InstanceStatus::Inactive {
            return Err(Error::NoContainerInstance(text.clone()));
        }
        if !force && view::tenants(txn.view(), &found).next().is_some() {
            return Err(Error::invalid("Found running tasks on the instance."));
        }
        let gone = ContainerInstance {
            status: InstanceStatus::Inactive,
            session: None,
            session_changed_at: now,
            deregistered: true,
            version: found.version.saturating_add(1),
            ..ContainerInstance::clone(&found)
        };
        txn.put(gone.clone());
        if let Some(id) = &gone.ec2_instance {
            ec2::instances::trunk(txn, cx.scope(), id, None);
        }
        Ok::<_, Error>(show::instance(txn.view(), &gone, &["TAGS".to_owned()]))
    });
    Ok(ecs::DeregisterContainerInstanceResponse { container_instance: Some(shown.await?) })
}

/// The container instance that a request names, if the caller may change it: an
/// instance may change itself only.
fn found(
    cx: &Cx,
    txn: &Txn,
    cluster: &ClusterName,
    text: &str,
) -> Result<Arc<ContainerInstance>, Error> {
    let id = names::instance(cx.scope(), cluster, text)?;
    let found = txn
        .get::<ContainerInstance>(cx.scope(), id.as_str())
        .filter(|found| found.cluster == *cluster)
        .ok_or_else(|| Error::NoContainerInstance(text.to_owned()))?;
    if let Principal::Instance(caller) = &cx.caller.principal
        && found.ec2_instance.as_ref() != Some(caller)
    {
        return Err(Error::NotYours(caller.clone()));
    }
    Ok(found)
}

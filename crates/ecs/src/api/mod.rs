//! The operations. Every handler has the same three movements: *read* the
//! request into domain types, *change* the world in one transaction, *show* the
//! result in the service's own shapes. None of them waits for anything.

mod account_settings;
mod attributes;
mod clusters;
mod container_instance_state;
mod container_instances;
mod discover_poll_endpoint;
pub(crate) mod run_task;
mod submit;
mod tagging;
mod task_definitions;
mod task_protection;
mod tasks;
#[cfg(test)]
mod tests;

pub(crate) use account_settings::{
    delete_account_setting, list_account_settings, put_account_setting, put_account_setting_default,
};
pub(crate) use attributes::{delete_attributes, list_attributes, put_attributes};
pub(crate) use clusters::{
    create_cluster, delete_cluster, describe_clusters, list_clusters, update_cluster,
    update_cluster_settings,
};
pub(crate) use container_instance_state::{
    deregister_container_instance, update_container_instances_state,
};
pub(crate) use container_instances::{
    describe_container_instances, list_container_instances, prove_identity,
    register_container_instance,
};
pub(crate) use discover_poll_endpoint::discover_poll_endpoint;
pub(crate) use run_task::{run_task, start_task};
pub(crate) use submit::{
    submit_attachment_state_changes, submit_container_state_change, submit_task_state_change,
};
pub(crate) use tagging::{list_tags_for_resource, tag_resource, untag_resource};
pub(crate) use task_definitions::{
    delete_task_definitions, deregister_task_definition, describe_task_definition,
    list_task_definition_families, list_task_definitions, register_task_definition,
};
pub(crate) use task_protection::{get_task_protection, update_task_protection};
pub(crate) use tasks::{describe_tasks, list_tasks, stop_task};

use crate::Error;
use crate::records::Cluster;
use chassis::Cx;
use chassis::paging::{Limits, Paging};
use ident::{ClusterName, Scope};
use std::sync::Arc;
use store::View;

/// How many items every list of ECS shows at a time.
const LIMITS: Limits = Limits { default: 100, min: 1, max: 100 };
/// How many things one may ask to be described.
const MAX_DESCRIBED: usize = 100;

/// The page that a request asks for.
fn paging(
    cx: &Cx,
    list: &'static str,
    size: Option<i32>,
    token: Option<&String>,
) -> Result<Paging, Error> {
    Ok(Paging::parse(list, cx.scope(), LIMITS, size, token.map(String::as_str))?)
}

/// The cluster that a request names, if there is one.
fn known_cluster(view: &View, scope: &Scope, text: Option<&str>) -> Result<Arc<Cluster>, Error> {
    let name = crate::names::cluster(scope, text)?;
    existing(view, scope, &name)
}

fn existing(view: &View, scope: &Scope, name: &ClusterName) -> Result<Arc<Cluster>, Error> {
    let found: Option<Arc<Cluster>> = view.get(scope, name.as_str());
    found.filter(|cluster| cluster.is_active()).ok_or_else(|| Error::NoCluster(name.clone()))
}

/// What a request wants described: something, and not too much of it.
fn wanted(list: Option<Vec<String>>, what: &str) -> Result<Vec<String>, Error> {
    let list = list.unwrap_or_default();
    if list.is_empty() {
        return Err(Error::invalid(format!("{what} cannot be empty.")));
    }
    if list.len() > MAX_DESCRIBED {
        return Err(Error::invalid(format!("{what} can have at most {MAX_DESCRIBED} items.")));
    }
    Ok(list)
}

//! Amazon ECS: clusters, task definitions, tasks, container instances, and the
//! agents on them.
//!
//! # Map
//!
//! | module | what it says |
//! |---|---|
//! | `api` | the operations, one file per resource: read, change, show |
//! | [`records`] | what we keep |
//! | `show` | our records in the shapes of the API |
//! | `names` | ARNs and identifiers |
//! | `definition` | whether a task definition is sound, and what it demands |
//! | `launch` | a definition with the overrides of one launch |
//! | `placing` | what requests and definitions say about placement |
//! | `starting` | making tasks, once it is known where they go |
//! | [`account_settings`] | which settings there are, and what holds for whom |
//! | `tags` | the rules of tags, for whatever has some |
//! | [`view`] | what follows from the state |
//! | [`fleets`] | container instances as placement sees them, kept with each state |
//! | [`explain`] | why tasks are where they are, and what they wait for |
//! | [`acs`] | telling agents what to run |
//! | [`tcs`] | hearing how containers fare |
//! | [`controllers`] | what moves tasks on when nobody asks |
//! | [`tenancy`] | what becomes of tasks when their account is deleted |
//! | [`Error`] | why we refuse, in our words and in AWS's |
//!
//! # Invariants
//!
//! - A task is in one phase; what is wanted of it, what is owed to it and how its
//!   interface's attachment fares are functions of the phase and never stored.
//! - A task has its place and its interface from the commit that makes it, and
//!   keeps its share of the instance until the commit that makes it STOPPED.
//! - What remains of an instance is what it registered minus what its tasks need,
//!   counted afresh whenever one of these changes.
//! - Nothing that a request asks for is ignored: it is obeyed, kept for later, or
//!   refused with a text that names it.
//! - An instance speaks for itself only.

mod api;
mod definition;
mod error;
mod facts;
mod launch;
mod names;
mod placing;
mod show;
mod starting;
mod tags;
#[cfg(test)]
mod testing;

pub mod account_settings;
pub mod acs;
pub mod controllers;
pub mod explain;
pub mod fleets;
pub mod records;
pub mod tcs;
pub mod tenancy;
pub mod view;

pub use controllers::{Settings, controllers};
pub use error::Error;
pub use names::{attachment_arn, cluster_arn, instance_arn, task_arn};
pub use records::records;

use async_trait::async_trait;
use chassis::Cx;
use wire::{Fault, ecs};

/// The service.
#[derive(Clone, Debug)]
pub struct Ecs {
    /// Where agents reach the edge, such as `http://10.0.0.1:4566`.
    pub public_url: String,
    /// Knows the identity documents of our machines; without one none is believed.
    pub identity: Option<ec2::identity::Verifier>,
}

/// The error as the client sees it. What happened behind a 500 is for our logs,
/// and this is the last place that knows.
fn told(error: Error) -> Fault {
    let fault = error.fault();
    if fault.status >= 500 {
        tracing::error!(error = &error as &dyn std::error::Error, "an ECS operation failed");
    }
    drop(error);
    fault
}

/// Operations that only look answer at once; the others wait for their commit.
#[async_trait]
impl ecs::Api<Cx> for Ecs {
    async fn create_cluster(
        &self,
        cx: &Cx,
        request: ecs::CreateClusterRequest,
    ) -> Result<ecs::CreateClusterResponse, Fault> {
        api::create_cluster(cx, request).await.map_err(told)
    }

    async fn describe_clusters(
        &self,
        cx: &Cx,
        request: ecs::DescribeClustersRequest,
    ) -> Result<ecs::DescribeClustersResponse, Fault> {
        api::describe_clusters(cx, request).map_err(told)
    }

    async fn list_clusters(
        &self,
        cx: &Cx,
        request: ecs::ListClustersRequest,
    ) -> Result<ecs::ListClustersResponse, Fault> {
        api::list_clusters(cx, &request).map_err(told)
    }

    async fn register_task_definition(
        &self,
        cx: &Cx,
        request: ecs::RegisterTaskDefinitionRequest,
    ) -> Result<ecs::RegisterTaskDefinitionResponse, Fault> {
        api::register_task_definition(cx, request).await.map_err(told)
    }

    async fn describe_task_definition(
        &self,
        cx: &Cx,
        request: ecs::DescribeTaskDefinitionRequest,
    ) -> Result<ecs::DescribeTaskDefinitionResponse, Fault> {
        api::describe_task_definition(cx, request).map_err(told)
    }

    async fn list_task_definitions(
        &self,
        cx: &Cx,
        request: ecs::ListTaskDefinitionsRequest,
    ) -> Result<ecs::ListTaskDefinitionsResponse, Fault> {
        api::list_task_definitions(cx, request).map_err(told)
    }

    async fn list_task_definition_families(
        &self,
        cx: &Cx,
        request: ecs::ListTaskDefinitionFamiliesRequest,
    ) -> Result<ecs::ListTaskDefinitionFamiliesResponse, Fault> {
        api::list_task_definition_families(cx, &request).map_err(told)
    }

    async fn deregister_task_definition(
        &self,
        cx: &Cx,
        request: ecs::DeregisterTaskDefinitionRequest,
    ) -> Result<ecs::DeregisterTaskDefinitionResponse, Fault> {
        api::deregister_task_definition(cx, request).await.map_err(told)
    }

    async fn delete_task_definitions(
        &self,
        cx: &Cx,
        request: ecs::DeleteTaskDefinitionsRequest,
    ) -> Result<ecs::DeleteTaskDefinitionsResponse, Fault> {
        api::delete_task_definitions(cx, request).await.map_err(told)
    }

    async fn run_task(
        &self,
        cx: &Cx,
        request: ecs::RunTaskRequest,
    ) -> Result<ecs::RunTaskResponse, Fault> {
        api::run_task(cx, request).await.map_err(told)
    }

    async fn start_task(
        &self,
        cx: &Cx,
        request: ecs::StartTaskRequest,
    ) -> Result<ecs::StartTaskResponse, Fault> {
        api::start_task(cx, request).await.map_err(told)
    }

    async fn get_task_protection(
        &self,
        cx: &Cx,
        request: ecs::GetTaskProtectionRequest,
    ) -> Result<ecs::GetTaskProtectionResponse, Fault> {
        api::get_task_protection(cx, request).map_err(told)
    }

    async fn update_task_protection(
        &self,
        cx: &Cx,
        request: ecs::UpdateTaskProtectionRequest,
    ) -> Result<ecs::UpdateTaskProtectionResponse, Fault> {
        api::update_task_protection(cx, request).await.map_err(told)
    }

    async fn deregister_container_instance(
        &self,
        cx: &Cx,
        request: ecs::DeregisterContainerInstanceRequest,
    ) -> Result<ecs::DeregisterContainerInstanceResponse, Fault> {
        api::deregister_container_instance(cx, request).await.map_err(told)
    }

    async fn update_container_instances_state(
        &self,
        cx: &Cx,
        request: ecs::UpdateContainerInstancesStateRequest,
    ) -> Result<ecs::UpdateContainerInstancesStateResponse, Fault> {
        api::update_container_instances_state(cx, request).await.map_err(told)
    }

    async fn stop_task(
        &self,
        cx: &Cx,
        request: ecs::StopTaskRequest,
    ) -> Result<ecs::StopTaskResponse, Fault> {
        api::stop_task(cx, request).await.map_err(told)
    }

    async fn describe_tasks(
        &self,
        cx: &Cx,
        request: ecs::DescribeTasksRequest,
    ) -> Result<ecs::DescribeTasksResponse, Fault> {
        api::describe_tasks(cx, request).map_err(told)
    }

    async fn list_tasks(
        &self,
        cx: &Cx,
        request: ecs::ListTasksRequest,
    ) -> Result<ecs::ListTasksResponse, Fault> {
        api::list_tasks(cx, &request).map_err(told)
    }

    async fn register_container_instance(
        &self,
        cx: &Cx,
        request: ecs::RegisterContainerInstanceRequest,
    ) -> Result<ecs::RegisterContainerInstanceResponse, Fault> {
        api::prove_identity(self.identity.as_ref(), &request).map_err(told)?;
        api::register_container_instance(cx, request).await.map_err(told)
    }

    async fn describe_container_instances(
        &self,
        cx: &Cx,
        request: ecs::DescribeContainerInstancesRequest,
    ) -> Result<ecs::DescribeContainerInstancesResponse, Fault> {
        api::describe_container_instances(cx, request).map_err(told)
    }

    async fn list_container_instances(
        &self,
        cx: &Cx,
        request: ecs::ListContainerInstancesRequest,
    ) -> Result<ecs::ListContainerInstancesResponse, Fault> {
        api::list_container_instances(cx, request).map_err(told)
    }

    async fn discover_poll_endpoint(
        &self,
        cx: &Cx,
        request: ecs::DiscoverPollEndpointRequest,
    ) -> Result<ecs::DiscoverPollEndpointResponse, Fault> {
        api::discover_poll_endpoint(self, cx, &request).map_err(told)
    }

    async fn submit_task_state_change(
        &self,
        cx: &Cx,
        request: ecs::SubmitTaskStateChangeRequest,
    ) -> Result<ecs::SubmitTaskStateChangeResponse, Fault> {
        api::submit_task_state_change(cx, request).await.map_err(told)
    }

    async fn submit_container_state_change(
        &self,
        cx: &Cx,
        request: ecs::SubmitContainerStateChangeRequest,
    ) -> Result<ecs::SubmitContainerStateChangeResponse, Fault> {
        api::submit_container_state_change(cx, request).await.map_err(told)
    }

    async fn submit_attachment_state_changes(
        &self,
        cx: &Cx,
        request: ecs::SubmitAttachmentStateChangesRequest,
    ) -> Result<ecs::SubmitAttachmentStateChangesResponse, Fault> {
        api::submit_attachment_state_changes(cx, &request).map_err(told)
    }

    async fn put_account_setting(
        &self,
        cx: &Cx,
        request: ecs::PutAccountSettingRequest,
    ) -> Result<ecs::PutAccountSettingResponse, Fault> {
        api::put_account_setting(cx, request).await.map_err(told)
    }

    async fn put_account_setting_default(
        &self,
        cx: &Cx,
        request: ecs::PutAccountSettingDefaultRequest,
    ) -> Result<ecs::PutAccountSettingDefaultResponse, Fault> {
        api::put_account_setting_default(cx, request).await.map_err(told)
    }

    async fn delete_account_setting(
        &self,
        cx: &Cx,
        request: ecs::DeleteAccountSettingRequest,
    ) -> Result<ecs::DeleteAccountSettingResponse, Fault> {
        api::delete_account_setting(cx, request).await.map_err(told)
    }

    async fn list_account_settings(
        &self,
        cx: &Cx,
        request: ecs::ListAccountSettingsRequest,
    ) -> Result<ecs::ListAccountSettingsResponse, Fault> {
        api::list_account_settings(cx, &request).map_err(told)
    }

    async fn delete_cluster(
        &self,
        cx: &Cx,
        request: ecs::DeleteClusterRequest,
    ) -> Result<ecs::DeleteClusterResponse, Fault> {
        api::delete_cluster(cx, request).await.map_err(told)
    }

    async fn update_cluster(
        &self,
        cx: &Cx,
        request: ecs::UpdateClusterRequest,
    ) -> Result<ecs::UpdateClusterResponse, Fault> {
        api::update_cluster(cx, request).await.map_err(told)
    }

    async fn update_cluster_settings(
        &self,
        cx: &Cx,
        request: ecs::UpdateClusterSettingsRequest,
    ) -> Result<ecs::UpdateClusterSettingsResponse, Fault> {
        api::update_cluster_settings(cx, request).await.map_err(told)
    }

    async fn put_attributes(
        &self,
        cx: &Cx,
        request: ecs::PutAttributesRequest,
    ) -> Result<ecs::PutAttributesResponse, Fault> {
        api::put_attributes(cx, request).await.map_err(told)
    }

    async fn delete_attributes(
        &self,
        cx: &Cx,
        request: ecs::DeleteAttributesRequest,
    ) -> Result<ecs::DeleteAttributesResponse, Fault> {
        api::delete_attributes(cx, request).await.map_err(told)
    }

    async fn list_attributes(
        &self,
        cx: &Cx,
        request: ecs::ListAttributesRequest,
    ) -> Result<ecs::ListAttributesResponse, Fault> {
        api::list_attributes(cx, &request).map_err(told)
    }

    async fn tag_resource(
        &self,
        cx: &Cx,
        request: ecs::TagResourceRequest,
    ) -> Result<ecs::TagResourceResponse, Fault> {
        api::tag_resource(cx, request).await.map_err(told)
    }

    async fn untag_resource(
        &self,
        cx: &Cx,
        request: ecs::UntagResourceRequest,
    ) -> Result<ecs::UntagResourceResponse, Fault> {
        api::untag_resource(cx, request).await.map_err(told)
    }

    async fn list_tags_for_resource(
        &self,
        cx: &Cx,
        request: ecs::ListTagsForResourceRequest,
    ) -> Result<ecs::ListTagsForResourceResponse, Fault> {
        api::list_tags_for_resource(cx, &request).map_err(told)
    }
}

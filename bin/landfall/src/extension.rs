//! What AWS has no API for: accounts, explanations, flows. One more service on
//! the same endpoint, signed and authorized like the others, described by
//! `models/landfall.json`. Each operation is answered by the crate that knows.

use async_trait::async_trait;
use chassis::Cx;
use iam::accounts;
use wire::Fault;
use wire::landfall::{
    Api, CreateAccountRequest, CreateAccountResponse, DeleteAccountRequest, DeleteAccountResponse,
    DescribeFlowsRequest, DescribeFlowsResponse, ExplainPathRequest, ExplainPathResponse,
    ExplainPlacementRequest, ExplainPlacementResponse, ExplainTaskRequest, ExplainTaskResponse,
    ListAccountsRequest, ListAccountsResponse,
};

/// The service.
#[derive(Clone, Debug)]
pub(crate) struct Extension {
    /// Whom flows are asked of.
    pub(crate) cards: ec2::CardSocket,
}

/// An error about accounts as the client sees it.
fn told(error: accounts::Error) -> Fault {
    let fault = error.fault();
    if fault.status >= 500 {
        tracing::error!(error = &error as &dyn std::error::Error, "an account operation failed");
    }
    drop(error);
    fault
}

#[async_trait]
impl Api<Cx> for Extension {
    async fn create_account(
        &self,
        cx: &Cx,
        request: CreateAccountRequest,
    ) -> Result<CreateAccountResponse, Fault> {
        accounts::create(cx, request).await.map_err(told)
    }

    async fn list_accounts(
        &self,
        cx: &Cx,
        request: ListAccountsRequest,
    ) -> Result<ListAccountsResponse, Fault> {
        accounts::list(cx, &request).map_err(told)
    }

    async fn delete_account(
        &self,
        cx: &Cx,
        request: DeleteAccountRequest,
    ) -> Result<DeleteAccountResponse, Fault> {
        accounts::delete(cx, request).await.map_err(told)
    }

    async fn describe_flows(
        &self,
        cx: &Cx,
        request: DescribeFlowsRequest,
    ) -> Result<DescribeFlowsResponse, Fault> {
        ecs::explain::flows(cx, &self.cards, &request).await
    }

    async fn explain_path(
        &self,
        cx: &Cx,
        request: ExplainPathRequest,
    ) -> Result<ExplainPathResponse, Fault> {
        ecs::explain::path(cx, &request)
    }

    async fn explain_placement(
        &self,
        cx: &Cx,
        request: ExplainPlacementRequest,
    ) -> Result<ExplainPlacementResponse, Fault> {
        ecs::explain::placement(cx, request).await
    }

    async fn explain_task(
        &self,
        cx: &Cx,
        request: ExplainTaskRequest,
    ) -> Result<ExplainTaskResponse, Fault> {
        ecs::explain::task(cx, &request)
    }
}

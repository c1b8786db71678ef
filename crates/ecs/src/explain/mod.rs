//! Why things are as they are: `landfall explain`.
//!
//! AWS has no API for these. They look at the same state and ask the same functions
//! as the operations that they explain, so that the two cannot disagree.

mod flows;
mod path;
mod placement;
mod task;

use chassis::Cx;
use ec2::CardSocket;
use wire::Fault;
use wire::landfall::{
    DescribeFlowsRequest, DescribeFlowsResponse, ExplainPathRequest, ExplainPathResponse,
    ExplainPlacementRequest, ExplainPlacementResponse, ExplainTaskRequest, ExplainTaskResponse,
};

/// Where RunTask would place tasks now, and for each container instance why not
/// there. Nothing is started. What RunTask would refuse is refused in its words.
pub async fn placement(
    cx: &Cx,
    request: ExplainPlacementRequest,
) -> Result<ExplainPlacementResponse, Fault> {
    placement::explain(cx, request).await.map_err(crate::told)
}

/// What passes the account's interfaces now and what does not, as their cards tell it.
/// Cards that do not answer are named.
pub async fn flows(
    cx: &Cx,
    cards: &CardSocket,
    request: &DescribeFlowsRequest,
) -> Result<DescribeFlowsResponse, Fault> {
    flows::describe(cx, cards, request).await.map_err(crate::told)
}

/// Whether a connection would come about, and which rules let it or which gate does not.
pub fn path(cx: &Cx, request: &ExplainPathRequest) -> Result<ExplainPathResponse, Fault> {
    path::explain(cx, request).map_err(crate::told)
}

/// What a task waits for, and what happened to it so far.
pub fn task(cx: &Cx, request: &ExplainTaskRequest) -> Result<ExplainTaskResponse, Fault> {
    task::explain(cx, request).map_err(crate::told)
}

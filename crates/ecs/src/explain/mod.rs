//! Why things are as they are: the part of `landfall explain` that is about tasks.
//!
//! AWS has no API for these. They look at the same state and ask the same functions
//! as the operations that they explain, so that the two cannot disagree.

mod placement;
mod task;

use chassis::Cx;
use wire::Fault;
use wire::landfall::{
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

/// What a task waits for, and what happened to it so far.
pub fn task(cx: &Cx, request: &ExplainTaskRequest) -> Result<ExplainTaskResponse, Fault> {
    task::explain(cx, request).map_err(crate::told)
}

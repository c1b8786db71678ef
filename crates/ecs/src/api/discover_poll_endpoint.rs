//! `DiscoverPollEndpoint`.

use super::known_cluster;
use crate::acs::admitted;
use crate::{Ecs, Error, names};
use chassis::Cx;
use wire::ecs;

/// Tells an agent where its websockets are: on our one endpoint, under two paths.
/// The agent appends `ws` to each. All instances have the same, but whoever would not
/// be let in there is told so here already.
pub(crate) fn discover_poll_endpoint(
    service: &Ecs,
    cx: &Cx,
    request: &ecs::DiscoverPollEndpointRequest,
) -> Result<ecs::DiscoverPollEndpointResponse, Error> {
    let cluster = known_cluster(&cx.view(), cx.scope(), request.cluster.as_deref())?;
    if let Some(text) = request.container_instance.as_deref().filter(|text| !text.is_empty()) {
        let id = names::instance(cx.scope(), &cluster.name, text)?;
        let arn = names::instance_arn(cx.scope(), &cluster.name, &id).to_string();
        admitted(cx, Some(&arn))?;
    }
    let base = service.public_url.trim_end_matches('/');
    Ok(ecs::DiscoverPollEndpointResponse {
        endpoint: Some(format!("{base}/acs/")),
        telemetry_endpoint: Some(format!("{base}/tcs/")),
        service_connect_endpoint: None,
    })
}

//! `DiscoverPollEndpoint`.

use super::known_cluster;
use crate::{Ecs, Error};
use chassis::Cx;
use wire::ecs;

/// Tells an agent where its websockets are: on our one endpoint, under two paths.
/// The agent appends `ws` to each.
pub(crate) fn discover_poll_endpoint(
    service: &Ecs,
    cx: &Cx,
    request: &ecs::DiscoverPollEndpointRequest,
) -> Result<ecs::DiscoverPollEndpointResponse, Error> {
    known_cluster(&cx.view(), cx.scope(), request.cluster.as_deref())?;
    let base = service.public_url.trim_end_matches('/');
    Ok(ecs::DiscoverPollEndpointResponse {
        endpoint: Some(format!("{base}/acs/")),
        telemetry_endpoint: Some(format!("{base}/tcs/")),
        service_connect_endpoint: None,
    })
}

//! The one place that counts and logs what requests came to.

use super::{Response, Visit, refuse};
use crate::{Caller, metrics::Label};
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::body::Incoming;
use tokio::time::Instant;
use tracing::Instrument as _;
use wire::{Fault, Protocol};

/// What has become known of a request. Filled in as it passes through, so that
/// a refusal can be logged with all that was known by then.
pub(super) struct About {
    pub(super) id: String,
    /// From our tables, not the client's text: these become metrics' labels.
    pub(super) service: &'static str,
    pub(super) operation: &'static str,
    /// How to put it to the client.
    pub(super) form: Form,
    pub(super) caller: Option<Caller>,
}

/// In which form a refusal is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// As an answer to an operation.
    Operation(Protocol),
    /// As an answer to the upgrade request of a websocket.
    Socket,
}

impl Visit {
    /// Answers a request of whatever kind.
    pub(super) async fn answer(&self, request: Request<Incoming>) -> Response {
        if let Some(response) = self.public(&request) {
            return response;
        }
        let started = Instant::now();
        let id = crate::cx::uuid(self.edge.platform.bits());
        let span = tracing::info_span!("request", id, remote = %self.remote);
        let mut about = About {
            id,
            service: "-",
            operation: "-",
            form: Form::Operation(Protocol::AwsQuery),
            caller: None,
        };
        async {
            let outcome = if self.edge.sockets.contains_key(request.uri().path()) {
                self.upgrade(request, &mut about).await
            } else {
                self.operation(request, &mut about).await
            };
            self.note(&about, &outcome, started);
            outcome.unwrap_or_else(|fault| refuse::respond(&fault, &about))
        }
        .instrument(span)
        .await
    }

    /// Counts, logs and audits.
    fn note(&self, about: &About, outcome: &Result<Response, Fault>, started: Instant) {
        let status = outcome.as_ref().map_or_else(|f| f.status, |r| r.status().as_u16());
        let spent = started.elapsed();
        let About { service, operation, .. } = *about;
        self.edge.metrics.request(Label { service, operation, status }, spent);

        let micros = u64::try_from(spent.as_micros()).unwrap_or(u64::MAX);
        let caller = about.caller.as_ref().map(|caller| self.edge.authenticator.arn(caller));
        let region = about.caller.as_ref().map(|caller| caller.scope.region.as_str());
        let caller = caller.as_deref().unwrap_or("-");
        match outcome {
            Err(fault) if fault.status >= 500 => tracing::error!(
                service,
                operation,
                caller,
                status,
                micros,
                code = &*fault.code,
                message = fault.message,
                "failed"
            ),
            Err(fault) => tracing::info!(
                service,
                operation,
                caller,
                status,
                micros,
                code = &*fault.code,
                message = fault.message,
                "refused"
            ),
            Ok(_) => tracing::debug!(service, operation, caller, status, micros, "answered"),
        }
        // Who changed what, and who was not let: the trail that an operator
        // reads long after. Whoever nobody knows is not part of it.
        let denied = matches!(status, 401 | 403)
            || outcome.as_ref().is_err_and(|fault| fault.code == "AccessDeniedException");
        if about.caller.is_some() && (denied || changes(operation)) {
            let code = outcome.as_ref().map_or_else(|fault| &*fault.code, |_| "-");
            tracing::info!(
                target: "audit",
                service, operation, caller, status, code,
                region = region.unwrap_or("-"), key = about.caller.as_ref().map(|c| &*c.access_key)
            );
        }
    }

    /// What may be asked without a signature.
    fn public(&self, request: &Request<Incoming>) -> Option<Response> {
        if request.method() != http::Method::GET {
            return None;
        }
        let (kind, text) = match request.uri().path() {
            "/_landfall/health" => {
                let version = env!("CARGO_PKG_VERSION");
                let health = serde_json::json!({ "status": "running", "version": version });
                ("application/json", health.to_string())
            }
            "/_landfall/metrics" => {
                ("text/plain; version=0.0.4; charset=utf-8", self.edge.exposition())
            }
            _ => return None,
        };
        let mut response = Response::new(Full::new(Bytes::from(text)));
        let kind = http::HeaderValue::from_static(kind);
        response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
        Some(response)
    }
}

/// Whether an operation changes something, told by its name as AWS's own
/// read-only policies do. What cannot be told counts as a change.
fn changes(operation: &str) -> bool {
    !["Describe", "Discover", "Get", "List", "Poll", "-"]
        .iter()
        .any(|prefix| operation.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::changes;

    #[test]
    fn reading_is_not_audited() {
        for (operation, wanted) in [
            ("RunTask", true),
            ("SubmitTaskStateChange", true),
            ("DescribeTasks", false),
            ("ListTasks", false),
            ("GetCallerIdentity", false),
            ("DiscoverPollEndpoint", false),
            ("Poll", false),
            ("-", false),
        ] {
            assert_eq!(changes(operation), wanted, "{operation}");
        }
    }
}

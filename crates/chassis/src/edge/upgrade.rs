//! From the upgrade request of a websocket to its session.

use super::observe::{About, Form};
use super::pump::Session;
use super::request::received;
use super::{Response, Visit, refuse};
use crate::{Cx, Query};
use bytes::Bytes;
use http::header::{CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::request::Parts;
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use std::sync::Arc;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tracing::Instrument as _;
use wire::Fault;

impl Visit {
    pub(super) async fn upgrade(
        &self,
        mut request: Request<Incoming>,
        about: &mut About,
    ) -> Result<Response, Fault> {
        about.form = Form::Socket;
        let Some(service) = self.edge.sockets.get(request.uri().path()).cloned() else {
            return Err(refuse::not_an_upgrade());
        };
        (about.service, about.operation) = service.action();

        let upgrade = hyper::upgrade::on(&mut request);
        let (head, _) = received(request);
        let claim = self.claim(&head).map_err(|refusal| self.refusal(&refusal, about))?;
        // An upgrade request has no body. Whatever service it is signed for will
        // do: the agents sign for `ecs`, our card as well.
        let caller =
            self.verify(&claim, &head, &[]).map_err(|refusal| self.refusal(&refusal, about))?;
        about.caller = Some(caller.clone());
        self.authorize(&caller, about.service, about.operation, about.form)?;
        let accept = accept_key(&head).ok_or_else(refuse::not_an_upgrade)?;

        let cx = Cx { platform: self.edge.platform.clone(), caller, request_id: about.id.clone() };
        let query: Query = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes())
            .into_owned()
            .collect();
        service.admit(&cx, &query).await?;

        let session = Session {
            service,
            cx,
            query,
            metrics: Arc::clone(&self.edge.metrics),
            shutdown: self.shutdown.clone(),
        };
        let (action, id) = (about.operation, about.id.clone());
        let span = tracing::info_span!(parent: None, "socket", action, id, remote = %self.remote);
        self.crew.spawn(session.hold(upgrade).instrument(span));

        let mut response = Response::new(Full::new(Bytes::new()));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        Ok(response)
    }
}

/// What to answer to the client's key, if the request is a websocket's.
fn accept_key(head: &Parts) -> Option<HeaderValue> {
    let wants = |name: &HeaderName, token: &str| {
        let values = head.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values
            .flat_map(|value| value.split(','))
            .any(|word| word.trim().eq_ignore_ascii_case(token))
    };
    let version = HeaderName::from_static("sec-websocket-version");
    let sound = head.method == Method::GET
        && head.version == http::Version::HTTP_11
        && wants(&UPGRADE, "websocket")
        && wants(&CONNECTION, "upgrade")
        && wants(&version, "13");
    let key = head.headers.get(SEC_WEBSOCKET_KEY).filter(|_| sound)?;
    HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok()
}

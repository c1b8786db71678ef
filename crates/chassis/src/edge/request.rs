//! From a request of an operation to its answer.

use super::body;
use super::observe::{About, Form};
use super::refuse::{self, full};
use super::{Response, Visit};
use crate::{Caller, Cx, KeyInfo, Principal, Secret};
use futures::FutureExt as _;
use http::header::{AUTHORIZATION, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderValue, Method, Request};
use hyper::body::{Bytes, Incoming};
use ident::{AccountId, Scope, Timestamp};
use std::panic::AssertUnwindSafe;
use wire::protocol::{Call, identify};
use wire::sigv4::{self, Refusal, Signature};
use wire::{Fault, Protocol};

impl Visit {
    pub(super) async fn operation(
        &self,
        request: Request<Incoming>,
        about: &mut About,
    ) -> Result<Response, Fault> {
        let (head, incoming) = received(request);
        let claim = self.claim(&head);

        // Whoever has no key may send as much as it takes to be told so.
        let stranger = claim.is_err();
        let limit = if stranger { body::LARGEST_OF_STRANGERS } else { body::LARGEST };
        let read = body::read(incoming, limit).await;

        let scope = scope(&head);
        let sent: &[u8] = read.as_deref().unwrap_or_default();
        about.form = Form::Operation(protocol(&head, sent, scope));

        let claim = claim.map_err(|refusal| self.refusal(&refusal, about))?;
        let sent = read.map_err(|error| {
            tracing::debug!(error = &error as &dyn std::error::Error, "no body");
            refuse::body(&error)
        })?;
        let caller =
            self.verify(&claim, &head, &sent).map_err(|refusal| self.refusal(&refusal, about))?;

        // From here on the request is somebody's, and worth understanding.
        about.caller = Some(caller.clone());
        let body = body::decode(&head.headers, sent, body::LARGEST)
            .map_err(|error| refuse::body(&error))?;
        let call = identify(&head.method, &head.headers, query(&head), &body, scope).map_err(
            |(protocol, fault)| {
                about.form = Form::Operation(protocol);
                fault
            },
        )?;
        about.form = Form::Operation(call.service.protocol);
        about.service = call.service.name;
        about.operation = known(&call);
        let service = call.service.name;
        if claim.signature.service() != service && !self.edge.options.accept_any_credentials {
            let text = format!("Credential should be scoped to correct service: '{service}'.");
            return Err(self.refusal(&Refusal::Incomplete(text), about));
        }
        if head.uri.path().bytes().any(|byte| byte != b'/') {
            return Err(refuse::nothing_there(call.service.protocol, head.uri.path()));
        }
        self.authorize(&caller, service, &call.operation, about.form)?;
        self.dispatch(caller, call, body, about).await
    }

    /// Hands the call to its service, and does not let it panic out.
    async fn dispatch(
        &self,
        caller: Caller,
        call: Call,
        body: Bytes,
        about: &About,
    ) -> Result<Response, Fault> {
        let protocol = call.service.protocol;
        let Some(service) = self.edge.services.get(call.service.name).cloned() else {
            return Err(call.service.refuse(&call.operation));
        };
        let cx = Cx { platform: self.edge.platform.clone(), caller, request_id: about.id.clone() };
        let request = wire::Request {
            operation: &call.operation,
            id: &cx.request_id,
            body: call.body(&body),
        };
        let served = AssertUnwindSafe(service.serve(&cx, request)).catch_unwind();
        match served.await {
            Ok(served) => Ok(wire::respond(protocol, served?, &about.id).map(full)),
            Err(panic) => {
                self.edge.metrics.panic();
                let panic = crate::panic_text(&*panic);
                tracing::error!(panic, bug = true, "a handler panicked");
                Err(refuse::internal(about.form))
            }
        }
    }

    /// Whether `caller` may do this.
    pub(super) fn authorize(
        &self,
        caller: &Caller,
        service: &str,
        operation: &str,
        form: Form,
    ) -> Result<(), Fault> {
        let authenticator = &self.edge.authenticator;
        if authenticator.allows(caller, service, operation) {
            Ok(())
        } else {
            Err(refuse::not_authorized(form, &authenticator.arn(caller), service, operation))
        }
    }

    /// Who the request says it is from, if we know such a key.
    pub(super) fn claim(&self, head: &Parts) -> Result<Claim, Refusal> {
        let signature = Signature::parse(&signed(head, &[]))?;
        let region = crate::regions::named(signature.region()).ok_or_else(|| {
            let named = signature.region();
            Refusal::Scope(format!("Credential should be scoped to a valid region, not '{named}'."))
        })?;
        let key = self.edge.authenticator.key(&signature.access_key);
        let key = match key {
            Some(key) => key,
            None if self.anything_goes(head) => anybody(),
            None => return Err(self.unbelieved(Refusal::UnknownKey)),
        };
        let caller = Caller {
            scope: Scope { account: key.account, region },
            principal: key.principal,
            access_key: signature.access_key.clone(),
        };
        let (token, expires) = (key.session_token, key.expires);
        Ok(Claim { signature, secret: key.secret, token, expires, caller })
    }

    /// Who the request is from.
    pub(super) fn verify(
        &self,
        claim: &Claim,
        head: &Parts,
        body: &[u8],
    ) -> Result<Caller, Refusal> {
        if !self.anything_goes(head) {
            let now = self.edge.platform.now();
            let verified = claim.signature.verify(&signed(head, body), claim.secret.reveal(), now);
            verified.map_err(|refusal| self.unbelieved(refusal))?;
            // After the signature, so that only the owner of the key learns it.
            let token = claim.signature.session_token.as_deref().map(Secret::new);
            if token != claim.token {
                return Err(Refusal::UnknownKey);
            }
            if claim.expires.is_some_and(|expires| expires <= now) {
                return Err(Refusal::ExpiredToken);
            }
        }
        Ok(claim.caller.clone())
    }

    /// Whether the signature of this request need not be right.
    ///
    /// Where any credentials will do, any page that a browser on this machine shows
    /// could send requests here, and what it could send must be signed with a real
    /// key. A page of another origin cannot set `Authorization` without a preflight,
    /// which is never granted. One that passes as ours, because its name was made to
    /// resolve to this address, can; but its browser adds `Origin` to all but GET and
    /// HEAD, and opens websockets without headers of the page's choice.
    fn anything_goes(&self, head: &Parts) -> bool {
        let page = head.headers.contains_key(ORIGIN) || !head.headers.contains_key(AUTHORIZATION);
        let socket = self.edge.sockets.contains_key(head.uri.path());
        self.edge.options.accept_any_credentials && !page && (socket || head.method == Method::POST)
    }

    /// Tells whoever relies on [`Self::anything_goes`] why it does not go here.
    fn unbelieved(&self, refusal: Refusal) -> Refusal {
        if !self.edge.options.accept_any_credentials {
            return refusal;
        }
        Refusal::Incomplete(
            "Landfall accepts any credentials, but not in what a web page could have sent: \
             use POST, an Authorization header, and no Origin."
                .to_owned(),
        )
    }

    /// A refusal to believe, in the words of the request's protocol.
    pub(super) fn refusal(&self, refusal: &Refusal, about: &About) -> Fault {
        let protocol = match about.form {
            Form::Operation(protocol) => protocol,
            Form::Socket => Protocol::Json11,
        };
        tracing::debug!(remote = %self.remote, %refusal, "not believed");
        refusal.fault(protocol)
    }
}

/// Who a request says it is from.
pub(super) struct Claim {
    pub(super) signature: Signature,
    secret: Secret,
    token: Option<Secret>,
    expires: Option<Timestamp>,
    caller: Caller,
}

/// Whom everybody is taken for if nobody's signature is verified.
fn anybody() -> KeyInfo {
    KeyInfo {
        secret: Secret::new(""),
        account: AccountId::first(),
        principal: Principal::Root,
        session_token: None,
        expires: None,
    }
}

/// The request as the client signed it: in HTTP/2 the host is not a header, but
/// it is signed as one.
pub(super) fn received<B>(request: Request<B>) -> (Parts, B) {
    let (mut head, body) = request.into_parts();
    if !head.headers.contains_key(HOST)
        && let Some(authority) = head.uri.authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        head.headers.insert(HOST, host);
    }
    (head, body)
}

fn query(head: &Parts) -> &str {
    head.uri.query().unwrap_or_default()
}

fn signed<'a>(head: &'a Parts, body: &'a [u8]) -> sigv4::Parts<'a> {
    sigv4::Parts {
        method: head.method.as_str(),
        path: head.uri.path(),
        query: query(head),
        headers: &head.headers,
        body,
    }
}

/// Which protocol to refuse the request in.
fn protocol(head: &Parts, body: &[u8], scope: Option<&str>) -> Protocol {
    identify(&head.method, &head.headers, query(head), body, scope)
        .map_or_else(|(protocol, _)| protocol, |call| call.service.protocol)
}

/// The service of ours that the request claims to be signed for, believed or not.
fn scope(head: &Parts) -> Option<&'static str> {
    let signature = Signature::parse(&signed(head, &[])).ok()?;
    wire::Service::named(signature.service()).map(|service| service.name)
}

/// The call's operation as our tables have it.
fn known(call: &Call) -> &'static str {
    let served = call.service.operation(&call.operation).map(|operation| operation.name);
    let unserved = || {
        let at = call.service.unserved.binary_search(&call.operation.as_str()).ok()?;
        call.service.unserved.get(at).copied()
    };
    served.or_else(unserved).unwrap_or("-")
}

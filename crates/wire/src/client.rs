//! Calling a JSON service ourselves, as our node agent does.
//!
//! Nothing is sent here: a [`Client`] makes requests that whoever has a socket
//! can send, and reads what came back.

use crate::sigv4::{self, Credentials, Parts, Purpose};
use crate::{Fault, Protocol, Service, json};
use http::{HeaderValue, Request, Uri};
use ident::Timestamp;

/// A request that we make. Implemented by the operations marked `client`.
pub trait Call {
    /// What comes back.
    type Response;
    /// The operation's name.
    const OPERATION: &'static str;
    /// Whose operation it is.
    fn service() -> &'static Service;
    /// The body.
    fn encode(&self) -> Result<Vec<u8>, Fault>;
    /// Reads the body of a successful answer.
    fn decode(body: &[u8]) -> Result<Self::Response, Fault>;
}

/// Who calls, and where.
#[derive(Clone, Debug)]
pub struct Client {
    /// Scheme, authority, and perhaps a path: `http://127.0.0.1:4566`.
    pub endpoint: Uri,
    /// The region to sign for.
    pub region: String,
    /// The keys to sign with.
    pub credentials: Credentials,
}

impl Client {
    /// The request that makes `call`.
    pub fn request<T: Call>(&self, call: &T, now: Timestamp) -> Result<Request<Vec<u8>>, Fault> {
        self.post(T::service(), T::OPERATION, call.encode()?, now)
    }

    /// The request that opens a websocket at `uri`, signed as the ECS agent
    /// signs it: an `http` URI even though a websocket follows.
    pub fn upgrade(&self, uri: &Uri, now: Timestamp) -> Result<Request<Vec<u8>>, Fault> {
        let request = Request::get(uri).body(Vec::new()).map_err(unusable)?;
        self.signed(request, "ecs", now)
    }

    /// A TCS frame: the JSON behind a header block that signs it.
    pub fn frame(&self, uri: &Uri, json: &str, now: Timestamp) -> Result<String, Fault> {
        let request = Request::get(uri).body(json.as_bytes().to_vec()).map_err(unusable)?;
        let request = self.signed(request, "ecs", now)?;
        let mut frame = String::new();
        for (shown, name) in [
            ("Authorization", "authorization"),
            ("Host", "host"),
            ("X-Amz-Date", "x-amz-date"),
            ("X-Amz-Security-Token", "x-amz-security-token"),
        ] {
            if let Some(value) = request.headers().get(name).and_then(|v| v.to_str().ok()) {
                frame.extend([shown, ": ", value, "\r\n"]);
            }
        }
        frame.push_str("\r\n");
        frame.push_str(json);
        Ok(frame)
    }

    /// A call of any operation, its body already JSON: for tools that pass on what
    /// they do not read.
    pub fn post(
        &self,
        service: &Service,
        operation: &str,
        body: Vec<u8>,
        now: Timestamp,
    ) -> Result<Request<Vec<u8>>, Fault> {
        debug_assert_eq!(service.protocol, Protocol::Json11, "we call no query services");
        let request = Request::post(&self.endpoint)
            .header("content-type", "application/x-amz-json-1.1")
            .header("x-amz-target", format!("{}.{operation}", service.target))
            .body(body)
            .map_err(unusable)?;
        self.signed(request, service.name, now)
    }

    fn signed(
        &self,
        mut request: Request<Vec<u8>>,
        service: &str,
        now: Timestamp,
    ) -> Result<Request<Vec<u8>>, Fault> {
        let host = request.uri().authority().map_or("", http::uri::Authority::as_str);
        let host = HeaderValue::from_str(host).map_err(unusable)?;
        request.headers_mut().insert("host", host);
        let parts = Parts {
            method: request.method().as_str(),
            path: request.uri().path(),
            query: request.uri().query().unwrap_or_default(),
            headers: request.headers(),
            body: request.body(),
        };
        let purpose = Purpose { region: &self.region, service };
        for (name, value) in sigv4::sign(&parts, &self.credentials, purpose, now) {
            let value = HeaderValue::from_str(&value).map_err(unusable)?;
            request.headers_mut().insert(name, value);
        }
        Ok(request)
    }
}

/// Reads the answer to a `T`.
pub fn response<T: Call>(response: &http::Response<Vec<u8>>) -> Result<T::Response, Fault> {
    if response.status().is_success() { T::decode(response.body()) } else { Err(fault(response)) }
}

/// The fault that an unsuccessful answer is.
fn fault(response: &http::Response<Vec<u8>>) -> Fault {
    let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap_or_default();
    let text = |name: &str| body.get(name).and_then(|text| text.as_str()).map(str::to_owned);
    let header = response.headers().get("x-amzn-errortype").and_then(|code| code.to_str().ok());
    let code = text("__type").or_else(|| header.map(str::to_owned)).unwrap_or_default();
    // `com.amazonaws.ecs#ClientException:http://…`
    let code = code.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default();
    let code = if code.is_empty() { "UnknownError" } else { code };
    let message = text("message").or_else(|| text("Message")).unwrap_or_default();
    Fault::new(response.status().as_u16(), code.to_owned(), message)
}

/// Only configuration can be to blame: an endpoint that is no URI.
fn unusable(error: impl std::fmt::Display) -> Fault {
    json::malformed(format!("The request cannot be made: {error}"))
}

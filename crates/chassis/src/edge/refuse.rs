//! How the edge's own refusals look on the wire.

use super::Response;
use super::body::BodyError;
use super::observe::{About, Form};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use http_body_util::Full;
use wire::{Fault, Protocol};

/// `fault` as an answer to the request that `about` is about.
pub(super) fn respond(fault: &Fault, about: &About) -> Response {
    match about.form {
        Form::Operation(protocol) => fault.respond(protocol, &about.id).map(full),
        Form::Socket => socket(fault, &about.id),
    }
}

/// Bytes as a body.
pub(super) fn full(bytes: Vec<u8>) -> Full<Bytes> {
    Full::new(Bytes::from(bytes))
}

/// A refusal to upgrade. The ECS agent reads the body as it would read a
/// message, so that is what it looks like.
fn socket(fault: &Fault, request_id: &str) -> Response {
    let body = serde_json::json!({
        "type": fault.code,
        "message": { "message": fault.message },
    });
    let mut response = Response::new(full(body.to_string().into_bytes()));
    *response.status_mut() =
        StatusCode::from_u16(fault.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    for (name, text) in [("x-amzn-requestid", request_id), ("x-amzn-errortype", &fault.code)] {
        if let Ok(value) = HeaderValue::from_str(text) {
            headers.insert(name, value);
        }
    }
    response
}

/// The caller is known, and may not.
pub(super) fn not_authorized(form: Form, arn: &str, service: &str, operation: &str) -> Fault {
    let action = format!("{service}:{operation}");
    let text = format!(
        "User: {arn} is not authorized to perform: {action} on resource: * because no \
         identity-based policy allows the {action} action"
    );
    match form {
        Form::Operation(Protocol::Json11) | Form::Socket => {
            Fault::client("AccessDeniedException", text)
        }
        Form::Operation(Protocol::AwsQuery) => Fault::denied("AccessDenied", text),
        Form::Operation(Protocol::Ec2Query) => Fault::denied(
            "UnauthorizedOperation",
            format!("You are not authorized to perform this operation. {text}"),
        ),
    }
}

/// An operation, asked for at a path where nothing is.
pub(super) fn nothing_there(protocol: Protocol, path: &str) -> Fault {
    let code = match protocol {
        Protocol::Json11 => "UnknownOperationException",
        Protocol::Ec2Query | Protocol::AwsQuery => "InvalidAction",
    };
    Fault::new(404, code, format!("Operations are answered at the path /, not at {path}."))
}

/// A handler panicked. What it said is for our logs.
pub(super) fn internal(form: Form) -> Fault {
    let code = match form {
        Form::Operation(Protocol::Ec2Query) => "InternalError",
        Form::Operation(Protocol::Json11 | Protocol::AwsQuery) | Form::Socket => "InternalFailure",
    };
    Fault::server(
        code,
        "The request processing has failed because of an unknown error, exception or failure.",
    )
}

/// The body could not be had.
pub(super) fn body(error: &BodyError) -> Fault {
    let (status, code) = match error {
        BodyError::TooLarge { .. } => (413, "RequestEntityTooLarge"),
        BodyError::TooSlow => (408, "RequestTimeout"),
        BodyError::Broken(_) => (400, "IncompleteBody"),
        BodyError::NotGzip(_) => (400, "SerializationException"),
        BodyError::UnknownEncoding(_) => (415, "UnsupportedMediaType"),
        BodyError::Chunks(error) => return error.fault(),
    };
    Fault::new(status, code, format!("The request cannot be read: {error}."))
}

/// A websocket's path, asked for otherwise.
pub(super) fn not_an_upgrade() -> Fault {
    Fault::new(426, "UpgradeRequired", "This path takes websocket connections only.")
}

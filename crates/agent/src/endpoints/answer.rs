//! Answers, and what requests say beside their path.

use http::{Response, StatusCode, Uri, header};
use serde_json::{Value, json};

/// An answer that is written in full.
pub(super) type Answer = Response<Vec<u8>>;

/// The document that was asked for.
pub(super) fn found(document: impl Into<Value>) -> Answer {
    written(StatusCode::OK, &document.into())
}

/// There is nothing at that path.
pub(super) fn nothing() -> Answer {
    plain(StatusCode::NOT_FOUND, "there is nothing at this path")
}

/// What one who asks too often hears.
pub(super) fn too_many() -> Answer {
    plain(StatusCode::TOO_MANY_REQUESTS, "too many requests: ask less often")
}

/// A refusal for people.
pub(super) fn plain(status: StatusCode, text: &str) -> Answer {
    written(status, &json!(text))
}

/// A refusal in the form that SDKs read.
pub(super) fn fault(status: StatusCode, code: &str, message: &str) -> Answer {
    let code = json!({ "code": code, "message": message, "HTTPErrorCode": status.as_u16() });
    written(status, &code)
}

/// Text as it is.
pub(super) fn text(text: &str) -> Answer {
    whole(StatusCode::OK, "text/plain; charset=utf-8", text.as_bytes().to_vec())
}

/// Any document.
pub(super) fn written(status: StatusCode, document: &Value) -> Answer {
    whole(status, "application/json", document.to_string().into_bytes())
}

fn whole(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Answer {
    let mut answer = Response::new(body);
    *answer.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    answer.headers_mut().insert(header::CONTENT_TYPE, kind);
    answer
}

/// A parameter of the query, which is there even if it is empty.
pub(super) fn parameter<'u>(uri: &'u Uri, name: &str) -> Option<&'u str> {
    let pairs = uri.query()?.split('&').filter_map(|pair| pair.split_once('='));
    pairs.into_iter().find(|(key, _)| *key == name).map(|(_, value)| value)
}

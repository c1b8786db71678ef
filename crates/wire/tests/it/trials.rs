//! What is tried on whatever the world sends, and what must hold of it. The bounded
//! tests beside it try mutants, and `make fuzz` what its coverage leads it to; both
//! find a fault by a panic here.

use http::{HeaderMap, HeaderValue, Method};
use ident::Timestamp;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use wire::protocol::identify;
use wire::sigv4::{Parts, Signature, unchunked};
use wire::{Fault, Protocol, Request, acs, tcs};

/// Our handlers wait for nothing, so one look at them is enough.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("nothing here waits"),
    }
}

/// A refusal in words, that is no fault of ours.
fn polite(fault: &Fault, tried: &[u8]) {
    let tried = String::from_utf8_lossy(tried);
    assert!((400..500).contains(&fault.status), "{fault}: {tried}");
    assert!(!fault.code.is_empty() && !fault.message.is_empty(), "{fault}: {tried}");
    for protocol in [Protocol::Json11, Protocol::Ec2Query, Protocol::AwsQuery] {
        assert_eq!(fault.respond(protocol, "r-1").status().as_u16(), fault.status);
    }
}

/// A line in two at its first space: what stands in a header, and the body.
pub(crate) fn in_two(line: &[u8]) -> (&[u8], &[u8]) {
    let space = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    line.split_at(space)
}

/// Whose operations are all refused, once the request is understood.
struct Nobody;

impl wire::ec2::Api<()> for Nobody {}
impl wire::ecs::Api<()> for Nobody {}
impl wire::iam::Api<()> for Nobody {}
impl wire::landfall::Api<()> for Nobody {}
impl wire::sts::Api<()> for Nobody {}

/// Asks for something, which is refused in the end.
fn ask(headers: &HeaderMap, body: &[u8]) -> Fault {
    let call = match identify(&Method::POST, headers, "", body, None) {
        Ok(call) => call,
        Err((_, fault)) => {
            polite(&fault, body);
            return fault;
        }
    };
    let request = Request { operation: &call.operation, id: "r-1", body: call.body(body) };
    let fault = match call.service.name {
        "ec2" => now(wire::ec2::serve(&Nobody, &(), &request)),
        "ecs" => now(wire::ecs::serve(&Nobody, &(), &request)),
        "iam" => now(wire::iam::serve(&Nobody, &(), &request)),
        "landfall" => now(wire::landfall::serve(&Nobody, &(), &request)),
        _ => now(wire::sts::serve(&Nobody, &(), &request)),
    }
    .expect_err("nobody answers");
    polite(&fault, body);
    fault
}

/// A request in JSON, if its target can stand in a header.
pub(crate) fn json(target: &[u8], body: &[u8]) -> Option<Fault> {
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-target", HeaderValue::from_bytes(target).ok()?);
    Some(ask(&headers, body))
}

/// A request as a form.
pub(crate) fn form(body: &[u8]) -> Fault {
    ask(&HeaderMap::new(), body)
}

/// What came of bodies in chunks.
#[derive(Default)]
pub(crate) struct Unchunked {
    pub(crate) whole: usize,
    pub(crate) refused: Vec<String>,
}

/// The form of the chunks, and a body with its line ends written out.
pub(crate) fn chunked(line: &[u8]) -> Unchunked {
    let mut outcome = Unchunked::default();
    let (form, body) = in_two(line);
    let Ok(form) = HeaderValue::from_bytes(form) else { return outcome };
    let text = String::from_utf8_lossy(body).replace("\\r", "\r").replace("\\n", "\n");
    let body = text.trim_start().as_bytes();
    let mut headers = HeaderMap::new();
    headers.insert("x-amz-content-sha256", form);
    headers.insert("x-amz-trailer", HeaderValue::from_static("x-amz-checksum-crc32"));
    for length in ["0", "9"] {
        let length = HeaderValue::from_static(length);
        headers.insert("x-amz-decoded-content-length", length);
        match unchunked(&headers, body) {
            Ok(None) => {}
            Ok(Some(data)) => {
                assert!(data.len() == 9 || data.is_empty(), "as announced: {data:?}");
                outcome.whole += 1;
            }
            Err(error) => {
                polite(&error.fault(), line);
                outcome.refused.push(error.fault().code.into_owned());
            }
        }
    }
    outcome
}

/// Reads and verifies, which must not succeed: nobody knows the secret.
fn believe(headers: &HeaderMap, query: &str) {
    let parts = Parts { method: "POST", path: "/", query, headers, body: b"{}" };
    let refused = Signature::parse(&parts)
        .and_then(|claim| claim.verify(&parts, "secret", Timestamp(1_440_938_160_000)))
        .expect_err("not signed with this secret");
    for protocol in [Protocol::Json11, Protocol::Ec2Query, Protocol::AwsQuery] {
        polite(&refused.fault(protocol), query.as_bytes());
    }
}

/// A signature in its header.
pub(crate) fn authorization(line: &[u8]) {
    let Ok(authorization) = HeaderValue::from_bytes(line) else { return };
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("localhost"));
    headers.insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
    headers.insert("authorization", authorization);
    believe(&headers, "");
}

/// A signature in the query.
pub(crate) fn presigned(line: &[u8]) {
    let mut headers = HeaderMap::new();
    headers.insert("host", HeaderValue::from_static("localhost"));
    believe(&headers, &String::from_utf8_lossy(line));
}

/// What an agent says, as either of the services understands it.
pub(crate) fn frame(line: &[u8]) {
    let text = String::from_utf8_lossy(line);
    match acs::Message::decode(&text) {
        Ok(message) => drop(message.encode().expect("what was read can be written")),
        Err(fault) => polite(&fault, line),
    }
    match tcs::Message::decode(&text) {
        Ok(message) => drop(message.encode().expect("what was read can be written")),
        Err(fault) => polite(&fault, line),
    }
}

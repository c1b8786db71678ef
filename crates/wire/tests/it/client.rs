//! The calling side, checked by the answering side.

use ident::Timestamp;
use wire::client::{Client, response};
use wire::ecs::{DiscoverPollEndpointRequest, DiscoverPollEndpointResponse};
use wire::protocol::identify;
use wire::sigv4::{Credentials, Parts, Refusal, Signature};
use wire::{Fault, Protocol, tcs};

const NOW: Timestamp = Timestamp(1_795_330_800_000);

fn client() -> Client {
    Client {
        endpoint: "http://127.0.0.1:4566".parse().expect("a URI"),
        region: "us-east-1".into(),
        credentials: Credentials {
            access_key: "AKIDEXAMPLE".into(),
            secret_key: "secret".into(),
            session_token: None,
        },
    }
}

fn verify(request: &http::Request<Vec<u8>>, secret: &str) -> Result<(), Refusal> {
    let parts = Parts {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.uri().query().unwrap_or_default(),
        headers: request.headers(),
        body: request.body(),
    };
    Signature::parse(&parts)?.verify(&parts, secret, NOW)
}

#[test]
fn a_call() {
    let call = DiscoverPollEndpointRequest { cluster: Some("c".into()), ..Default::default() };
    let request = client().request(&call, NOW).expect("a request");
    assert_eq!(request.body(), br#"{"cluster":"c"}"#);
    assert_eq!(request.headers()["content-type"], "application/x-amz-json-1.1");
    assert_eq!(verify(&request, "secret"), Ok(()));
    assert_eq!(verify(&request, "guess"), Err(Refusal::Mismatch));
    let call = identify(request.method(), request.headers(), "", request.body(), Some("ecs"));
    let call = call.expect("identified");
    assert_eq!((call.service.name, call.operation.as_str()), ("ecs", "DiscoverPollEndpoint"));
}

#[test]
fn its_answer() {
    let answer = wire::respond(
        Protocol::Json11,
        br#"{"endpoint":"http://a/","invented":1}"#.to_vec(),
        "r-1",
    );
    let endpoint =
        DiscoverPollEndpointResponse { endpoint: Some("http://a/".into()), ..Default::default() };
    assert_eq!(response::<DiscoverPollEndpointRequest>(&answer), Ok(endpoint));

    let fault = Fault::client("ClusterNotFoundException", "Cluster not found.");
    let answer = fault.respond(Protocol::Json11, "r-1");
    assert_eq!(response::<DiscoverPollEndpointRequest>(&answer), Err(fault));

    let mut gateway = http::Response::new(b"<html>".to_vec());
    *gateway.status_mut() = http::StatusCode::BAD_GATEWAY;
    let fault = response::<DiscoverPollEndpointRequest>(&gateway).expect_err("no answer");
    assert_eq!((fault.status, &*fault.code), (502, "UnknownError"));
}

#[test]
fn codes_lose_their_decoration() {
    let body = br#"{"__type":"com.amazonaws.ecs#ClientException:http://a/","Message":"no"}"#;
    let mut answer = http::Response::new(body.to_vec());
    *answer.status_mut() = http::StatusCode::BAD_REQUEST;
    let fault = response::<DiscoverPollEndpointRequest>(&answer).expect_err("a fault");
    assert_eq!(fault, Fault::client("ClientException", "no"));
}

#[test]
fn a_websocket() {
    let uri = "http://127.0.0.1:4566/acs/ws?dockerVersion=DockerVersion%3A+20.10&seqNum=1";
    let uri: http::Uri = uri.parse().expect("a URI");
    let request = client().upgrade(&uri, NOW).expect("a request");
    assert_eq!(verify(&request, "secret"), Ok(()));

    let frame = client().frame(&uri, r#"{"type":"A"}"#, NOW).expect("a frame");
    let (headers, json) = tcs::split(&frame);
    assert!(headers.contains("\r\nHost: 127.0.0.1:4566\r\nX-Amz-Date: 20261122T070000Z"));
    assert_eq!(json, r#"{"type":"A"}"#);
}

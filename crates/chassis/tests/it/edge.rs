use crate::world::{NOW, ROOT, Signer, World, form, json, refusal, text, whole};
use chassis::{Label, Options};
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::stream;
use http::Request;
use http_body_util::{Full, StreamBody};
use hyper::body::{Bytes, Frame};
use std::io::Write as _;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

const MINUTE: Duration = Duration::from_mins(1);
/// Shorter than the edge's own patience with whoever does not leave.
const PROMPT: Duration = Duration::from_secs(8);

#[tokio::test]
async fn each_service_answers_in_its_own_protocol() {
    let world = World::new().await;
    let response = world.send(ROOT.create_cluster(br#"{"clusterName":"c"}"#)).await;
    assert_eq!(response.status(), 200, "{}", text(&response));
    assert_eq!(response.headers()["content-type"], "application/x-amz-json-1.1");
    assert!(response.headers().contains_key("x-amzn-requestid"));
    let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
    assert_eq!(body["cluster"]["clusterName"], "c");

    let response = world.send(Signer { service: "sts", ..ROOT }.caller_identity()).await;
    assert_eq!(response.status(), 200);
    let body = text(&response);
    // The account is the key's, the region the request's.
    for wanted in ["<Account>123456789012<", "<Arn>eu-west-1<", "<UserId>AKIAROOT<"] {
        assert!(body.contains(wanted), "{wanted} in {body}");
    }
    let id = response.headers()["x-amzn-requestid"].to_str().expect("text");
    assert!(body.contains(&format!("<RequestId>{id}</RequestId>")), "{body}");
}

#[tokio::test]
async fn who_is_not_believed_is_refused_in_the_protocol_of_the_request() {
    let world = World::new().await;
    let late = Signer { at: NOW.after(MINUTE * 14), ..ROOT };
    let response = world.send(late.create_cluster(b"{}")).await;
    assert_eq!(response.status(), 200, "clocks differ");

    let unknown = Signer { key: "AKIANOBODY", ..ROOT };
    let wrong = Signer { secret: "guess", ..ROOT };
    let old = Signer { at: ident::Timestamp(NOW.0 - 16 * 60_000), ..ROOT };
    let early = Signer { at: NOW.after(MINUTE * 16), ..ROOT };
    let elsewhere = Signer { region: "nowhere", ..ROOT };
    let tokenless = Signer { key: "ASIATEMP", ..ROOT };
    let other_token = Signer { token: Some("other"), ..tokenless };
    let needless_token = Signer { token: Some("token"), ..ROOT };
    for (signer, in_json, in_query) in [
        (None, "MissingAuthenticationTokenException", "MissingAuthenticationToken"),
        (Some(unknown), "UnrecognizedClientException", "InvalidClientTokenId"),
        (Some(wrong), "InvalidSignatureException", "SignatureDoesNotMatch"),
        (Some(old), "InvalidSignatureException", "SignatureDoesNotMatch"),
        (Some(early), "InvalidSignatureException", "SignatureDoesNotMatch"),
        (Some(elsewhere), "InvalidSignatureException", "SignatureDoesNotMatch"),
        (Some(tokenless), "UnrecognizedClientException", "InvalidClientTokenId"),
        (Some(other_token), "UnrecognizedClientException", "InvalidClientTokenId"),
        (Some(needless_token), "UnrecognizedClientException", "InvalidClientTokenId"),
    ] {
        let request = signer
            .map_or_else(|| json("CreateCluster", b"{}"), |signer| signer.create_cluster(b"{}"));
        assert_eq!(refusal(&world.send(request).await).1, in_json);
        let unsigned = || form("Action=GetCallerIdentity&Version=2011-06-15");
        let request = signer
            .map_or_else(unsigned, |signer| Signer { service: "sts", ..signer }.caller_identity());
        assert_eq!(refusal(&world.send(request).await).1, in_query);
    }
    let request = Signer { token: Some("token"), ..tokenless }.create_cluster(b"{}");
    assert_eq!(world.send(request).await.status(), 200, "the right token");

    let ec2 = Signer { service: "ec2", ..wrong };
    let body = "Action=DescribeVpcs&Version=2016-11-15";
    let response = world.send(ec2.request(form(body), body.as_bytes())).await;
    assert_eq!(refusal(&response), (401, "AuthFailure".to_owned()));
    assert!(text(&response).contains("<RequestID>"), "{}", text(&response));
}

#[tokio::test]
async fn what_was_not_signed_does_not_count() {
    let world = World::new().await;
    let altered = ROOT.create_cluster(br#"{"clusterName":"a"}"#);
    let altered = altered.map(|_| Full::new(Bytes::from_static(br#"{"clusterName":"b"}"#)));
    let code = refusal(&world.send(altered).await).1;
    assert_eq!(code, "InvalidSignatureException");

    let misplaced = Signer { service: "ec2", ..ROOT }.create_cluster(b"{}");
    let response = world.send(misplaced).await;
    assert_eq!(refusal(&response).1, "IncompleteSignatureException");
    assert!(text(&response).contains("correct service: 'ecs'"), "{}", text(&response));
}

#[tokio::test]
async fn who_is_believed_may_still_not() {
    let world = World::new().await;
    let node = Signer { key: "AKIANODE", ..ROOT };
    let request = node.request(json("RunTask", b"{}"), b"{}");
    let response = world.send(request).await;
    assert_eq!(refusal(&response), (400, "AccessDeniedException".to_owned()));
    let wanted = "User: arn:aws:test::123456789012:Instance(i-00000000000000001) is not \
                  authorized to perform: ecs:RunTask";
    assert!(text(&response).contains(wanted), "{}", text(&response));
    let response = world.send(Signer { service: "sts", ..node }.caller_identity()).await;
    assert_eq!(refusal(&response), (403, "AccessDenied".to_owned()));
    assert_eq!(world.send(node.create_cluster(b"{}")).await.status(), 200);
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused() {
    let world = World::new().await;
    let fly = ROOT.request(json("Fly", b"{}"), b"{}");
    let action = "Action=Fly&Version=2011-06-15";
    let sts = Signer { service: "sts", ..ROOT };
    let unmounted = "Action=DescribeVpcs&Version=2016-11-15";
    let ec2 = Signer { service: "ec2", ..ROOT };
    for (request, wanted) in [
        (ROOT.create_cluster(br#"{"clusterName":"#), (400, "SerializationException")),
        (ROOT.create_cluster(br#"{"clusterName":5}"#), (400, "SerializationException")),
        (ROOT.create_cluster(br#"{"clusterName":"refuse"}"#), (400, "ClientException")),
        (fly, (400, "UnknownOperationException")),
        (sts.request(form(action), action.as_bytes()), (400, "InvalidAction")),
        (ec2.request(form(unmounted), unmounted.as_bytes()), (400, "UnsupportedOperation")),
    ] {
        let response = world.send(request).await;
        let (status, code) = refusal(&response);
        assert_eq!((status, &*code), wanted, "{}", text(&response));
    }
}

#[tokio::test]
async fn strangers_are_told_what_is_missing() {
    let world = World::new().await;
    for (method, path) in [("GET", "/"), ("GET", "/favicon.ico"), ("PUT", "/bucket/key")] {
        let request = Request::builder().method(method).uri(path).header("host", "localhost");
        let response = world.send(request.body(Full::default()).expect("a request")).await;
        assert_eq!(refusal(&response), (403, "MissingAuthenticationToken".to_owned()));
    }
    let get = |path| {
        let request = Request::get(path).header("host", "localhost");
        world.send(request.body(Full::default()).expect("a request"))
    };
    let health: serde_json::Value =
        serde_json::from_slice(get("/_landfall/health").await.body()).expect("JSON");
    assert_eq!(health["status"], "running");
    assert!(health["version"].is_string());
    let metrics = text(&get("/_landfall/metrics").await);
    assert!(metrics.contains("status=\"403\"} 3"), "{metrics}");
    assert!(metrics.ends_with("others_total 1\n"), "what others expose: {metrics}");
}

#[tokio::test]
async fn bodies_have_a_limit() {
    let world = World::new().await;
    let large = vec![b' '; 10 << 20];
    assert_eq!(world.send(ROOT.create_cluster(&large)).await.status(), 200, "just fits");
    let too_large = vec![b' '; (10 << 20) + 1];
    let response = world.send(ROOT.create_cluster(&too_large)).await;
    assert_eq!(refusal(&response), (413, "RequestEntityTooLarge".to_owned()));
    assert!(text(&response).contains("\"__type\""), "in the request's protocol");
    // A stranger is not even told.
    let response = world.send(json("CreateCluster", &too_large)).await;
    assert_eq!(refusal(&response), (403, "MissingAuthenticationTokenException".to_owned()));
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(body).expect("to memory");
    encoder.finish().expect("to memory")
}

#[tokio::test]
async fn bodies_may_be_compressed() {
    let world = World::new().await;
    let send = |encoding: &'static str, body: Vec<u8>| {
        let mut request = json("CreateCluster", &body);
        request.headers_mut().insert("content-encoding", encoding.parse().expect("a header"));
        world.send(ROOT.request(request, &body))
    };
    let response = send("gzip", gzip(br#"{"clusterName":"small"}"#)).await;
    assert!(text(&response).contains("\"small\""), "{}", text(&response));

    let bomb = gzip(&vec![b' '; (10 << 20) + 1]);
    assert!(bomb.len() < 1 << 20);
    assert_eq!(refusal(&send("gzip", bomb).await).0, 413);
    let plain = br#"{"clusterName":"plain"}"#.to_vec();
    assert_eq!(refusal(&send("gzip", plain.clone()).await).1, "SerializationException");
    assert_eq!(refusal(&send("br", plain).await).0, 415);
}

#[tokio::test]
async fn bodies_may_come_in_chunks() {
    let world = World::new().await;
    let whole_body = br#"{"clusterName":"chunked"}"#;
    let mut request = json("CreateCluster", whole_body);
    ROOT.sign("POST", "/", request.headers_mut(), whole_body);
    let chunks = whole_body
        .chunks(5)
        .map(|chunk| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from_static(chunk))));
    let chunks: Vec<_> = chunks.collect();
    let request = request.map(|_| StreamBody::new(stream::iter(chunks)));
    let mut sender = world.connect().await;
    let response = whole(sender.send_request(request).await.expect("an answer")).await;
    assert!(text(&response).contains("\"chunked\""), "{}", text(&response));
}

/// A request as it goes over the wire, head and body.
pub(crate) fn raw(signer: &Signer, body: &[u8], more: &str) -> (String, Vec<u8>) {
    let request = signer.create_cluster(body);
    let mut head = format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n{more}", body.len());
    for (name, value) in request.headers() {
        let value = value.to_str().expect("text");
        head.extend([name.as_str(), ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    (head, body.to_vec())
}

#[tokio::test]
async fn clients_may_ask_before_they_send() {
    let world = World::new().await;
    let (head, body) = raw(&ROOT, br#"{"clusterName":"polite"}"#, "expect: 100-continue\r\n");
    let mut stream = TcpStream::connect(world.address).await.expect("listening");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut buffer = [0; 4096];
    let read = stream.read(&mut buffer).await.expect("read");
    assert!(buffer.get(..read).expect("read").starts_with(b"HTTP/1.1 100 "));
    stream.write_all(&body).await.expect("sent");
    let read = stream.read(&mut buffer).await.expect("read");
    assert!(buffer.get(..read).expect("read").starts_with(b"HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_body_that_breaks_off_is_nobodys_request() {
    let world = World::new().await;
    let (head, body) = raw(&ROOT, br#"{"clusterName":"torn"}"#, "");
    let mut stream = TcpStream::connect(world.address).await.expect("listening");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(body.get(..5).expect("long enough")).await.expect("sent");
    stream.shutdown().await.expect("shut");
    let mut rest = Vec::new();
    // With or without an answer, the connection ends and nothing was created.
    let ended = timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
    drop(ended.expect("ends"));
    assert!(!String::from_utf8_lossy(&rest).contains("200 OK"));
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let world = World::new().await;
    let mut sender = world.connect().await;
    for name in ["a", "refuse", "b"] {
        let body = format!(r#"{{"clusterName":"{name}"}}"#);
        let request = ROOT.create_cluster(body.as_bytes());
        let response = sender.send_request(request).await.expect("an answer");
        assert!(text(&whole(response).await).contains(if name == "refuse" {
            "As asked"
        } else {
            name
        }));
        sender.ready().await.expect("kept alive");
    }
}

#[tokio::test]
async fn http2_needs_no_upgrade() {
    let world = World::new().await;
    let mut sender = world.connect_h2().await;
    let request = |name: &str| {
        let body = format!(r#"{{"clusterName":"{name}"}}"#);
        let mut request = ROOT.create_cluster(body.as_bytes());
        // The host that was signed travels as the authority.
        request.headers_mut().remove("host");
        *request.uri_mut() = "http://localhost/".parse().expect("a URI");
        request
    };
    let answers = futures::join!(
        sender.clone().send_request(request("one")),
        sender.send_request(request("two"))
    );
    for (answer, name) in [(answers.0, "one"), (answers.1, "two")] {
        let response = whole(answer.expect("an answer")).await;
        assert!(text(&response).contains(name), "{}", text(&response));
    }
}

#[tokio::test]
async fn a_panic_is_an_internal_failure_and_is_counted() {
    let world = World::new().await;
    let mut sender = world.connect().await;
    let panic = ROOT.create_cluster(br#"{"clusterName":"panic"}"#);
    let response = whole(sender.send_request(panic).await.expect("an answer")).await;
    assert_eq!(refusal(&response), (500, "InternalFailure".to_owned()));
    assert!(!text(&response).contains("as asked"), "what it said is ours to know");
    sender.ready().await.expect("kept alive");
    let response = sender.send_request(ROOT.create_cluster(b"{}")).await.expect("an answer");
    assert_eq!(response.status(), 200, "nothing else is harmed");

    assert_eq!(world.metrics.panics(), 1);
    let counted: Vec<_> = world
        .metrics
        .requests()
        .into_iter()
        .map(|(label, count)| (label, count.requests))
        .collect();
    let label = |status| Label { service: "ecs", operation: "CreateCluster", status };
    assert_eq!(counted, [(label(200), 1), (label(500), 1)]);
}

#[tokio::test]
async fn hanging_up_stops_nothing() {
    let world = World::new().await;
    let (head, body) = raw(&ROOT, br#"{"clusterName":"wait"}"#, "");
    let mut stream = TcpStream::connect(world.address).await.expect("listening");
    stream.write_all(head.as_bytes()).await.expect("sent");
    stream.write_all(&body).await.expect("sent");
    world.gate.reached.notified().await;
    drop(stream);
    let gone = async {
        while !world.metrics.render().contains("landfall_connections 0") {
            tokio::task::yield_now().await;
        }
    };
    timeout(MINUTE, gone).await.expect("noticed");
    assert!(world.metrics.requests().is_empty(), "still under way");

    world.gate.opened.notify_one();
    world.trigger.shut_down();
    timeout(PROMPT, world.served).await.expect("ends").expect("no panic");
    let labels: Vec<_> = world.metrics.requests().into_keys().collect();
    assert_eq!(labels, [Label { service: "ecs", operation: "CreateCluster", status: 200 }]);
}

#[tokio::test]
async fn clients_cannot_invent_labels() {
    let world = World::new().await;
    for operation in ["Fly", "Swim"] {
        world.send(ROOT.request(json(operation, b"{}"), b"{}")).await;
    }
    world.send(json("CreateCluster", b"{}")).await;
    let labels: Vec<_> = world.metrics.requests().into_keys().collect();
    let label = |service, status| Label { service, operation: "-", status };
    assert_eq!(labels, [label("-", 403), label("ecs", 400)]);
}

#[tokio::test]
async fn any_credentials_will_do_if_so_told() {
    let world = World::with(Options { accept_any_credentials: true }, Vec::new()).await;
    let sts = |signer: Signer| Signer { service: "sts", ..signer }.caller_identity();
    let old = ident::Timestamp(0);
    let nobody = Signer { key: "test", secret: "test", at: old, ..ROOT };
    let body = text(&world.send(sts(nobody)).await);
    assert!(body.contains("<Account>000000000000<"), "{body}");
    let known = Signer { secret: "guess", ..ROOT };
    let body = text(&world.send(sts(known)).await);
    assert!(body.contains("<Account>123456789012<"), "a known key keeps its account: {body}");
    let node = Signer { key: "AKIANODE", secret: "guess", ..ROOT };
    let response = world.send(sts(node)).await;
    assert_eq!(refusal(&response), (403, "AccessDenied".to_owned()), "and its rights");
    let code = refusal(&world.send(json("CreateCluster", b"{}")).await).1;
    assert_eq!(code, "MissingAuthenticationTokenException", "there must be some");
}

#[tokio::test]
async fn no_web_page_has_any_credentials() {
    let world = World::with(Options { accept_any_credentials: true }, Vec::new()).await;
    let nobody = Signer { key: "test", secret: "", ..ROOT };
    let guess = Signer { secret: "guess", ..ROOT };
    for signer in [nobody, guess] {
        let request = signer.create_cluster(b"{}");
        assert_eq!(world.send(request).await.status(), 200);
        // Of a page elsewhere, or at a name that it made resolve to us.
        let mut request = signer.create_cluster(b"{}");
        request.headers_mut().insert("origin", "http://localhost:4566".parse().expect("a header"));
        let response = world.send(request).await;
        assert_eq!(refusal(&response), (400, "IncompleteSignatureException".to_owned()));
        assert!(text(&response).contains("web page"), "{}", text(&response));
        // Of an image on a page: nothing but a URL, or nothing but a GET.
        let stamp = "20231114T221320Z";
        let uri = format!(
            "/?Action=GetCallerIdentity&Version=2011-06-15&X-Amz-Algorithm=AWS4-HMAC-SHA256\
             &X-Amz-Credential={}/20231114/r-1/sts/aws4_request&X-Amz-Date={stamp}\
             &X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=0",
            signer.key
        )
        .replace("r-1", "eu-west-1");
        let presigned = Request::get(&uri).header("host", "localhost");
        let response = world.send(presigned.body(Full::default()).expect("a request")).await;
        assert_eq!(refusal(&response), (400, "IncompleteSignature".to_owned()));
        let get = Request::get("/?Action=GetCallerIdentity&Version=2011-06-15");
        let get = get.header("host", "localhost").body(Full::default()).expect("a request");
        let response = world.send(Signer { service: "sts", ..signer }.request(get, b"")).await;
        assert_eq!(refusal(&response), (400, "IncompleteSignature".to_owned()));
    }
    let mut request = ROOT.create_cluster(b"{}");
    request.headers_mut().insert("origin", "http://localhost:4566".parse().expect("a header"));
    assert_eq!(world.send(request).await.status(), 200, "a right signature is one");
}

#[tokio::test]
async fn a_shutdown_lets_requests_finish() {
    let world = World::new().await;
    let (head, body) = raw(&ROOT, br#"{"clusterName":"last"}"#, "expect: 100-continue\r\n");
    let mut stream = TcpStream::connect(world.address).await.expect("listening");
    stream.write_all(head.as_bytes()).await.expect("sent");
    let mut buffer = [0; 64];
    // Once asked to continue, the request is under way.
    let read = stream.read(&mut buffer).await.expect("read");
    assert!(buffer.get(..read).expect("read").starts_with(b"HTTP/1.1 100 "));
    let idle = TcpStream::connect(world.address).await.expect("listening");

    world.trigger.shut_down();
    let mut answer = Vec::new();
    stream.write_all(&body).await.expect("sent");
    stream.read_to_end(&mut answer).await.expect("an answer, then the end");
    assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
    drop(idle);
    timeout(PROMPT, world.served).await.expect("ends").expect("no panic");
    let refused = TcpStream::connect(world.address).await;
    assert!(refused.is_err(), "nobody listens any more");
}

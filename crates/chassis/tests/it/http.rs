//! What HTTP allows and what it does not, byte by byte over real sockets.

use crate::edge::raw;
use crate::world::{ROOT, Signer, World, form, json, refusal, text};
use http::{HeaderValue, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// All that comes back for these bytes until the edge closes the connection.
async fn exchange(world: &World, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(world.address).await.expect("listening");
    stream.write_all(bytes).await.expect("sent");
    let mut answer = Vec::new();
    // A reset is an end as well.
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A signed CreateCluster, `more` in its head; the connection ends with the last.
fn create(name: &str, more: &str) -> Vec<u8> {
    let (head, body) = raw(&ROOT, format!(r#"{{"clusterName":"{name}"}}"#).as_bytes(), more);
    [head.into_bytes(), body].concat()
}

const LAST: &str = "connection: close\r\n";

fn edited(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    assert!(text.contains(from), "{from} in {text}");
    text.replace(from, to).into_bytes()
}

#[tokio::test]
async fn operations_are_answered_at_one_path() {
    let world = World::new().await;
    for path in ["/", "//"] {
        let mut request = json("CreateCluster", b"{}");
        *request.uri_mut() = path.parse().expect("a path");
        assert_eq!(world.send(ROOT.request(request, b"{}")).await.status(), 200, "{path}");
    }
    for path in ["/clusters", "/x?y=z", "/%2F"] {
        let mut request = json("CreateCluster", b"{}");
        *request.uri_mut() = path.parse().expect("a path");
        let response = world.send(ROOT.request(request, b"{}")).await;
        assert_eq!(refusal(&response), (404, "UnknownOperationException".to_owned()), "{path}");
        let action = "Action=GetCallerIdentity&Version=2011-06-15";
        let mut request = form(action);
        *request.uri_mut() = path.parse().expect("a path");
        let request = Signer { service: "sts", ..ROOT }.request(request, action.as_bytes());
        let response = world.send(request).await;
        assert_eq!(refusal(&response), (404, "InvalidAction".to_owned()), "{path}");
    }
    let absolute = edited(&create("absolute", LAST), "POST / ", "POST http://localhost/ ");
    let answer = exchange(&world, &absolute).await;
    assert!(answer.contains("\"absolute\""), "a proxy's form of the target: {answer}");
}

#[tokio::test]
async fn requests_may_follow_each_other_unasked() {
    let world = World::new().await;
    let all = [create("one", ""), create("two", ""), create("three", LAST)].concat();
    let answer = exchange(&world, &all).await;
    let at: Vec<_> = ["one", "two", "three"].iter().map(|name| answer.find(name)).collect();
    assert!(at.is_sorted() && at.iter().all(Option::is_some), "in order: {answer}");
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 3);
}

#[tokio::test]
async fn an_upgrade_to_http2_is_an_offer_that_is_not_taken() {
    let world = World::new().await;
    let offer = "connection: upgrade, http2-settings, close\r\nupgrade: h2c\r\n\
                 http2-settings: AAMAAABkAAQAAP__\r\n";
    let answer = exchange(&world, &create("stays", offer)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("\"stays\""), "{answer}");
}

#[tokio::test]
async fn lengths_that_lie() {
    let world = World::new().await;
    let honest = create("honest", LAST);
    let length = r#"{"clusterName":"honest"}"#.len();
    let claim = format!("content-length: {length}");
    for (lie, wanted) in [
        (format!("content-length: {}", length - 1), "HTTP/1.1 403"),
        (format!("{claim}\r\ncontent-length: {}", length + 1), "HTTP/1.1 400"),
        ("content-length: -1".to_owned(), "HTTP/1.1 400"),
        ("content-length: 1e3".to_owned(), "HTTP/1.1 400"),
        ("transfer-encoding: gzip".to_owned(), "HTTP/1.1 400"),
        ("content-length: 99999999999999".to_owned(), "HTTP/1.1 413"),
    ] {
        let bytes = edited(&honest, &claim, &lie);
        let asked = exchange(&world, &bytes);
        let answer = timeout(Duration::from_secs(20), asked).await.expect("no waiting");
        assert!(answer.starts_with(wanted), "{lie}: {answer}");
        assert!(!answer.contains("\"honest\""), "{lie}: {answer}");
    }
    // Whoever frames a body twice is read in one way only, and then hung up on.
    let both = format!("{claim}\r\ntransfer-encoding: chunked");
    let smuggled = [edited(&create("x", ""), "content-length: 19", &both), create("y", LAST)];
    let answer = exchange(&world, &smuggled.concat()).await;
    assert!(!answer.contains("200 OK"), "{answer}");
}

#[tokio::test]
async fn chunks() {
    let world = World::new().await;
    let (head, body) = raw(&ROOT, br#"{"clusterName":"chunky"}"#, LAST);
    let head = head.replace("content-length: 24", "transfer-encoding: chunked");
    let (first, rest) = body.split_at(7);
    let (first, rest) = (String::from_utf8_lossy(first), String::from_utf8_lossy(rest));
    for (chunks, wanted) in [
        (format!("7\r\n{first}\r\n11\r\n{rest}\r\n0\r\n\r\n"), "HTTP/1.1 200"),
        (
            format!("007;a=b\r\n{first}\r\n11\r\n{rest}\r\n0\r\nx-trailer: y\r\n\r\n"),
            "HTTP/1.1 200",
        ),
        (format!("8\r\n{first}\r\n11\r\n{rest}\r\n0\r\n\r\n"), ""),
        (format!("-7\r\n{first}\r\n"), ""),
        (format!("fffffffffffffffff\r\n{first}\r\n"), ""),
    ] {
        let answer = exchange(&world, format!("{head}{chunks}").as_bytes()).await;
        assert!(answer.starts_with(wanted), "{chunks}: {answer}");
        assert_eq!(answer.contains("200 OK"), !wanted.is_empty(), "{chunks}: {answer}");
    }
}

/// CreateCluster with a body in the chunks of AWS, in this form.
fn in_chunks(form: &'static str, encoding: &'static str, body: &[u8]) -> Request<Full<Bytes>> {
    let mut request = json("CreateCluster", body);
    for (name, value) in [
        ("x-amz-content-sha256", form),
        ("content-encoding", encoding),
        ("x-amz-decoded-content-length", "24"),
        ("x-amz-trailer", "x-amz-checksum-crc32"),
    ] {
        request.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    ROOT.request(request, body)
}

#[tokio::test]
async fn chunks_of_aws() {
    const UNSIGNED: &str = "STREAMING-UNSIGNED-PAYLOAD-TRAILER";
    const SIGNED: &str = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER";
    let world = World::new().await;
    let body = "c\r\n{\"clusterNam\r\nc\r\ne\":\"chunky\"}\r\n0\r\n\
                x-amz-checksum-crc32:C1X6zg==\r\n\r\n";
    for encoding in ["aws-chunked", "AWS-Chunked,identity", ""] {
        let response = world.send(in_chunks(UNSIGNED, encoding, body.as_bytes())).await;
        assert_eq!(response.status(), 200, "{}", text(&response));
        assert!(text(&response).contains("\"chunky\""), "{}", text(&response));
    }
    let missigned = body.replace("\r\n{", ";chunk-signature=0\r\n{");
    for (form, encoding, body, status, code) in [
        (UNSIGNED, "aws-chunked", &*body.replace("0\r\nx-amz", "x-amz"), 400, "InvalidRequest"),
        (UNSIGNED, "aws-chunked", &body[..30], 400, "IncompleteBody"),
        (UNSIGNED, "aws-chunked", &body.replace("chunky", "CHUNKY"), 400, "BadDigest"),
        (UNSIGNED, "aws-chunked,br", body, 415, "UnsupportedMediaType"),
        (SIGNED, "aws-chunked", &missigned, 403, "InvalidSignatureException"),
        (SIGNED, "aws-chunked", body, 400, "InvalidRequest"),
    ] {
        let response = world.send(in_chunks(form, encoding, body.as_bytes())).await;
        assert_eq!(refusal(&response), (status, code.to_owned()), "{}", text(&response));
    }
    let mut whole = json("CreateCluster", body.as_bytes());
    whole.headers_mut().insert("content-encoding", HeaderValue::from_static("aws-chunked"));
    let response = world.send(ROOT.request(whole, body.as_bytes())).await;
    assert_eq!(refusal(&response), (415, "UnsupportedMediaType".to_owned()));
}

#[tokio::test]
async fn who_looks_around_is_told_little() {
    let world = World::new().await;
    for method in ["HEAD", "OPTIONS", "GET", "TRACE"] {
        let request = Request::builder().method(method).uri("/").header("host", "localhost");
        let request = request
            .header("origin", "http://example.com")
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization");
        let response = world.send(request.body(Full::default()).expect("a request")).await;
        assert_eq!(response.status(), 403, "{method}");
        let allows = |name: &http::HeaderName| name.as_str().starts_with("access-control");
        assert!(!response.headers().keys().any(allows), "no page is let in by a preflight");
        assert_eq!(response.body().is_empty(), method == "HEAD");
    }
    let none = Request::get("/favicon.ico").header("host", "localhost");
    let response = world.send(none.body(Full::default()).expect("a request")).await;
    assert_eq!(refusal(&response), (403, "MissingAuthenticationToken".to_owned()));
}

#[tokio::test]
async fn what_is_too_large_is_so_in_every_protocol() {
    let world = World::new().await;
    let large = "x".repeat((10 << 20) + 1);
    let body: &'static str = Box::leak(large.into_boxed_str());
    let sts = Signer { service: "sts", ..ROOT };
    let response = world.send(sts.request(form(body), body.as_bytes())).await;
    assert_eq!(refusal(&response), (413, "RequestEntityTooLarge".to_owned()));
    assert!(text(&response).contains("<ErrorResponse>"), "{}", text(&response));
}

/// Sends this and then nothing; what came back, and after how long.
async fn silence_after(world: &World, bytes: &[u8]) -> (String, Duration) {
    let started = Instant::now();
    let answer = exchange(world, bytes).await;
    (answer, started.elapsed())
}

#[tokio::test(start_paused = true)]
async fn nobody_is_waited_for_for_ever() {
    let world = World::new().await;
    let whole = create("slow", "");
    let minute = Duration::from_mins(1);
    let body = whole.len() - 5;
    for (sent, wanted) in
        [(0, ""), (10, ""), (60, ""), (body, "HTTP/1.1 408"), (whole.len(), "HTTP/1.1 200")]
    {
        let (answer, took) = silence_after(&world, whole.get(..sent).expect("so long")).await;
        assert!(answer.starts_with(wanted), "{sent}: {answer}");
        assert_eq!(answer.contains("200 OK"), sent == whole.len(), "{sent}: {answer}");
        assert!(took >= minute && took < minute * 3, "{sent}: {took:?}");
    }
}

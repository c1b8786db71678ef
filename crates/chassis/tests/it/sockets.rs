use crate::world::{ROOT, Signer, World, background, refusal, text};
use async_trait::async_trait;
use chassis::{Cx, Outgoing, Query, Socket, SocketService};
use futures::{SinkExt as _, StreamExt as _};
use http::{HeaderMap, Request};
use http_body_util::Full;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::Role;
use wire::Fault;

/// Repeats what it hears, behind what it was told in the query.
#[derive(Debug)]
struct Parrot;

#[async_trait]
impl SocketService for Parrot {
    fn path(&self) -> &'static str {
        "/parrot/ws"
    }

    fn action(&self) -> (&'static str, &'static str) {
        ("ecs", "Poll")
    }

    async fn admit(&self, cx: &Cx, query: &Query) -> Result<(), Fault> {
        assert_eq!(cx.scope().region.as_str(), "eu-west-1");
        match query.get("instance").map(String::as_str) {
            Some("inactive") => Err(Fault::client("InactiveInstanceException", "Gone.")),
            _ => Ok(()),
        }
    }

    async fn serve(&self, _cx: Cx, query: Query, mut socket: Socket) {
        let name = query.get("instance").cloned().unwrap_or_default();
        while let Some(text) = socket.recv().await {
            match text.as_str() {
                "bye" => return socket.close(4001, "as asked").await,
                "end" => return,
                "panic" => panic!("as asked"),
                _ => {
                    if socket.send(format!("{name}: {text}")).await.is_err() {
                        return;
                    }
                }
            }
        }
    }
}

type Client = WebSocketStream<TokioIo<hyper::upgrade::Upgraded>>;

async fn world() -> World {
    World::with(chassis::Options::default(), vec![Arc::new(Parrot)]).await
}

fn upgrade(signer: Option<&Signer>, uri: &str) -> Request<Full<Bytes>> {
    let mut headers = HeaderMap::new();
    headers.insert("host", "localhost".parse().expect("a header"));
    if let Some(signer) = signer {
        signer.sign("GET", uri, &mut headers, b"");
    }
    let mut request = Request::get(uri)
        .header("connection", "keep-alive, Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .body(Full::default())
        .expect("a request");
    request.headers_mut().extend(headers);
    request
}

async fn open(world: &World) -> Client {
    let mut sender = world.connect().await;
    let request = upgrade(Some(&ROOT), "/parrot/ws?instance=polly&x=%2F");
    let response = sender.send_request(request).await.expect("an answer");
    assert_eq!(response.status(), 101);
    // The example of RFC 6455.
    assert_eq!(response.headers()["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    let upgraded = hyper::upgrade::on(response).await.expect("upgraded");
    WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Client, None).await
}

/// The next thing the service says; pings are between the libraries.
async fn next(client: &mut Client) -> Option<Message> {
    loop {
        let next = timeout(Duration::from_secs(30), client.next()).await.expect("in time")?;
        match next.expect("sound") {
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            said @ (Message::Text(_) | Message::Binary(_) | Message::Close(_)) => {
                return Some(said);
            }
        }
    }
}

async fn say(client: &mut Client, text: impl Into<String>) {
    client.send(Message::text(text.into())).await.expect("sent");
}

fn closed(message: Option<Message>) -> (u16, String) {
    match message {
        Some(Message::Close(Some(frame))) => (frame.code.into(), frame.reason.to_string()),
        other => panic!("not a close: {other:?}"),
    }
}

#[tokio::test]
async fn texts_go_both_ways_until_the_service_closes() {
    let world = world().await;
    let mut client = open(&world).await;
    for text in ["hello", "", "žluťoučký"] {
        say(&mut client, text).await;
        assert_eq!(next(&mut client).await, Some(Message::text(format!("polly: {text}"))));
    }
    // What was sent before the close still arrives.
    say(&mut client, "last").await;
    say(&mut client, "bye").await;
    assert_eq!(next(&mut client).await, Some(Message::text("polly: last")));
    assert_eq!(closed(next(&mut client).await), (4001, "as asked".to_owned()));
}

#[tokio::test]
async fn a_service_that_returns_closes_in_peace() {
    let world = world().await;
    let mut client = open(&world).await;
    say(&mut client, "end").await;
    assert_eq!(closed(next(&mut client).await).0, 1000);
}

#[tokio::test]
async fn a_panic_ends_one_conversation() {
    let world = world().await;
    let mut other = open(&world).await;
    let mut client = open(&world).await;
    say(&mut client, "panic").await;
    assert!(matches!(next(&mut client).await, Some(Message::Close(_)) | None));
    say(&mut other, "still here").await;
    assert_eq!(next(&mut other).await, Some(Message::text("polly: still here")));
}

#[tokio::test]
async fn messages_have_a_limit() {
    let world = world().await;
    let mut client = open(&world).await;
    let large = "x".repeat((1 << 20) - 10);
    say(&mut client, large.clone()).await;
    assert_eq!(next(&mut client).await, Some(Message::text(format!("polly: {large}"))));
    // The sending may or may not succeed; hearing of it never does.
    drop(client.send(Message::text("x".repeat((1 << 20) + 1))).await);
    let ended = timeout(Duration::from_secs(30), async {
        loop {
            match client.next().await {
                None | Some(Err(_) | Ok(Message::Close(_))) => return,
                Some(Ok(message)) => assert!(!message.is_text(), "answered"),
            }
        }
    });
    ended.await.expect("ends");
}

#[tokio::test]
async fn refusals_come_before_the_upgrade() {
    let world = world().await;
    let node = Signer { key: "AKIANODE", ..ROOT };
    let wrong = Signer { secret: "guess", ..ROOT };
    let elsewhere = Signer { service: "sts", ..ROOT };
    let inactive = "/parrot/ws?instance=inactive";
    for (signer, uri, wanted) in [
        (None, "/parrot/ws", (403, "MissingAuthenticationTokenException")),
        (Some(wrong), "/parrot/ws", (403, "InvalidSignatureException")),
        (Some(ROOT), inactive, (400, "InactiveInstanceException")),
        // Allowed, and whichever service it is signed for will do.
        (Some(node), inactive, (400, "InactiveInstanceException")),
        (Some(elsewhere), inactive, (400, "InactiveInstanceException")),
    ] {
        let response = world.send(upgrade(signer.as_ref(), uri)).await;
        let (status, code) = refusal(&response);
        assert_eq!((status, &*code), wanted, "{}", text(&response));
    }
    let response = world.send(upgrade(Some(&ROOT), inactive)).await;
    let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
    let wanted = serde_json::json!({ "type": "InactiveInstanceException", "message": { "message": "Gone." } });
    assert_eq!(body, wanted, "what the agent's decoder understands");
}

#[tokio::test]
async fn a_plain_request_is_told_to_upgrade() {
    let world = world().await;
    let mut request = upgrade(Some(&ROOT), "/parrot/ws");
    request.headers_mut().remove("upgrade");
    assert_eq!(refusal(&world.send(request).await), (426, "UpgradeRequired".to_owned()));
}

#[tokio::test]
async fn a_shutdown_says_goodbye() {
    let world = world().await;
    let mut client = open(&world).await;
    say(&mut client, "hello").await;
    assert!(next(&mut client).await.is_some());
    world.trigger.shut_down();
    assert_eq!(closed(next(&mut client).await).0, 1001);
    assert_eq!(next(&mut client).await, None);
    let served = timeout(Duration::from_secs(30), world.served).await;
    served.expect("ends").expect("no panic");
}

/// No network: what a service's own tests look like.
#[tokio::test]
async fn a_socket_can_be_played() {
    let (socket, mut peer) = Socket::pair();
    let query = Query::from([("instance".to_owned(), "polly".to_owned())]);
    let cx = Cx {
        platform: chassis::Platform::new(store::Store::in_memory(store::Registry::new())),
        caller: chassis::Caller {
            scope: ident::Scope {
                account: ident::AccountId::first(),
                region: "us-east-1".parse().expect("a region"),
            },
            principal: chassis::Principal::Root,
            access_key: String::new(),
        },
        request_id: String::new(),
    };
    let serving = background(async move { Parrot.serve(cx, query, socket).await });
    peer.send("hello").await.expect("heard");
    assert_eq!(peer.recv().await, Some(Outgoing::Text("polly: hello".to_owned())));
    peer.send("bye").await.expect("heard");
    assert_eq!(peer.recv().await, Some(Outgoing::Close(4001, "as asked".to_owned())));
    assert_eq!(peer.recv().await, None);
    assert!(peer.send("anyone?").await.is_err());
    serving.await.expect("no panic");
}

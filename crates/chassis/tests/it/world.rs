//! An edge on a port of its own, a service behind it, and clients in front.

use async_trait::async_trait;
use chassis::fake::{ManualClock, SeededEntropy};
use chassis::service::{Ecs, Sts};
use chassis::{
    Authenticator, Caller, Cx, Edge, KeyInfo, Metrics, Options, Platform, Principal, Secret,
    Shutdown, SocketService, Trigger,
};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use ident::{InstanceId, Timestamp};
use std::net::SocketAddr;
use std::sync::Arc;
use store::{Registry, Store};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use wire::sigv4::{self, Credentials, Parts, Purpose};
use wire::{Fault, ecs, sts};

/// When all of this happens.
pub(crate) const NOW: Timestamp = Timestamp(1_700_000_000_000);
pub(crate) const TARGET: &str = "AmazonEC2ContainerServiceV20141113";

/// Two keys: the owner's and an instance's, which may do very little.
#[derive(Debug)]
struct Keys;

impl Authenticator for Keys {
    fn key(&self, access_key_id: &str) -> Option<KeyInfo> {
        let token = || Some(Secret::new("token"));
        let (principal, session_token, expires) = match access_key_id {
            "AKIAROOT" => (Principal::Root, None, None),
            "ASIATEMP" => (Principal::Root, token(), Some(Timestamp(NOW.0 + 1))),
            "ASIAPAST" => (Principal::Root, token(), Some(NOW)),
            "AKIANODE" => (Principal::Instance(InstanceId::mint(1)), None, None),
            _ => return None,
        };
        let account = "123456789012".parse().expect("an account");
        Some(KeyInfo { secret: Secret::new("secret"), account, principal, session_token, expires })
    }

    fn allows(&self, caller: &Caller, service: &str, operation: &str) -> bool {
        caller.principal == Principal::Root
            || matches!((service, operation), ("ecs", "Poll" | "CreateCluster"))
    }

    fn arn(&self, caller: &Caller) -> String {
        format!("arn:aws:test::{}:{:?}", caller.scope.account, caller.principal)
    }
}

/// A service that says what it was asked, or panics when asked to.
#[derive(Debug, Default)]
struct Echo {
    gate: Arc<Gate>,
}

/// Where a request for the cluster "wait" waits.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    pub(crate) reached: Notify,
    pub(crate) opened: Notify,
}

#[async_trait]
impl sts::Api<Cx> for Echo {
    async fn get_caller_identity(
        &self,
        cx: &Cx,
        _request: sts::GetCallerIdentityRequest,
    ) -> Result<sts::GetCallerIdentityResponse, Fault> {
        Ok(sts::GetCallerIdentityResponse {
            account: Some(cx.scope().account.to_string()),
            arn: Some(cx.scope().region.to_string()),
            user_id: Some(cx.caller.access_key.clone()),
        })
    }
}

#[async_trait]
impl ecs::Api<Cx> for Echo {
    async fn create_cluster(
        &self,
        _cx: &Cx,
        request: ecs::CreateClusterRequest,
    ) -> Result<ecs::CreateClusterResponse, Fault> {
        let name = request.cluster_name.unwrap_or_default();
        match name.as_str() {
            "panic" => panic!("as asked"),
            "wait" => {
                self.gate.reached.notify_one();
                self.gate.opened.notified().await;
                Ok(ecs::CreateClusterResponse::default())
            }
            "refuse" => Err(Fault::client("ClientException", "As asked.")),
            _ => Ok(ecs::CreateClusterResponse {
                cluster: Some(ecs::Cluster { cluster_name: Some(name), ..Default::default() }),
            }),
        }
    }
}

/// A running edge.
pub(crate) struct World {
    pub(crate) address: SocketAddr,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) trigger: Trigger,
    pub(crate) served: JoinHandle<()>,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default(), Vec::new()).await
    }

    pub(crate) async fn with(options: Options, sockets: Vec<Arc<dyn SocketService>>) -> Self {
        let platform = Platform {
            store: Store::in_memory(Registry::new()),
            clock: Arc::new(ManualClock::at(NOW)),
            entropy: Arc::new(SeededEntropy::new(1)),
            quotas: chassis::Quotas::default(),
        };
        let gate = Arc::<Gate>::default();
        let mut edge = Edge::new(platform, Arc::new(Keys))
            .service(Sts(Arc::new(Echo::default())))
            .service(Ecs(Arc::new(Echo { gate: Arc::clone(&gate) })))
            .exposing(Arc::new(|| "others_total 1\n".to_owned()))
            .options(options);
        for socket in sockets {
            edge = edge.socket(socket);
        }
        let metrics = edge.metrics();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let (trigger, shutdown) = Shutdown::new();
        let served = background(edge.serve(listener, shutdown));
        Self { address, metrics, gate, trigger, served }
    }

    /// Sends a request over a connection of its own.
    pub(crate) async fn send(&self, request: Request<Full<Bytes>>) -> Response<Bytes> {
        let mut sender = self.connect().await;
        whole(sender.send_request(request).await.expect("an answer")).await
    }

    pub(crate) async fn connect<B>(&self) -> hyper::client::conn::http1::SendRequest<B>
    where
        B: hyper::body::Body<Data = Bytes, Error: Into<chassis::BoxError>> + Send + 'static,
    {
        let stream = TcpStream::connect(self.address).await.expect("listening");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("HTTP");
        background(async { drop(connection.with_upgrades().await) });
        sender
    }

    pub(crate) async fn connect_h2(&self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let stream = TcpStream::connect(self.address).await.expect("listening");
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .expect("HTTP/2");
        background(async { drop(connection.await) });
        sender
    }
}

/// Runs beside the test, and ends with it.
#[expect(clippy::disallowed_methods, reason = "the test's runtime is dropped with the test")]
pub(crate) fn background<T: Send + 'static>(
    task: impl Future<Output = T> + Send + 'static,
) -> JoinHandle<T> {
    tokio::spawn(task)
}

/// The answer with all of its body.
pub(crate) async fn whole(response: Response<hyper::body::Incoming>) -> Response<Bytes> {
    let (head, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    Response::from_parts(head, body)
}

/// What is signed, with which key, and when.
#[derive(Clone, Copy)]
pub(crate) struct Signer {
    pub(crate) key: &'static str,
    pub(crate) secret: &'static str,
    pub(crate) token: Option<&'static str>,
    pub(crate) service: &'static str,
    pub(crate) region: &'static str,
    pub(crate) at: Timestamp,
}

/// The owner, who does everything right.
pub(crate) const ROOT: Signer = Signer {
    key: "AKIAROOT",
    secret: "secret",
    token: None,
    service: "ecs",
    region: "eu-west-1",
    at: NOW,
};

impl Signer {
    /// The headers that sign this request.
    pub(crate) fn sign(&self, method: &str, uri: &str, headers: &mut HeaderMap, body: &[u8]) {
        headers.insert("host", HeaderValue::from_static("localhost"));
        let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
        let parts = Parts { method, path, query, headers, body };
        let credentials = Credentials {
            access_key: self.key.to_owned(),
            secret_key: self.secret.to_owned(),
            session_token: self.token.map(str::to_owned),
        };
        let purpose = Purpose { region: self.region, service: self.service };
        for (name, value) in sigv4::sign(&parts, &credentials, purpose, self.at) {
            headers.insert(name, value.parse().expect("a header"));
        }
    }

    /// The request, signed.
    pub(crate) fn request(
        &self,
        mut request: Request<Full<Bytes>>,
        body: &[u8],
    ) -> Request<Full<Bytes>> {
        let (method, uri) = (request.method().to_string(), request.uri().to_string());
        self.sign(&method, &uri, request.headers_mut(), body);
        request
    }

    pub(crate) fn create_cluster(&self, body: &[u8]) -> Request<Full<Bytes>> {
        self.request(json("CreateCluster", body), body)
    }

    pub(crate) fn caller_identity(&self) -> Request<Full<Bytes>> {
        let body = "Action=GetCallerIdentity&Version=2011-06-15";
        self.request(form(body), body.as_bytes())
    }
}

/// An unsigned request to ECS.
pub(crate) fn json(operation: &str, body: &[u8]) -> Request<Full<Bytes>> {
    Request::post("/")
        .header("host", "localhost")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", format!("{TARGET}.{operation}"))
        .body(Full::new(Bytes::copy_from_slice(body)))
        .expect("a request")
}

/// An unsigned request to a query service.
pub(crate) fn form(body: &'static str) -> Request<Full<Bytes>> {
    Request::post("/")
        .header("host", "localhost")
        .header("content-type", "application/x-www-form-urlencoded; charset=utf-8")
        .body(Full::new(Bytes::from_static(body.as_bytes())))
        .expect("a request")
}

/// Status and code of a refusal, in whichever protocol.
pub(crate) fn refusal(response: &Response<Bytes>) -> (u16, String) {
    let body = text(response);
    let between = |from: &str, to: &str| {
        let (_, rest) = body.split_once(from)?;
        Some(rest.split_once(to)?.0.to_owned())
    };
    let code = between("\"__type\":\"", "\"")
        .or_else(|| between("\"type\":\"", "\""))
        .or_else(|| between("<Code>", "</Code>"));
    assert!(response.headers().contains_key("x-amzn-requestid"), "{body}");
    (response.status().as_u16(), code.unwrap_or_else(|| panic!("no code in {body}")))
}

pub(crate) fn text(response: &Response<Bytes>) -> String {
    String::from_utf8(response.body().to_vec()).expect("text")
}

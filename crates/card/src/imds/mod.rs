//! The instance metadata: what a machine is, as it and its tasks can ask.
//!
//! Version 2 of the service and nothing of version 1: a token must be asked for first
//! ([`tokens`]), by who is on the machine and not by way of somebody else ([`routes`]).
//! What there is follows from the [`Facts`]. Whoever lets one of these speak, at
//! whichever address, decides who can ask.

mod door;
mod facts;
mod routes;
mod tokens;
mod tree;

pub(crate) use door::Door;
pub use facts::{Facts, Interface};

use async_trait::async_trait;
use http::{Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use routes::Verdict;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokens::Tokens;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tree::Tree;

/// How many connections one listener has at the same time.
const CONNECTIONS: usize = 64;
/// How long nobody is let in after that failed.
const PAUSE: Duration = Duration::from_millis(100);
/// How long a client may take to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);
/// Credentials that are good for less than this are replaced when they are asked for.
const RENEW: Duration = Duration::from_mins(30);

/// Temporary credentials of the machine's role.
#[derive(Clone, Debug)]
pub struct RoleCredentials {
    /// The document that clients get.
    pub document: String,
    /// For how long they are good from now on.
    pub good_for: Duration,
}

/// Who makes temporary credentials of the machine's role.
#[async_trait]
pub trait Role: Send + Sync + std::fmt::Debug {
    /// New ones; or why there are none, for the log.
    async fn credentials(&self) -> Result<RoleCredentials, String>;
}

/// Answers what is asked about one machine.
#[derive(Debug)]
pub struct Metadata {
    tree: Tree,
    tokens: Tokens,
    started: Instant,
    role: Arc<dyn Role>,
    /// The credentials that were made last, and when they are to be replaced.
    made: Mutex<Option<(String, Instant)>>,
}

impl Metadata {
    /// `key` is random, and nobody else's: tokens are made with it.
    pub fn new(facts: &Facts, role: Arc<dyn Role>, key: &[u8; 32]) -> Self {
        Self {
            tree: facts.tree(),
            tokens: Tokens::new(key),
            started: Instant::now(),
            role,
            made: Mutex::default(),
        }
    }

    async fn answer(&self, request: &http::Request<Incoming>) -> Response<Full<Bytes>> {
        let asked = (request.method(), request.uri().path());
        let now = self.started.elapsed();
        match routes::judge(&self.tree, &self.tokens, now, asked, request.headers()) {
            Verdict::Found(text, ttl) => {
                let mut response = written(StatusCode::OK, "text/plain", text);
                if let Some(seconds) = ttl {
                    response.headers_mut().insert(routes::TTL, seconds.into());
                }
                response
            }
            Verdict::Credentials => match self.credentials().await {
                Ok(document) => written(StatusCode::OK, "application/json", document),
                Err(reason) => {
                    tracing::error!(reason, "there are no credentials of the machine's role");
                    refused(StatusCode::INTERNAL_SERVER_ERROR)
                }
            },
            Verdict::Refused(status) => refused(status),
        }
    }

    /// Credentials that are good for a while. Two who ask for new ones at the same time
    /// may get different ones; both are good.
    async fn credentials(&self) -> Result<String, String> {
        let made = self.made.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some((document, until)) = made
            && Instant::now() < until
        {
            return Ok(document);
        }
        let RoleCredentials { document, good_for } = self.role.credentials().await?;
        let until = Instant::now() + good_for.saturating_sub(RENEW);
        let made = Some((document.clone(), until));
        *self.made.lock().unwrap_or_else(PoisonError::into_inner) = made;
        Ok(document)
    }
}

fn refused(status: StatusCode) -> Response<Full<Bytes>> {
    written(status, "text/plain", status.canonical_reason().unwrap_or_default().to_owned())
}

fn written(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// Answers whoever comes to a listener. It does not end by itself.
pub async fn serve(listener: TcpListener, metadata: Arc<Metadata>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept(), if connections.len() < CONNECTIONS => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of files, perhaps: others are being closed meanwhile.
                tracing::warn!(%error, "somebody cannot ask for the instance metadata");
                sleep(PAUSE).await;
                continue;
            }
        };
        let metadata = Arc::clone(&metadata);
        connections.spawn(async move {
            let service = service_fn(|request| {
                let metadata = Arc::clone(&metadata);
                async move { Ok::<_, Infallible>(metadata.answer(&request).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(PATIENCE)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
}

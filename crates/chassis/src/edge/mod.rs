//! The one endpoint that all services answer on.
//!
//! A request passes through the modules here in this order, and may be refused
//! by each; whatever it comes to is counted and logged once, in [`observe`].
//!
//! | module | asks |
//! |---|---|
//! | [`punctual`] | does the client get on with it? |
//! | [`body`] | how much does it send? |
//! | [`request`] | who is it, what does it want, may it? Then the service answers |
//! | [`upgrade`] | the same, of websockets; then [`pump`] moves the texts |
//! | [`refuse`] | how does AWS put it? |

mod body;
mod crew;
mod observe;
mod pump;
mod punctual;
mod refuse;
mod request;
mod upgrade;

use crew::Crew;

use crate::{Authenticator, Metrics, Platform, Service, Shutdown, SocketService};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::sleep;

/// How many connections we keep; more wait to be accepted.
const CONNECTIONS: usize = 4096;
/// How many requests one HTTP/2 connection may have under way.
const STREAMS: u32 = 128;
/// The largest head of a request.
const HEAD: u32 = 64 << 10;
/// How long a client may take to send the head of a request, and how long an
/// idle connection is kept.
const HEAD_PATIENCE: Duration = Duration::from_mins(1);
/// How long a client may leave what we write unread.
const WRITE_PATIENCE: Duration = Duration::from_mins(3);
/// How long connections may take to finish once we are stopping.
const GRACE: Duration = Duration::from_secs(10);

/// How the edge departs from AWS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Signatures are read but not verified, and whoever has no key acts as the
    /// owner of the first account. For throw-away environments. What a web page
    /// could send is verified all the same: anything with an `Origin`, without an
    /// `Authorization` header (presigned), or by another method than POST.
    pub accept_any_credentials: bool,
}

/// The endpoint: what is mounted on it, and how it knows its callers.
#[derive(Clone)]
pub struct Edge {
    platform: Platform,
    authenticator: Arc<dyn Authenticator>,
    services: BTreeMap<&'static str, Arc<dyn Service>>,
    sockets: BTreeMap<&'static str, Arc<dyn SocketService>>,
    metrics: Arc<Metrics>,
    /// Who adds to them.
    exposed: Vec<Expose>,
    options: Options,
}

/// Writes more for Prometheus, in its text format.
pub type Expose = Arc<dyn Fn() -> String + Send + Sync>;

/// An answer on its way out.
type Response = http::Response<Full<Bytes>>;

impl Edge {
    /// An endpoint with nothing mounted.
    pub fn new(platform: Platform, authenticator: Arc<dyn Authenticator>) -> Self {
        Self {
            platform,
            authenticator,
            services: BTreeMap::new(),
            sockets: BTreeMap::new(),
            metrics: Arc::default(),
            exposed: Vec::new(),
            options: Options::default(),
        }
    }

    /// With `service` mounted.
    #[must_use]
    pub fn service(self, service: impl Service + 'static) -> Self {
        self.services([Arc::new(service) as Arc<dyn Service>])
    }

    /// With all of `services` mounted.
    #[must_use]
    pub fn services(mut self, services: impl IntoIterator<Item = Arc<dyn Service>>) -> Self {
        self.services.extend(services.into_iter().map(|it| (it.table().name, it)));
        self
    }

    /// With `socket` mounted at its path.
    #[must_use]
    pub fn socket(mut self, socket: Arc<dyn SocketService>) -> Self {
        self.sockets.insert(socket.path(), socket);
        self
    }

    /// With what `expose` writes shown beside its own metrics.
    #[must_use]
    pub fn exposing(mut self, expose: Expose) -> Self {
        self.exposed.push(expose);
        self
    }

    /// With these options in place of the default.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// All that it shows to Prometheus.
    fn exposition(&self) -> String {
        let others = self.exposed.iter().map(|expose| expose());
        std::iter::once(self.metrics.render()).chain(others).collect()
    }

    /// What it counts; the same for the edge's whole life.
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Answers on `listener` until told to stop, and then until what is under
    /// way is answered, though not for ever.
    pub async fn serve(self, listener: TcpListener, shutdown: Shutdown) {
        if self.options.accept_any_credentials {
            tracing::warn!(
                "SIGNATURES ARE NOT VERIFIED (accept-any-credentials): whoever reaches this port \
                 may do everything. Never use this where others can reach it."
            );
        }
        let edge = Arc::new(self);
        let seats = Arc::new(Semaphore::new(CONNECTIONS));
        let crew = Arc::new(Crew::default());
        loop {
            let accepted = tokio::select! {
                biased;
                () = shutdown.requested() => break,
                accepted = accept(&listener, &seats) => accepted,
            };
            let Some((stream, remote, seat)) = accepted else { continue };
            let visit = Visit {
                edge: Arc::clone(&edge),
                remote,
                shutdown: shutdown.clone(),
                crew: Arc::clone(&crew),
            };
            crew.spawn(async move {
                visit.host(stream).await;
                drop(seat);
            });
        }
        drop(listener);
        if !crew.finish(GRACE).await {
            tracing::warn!("connections were cut short by the shutdown");
        }
    }
}

impl fmt::Debug for Edge {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Edge")
            .field("services", &self.services.keys())
            .field("sockets", &self.sockets.keys())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

async fn accept(
    listener: &TcpListener,
    seats: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let seat = Arc::clone(seats).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, remote)) => Some((stream, remote, seat)),
        Err(error) => {
            // Of one connection, or of running out of descriptors: that passes.
            tracing::warn!(error = &error as &dyn std::error::Error, "cannot accept");
            sleep(Duration::from_millis(100)).await;
            None
        }
    }
}

/// One connection, and what belongs to it.
#[derive(Clone)]
struct Visit {
    edge: Arc<Edge>,
    remote: SocketAddr,
    shutdown: Shutdown,
    crew: Arc<Crew>,
}

impl Visit {
    async fn host(self, stream: TcpStream) {
        let metrics = self.edge.metrics();
        let _open = metrics.connection();
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(error = &error as &dyn std::error::Error, "cannot set nodelay");
        }
        let shutdown = self.shutdown.clone();
        let io = TokioIo::new(punctual::Punctual::new(stream, HEAD_PATIENCE, WRITE_PATIENCE));
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(HEAD as usize)
            .keep_alive(true);
        builder
            .http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(STREAMS)
            .max_header_list_size(HEAD)
            .keep_alive_interval(HEAD_PATIENCE)
            .keep_alive_timeout(HEAD_PATIENCE);
        let service = service_fn(move |request: http::Request<Incoming>| {
            let visit = self.clone();
            async move { Ok::<_, Infallible>(visit.attend(request).await) }
        });
        let mut connection = pin!(builder.serve_connection_with_upgrades(io, service));
        let ended = tokio::select! {
            ended = &mut connection => ended,
            () = shutdown.requested() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(error, "connection ended");
        }
    }
    /// Answers a request in a task of its own: a client that hangs up does not
    /// stop half-way what it has asked for, nor escape being counted, and a panic
    /// ends there.
    async fn attend(&self, request: http::Request<Incoming>) -> Response {
        let visit = self.clone();
        let answer = self.crew.confine(async move { visit.answer(request).await }).await;
        answer.unwrap_or_else(|panic| {
            self.edge.metrics.panic();
            let panic = crate::panic_text(&*panic);
            tracing::error!(panic, bug = true, "the edge panicked");
            let mut response = Response::default();
            *response.status_mut() = http::StatusCode::INTERNAL_SERVER_ERROR;
            response
        })
    }
}

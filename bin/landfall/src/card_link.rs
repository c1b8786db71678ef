//! The wire between a card and the control plane: plans one way, reports the
//! other, over a signed websocket.
//!
//! The card itself knows nothing of connections. A broken one costs it nothing
//! but news: the plan that it has stays in force, and the next connection begins
//! with the newest.

use chassis::{Clock as _, SystemClock};
use ec2::card::Frame;
use futures::{SinkExt, StreamExt};
use http::Uri;
use net::flow::{FlowsAsked, FlowsTold};
use net::plan::{CardPlan, CardReport};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_tungstenite::tungstenite::{self, Message};
use wire::client::Client;

/// How long a connection may take to come about.
const CONNECT_LIMIT: Duration = Duration::from_secs(30);
/// The first pause after a lost connection; each further one is twice as long.
const BACKOFF: Duration = Duration::from_millis(50);
const LONGEST_BACKOFF: Duration = Duration::from_secs(10);
/// A connection that lasted this long was a good one.
const GOOD: Duration = Duration::from_mins(1);

/// How many questions may be looked into at once; the control plane asks no more.
const MOST_ASKED: usize = 4;

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum LinkError {
    #[error("the request could not be made: {0}")]
    Request(String),
    #[error("the control plane could not be reached")]
    Connect(#[source] Box<tungstenite::Error>),
    #[error("the control plane did not answer in time")]
    Late,
    #[error("the connection broke")]
    Broken(#[source] Box<tungstenite::Error>),
    #[error("the control plane closed the connection")]
    Closed,
    #[error("a message made no sense")]
    Nonsense(#[source] serde_json::Error),
}

/// Keeps a connection until nobody listens to plans any more.
pub(crate) async fn run(
    client: Client,
    endpoint: Uri,
    plans: watch::Sender<Option<CardPlan>>,
    mut reports: mpsc::Receiver<CardReport>,
    seen: card::Seen,
) {
    let mut pause = BACKOFF;
    // A report outlives the connection that it could not be sent on, and opens
    // the next: the control plane begins by knowing what is there.
    let mut last = None;
    while !plans.is_closed() {
        let began = Instant::now();
        let error = connection(&client, &endpoint, &plans, &mut reports, &seen, &mut last).await;
        let Err(error) = error else { return };
        if began.elapsed() > GOOD {
            pause = BACKOFF;
        }
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            pause_ms = pause.as_millis(),
            "the card lost the control plane; its plan stays in force"
        );
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_BACKOFF);
    }
}

/// One connection, until it breaks, or nobody sends reports any more.
async fn connection(
    client: &Client,
    endpoint: &Uri,
    plans: &watch::Sender<Option<CardPlan>>,
    reports: &mut mpsc::Receiver<CardReport>,
    seen: &card::Seen,
    last: &mut Option<CardReport>,
) -> Result<(), LinkError> {
    let mut socket = open(client, endpoint).await?;
    if let Some(report) = last {
        socket.send(text(report.clone())?).await.map_err(broken)?;
    }
    let mut looking = JoinSet::new();
    loop {
        tokio::select! {
            report = reports.recv() => {
                let Some(report) = report else { return Ok(()) };
                *last = Some(report.clone());
                socket.send(text(report)?).await.map_err(broken)?;
            }
            Some(told) = looking.join_next(), if !looking.is_empty() => {
                if let Ok(Some(told)) = told {
                    let told = Frame::FlowsTold(told).write().map_err(LinkError::Nonsense)?;
                    socket.send(Message::text(told)).await.map_err(broken)?;
                }
            }
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => match Frame::read(&text).map_err(LinkError::Nonsense)? {
                    Frame::CardPlan(plan) => {
                        tracing::debug!(generation = plan.generation.0, "a plan came");
                        plans.send_replace(Some(plan));
                    }
                    Frame::FlowsAsked(asked) if looking.len() < MOST_ASKED => {
                        let plan = plans.borrow().clone().unwrap_or_default();
                        looking.spawn(look(seen.clone(), plan, asked));
                    }
                    Frame::FlowsAsked(_) => tracing::warn!("the control plane asks too much"),
                    Frame::CardReport(_) | Frame::FlowsTold(_) => {
                        tracing::warn!("the control plane sent what is for us to say");
                    }
                },
                // Pings are answered by the library when the next message is read.
                Some(Ok(Message::Binary(_) | Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => {}
                Some(Ok(Message::Close(_))) | None => return Err(LinkError::Closed),
                Some(Err(error)) => return Err(broken(error)),
            },
        }
    }
}

/// The flows that were asked for; a card that cannot say does not answer.
async fn look(seen: card::Seen, plan: CardPlan, asked: FlowsAsked) -> Option<FlowsTold> {
    let looked = seen.look(&plan, &asked, SystemClock.now()).await;
    looked
        .inspect_err(|error| {
            let error = error as &dyn std::error::Error;
            tracing::warn!(error, "the flows could not be looked at");
        })
        .ok()
}

type WebSocket =
    tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<tokio::net::TcpStream>>;

/// A websocket to the control plane, its upgrade request signed by the node.
async fn open(client: &Client, endpoint: &Uri) -> Result<WebSocket, LinkError> {
    let refuse = |error: &dyn std::fmt::Display| LinkError::Request(error.to_string());
    let signed = client
        .upgrade(endpoint, SystemClock.now())
        .map_err(|fault| LinkError::Request(fault.message))?;
    let mut request = tungstenite::ClientRequestBuilder::new(
        format!("ws://{}{}", endpoint.authority().map_or("", |a| a.as_str()), endpoint.path())
            .parse()
            .map_err(|error: http::uri::InvalidUri| refuse(&error))?,
    );
    for (name, value) in signed.headers() {
        if name != http::header::HOST {
            request =
                request.with_header(name.as_str(), value.to_str().map_err(|error| refuse(&error))?);
        }
    }
    let connecting = tokio_tungstenite::connect_async(request);
    let (socket, _) = timeout(CONNECT_LIMIT, connecting)
        .await
        .map_err(|_| LinkError::Late)?
        .map_err(|error| LinkError::Connect(Box::new(error)))?;
    Ok(socket)
}

fn text(report: CardReport) -> Result<Message, LinkError> {
    Ok(Message::text(Frame::CardReport(report).write().map_err(LinkError::Nonsense)?))
}

fn broken(error: tungstenite::Error) -> LinkError {
    LinkError::Broken(Box::new(error))
}

//! Being asked, by UDP and TCP.
//!
//! Each socket has one task. A question that others must answer waits in a place of
//! its own beside the others of its socket, so a slow answer holds nobody up.

use super::limits::{Kind, Limits, Place};
use super::upstream::Upstream;
use super::zone::{Answer, Client, Verdict, Zone};
use crate::error::CardError;
use crate::netns::Netns;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use hickory_resolver::proto::op::{
    Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode,
};
use hickory_resolver::proto::serialize::binary::{BinEncodable, BinEncoder};
use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

const PORT: u16 = 53;
/// The longest question that is read from a datagram.
const LONGEST_QUESTION: usize = 4096;
/// How long an answer in a datagram may be for who does not say how long, and for who
/// says that it may be very long.
const SHORT: u16 = 512;
const LONG: u16 = 4096;
/// How long a connection may be silent, or take to say or hear something.
const IDLE: Duration = Duration::from_secs(10);

/// What a resolver is asked through.
#[derive(Debug)]
pub(crate) struct Sockets {
    pub(crate) udp: Vec<UdpSocket>,
    pub(crate) tcp: Vec<TcpListener>,
}

impl Sockets {
    /// Opens them all in a namespace that has these addresses.
    pub(crate) async fn open(netns: &Netns, at: &BTreeSet<IpAddr>) -> Result<Self, CardError> {
        let runtime = tokio::runtime::Handle::current();
        let at: Vec<SocketAddr> = at.iter().map(|ip| SocketAddr::new(*ip, PORT)).collect();
        let opened = netns
            .run(move || {
                let _context = runtime.enter();
                open(&at)
            })
            .await?;
        opened.map_err(|source| CardError::Netns {
            action: "answer names in",
            path: netns.path().to_owned(),
            source,
        })
    }
}

fn open(at: &[SocketAddr]) -> io::Result<Sockets> {
    let mut sockets = Sockets { udp: Vec::new(), tcp: Vec::new() };
    for at in at {
        let socket = std::net::UdpSocket::bind(at)?;
        socket.set_nonblocking(true)?;
        sockets.udp.push(UdpSocket::from_std(socket)?);
        let listener = std::net::TcpListener::bind(at)?;
        listener.set_nonblocking(true)?;
        sockets.tcp.push(TcpListener::from_std(listener)?);
    }
    Ok(sockets)
}

/// Who answers in one VPC, through all its sockets.
#[derive(Debug)]
pub(crate) struct Server {
    zone: watch::Receiver<Arc<Zone>>,
    limits: Limits,
    upstream: Arc<Upstream>,
}

/// What becomes of a message.
enum Step {
    /// It is nobody's, too much, or no question.
    Nothing,
    /// This is the answer.
    Reply(Vec<u8>),
    /// The answer is being looked for.
    Wait(BoxFuture<'static, Option<Vec<u8>>>),
}

impl Server {
    pub(crate) fn new(
        zone: watch::Receiver<Arc<Zone>>,
        limits: Limits,
        upstream: Arc<Upstream>,
    ) -> Self {
        Self { zone, limits, upstream }
    }

    /// Whose an address is, if something that came from there now is to be looked at.
    fn admit(&self, from: IpAddr) -> Option<Client> {
        let zone = self.zone.borrow();
        let client = zone.client(from)?;
        self.limits.admits(&client.eni, Instant::now()).then(|| client.clone())
    }

    /// What becomes of a message. An answer that is longer than `longest`, or than the
    /// one who asks can take, is cut off and says so.
    fn take(&self, bytes: &[u8], client: &Client, longest: Option<u16>) -> Step {
        let Ok(message) = Message::from_vec(bytes) else { return refuse_nonsense(bytes) };
        let asked = &message.metadata;
        if asked.message_type == MessageType::Response {
            return Step::Nothing;
        }
        let envelope = Envelope::of(&message, longest);
        let failure = |code| envelope.reply(Answer::failure(code));
        let query = match message.queries.as_slice() {
            _ if asked.op_code != OpCode::Query => return failure(ResponseCode::NotImp),
            _ if message.version() != 0 => return failure(ResponseCode::BADVERS),
            [query] => query.clone(),
            [] | [_, ..] => return failure(ResponseCode::FormErr),
        };
        let zone = Arc::clone(&self.zone.borrow());
        match zone.judge(&query) {
            Verdict::Here(answer) => envelope.reply(answer),
            // The machine's own resolvers may be who asks.
            Verdict::Elsewhere if client.is_host => failure(ResponseCode::Refused),
            Verdict::Elsewhere => match self.limits.take(&client.eni, Kind::Waiting) {
                None => failure(ResponseCode::ServFail),
                Some(place) => {
                    let upstream = Arc::clone(&self.upstream);
                    Step::Wait(Box::pin(wait(upstream, query, envelope, place)))
                }
            },
        }
    }
}

async fn wait(
    upstream: Arc<Upstream>,
    query: Query,
    envelope: Envelope,
    _place: Place,
) -> Option<Vec<u8>> {
    let answer = upstream.ask(&query).await;
    envelope.seal(answer)
}

/// An answer to what cannot be read, if it looks like a question at all.
fn refuse_nonsense(bytes: &[u8]) -> Step {
    let [first, second, flags, ..] = bytes else { return Step::Nothing };
    let is_question = flags & 0x80 == 0 && bytes.len() >= 12;
    if !is_question {
        return Step::Nothing;
    }
    let id = u16::from_be_bytes([*first, *second]);
    let reply = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    reply.to_vec().map_or(Step::Nothing, Step::Reply)
}

/// What an answer needs to reach who asked.
struct Envelope {
    metadata: Metadata,
    queries: Vec<Query>,
    /// Whether who asks knows what came after 1987.
    is_extended: bool,
    longest: u16,
}

impl Envelope {
    fn of(message: &Message, longest: Option<u16>) -> Self {
        let stated = message.edns.as_ref().map_or(SHORT, |edns| edns.max_payload().max(SHORT));
        Self {
            metadata: Metadata::response_from_request(&message.metadata),
            queries: message.queries.clone(),
            is_extended: message.edns.is_some(),
            longest: longest.map_or(u16::MAX, |most| most.min(stated)),
        }
    }

    fn reply(&self, answer: Answer) -> Step {
        self.seal(answer).map_or(Step::Nothing, Step::Reply)
    }

    fn seal(&self, answer: Answer) -> Option<Vec<u8>> {
        let mut message = Message::response(self.metadata.id, self.metadata.op_code);
        message.metadata = self.metadata;
        message.metadata.recursion_available = true;
        message.metadata.authoritative = answer.is_authoritative;
        message.metadata.response_code = answer.code;
        message.queries.clone_from(&self.queries);
        message.answers = answer.answers;
        message.authorities = answer.authorities;
        if self.is_extended {
            let mut edns = Edns::new();
            edns.set_max_payload(LONG);
            message.edns = Some(edns);
        }
        let mut bytes = Vec::with_capacity(SHORT.into());
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.set_max_size(self.longest);
        match message.emit(&mut encoder) {
            Ok(()) => Some(bytes),
            Err(error) => {
                tracing::debug!(%error, "an answer could not be written");
                None
            }
        }
    }
}

/// Answers what comes in datagrams, until something is wrong.
pub(crate) async fn datagrams(socket: UdpSocket, server: Arc<Server>) {
    let mut buffer = [0; LONGEST_QUESTION];
    let mut waiting = FuturesUnordered::new();
    loop {
        let (reply, to) = tokio::select! {
            received = socket.recv_from(&mut buffer) => {
                let (length, from) = match received {
                    Ok(received) => received,
                    Err(error) => {
                        tracing::warn!(%error, "questions cannot be heard");
                        return;
                    }
                };
                let Some(client) = server.admit(from.ip()) else { continue };
                let bytes = buffer.get(..length).unwrap_or_default();
                match server.take(bytes, &client, Some(LONG)) {
                    Step::Nothing => continue,
                    Step::Reply(reply) => (reply, from),
                    Step::Wait(answer) => {
                        waiting.push(async move { (answer.await, from) });
                        continue;
                    }
                }
            }
            Some((reply, to)) = waiting.next(), if !waiting.is_empty() => match reply {
                Some(reply) => (reply, to),
                None => continue,
            },
        };
        if let Err(error) = socket.send_to(&reply, to).await {
            // Who asked may be gone.
            tracing::debug!(%error, %to, "an answer was not sent");
        }
    }
}

/// Answers what comes by connections, until something is wrong.
pub(crate) async fn connections(listener: TcpListener, server: Arc<Server>) {
    let mut open = FuturesUnordered::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    let Some(client) = server.admit(from.ip()) else { continue };
                    let place = server.limits.take(&client.eni, Kind::Connection);
                    let Some(place) = place else { continue };
                    open.push(Box::pin(connection(stream, from.ip(), &server, place)));
                }
                Err(error) if is_of_one(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "connections cannot be accepted");
                    return;
                }
            },
            Some(ended) = open.next(), if !open.is_empty() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection ended");
                }
            }
        }
    }
}

/// Whether an error is about one connection, and not about accepting them.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted)
}

/// Answers one question after another.
async fn connection(
    mut stream: TcpStream,
    from: IpAddr,
    server: &Server,
    _place: Place,
) -> io::Result<()> {
    loop {
        let Some(question) = timeout(IDLE, read(&mut stream)).await?? else { return Ok(()) };
        let Some(client) = server.admit(from) else { return Ok(()) };
        let reply = match server.take(&question, &client, None) {
            Step::Nothing => return Ok(()),
            Step::Reply(reply) => reply,
            Step::Wait(answer) => match answer.await {
                Some(reply) => reply,
                None => return Ok(()),
            },
        };
        let length = u16::try_from(reply.len()).map_err(io::Error::other)?;
        let framed = [length.to_be_bytes().as_slice(), &reply].concat();
        timeout(IDLE, stream.write_all(&framed)).await??;
    }
}

/// The next question; none if there are no more.
async fn read(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let length = match stream.read_u16().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut question = vec![0; length.into()];
    stream.read_exact(&mut question).await?;
    Ok(Some(question))
}

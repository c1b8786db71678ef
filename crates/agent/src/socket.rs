//! Websockets to the control plane, signed as the official agent signs them.

use crate::backoff::Jitter;
use crate::clock;
use http::Uri;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, handshake::client::generate_key};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use wire::client::Client;

/// For a connection to be made.
const CONNECT: Duration = Duration::from_secs(30);
/// For a frame to be written.
pub(crate) const WRITE: Duration = Duration::from_mins(3);
/// A server that says nothing for this long, and up to as long again, is gone.
const SILENCE: Duration = Duration::from_mins(1);
/// A connection is renewed after this, and up to five minutes more.
const LIFETIME: Duration = Duration::from_mins(30);
const LIFETIME_JITTER: Duration = Duration::from_mins(5);

pub(crate) type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Why a connection could not be had, or ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// The control plane does not know this instance any more.
    #[error("the control plane has deregistered this instance")]
    Inactive,
    /// It refused for another reason.
    #[error("refused with status {status}: {body}")]
    Refused { status: u16, body: String },
    /// The address is none.
    #[error("{0:?} is no address for a websocket")]
    Address(String),
    /// The request could not be signed.
    #[error("cannot sign: {}", .0.message)]
    Sign(wire::Fault),
    /// The network.
    #[error("the connection failed")]
    Broken(#[source] Box<tungstenite::Error>),
    /// Nobody answered, or nobody read.
    #[error("the connection timed out")]
    TimedOut,
}

impl SocketError {
    /// Whether the connection ended in a way that asks for a new one at once.
    pub(crate) fn is_close(&self) -> bool {
        match self {
            Self::Broken(error) => matches!(
                **error,
                tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed
            ),
            Self::Inactive
            | Self::Refused { .. }
            | Self::Address(_)
            | Self::Sign(_)
            | Self::TimedOut => false,
        }
    }
}

impl From<tungstenite::Error> for SocketError {
    fn from(error: tungstenite::Error) -> Self {
        let refusal = match &error {
            tungstenite::Error::Http(response) => {
                let body = response.body().as_deref().unwrap_or_default();
                let body = String::from_utf8_lossy(body).chars().take(500).collect::<String>();
                Some((response.status().as_u16(), body))
            }
            tungstenite::Error::ConnectionClosed
            | tungstenite::Error::AlreadyClosed
            | tungstenite::Error::Io(_)
            | tungstenite::Error::Tls(_)
            | tungstenite::Error::Capacity(_)
            | tungstenite::Error::Protocol(_)
            | tungstenite::Error::WriteBufferFull(_)
            | tungstenite::Error::Utf8(_)
            | tungstenite::Error::AttackAttempt
            | tungstenite::Error::Url(_)
            | tungstenite::Error::HttpFormat(_) => None,
        };
        match refusal {
            Some((_, body)) if body.contains("InactiveInstanceException") => Self::Inactive,
            Some((status, body)) => Self::Refused { status, body },
            None => Self::Broken(Box::new(error)),
        }
    }
}

/// The address of a websocket below an endpoint, with a query.
pub(crate) fn address(endpoint: &str, query: &[(&str, &str)]) -> Result<Uri, SocketError> {
    let slash = if endpoint.ends_with('/') { "" } else { "/" };
    let pairs: Vec<String> =
        query.iter().map(|(name, value)| format!("{name}={}", escape(value))).collect();
    let text = format!("{endpoint}{slash}ws?{}", pairs.join("&"));
    text.parse().map_err(|_| SocketError::Address(text))
}

/// Percent-encodes what is not unreserved, as signatures have it.
fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

/// Opens a websocket at `uri`, whose scheme is `http` or `https`.
pub(crate) async fn open(client: &Client, uri: &Uri) -> Result<Stream, SocketError> {
    let signed = client.upgrade(uri, clock::now()).map_err(SocketError::Sign)?;
    let (mut parts, _) = signed.into_parts();
    let text = uri.to_string();
    let text = text.replacen("http", "ws", 1);
    parts.uri = text.parse().map_err(|_| SocketError::Address(text))?;
    let mut request = http::Request::from_parts(parts, ());
    let headers = request.headers_mut();
    for (name, value) in
        [("connection", "Upgrade"), ("upgrade", "websocket"), ("sec-websocket-version", "13")]
    {
        headers.insert(name, http::HeaderValue::from_static(value));
    }
    let key = generate_key();
    let key = http::HeaderValue::from_str(&key).map_err(|_| SocketError::Address(key))?;
    headers.insert("sec-websocket-key", key);
    let connect = tokio_tungstenite::connect_async(request);
    let connected = tokio::time::timeout(CONNECT, connect).await;
    Ok(connected.map_err(|_| SocketError::TimedOut)??.0)
}

/// How long to wait for the server's next word.
pub(crate) fn patience(jitter: &mut Jitter) -> Duration {
    SILENCE + jitter.upto(SILENCE)
}

/// How long to keep a connection.
pub(crate) fn lifetime(jitter: &mut Jitter) -> Duration {
    LIFETIME + jitter.upto(LIFETIME_JITTER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_ends_in_ws_and_its_query_is_escaped() {
        let query = [("clusterArn", "arn:aws:ecs:x/y"), ("v", "a b")];
        let expected = "http://h:1/acs/ws?clusterArn=arn%3Aaws%3Aecs%3Ax%2Fy&v=a%20b";
        for endpoint in ["http://h:1/acs", "http://h:1/acs/"] {
            let uri = address(endpoint, &query).expect("an address");
            assert_eq!(uri.to_string(), expected);
        }
    }
}

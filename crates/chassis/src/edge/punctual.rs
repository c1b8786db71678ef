//! A connection that does not wait for ever.
//!
//! The HTTP implementation watches over slow request heads once it knows which
//! version of HTTP it speaks. This covers the two moments that it leaves open:
//! before the first bytes, which tell the version, and while a client does not
//! read what we write.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// The length of HTTP/2's connection preface; no request of HTTP/1 with a host
/// is shorter.
const PREFACE: usize = 24;

/// `T` with deadlines.
#[derive(Debug)]
pub(super) struct Punctual<T> {
    io: T,
    /// Runs until the first bytes are here.
    opening: Option<Pin<Box<Sleep>>>,
    received: usize,
    /// Runs while a write makes no progress.
    stalled: Option<Pin<Box<Sleep>>>,
    patience: Duration,
}

impl<T> Punctual<T> {
    pub(super) fn new(io: T, opening: Duration, patience: Duration) -> Self {
        let opening = Some(Box::pin(sleep(opening)));
        Self { io, opening, received: 0, stalled: None, patience }
    }

    /// Passes on what the write came to, unless it has come to nothing too long.
    fn watch<R>(&mut self, cx: &mut Context<'_>, poll: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if poll.is_ready() {
            self.stalled = None;
            return poll;
        }
        let patience = self.patience;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Punctual<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.io).poll_read(cx, buf);
        if let Some(timer) = &mut self.opening {
            if poll.is_pending() {
                ready!(timer.as_mut().poll(cx));
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.received += buf.filled().len() - before;
            if self.received >= PREFACE {
                self.opening = None;
            }
        }
        poll
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Punctual<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.watch(cx, poll)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.watch(cx, poll)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.io).poll_flush(cx);
        self.watch(cx, poll)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    const SHORT: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_mins(1);

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_hung_up_on() {
        let (mut client, server) = duplex(64);
        let mut server = Punctual::new(server, SHORT, LONG);
        client.write_all(b"PRI").await.expect("room");
        let mut buffer = [0; 64];
        assert_eq!(server.read(&mut buffer).await.expect("the beginning"), 3);
        let error = server.read(&mut buffer).await.expect_err("too late");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_begun_may_pause() {
        let (mut client, server) = duplex(64);
        let mut server = Punctual::new(server, SHORT, LONG);
        client.write_all(&[b'x'; PREFACE]).await.expect("room");
        let mut buffer = [0; 64];
        assert_eq!(server.read(&mut buffer).await.expect("the beginning"), PREFACE);
        let rest = tokio::join!(server.read(&mut buffer), async {
            sleep(LONG).await;
            client.write_all(b"y").await
        });
        assert_eq!(rest.0.expect("the rest"), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_read_is_hung_up_on() {
        let (client, server) = duplex(4);
        let mut server = Punctual::new(server, SHORT, LONG);
        let error = server.write_all(b"too much to hold").await.expect_err("stalled");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(client);
    }
}

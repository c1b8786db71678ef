//! A line to containerd that counts the calls on it, and strikes at one of them.
//!
//! Calls are HTTP/2 streams: each begins with a `HEADERS` frame of the client's and ends
//! with a frame of the server's that says so. All else passes as it is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// With what a client of HTTP/2 begins.
const PREFACE: usize = 24;
const HEADERS: u8 = 1;
const END_STREAM: u8 = 1;

/// On which side of a call something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// containerd does not hear of it.
    Before,
    /// containerd has done it, and the caller does not hear that.
    After,
}

/// What happens at which call.
struct Trap {
    call: usize,
    side: Side,
    strike: Box<dyn Fn() + Send + Sync>,
    armed: AtomicBool,
    seen: AtomicUsize,
}

/// See the module. Ends with its owner.
pub(crate) struct Calls {
    trap: Arc<Trap>,
    _tasks: JoinSet<()>,
}

impl Calls {
    /// A line to the containerd at `to`, at `socket`. When it comes to the call with
    /// this number, `strike` is called, and the line is dead.
    pub(crate) fn on(
        socket: &Path,
        to: PathBuf,
        call: usize,
        side: Side,
        strike: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        drop(std::fs::remove_file(socket));
        let listener = UnixListener::bind(socket).expect("a socket");
        let (strike, armed) = (Box::new(strike), AtomicBool::new(true));
        let trap = Trap { call, side, strike, armed, seen: AtomicUsize::new(0) };
        let trap = Arc::new(trap);
        let own = trap.clone();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut lines = JoinSet::new();
            loop {
                let (client, _) = listener.accept().await.expect("accepts");
                let (to, trap) = (to.clone(), own.clone());
                lines.spawn(async move {
                    // Nobody there: the caller finds its line closed.
                    if let Ok(server) = UnixStream::connect(&to).await {
                        pass(client, server, &trap).await;
                    }
                });
            }
        });
        Self { trap, _tasks: tasks }
    }

    /// From now on all passes. How many calls there were, and whether it has struck.
    pub(crate) fn disarm(&self) -> (usize, bool) {
        let struck = !self.trap.armed.swap(false, Ordering::SeqCst);
        (self.trap.seen.load(Ordering::SeqCst), struck)
    }
}

async fn pass(client: UnixStream, server: UnixStream, trap: &Trap) {
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let marked = Mutex::new(None);
    let there = async {
        let mut preface = [0; PREFACE];
        from_client.read_exact(&mut preface).await?;
        to_server.write_all(&preface).await?;
        frames(&mut from_client, &mut to_server, |kind, _, stream| {
            let is_it = kind == HEADERS
                && trap.seen.fetch_add(1, Ordering::SeqCst) == trap.call
                && trap.armed.load(Ordering::SeqCst);
            if !is_it {
                return true;
            }
            *marked.lock().expect("a lock") = Some(stream);
            trap.side == Side::After
        })
        .await
    };
    let back = frames(&mut from_server, &mut to_client, |_, flags, stream| {
        flags & END_STREAM == 0 || *marked.lock().expect("a lock") != Some(stream)
    });
    let struck = tokio::select! {
        there = there => there,
        back = back => back,
    };
    if struck.is_ok_and(|struck| struck) && trap.armed.swap(false, Ordering::SeqCst) {
        (trap.strike)();
    }
}

/// Passes frames on while they may pass. `true` if one may not.
async fn frames(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    may_pass: impl Fn(u8, u8, u32) -> bool,
) -> std::io::Result<bool> {
    loop {
        let mut frame = vec![0; 9];
        from.read_exact(&mut frame).await?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        let (length, kind, flags) = (number(&frame[..3]), frame[3], frame[4]);
        let stream = number(&frame[5..]);
        frame.resize(9 + length as usize, 0);
        from.read_exact(&mut frame[9..]).await?;
        // Flags mean this on frames of data and of headers only.
        let flags = if kind <= HEADERS { flags } else { 0 };
        if !may_pass(kind, flags, stream) {
            return Ok(true);
        }
        to.write_all(&frame).await?;
    }
}

//! The socket around a telemetry session.

use super::session::{TcsSession, record};
use crate::acs::admitted;
use crate::records::ContainerInstance;
use async_trait::async_trait;
use chassis::{Cx, Query, Socket, SocketService};
use std::time::Duration;
use store::StoreError;
use wire::Fault;
use wire::tcs::Message;

/// The websocket code for a text that is not what it should be.
const BAD_TEXT: u16 = 1007;

/// The TCS end of agents' sessions, at `/tcs/ws`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcsService;

#[async_trait]
impl SocketService for TcsService {
    fn path(&self) -> &'static str {
        "/tcs/ws"
    }

    fn action(&self) -> (&'static str, &'static str) {
        ("ecs", "StartTelemetrySession")
    }

    async fn admit(&self, cx: &Cx, query: &Query) -> Result<(), Fault> {
        admitted(cx, query.get("containerInstance")).map(drop).map_err(|error| error.fault())
    }

    async fn serve(&self, cx: Cx, query: Query, mut socket: Socket) {
        let Ok(instance) = admitted(&cx, query.get("containerInstance")) else { return };
        if let Err(fault) = converse(&cx, &instance, &mut socket).await {
            socket.close(BAD_TEXT, &fault.code).await;
        }
    }
}

/// Talks until the agent has had enough.
async fn converse(cx: &Cx, instance: &ContainerInstance, socket: &mut Socket) -> Result<(), Fault> {
    let mut session = TcsSession::new(cx.now());
    loop {
        if let Some(frame) = session.poll(cx.now())
            && !say(socket, &frame).await?
        {
            return Ok(());
        }
        let wait = session.wake_at().since(cx.now()).max(Duration::from_millis(1));
        let text = tokio::select! {
            text = socket.recv() => text,
            () = tokio::time::sleep(wait) => continue,
        };
        let Some(text) = text else { return Ok(()) };
        let (answer, news) = session.on_frame(&text)?;
        if let Some(news) = news {
            let kept = cx.store().transact(|txn| {
                record(txn, &instance.scope, &instance.id, &news);
                Ok::<_, StoreError>(())
            });
            // Telemetry that was not kept comes again in twenty seconds.
            if let Err(error) = kept.await {
                tracing::warn!(error = &error as &dyn std::error::Error, "telemetry was lost");
            }
        }
        if let Some(answer) = answer
            && !say(socket, &answer).await?
        {
            return Ok(());
        }
    }
}

/// Sends a frame, and says whether there is somebody to hear it.
async fn say(socket: &Socket, frame: &Message) -> Result<bool, Fault> {
    Ok(socket.send(frame.encode()?).await.is_ok())
}

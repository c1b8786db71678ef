//! The socket around a telemetry session.

use super::session::{TcsSession, record};
use crate::acs::end::End;
use crate::acs::{Seat, Sessions, admitted};
use crate::records::{ContainerInstance, InstanceStatus};
use async_trait::async_trait;
use chassis::{Cx, Query, Socket, SocketService};
use std::convert::Infallible;
use std::time::Duration;
use store::{Interest, StoreError};
use wire::Fault;
use wire::tcs::Message;

/// The TCS end of agents' sessions, at `/tcs/ws`.
#[derive(Clone, Debug, Default)]
pub struct TcsService {
    /// Of telemetry alone: an agent's two sessions come and go by themselves.
    sessions: Sessions,
}

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
        let id = format!("{:032x}", cx.bits());
        let mut seat = self.sessions.open(&instance.scope, &instance.id, &id);
        let Err(end) = converse(&cx, &instance, &mut socket, &mut seat).await;
        end.tell(socket).await;
    }
}

/// Talks until one of the two has had enough.
async fn converse(
    cx: &Cx,
    instance: &ContainerInstance,
    socket: &mut Socket,
    seat: &mut Seat,
) -> Result<Infallible, End> {
    // Subscribed before the first look, so that no change falls between.
    let own = Interest::record::<ContainerInstance>(&instance.scope, instance.id.as_str());
    let mut changes = cx.store().subscribe_to(&[own]);
    let mut session = TcsSession::new(cx.now());
    loop {
        let known = cx.view().get::<ContainerInstance>(&instance.scope, instance.id.as_str());
        if known.is_none_or(|known| known.status == InstanceStatus::Inactive) {
            return Err(End::Deregistered);
        }
        if let Some(frame) = session.poll(cx.now()) {
            say(socket, &frame).await?;
        }
        let wait = session.wake_at().since(cx.now()).max(Duration::from_millis(1));
        let text = tokio::select! {
            biased;
            () = seat.taken() => return Err(End::Superseded),
            text = socket.recv() => text,
            _ = changes.changed() => continue,
            () = tokio::time::sleep(wait) => continue,
        };
        let (answer, news) = session.on_frame(&text.ok_or(End::Gone)?)?;
        if let Some(news) = news {
            let kept = cx.store().transact(|txn| {
                // What a newer session said is not to be overtaken by this.
                if seat.is_held() {
                    record(txn, &instance.scope, &instance.id, &news);
                }
                Ok::<_, StoreError>(())
            });
            // Telemetry that was not kept comes again in twenty seconds.
            if let Err(error) = kept.await {
                tracing::warn!(error = &error as &dyn std::error::Error, "telemetry was lost");
            }
        }
        if let Some(answer) = answer {
            say(socket, &answer).await?;
        }
    }
}

/// Sends a frame, if there is somebody to hear it.
async fn say(socket: &Socket, frame: &Message) -> Result<(), End> {
    socket.send(frame.encode()?).await.map_err(|_| End::Gone)
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;

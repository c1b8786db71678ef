//! The socket around a session: moves texts, waits, and notes who is there.

use super::end::{End, UNWELCOME};
use super::session::AcsSession;
use super::sessions::{Seat, Sessions, connect, disconnect};
use crate::records::{BY_INSTANCE, ContainerInstance, InstanceStatus, Task, VersionInfo};
use crate::{Error, names};
use async_trait::async_trait;
use chassis::{Cx, Principal, Query, Socket, SocketService};
use std::sync::Arc;
use std::time::Duration;
use store::Interest;
use wire::Fault;
use wire::acs::Message;

/// The ACS end of agents' sessions, at `/acs/ws`.
#[derive(Clone, Debug)]
pub struct AcsService {
    sessions: Sessions,
}

impl AcsService {
    /// The service. [`crate::controllers`] is to know the same `sessions`.
    pub fn new(sessions: Sessions) -> Self {
        Self { sessions }
    }
}

#[async_trait]
impl SocketService for AcsService {
    fn path(&self) -> &'static str {
        "/acs/ws"
    }

    fn action(&self) -> (&'static str, &'static str) {
        ("ecs", "Poll")
    }

    async fn admit(&self, cx: &Cx, query: &Query) -> Result<(), Fault> {
        admitted(cx, query.get("containerInstanceArn")).map(drop).map_err(|error| error.fault())
    }

    async fn serve(&self, cx: Cx, query: Query, mut socket: Socket) {
        let Ok(instance) = admitted(&cx, query.get("containerInstanceArn")) else { return };
        let id = format!("{:032x}", cx.bits());
        // The seat first: what the state says of a session without one is taken
        // back by the controller that looks after those.
        let mut seat = self.sessions.open(&instance.scope, &instance.id, &id);
        let version = version_of(&query);
        let instance = match connect(&cx.platform, &seat, &version).await {
            Ok(Some(instance)) => instance,
            Ok(None) => return End::Superseded.tell(socket).await,
            Err(error) => return socket.close(UNWELCOME, &error.fault().code).await,
        };
        tracing::info!(instance = %instance.id, session = id, "an agent is there");
        let end = converse(&cx, &instance, &id, &mut socket, &mut seat).await;
        drop(seat);
        end.tell(socket).await;
        if let Err(error) = disconnect(&cx.platform, &instance.scope, &instance.id, &id).await {
            tracing::error!(
                instance = %instance.id,
                error = &error as &dyn std::error::Error,
                "an agent left and that could not be noted"
            );
        }
        tracing::info!(instance = %instance.id, session = id, "an agent left");
    }
}

async fn converse(
    cx: &Cx,
    instance: &ContainerInstance,
    id: &str,
    socket: &mut Socket,
    seat: &mut Seat,
) -> End {
    // Subscribed before the first look, so that no change falls between. Whatever its
    // tasks are sent with is written with them or never again.
    let (scope, own) = (&instance.scope, instance.id.as_str());
    let mut changes = cx.store().subscribe_to(&[
        Interest::record::<ContainerInstance>(scope, own),
        Interest::indexed::<Task>(scope, BY_INSTANCE, own),
    ]);
    let mut session = AcsSession::new(instance, id, cx.now());
    loop {
        let now = cx.now();
        if session.is_silent(now) {
            return End::Silent;
        }
        let view = cx.view();
        if session.is_over(&view) {
            return End::Deregistered;
        }
        for frame in session.poll(&view, now) {
            let text = match frame.encode() {
                Ok(text) => text,
                Err(fault) => return End::Nonsense(fault),
            };
            if socket.send(text).await.is_err() {
                return End::Gone;
            }
        }
        // A millisecond at least, so that a clock that stands still spins nobody.
        let wait = session.wake_at().since(cx.now()).max(Duration::from_millis(1));
        tokio::select! {
            // Whoever has no seat neither hears nor says anything more.
            biased;
            () = seat.taken() => return End::Superseded,
            text = socket.recv() => {
                let Some(text) = text else { return End::Gone };
                match Message::decode(&text) {
                    Ok(frame) => session.on_frame(&cx.view(), &frame, cx.now()),
                    Err(fault) => return End::Nonsense(fault),
                }
            }
            _ = changes.changed() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// The container instance that the caller says it is, if it is.
pub(crate) fn admitted(cx: &Cx, arn: Option<&String>) -> Result<Arc<ContainerInstance>, Error> {
    let arn = arn.map(String::as_str).unwrap_or_default();
    let unknown = || Error::Inactive(arn.to_owned());
    let (cluster, id) = names::instance_from_arn(cx.scope(), arn).ok_or_else(unknown)?;
    let found = cx
        .view()
        .get::<ContainerInstance>(cx.scope(), id.as_str())
        .filter(|found| found.cluster == cluster && found.status != InstanceStatus::Inactive)
        .ok_or_else(unknown)?;
    match (&cx.caller.principal, &found.ec2_instance) {
        (Principal::Instance(caller), Some(owner)) if caller == owner => Ok(found),
        // A machine outside of EC2 was registered with the account's own key.
        (Principal::Root | Principal::Role(_), None) => Ok(found),
        (Principal::Instance(caller), _) => Err(Error::NotYours(caller.clone())),
        (Principal::Root | Principal::Role(_), Some(owner)) => Err(Error::NotYours(owner.clone())),
    }
}

/// What the agent says that it is, which it says only here.
fn version_of(query: &Query) -> VersionInfo {
    let said = |name: &str| query.get(name).filter(|text| !text.is_empty()).cloned();
    VersionInfo {
        agent_version: said("agentVersion"),
        agent_hash: said("agentHash"),
        docker_version: said("dockerVersion"),
    }
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;

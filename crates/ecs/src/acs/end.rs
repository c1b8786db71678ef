//! How a session with an agent ends, be it one of ACS or of telemetry, and what the
//! agent hears of it.

use chassis::Socket;
use wire::Fault;

/// The websocket code of an orderly end.
pub(crate) const NORMAL: u16 = 1000;
/// The websocket code for a text that is not what it should be.
pub(crate) const BAD_TEXT: u16 = 1007;
/// The websocket code for somebody who is not to be there. Agents look at the
/// reason only with a code that is not one of an ordinary end.
pub(crate) const UNWELCOME: u16 = 1008;
/// Why a session ends whose seat another took. The agent is to come again at once
/// if it wants to, so it must not hear that it is deregistered.
pub(crate) const SUPERSEDED: &str = "A newer session took over";

/// Why a conversation ended.
pub(crate) enum End {
    /// The agent left, or we lost it.
    Gone,
    /// A newer session took the seat.
    Superseded,
    /// The instance is no more one of its cluster's.
    Deregistered,
    /// The agent does not answer.
    Silent,
    /// The agent says what cannot be understood.
    Nonsense(Fault),
}

impl End {
    /// Closes the socket, if there is still somebody at its other end.
    pub(crate) async fn tell(self, socket: Socket) {
        match self {
            Self::Gone => {}
            Self::Superseded => socket.close(NORMAL, SUPERSEDED).await,
            Self::Deregistered => socket.close(UNWELCOME, "InactiveInstanceException").await,
            Self::Silent => socket.close(NORMAL, "Heartbeats are not answered").await,
            Self::Nonsense(fault) => socket.close(BAD_TEXT, &fault.code).await,
        }
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> Self {
        Self::Nonsense(fault)
    }
}

//! The handle to a socket that an app uses.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::SendError;
use socketioxide::SocketError;
use socketioxide::extract::{AckSender, SocketRef};

use crate::args::{Args, SingleArg};
use crate::emit::Emit;
use crate::session_meter::SessionMeter;
use latido_http::PeerAddress;

/// A handle to a connected socket of one namespace. Clones refer to the same socket.
#[derive(Clone)]
pub struct SocketHandle {
    socket: SocketRef,
}

/// The reason for which nothing could be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SocketSendError {
    /// The client's buffer of outgoing packets is full.
    Full,
    /// The client has disconnected.
    Gone,
}

impl SocketHandle {
    pub(super) fn new(socket: SocketRef) -> Self {
        Self { socket }
    }

    /// Returns the socket's id, as the client knows it.
    pub fn id(&self) -> String {
        self.socket.id.to_string()
    }

    /// Returns the namespace of the socket.
    pub fn namespace(&self) -> &str {
        self.socket.ns()
    }

    /// Returns a header of the request that opened the session, or `None` if it is missing or not
    /// text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.socket.req_parts().headers.get(name)?.to_str().ok()
    }

    /// Returns the query of the request that opened the session.
    pub fn query(&self) -> &str {
        self.socket.req_parts().uri.query().unwrap_or_default()
    }

    /// Returns the peer address of that request.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.socket
            .req_parts()
            .extensions
            .get()
            .map(|PeerAddress(address)| *address)
    }

    /// Notes that the client has proved who it is. A client that does not do so in time loses its
    /// whole connection, and until then it may send few bytes.
    pub fn mark_identified(&self) {
        if let Some(meter) = self.meter() {
            meter.identify(self.namespace());
        }
    }

    /// Notes that the client has left the namespace, and its identity with it.
    pub(super) fn forget_identity(&self) {
        if let Some(meter) = self.meter() {
            meter.leave(self.namespace());
        }
    }

    fn meter(&self) -> Option<&Arc<SessionMeter>> {
        self.socket.req_parts().extensions.get()
    }

    /// Sends an event with one argument. A client whose buffer is full is disconnected, so that
    /// nothing is lost silently.
    pub fn emit(&self, name: &str, argument: &impl Serialize) {
        self.disconnect_if_full(self.socket.emit(name, &SingleArg(argument)));
    }

    /// Sends an event with any number of arguments, including attachments.
    pub fn emit_args(&self, name: &str, args: &Args) {
        self.disconnect_if_full(self.socket.emit(name, args));
    }

    /// Disconnects this socket and notifies the client, which may connect again.
    pub fn disconnect(&self) {
        // If the buffer is full, the next heartbeat finds no room either, and ends the session.
        let _ = self.socket.clone().disconnect();
    }

    pub(super) fn try_emit(&self, emit: &Emit) -> Result<(), SocketSendError> {
        let Ok(payload) = serde_json::from_str::<&RawValue>(&emit.payload) else {
            return Ok(());
        };
        emit_result(self.socket.emit(&*emit.name, &SingleArg(payload)))
    }

    fn disconnect_if_full(&self, sent: Result<(), SendError>) {
        if emit_result(sent) == Err(SocketSendError::Full) {
            self.disconnect();
        }
    }
}

fn emit_result(sent: Result<(), SendError>) -> Result<(), SocketSendError> {
    match sent {
        Err(SendError::Socket(SocketError::InternalChannelFull)) => Err(SocketSendError::Full),
        Err(SendError::Socket(_)) => Err(SocketSendError::Gone),
        // A value that cannot be encoded would fail on every attempt, so the error is dropped.
        Ok(()) | Err(SendError::Serialize(_)) => Ok(()),
    }
}

impl fmt::Debug for SocketHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SocketHandle")
            .field("id", &self.socket.id)
            .field("namespace", &self.namespace())
            .finish()
    }
}

/// The acknowledgement that a client requested for its event.
pub struct Ack(pub(super) AckSender);

impl Ack {
    /// Sends the acknowledgement to the client.
    pub fn send(self, args: &Args) {
        // If the buffer is full, the next event or heartbeat detects it.
        let _ = self.0.send(args);
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ack")
    }
}

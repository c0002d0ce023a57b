//! A socket, as an app may use it.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide::SendError;
use socketioxide::SocketError;
use socketioxide::extract::{AckSender, SocketRef};

use crate::socketio::args::One;
use crate::socketio::{Args, Emit, PeerAddress};

/// A connected socket of one namespace. Clones are the same one.
#[derive(Clone)]
pub struct Link {
    socket: SocketRef,
}

/// Why nothing could be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsent {
    /// Everything that may wait for the client waits.
    Full,
    /// The client is gone.
    Gone,
}

impl Link {
    pub(super) fn new(socket: SocketRef) -> Self {
        Self { socket }
    }

    /// The socket's id, as the client knows it.
    pub fn id(&self) -> String {
        self.socket.id.to_string()
    }

    /// Which namespace.
    pub fn namespace(&self) -> &str {
        self.socket.ns()
    }

    /// A header of the request that opened the session; none if it is not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.socket.req_parts().headers.get(name)?.to_str().ok()
    }

    /// The query of the request that opened the session.
    pub fn query(&self) -> &str {
        self.socket.req_parts().uri.query().unwrap_or_default()
    }

    /// Where that request came from.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.socket
            .req_parts()
            .extensions
            .get()
            .map(|PeerAddress(address)| *address)
    }

    /// Sends an event with one argument. A client that takes nothing any more is disconnected, so that nothing is lost silently.
    pub fn emit(&self, name: &str, argument: &impl Serialize) {
        self.settle(self.socket.emit(name, &One(argument)));
    }

    /// Sends an event with any number of arguments, attachments among them.
    pub fn emit_args(&self, name: &str, args: &Args) {
        self.settle(self.socket.emit(name, args));
    }

    /// Ends this socket; the client is told. It may connect again.
    pub fn disconnect(&self) {
        // Full: the next heartbeat finds no room either, and ends the session.
        let _ = self.socket.clone().disconnect();
    }

    pub(super) fn send(&self, emit: &Emit) -> Result<(), Unsent> {
        let Ok(payload) = serde_json::from_str::<&RawValue>(&emit.payload) else {
            return Ok(());
        };
        unsent(self.socket.emit(&*emit.name, &One(payload)))
    }

    fn settle(&self, sent: Result<(), SendError>) {
        if unsent(sent) == Err(Unsent::Full) {
            self.disconnect();
        }
    }
}

fn unsent(sent: Result<(), SendError>) -> Result<(), Unsent> {
    match sent {
        Err(SendError::Socket(SocketError::InternalChannelFull)) => Err(Unsent::Full),
        Err(SendError::Socket(_)) => Err(Unsent::Gone),
        // What can't be encoded is nothing that another attempt would mend.
        Ok(()) | Err(SendError::Serialize(_)) => Ok(()),
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("id", &self.socket.id)
            .field("namespace", &self.namespace())
            .finish()
    }
}

/// The client waits for an answer to its event.
pub struct Ack(pub(super) AckSender);

impl Ack {
    /// Answers.
    pub fn send(self, args: &Args) {
        // A client that takes nothing any more is found out by the next event or heartbeat.
        let _ = self.0.send(args);
    }
}

impl fmt::Debug for Ack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ack")
    }
}

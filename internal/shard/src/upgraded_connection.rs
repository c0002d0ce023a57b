//! A connection whose WebSocket handshake is complete.

use std::sync::Arc;

use bytes::Bytes;

use crate::protocol_handler::{HandlerSpec, InBandUpgrade};
use latido_admission::PermitSet;
use latido_auth::Principal;

/// The protocol of a new connection, with the data that its setup needs.
pub enum ConnectionKind {
    /// A client of the native protocol: its verified principal, and the in-band upgrade to an app's
    /// protocol if the listener offers one.
    Native(Arc<Principal>, Option<Arc<dyn InBandUpgrade>>),
    /// A client of an app's protocol.
    App(Box<HandlerSpec>),
}

impl std::fmt::Debug for ConnectionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Native(principal, _) => f.debug_tuple("Native").field(principal).finish(),
            Self::App(spec) => f.debug_tuple("App").field(spec).finish(),
        }
    }
}

/// A connection whose WebSocket handshake is complete.
#[derive(Debug)]
pub struct UpgradedConnection {
    /// The non-blocking socket, with a send buffer of `SEND_BUFFER_BYTES`.
    pub socket: std::net::TcpStream,
    /// The bytes that the client sent after its request and that were already read.
    pub early_bytes: Bytes,
    /// The protocol of the connection and its principal.
    pub kind: ConnectionKind,
    /// The connection's permits, held as long as the connection exists.
    pub permits: PermitSet,
}

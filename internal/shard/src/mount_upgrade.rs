//! WebSockets of a mounted service that need no waiting.

use std::net::SocketAddr;

use crate::protocol_handler::HandlerSpec;

/// A WebSocket of a mounted service that was accepted without waiting.
#[derive(Debug)]
pub struct MountedSocket {
    /// The specification of its handler.
    pub spec: HandlerSpec,
    /// The bytes of the handshake response.
    pub response: Vec<u8>,
    /// The number of received bytes that the request used; frames may follow.
    pub request_bytes: usize,
}

/// The plain WebSocket requests of a mounted service.
pub trait MountUpgrade: Send + Sync {
    /// Accepts a request without waiting, given all bytes received so far. Returns `None` if the
    /// request needs the regular path, which makes all other responses.
    fn try_upgrade(&self, received: &[u8], address: SocketAddr) -> Option<MountedSocket>;
}

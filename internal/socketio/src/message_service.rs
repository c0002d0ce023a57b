//! A service on the messages of Engine.IO, without Socket.IO.

use crate::engine::{EngineSession, Message};
use latido_socketio_protocol::engineio::begin_message;

/// A service that handles the messages of Engine.IO, without Socket.IO above it. Its clients need
/// not identify themselves.
pub trait MessageService: Send + Sync {
    /// Handles a text message.
    fn on_text(&self, text: &str, replies: &mut Replies<'_>);

    /// Handles a message of bytes.
    fn on_binary(&self, bytes: &[u8], replies: &mut Replies<'_>);
}

/// The replies to a message. They are sent in order.
pub struct Replies<'a>(&'a mut EngineSession);

impl Replies<'_> {
    /// Sends a text message.
    pub fn send_text(&mut self, text: &str) {
        let mut packet = String::with_capacity(text.len() + 1);
        begin_message(&mut packet);
        packet.push_str(text);
        self.0.push_text(packet);
    }

    /// Sends a message of bytes.
    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.0.push_binary(bytes);
    }
}

impl std::fmt::Debug for Replies<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replies")
    }
}

/// Passes a message to the service.
pub(crate) fn handle_message(
    service: &dyn MessageService,
    message: &Message<'_>,
    engine: &mut EngineSession,
) {
    let mut replies = Replies(engine);
    match message {
        Message::Text(text) => service.on_text(text, &mut replies),
        Message::Binary(bytes) => service.on_binary(bytes, &mut replies),
    }
}

//! The messages of a client that its task has not handled yet: limited, and in order.

use std::convert::Infallible;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::{FromMessageParts, Value};
use socketioxide::socket::Socket;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::app::ClientEvent;
use crate::args::{Args, parse_event};
use crate::config::Config;
use crate::socket_handle::Ack;

/// The inbox of a socket, stored in its extensions. The task that reads the transport fills it, and
/// the socket's own task empties it.
#[derive(Clone)]
pub(super) struct SocketInbox(Arc<SocketInboxShared>);

struct SocketInboxShared {
    sender: mpsc::Sender<QueuedMessage>,
    /// The bytes of the waiting messages. Relaxed ordering suffices: it is only a limit and sorts
    /// nothing.
    bytes: AtomicUsize,
    max_bytes: usize,
    /// The receiving half, until the socket's task takes it once.
    receiver: Mutex<Option<mpsc::Receiver<QueuedMessage>>>,
    /// Cancelled when the client has disconnected.
    disconnected: CancellationToken,
}

struct QueuedMessage {
    value: Value,
    ack: Option<Ack>,
}

/// The receiving half of an inbox, for the socket's task.
pub(super) struct InboxReceiver {
    receiver: mpsc::Receiver<QueuedMessage>,
    shared: Arc<SocketInboxShared>,
}

impl SocketInbox {
    /// Creates an inbox; `closed` is cancelled when all clients are disconnected.
    pub(super) fn new(config: &Config, closed: &CancellationToken) -> Self {
        let (sender, receiver) =
            mpsc::channel(usize::try_from(config.message_burst).unwrap_or(1).max(1));
        Self(Arc::new(SocketInboxShared {
            sender,
            bytes: AtomicUsize::new(0),
            max_bytes: config.max_payload_bytes.saturating_mul(2),
            receiver: Mutex::new(Some(receiver)),
            disconnected: closed.child_token(),
        }))
    }

    /// Takes the receiving half. Returns `None` on every further call.
    pub(super) fn take_receiver(&self) -> Option<InboxReceiver> {
        let receiver = self
            .0
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        Some(InboxReceiver {
            receiver,
            shared: Arc::clone(&self.0),
        })
    }

    /// Marks the client as disconnected.
    pub(super) fn mark_disconnected(&self) {
        self.0.disconnected.cancel();
    }

    /// Adds a message. Returns `false` if a limit is exceeded.
    fn enqueue(&self, message: QueuedMessage) -> bool {
        let bytes = message.size_bytes();
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        before.saturating_add(bytes) <= self.0.max_bytes && self.0.sender.try_send(message).is_ok()
    }
}

impl QueuedMessage {
    fn size_bytes(&self) -> usize {
        match &self.value {
            Value::Str(text, attachments) => {
                text.len()
                    + attachments
                        .iter()
                        .flatten()
                        .map(bytes::Bytes::len)
                        .sum::<usize>()
            }
            Value::Bytes(bytes) => bytes.len(),
        }
    }

    /// Parses the message. Returns `None` if it is not a valid event.
    fn into_event(self) -> Option<ClientEvent> {
        let Value::Str(text, attachments) = self.value else {
            return None;
        };
        let (event, values) = parse_event(&text)?;
        let attachments = attachments.into_iter().flatten().collect();
        Some(ClientEvent {
            name: event,
            args: Args {
                values,
                attachments,
            },
            ack: self.ack,
        })
    }
}

impl InboxReceiver {
    /// Returns the next event, or `None` once the inbox is closed. This method is cancel-safe.
    pub(super) async fn next(&mut self) -> Option<ClientEvent> {
        loop {
            let message = self.receiver.recv().await?;
            self.shared
                .bytes
                .fetch_sub(message.size_bytes(), Ordering::Relaxed);
            if let Some(event) = message.into_event() {
                return Some(event);
            }
        }
    }

    /// Returns the next event that is already in the inbox.
    pub(super) fn try_next(&mut self) -> Option<ClientEvent> {
        self.receiver.try_recv().ok()?.into_event()
    }

    /// Returns a token that is cancelled when the client has disconnected.
    pub(super) fn disconnected(&self) -> CancellationToken {
        self.shared.disconnected.clone()
    }
}

/// An extractor that puts a message into the inbox while the transport's task still holds it, so
/// that the order is kept. It has no values.
pub(super) struct Enqueue(Infallible);

/// The outcome of every extraction. It is an error, so that the crate starts no task for the
/// message.
#[derive(Debug)]
pub(super) struct Enqueued;

impl fmt::Display for Enqueued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("queued")
    }
}

impl std::error::Error for Enqueued {}

impl FromMessageParts<LocalAdapter> for Enqueue {
    type Error = Enqueued;

    fn from_message_parts(
        socket: &Arc<Socket>,
        value: &mut Value,
        ack: &Option<i64>,
    ) -> Result<Self, Enqueued> {
        let Some(inbox) = socket.extensions.get::<SocketInbox>() else {
            return Err(Enqueued);
        };
        let reply = ack
            .and_then(|_| AckSender::from_message_parts(socket, value, ack).ok())
            .map(Ack);
        let value = std::mem::replace(value, Value::Bytes(bytes::Bytes::new()));
        if !inbox.enqueue(QueuedMessage { value, ack: reply }) {
            // A client that sends faster than its messages are handled is disconnected. If even
            // this packet has no room, the heartbeat ends it.
            inbox.mark_disconnected();
            let _ = Arc::clone(socket).disconnect();
        }
        Err(Enqueued)
    }
}

impl Enqueue {
    /// Proves that the handler with this extractor is never called.
    pub(super) fn unreachable(self) {
        match self.0 {}
    }
}

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

use crate::args::arguments;
use crate::{Ack, Args, Config, Heard};

/// The inbox of a socket, stored in its extensions. The task that reads the transport fills it, and
/// the socket's own task empties it.
#[derive(Clone)]
pub(super) struct Inbox(Arc<Shared>);

struct Shared {
    sender: mpsc::Sender<Letter>,
    /// The bytes of the waiting messages. Relaxed ordering suffices: it is only a limit and sorts
    /// nothing.
    bytes: AtomicUsize,
    max_bytes: usize,
    /// The receiving half, until the socket's task takes it once.
    receiver: Mutex<Option<mpsc::Receiver<Letter>>>,
    /// Cancelled when the client has disconnected.
    gone: CancellationToken,
}

struct Letter {
    value: Value,
    ack: Option<Ack>,
}

/// The receiving half of an inbox, for the socket's task.
pub(super) struct Letters {
    receiver: mpsc::Receiver<Letter>,
    shared: Arc<Shared>,
}

impl Inbox {
    /// Creates an inbox; `closed` is cancelled when all clients are disconnected.
    pub(super) fn new(config: &Config, closed: &CancellationToken) -> Self {
        let (sender, receiver) =
            mpsc::channel(usize::try_from(config.message_burst).unwrap_or(1).max(1));
        Self(Arc::new(Shared {
            sender,
            bytes: AtomicUsize::new(0),
            max_bytes: config.max_payload_bytes.saturating_mul(2),
            receiver: Mutex::new(Some(receiver)),
            gone: closed.child_token(),
        }))
    }

    /// Takes the receiving half. Returns `None` on every further call.
    pub(super) fn open(&self) -> Option<Letters> {
        let receiver = self
            .0
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        Some(Letters {
            receiver,
            shared: Arc::clone(&self.0),
        })
    }

    /// Marks the client as disconnected.
    pub(super) fn end(&self) {
        self.0.gone.cancel();
    }

    /// Adds a message. Returns `false` if a limit is exceeded.
    fn post(&self, message: Letter) -> bool {
        let bytes = message.bytes();
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        before.saturating_add(bytes) <= self.0.max_bytes && self.0.sender.try_send(message).is_ok()
    }
}

impl Letter {
    fn bytes(&self) -> usize {
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
    fn read(self) -> Option<Heard> {
        let Value::Str(text, attachments) = self.value else {
            return None;
        };
        let (event, values) = arguments(&text)?;
        let attachments = attachments.into_iter().flatten().collect();
        Some(Heard {
            event,
            args: Args {
                values,
                attachments,
            },
            ack: self.ack,
        })
    }
}

impl Letters {
    /// Returns the next event, or `None` once the inbox is closed. This method is cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        loop {
            let message = self.receiver.recv().await?;
            self.shared
                .bytes
                .fetch_sub(message.bytes(), Ordering::Relaxed);
            if let Some(event) = message.read() {
                return Some(event);
            }
        }
    }

    /// Returns the next event that is already in the inbox.
    pub(super) fn left(&mut self) -> Option<Heard> {
        self.receiver.try_recv().ok()?.read()
    }

    /// Returns a token that is cancelled when the client has disconnected.
    pub(super) fn gone(&self) -> CancellationToken {
        self.shared.gone.clone()
    }
}

/// An extractor that puts a message into the inbox while the transport's task still holds it, so
/// that the order is kept. It has no values.
pub(super) struct Posted(Infallible);

/// The outcome of every extraction. It is an error, so that the crate starts no task for the
/// message.
#[derive(Debug)]
pub(super) struct Queued;

impl fmt::Display for Queued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("queued")
    }
}

impl std::error::Error for Queued {}

impl FromMessageParts<LocalAdapter> for Posted {
    type Error = Queued;

    fn from_message_parts(
        socket: &Arc<Socket>,
        value: &mut Value,
        ack: &Option<i64>,
    ) -> Result<Self, Queued> {
        let Some(inbox) = socket.extensions.get::<Inbox>() else {
            return Err(Queued);
        };
        let reply = ack
            .and_then(|_| AckSender::from_message_parts(socket, value, ack).ok())
            .map(Ack);
        let value = std::mem::replace(value, Value::Bytes(bytes::Bytes::new()));
        if !inbox.post(Letter { value, ack: reply }) {
            // A client that sends faster than its messages are handled is disconnected. If even
            // this packet has no room, the heartbeat ends it.
            inbox.end();
            let _ = Arc::clone(socket).disconnect();
        }
        Err(Queued)
    }
}

impl Posted {
    /// Proves that the handler with this extractor is never called.
    pub(super) fn never(self) {
        match self.0 {}
    }
}

//! What a client has said and its task has not yet heard: bounded, and in order.

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

use crate::socketio::args::arguments;
use crate::socketio::{Ack, Args, Config, Heard};

/// An extension of the socket. Filled by whatever task reads the transport, emptied by the socket's own.
#[derive(Clone)]
pub(super) struct Inbox(Arc<Shared>);

struct Shared {
    sender: mpsc::Sender<Letter>,
    /// Of the letters that wait. Relaxed: it is a bound, and orders nothing.
    bytes: AtomicUsize,
    max_bytes: usize,
    /// Until the socket's task takes it, once.
    receiver: Mutex<Option<mpsc::Receiver<Letter>>>,
    /// The client has gone.
    gone: CancellationToken,
}

struct Letter {
    value: Value,
    ack: Option<Ack>,
}

/// The task's end.
pub(super) struct Letters {
    receiver: mpsc::Receiver<Letter>,
    shared: Arc<Shared>,
}

impl Inbox {
    /// `closed`: every client is gone.
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

    /// To be called once.
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

    /// The client has gone.
    pub(super) fn end(&self) {
        self.0.gone.cancel();
    }

    /// Whether the letter could be put with the others.
    fn post(&self, letter: Letter) -> bool {
        let bytes = letter.bytes();
        let before = self.0.bytes.fetch_add(bytes, Ordering::Relaxed);
        before.saturating_add(bytes) <= self.0.max_bytes && self.0.sender.try_send(letter).is_ok()
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

    /// None: it is no event that anybody could understand.
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
    /// The next message. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Heard> {
        loop {
            let letter = self.receiver.recv().await?;
            self.shared
                .bytes
                .fetch_sub(letter.bytes(), Ordering::Relaxed);
            if let Some(heard) = letter.read() {
                return Some(heard);
            }
        }
    }

    /// The next message that lies here already.
    pub(super) fn left(&mut self) -> Option<Heard> {
        self.receiver.try_recv().ok()?.read()
    }

    /// Resolves when the client is gone.
    pub(super) fn gone(&self) -> CancellationToken {
        self.shared.gone.clone()
    }
}

/// Puts a message into the inbox while the transport's task still holds it, so that order is kept; there is never one of it.
pub(super) struct Posted(Infallible);

/// The message is in the inbox. An error, so that the crate starts no task for it.
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
        let answer = ack
            .and_then(|_| AckSender::from_message_parts(socket, value, ack).ok())
            .map(Ack);
        let value = std::mem::replace(value, Value::Bytes(bytes::Bytes::new()));
        if !inbox.post(Letter { value, ack: answer }) {
            // Whoever sends faster than it is heard is no client of ours. If even this has no room, the heartbeat ends it.
            inbox.end();
            let _ = Arc::clone(socket).disconnect();
        }
        Err(Queued)
    }
}

impl Posted {
    /// For the handler that is never called.
    pub(super) fn never(self) {
        match self.0 {}
    }
}

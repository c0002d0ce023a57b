//! The events to a client: taken from its mailbox, and encoded by its app.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::app::SocketIoApp;
use crate::emit::Emit;
use crate::socket_handle::{SocketHandle, SocketSendError};
use latido_event_bus::{DisconnectReason, Mailbox};

/// The pause before the next attempt after a client's buffer was full. The crate gives no
/// notification when there is room.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

pub(super) struct EventSender {
    socket: SocketHandle,
    app: Arc<dyn SocketIoApp>,
    mailbox: Mailbox,
    /// The unsent emits of one event. The next event stays in the mailbox, whose limit applies to
    /// it.
    pending: VecDeque<Emit>,
    full_since: Option<Instant>,
    slow_client: Duration,
}

/// The reason for which nothing more is sent to this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SendEnd {
    /// The client has disconnected already.
    Disconnected,
    /// The client must be disconnected.
    Disconnect(DisconnectReason),
}

impl EventSender {
    pub(super) fn new(
        socket: SocketHandle,
        app: Arc<dyn SocketIoApp>,
        mailbox: Mailbox,
        slow_client: Duration,
    ) -> Self {
        Self {
            socket,
            app,
            mailbox,
            pending: VecDeque::new(),
            full_since: None,
            slow_client,
        }
    }

    /// Delivers the next event, or continues with the current one. This method is cancel-safe.
    pub(super) async fn deliver_next(&mut self) -> Result<(), SendEnd> {
        if self.pending.is_empty() {
            let event = self.mailbox.recv().await.map_err(SendEnd::Disconnect)?;
            self.pending
                .extend(self.app.encode(self.socket.namespace(), &event));
        } else {
            sleep(RETRY_PAUSE).await;
        }
        self.flush()
    }

    fn flush(&mut self) -> Result<(), SendEnd> {
        while let Some(emit) = self.pending.front() {
            match self.socket.try_emit(emit) {
                Ok(()) => self.full_since = None,
                Err(SocketSendError::Gone) => return Err(SendEnd::Disconnected),
                Err(SocketSendError::Full) => {
                    let since = *self.full_since.get_or_insert_with(Instant::now);
                    return if since.elapsed() < self.slow_client {
                        Ok(())
                    } else {
                        Err(SendEnd::Disconnect(DisconnectReason::TooSlow))
                    };
                }
            }
            self.pending.pop_front();
        }
        Ok(())
    }
}

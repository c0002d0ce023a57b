//! The events to a client: taken from its mailbox, and encoded by its app.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::link::Unsent;
use crate::{Dialect, Emit, Link};
use latido_event_bus::{DisconnectReason, Mailbox};

/// The pause before the next attempt after a client's buffer was full. The crate gives no
/// notification when there is room.
const RETRY: Duration = Duration::from_millis(50);

pub(super) struct Outgoing {
    link: Link,
    dialect: Arc<dyn Dialect>,
    mailbox: Mailbox,
    /// The unsent emits of one event. The next event stays in the mailbox, whose limit applies to
    /// it.
    waiting: VecDeque<Emit>,
    stuck_since: Option<Instant>,
    patience: Duration,
}

/// The reason for which nothing more is sent to this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The client has disconnected already.
    Gone,
    /// The client must be disconnected.
    Ended(DisconnectReason),
}

impl Outgoing {
    pub(super) fn new(
        socket: Link,
        app: Arc<dyn Dialect>,
        mailbox: Mailbox,
        slow_client: Duration,
    ) -> Self {
        Self {
            link: socket,
            dialect: app,
            mailbox,
            waiting: VecDeque::new(),
            stuck_since: None,
            patience: slow_client,
        }
    }

    /// Delivers the next event, or continues with the current one. This method is cancel-safe.
    pub(super) async fn step(&mut self) -> Result<(), Over> {
        if self.waiting.is_empty() {
            let event = self.mailbox.recv().await.map_err(Over::Ended)?;
            self.waiting
                .extend(self.dialect.write(self.link.namespace(), &event));
        } else {
            sleep(RETRY).await;
        }
        self.send()
    }

    fn send(&mut self) -> Result<(), Over> {
        while let Some(emit) = self.waiting.front() {
            match self.link.send(emit) {
                Ok(()) => self.stuck_since = None,
                Err(Unsent::Gone) => return Err(Over::Gone),
                Err(Unsent::Full) => {
                    let since = *self.stuck_since.get_or_insert_with(Instant::now);
                    return if since.elapsed() < self.patience {
                        Ok(())
                    } else {
                        Err(Over::Ended(DisconnectReason::TooSlow))
                    };
                }
            }
            self.waiting.pop_front();
        }
        Ok(())
    }
}

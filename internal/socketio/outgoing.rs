//! What goes to a client: events of its mailbox, as its dialect writes them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::hub::exchange::{End, Mailbox};
use crate::socketio::link::Unsent;
use crate::socketio::{Dialect, Emit, Link};

/// How soon a client that took nothing is tried again. The crate tells nobody when there is room.
const RETRY: Duration = Duration::from_millis(50);

pub(super) struct Outgoing {
    link: Link,
    dialect: Arc<dyn Dialect>,
    mailbox: Mailbox,
    /// Of one event: while something is left of it the next stays in the mailbox, whose limit counts.
    waiting: VecDeque<Emit>,
    stuck_since: Option<Instant>,
    patience: Duration,
}

/// Nothing more goes to this client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// It is gone already.
    Gone,
    /// It must be ended.
    Ended(End),
}

impl Outgoing {
    pub(super) fn new(
        link: Link,
        dialect: Arc<dyn Dialect>,
        mailbox: Mailbox,
        patience: Duration,
    ) -> Self {
        Self {
            link,
            dialect,
            mailbox,
            waiting: VecDeque::new(),
            stuck_since: None,
            patience,
        }
    }

    /// Delivers the next event, or a little more of the last. Cancel-safe.
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
                        Err(Over::Ended(End::TooSlow))
                    };
                }
            }
            self.waiting.pop_front();
        }
        Ok(())
    }
}

//! The runtime of a polling session in its task.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use crate::host::{BusLink, Host, SocketOutput};
use latido_base::drain::Drain;
use latido_event_bus::{EncodingId, EventBus, Identity, JoinError, JoinRequest};

/// The futures that a session may run at a time.
const MAX_PENDING: usize = 64;

/// The runtime of a polling session.
pub(crate) struct PollingHost {
    outputs: mpsc::Sender<SocketOutput>,
    /// The futures whose output has not been taken yet.
    pending: usize,
    drain: Drain,
}

impl PollingHost {
    /// Creates the runtime, and the receiver of the outputs.
    pub(crate) fn new(drain: &Drain) -> (Self, mpsc::Receiver<SocketOutput>) {
        let (outputs, receiver) = mpsc::channel(MAX_PENDING);
        let host = Self {
            outputs,
            pending: 0,
            drain: drain.clone(),
        };
        (host, receiver)
    }

    pub(crate) fn pending(&self) -> usize {
        self.pending
    }

    /// Counts an output that was taken from the receiver.
    pub(crate) fn on_taken(&mut self) {
        self.pending = self.pending.saturating_sub(1);
    }
}

impl Host for PollingHost {
    fn connect(
        &mut self,
        bus: &Arc<EventBus>,
        _encoding: EncodingId,
        identity: Identity,
        joins: &[JoinRequest],
    ) -> Result<BusLink, JoinError> {
        let mailbox = bus.connect(identity, joins)?;
        Ok(BusLink::Mailbox(Arc::clone(bus), mailbox))
    }

    fn spawn(&mut self, future: BoxFuture<'static, SocketOutput>) -> bool {
        if self.pending >= MAX_PENDING {
            return false;
        }
        self.pending += 1;
        let outputs = self.outputs.clone();
        self.drain.spawn_until_stop(async move {
            // A session that has ended needs no output.
            let _ = outputs.send(future.await).await;
        });
        true
    }

    /// The bodies of requests have their own limit.
    fn limit_message_bytes(&mut self, _bytes: usize) {}
}

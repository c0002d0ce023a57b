//! The state of app connections on their shard.

use crate::async_requests::RequestQueue;
use crate::protocol_handler::ProtocolHandler;
use latido_base::ident::UserId;
use latido_event_bus::{DeliveryBatch, EventBacklog, EventQueue};
use latido_session::{MessageRateLimit, Session, SessionLimits};

/// The connection of this shard to one event bus.
pub(super) struct BusConnection {
    pub(super) app: &'static str,
    pub(super) queue: EventQueue,
    /// The events taken from the queue and not delivered yet. The next batch is taken when this one
    /// is empty.
    pub(super) batch: DeliveryBatch,
}

/// The additional state of an app connection.
pub(super) struct HandlerState {
    pub(super) app: &'static str,
    pub(super) bus: usize,
    /// The handler, or `None` once the connection is closing; its event bus holds nothing of it
    /// then.
    pub(super) handler: Option<Box<dyn ProtocolHandler>>,
    /// The user, kept after the handler is dropped.
    pub(super) user: Option<UserId>,
    /// The native session, if the connection also speaks the native protocol. Boxed, because most
    /// app connections do not.
    pub(super) native_session: Option<Box<Session>>,
    pub(super) limits: SessionLimits,
    pub(super) rate_limit: MessageRateLimit,
    /// The events that follow the outbox. There are none while there is no outbox.
    pub(super) backlog: Option<Box<EventBacklog>>,
    /// The queue of the app's futures.
    pub(super) requests: RequestQueue,
}

impl HandlerState {
    pub(super) fn user(&self) -> Option<&UserId> {
        self.handler
            .as_ref()
            .map_or(self.user.as_ref(), |handler| handler.user())
    }

    /// Appends frames of the backlog to `out`, as [`EventBacklog::drain_into`].
    pub(super) fn drain_backlog(&mut self, out: &mut Vec<u8>, bytes: usize) -> usize {
        let Some(backlog) = &mut self.backlog else {
            return 0;
        };
        let count = backlog.drain_into(out, bytes);
        if backlog.is_empty() {
            self.backlog = None;
        }
        count
    }

    /// Drops the handler, which removes the connection from its event bus.
    pub(super) fn drop_handler(&mut self) {
        if let Some(handler) = self.handler.take() {
            self.user = handler.user().cloned();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every app connection has this, beside its client and its handler.
    #[test]
    fn idle_app_connection_fits_its_size_limit() {
        let bytes = size_of::<HandlerState>();
        assert!(bytes <= 128, "{bytes}");
    }
}

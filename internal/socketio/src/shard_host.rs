//! The runtime of a session on a shard's thread.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::config::saturating_u32;
use crate::engine::Millis;
use crate::host::{BusLink, Host, ShardLink, SocketOutput};
use crate::session::Session;
use latido_event_bus::{EncodingId, EventBus, Identity, JoinError, JoinRequest};
use latido_shard::{Actions, HandlerContext};

/// The runtime of a session during one call of its handler.
pub(crate) struct ShardHost<'h, 'a> {
    pub(crate) actions: &'h mut Actions<'a>,
    pub(crate) context: &'h HandlerContext,
}

impl Host for ShardHost<'_, '_> {
    fn connect(
        &mut self,
        bus: &Arc<EventBus>,
        encoding: EncodingId,
        identity: Identity,
        joins: &[JoinRequest],
    ) -> Result<BusLink, JoinError> {
        let HandlerContext {
            queue,
            connection_slot,
        } = self.context;
        let id = bus.connect_on_shard(queue, encoding, *connection_slot, identity, joins)?;
        let bus = Arc::clone(bus);
        Ok(BusLink::Shard(ShardLink { bus, id }))
    }

    fn spawn(&mut self, future: BoxFuture<'static, SocketOutput>) -> bool {
        self.actions.spawn(future)
    }

    fn limit_message_bytes(&mut self, bytes: usize) {
        self.actions.limit_message_bytes(saturating_u32(bytes));
    }
}

impl Session {
    /// Moves the connections of all sockets from their mailboxes to a shard. What the mailboxes
    /// still had is sent first.
    pub(crate) fn move_to_shard(
        &mut self,
        context: &HandlerContext,
        now: Millis,
        host: &mut dyn Host,
    ) {
        let mut ends = Vec::new();
        for index in 0..self.sockets.len() {
            let core = &mut self.sockets[index].core;
            let number = core.number;
            let Some(link) = core.link.take() else {
                continue;
            };
            let (link, events, end) =
                link.move_to_shard(&context.queue, core.encoding, context.connection_slot);
            core.link = Some(link);
            for event in events {
                self.on_bus_event(number, &event);
            }
            ends.extend(end.map(|end| (number, end)));
        }
        for (number, end) in ends {
            self.on_bus_end(number, end, now, host);
        }
        host.limit_message_bytes(self.message_limit());
    }
}

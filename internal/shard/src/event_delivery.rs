//! The delivery of events from the event buses to app connections.

use crate::client::{ConnectionState, ProtocolState, ShardClient};
use crate::worker::ShardWorker;
use latido_event_bus::{
    BusEvent, ClientDelivery, ConnectionSlot, DisconnectReason, EncodingId, SlowConsumer,
};
use latido_protocol::Frame;
use latido_protocol::websocket::close_frame;
use latido_session::CloseReason;

/// The clients that receive events in one tick, over all event buses. They take about half a
/// millisecond.
pub(super) const CLIENTS_PER_TICK: usize = 256;

/// The bytes that are gathered for one write.
const WRITE_BYTES: usize = 64 * 1024;

/// The bytes of a client's backlog that are still sent before its close frame.
const FINAL_WRITE_BYTES: usize = 256 * 1024;

impl ShardWorker {
    /// Delivers pending events of all buses to at most `clients` clients, and to at least one
    /// client per busy bus.
    pub(super) fn deliver_events(&mut self, clients: usize) {
        if self.handlers.buses.is_empty() {
            return;
        }
        let mut buses = std::mem::take(&mut self.handlers.buses);
        for (number, bus) in buses.iter_mut().enumerate() {
            if bus.batch.is_empty() {
                let taken = bus.queue.drain();
                if taken.is_overrun {
                    self.disconnect_bus(number, bus.app)
                } else {
                    bus.batch.extend(taken)
                }
            }
        }
        let busy = buses.iter().filter(|bus| !bus.batch.is_empty()).count();
        for bus in &mut buses {
            for _ in 0..(clients / busy.max(1)).max(1) {
                let all = &self.connections.clients;
                let Some((to, work)) = bus
                    .batch
                    .next_client(&|event, encoding, to| encode_event(all, event, encoding, to))
                else {
                    break;
                };
                self.with_client(to.index, |worker, client| {
                    if client.generation == to.generation && client.state == ConnectionState::Open {
                        worker.send_events(to.index, client, work);
                    }
                });
            }
        }
        self.handlers.buses = buses;
    }

    /// Returns whether events wait for delivery. Events that arrived during a batch did not wake
    /// the shard, because it was awake.
    pub(super) fn has_pending_events(&self) -> bool {
        self.handlers
            .buses
            .iter()
            .any(|bus| !bus.batch.is_empty() || !bus.queue.is_empty())
    }

    /// Closes all clients of a bus after its queue overflowed. The shard lost events for them, so
    /// their state can no longer be correct.
    fn disconnect_bus(&mut self, number: usize, app: &'static str) {
        tracing::warn!(
            app,
            "a shard fell behind; it disconnects its clients of this app, which may reconnect"
        );
        for slot in 0..u32::try_from(self.connections.clients.len()).unwrap_or(u32::MAX) {
            self.with_client(slot, |worker, client| {
                if matches!(&client.protocol, ProtocolState::App(app) if app.bus == number) {
                    worker.close(slot, client, CloseReason::TooSlow);
                }
            });
        }
    }

    fn send_events<'f>(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        work: impl Iterator<Item = ClientDelivery<'f>>,
    ) {
        let mut work = work;
        loop {
            let mut end = None;
            let frames = work.by_ref().map_while(|work| match work {
                ClientDelivery::Frame(frame) => Some(frame),
                ClientDelivery::Disconnect(reason) => {
                    end = Some(reason);
                    None
                }
            });
            if self.send_frames(slot, client, frames).is_err() {
                end = Some(DisconnectReason::TooSlow);
            }
            match end {
                Some(DisconnectReason::TooSlow) => {
                    return self.close(slot, client, CloseReason::TooSlow);
                }
                Some(DisconnectReason::Kicked(reason)) => self.on_kicked(slot, client, reason),
                None => return,
            }
            if client.state != ConnectionState::Open {
                return;
            }
        }
    }

    /// Closes a client that its event bus has disconnected, unless its handler has others there.
    fn on_kicked(&mut self, slot: u32, client: &mut ShardClient, reason: &'static str) {
        let mut stays = false;
        self.call_handler(slot, client, |handler, _, actions| {
            stays = handler.on_kicked(reason, actions)
        });
        let ProtocolState::App(app) = &client.protocol else {
            return;
        };
        if !stays && client.state == ConnectionState::Open {
            let (code, text) = app
                .handler
                .as_ref()
                .map_or((4403, reason), |handler| handler.close_reason(reason));
            self.close_with(slot, client, CloseReason::App, &close_frame(code, text));
        }
    }

    pub(super) fn send_or_disconnect(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        frame: &Frame,
    ) {
        if self
            .send_frames(slot, client, std::iter::once(frame))
            .is_err()
        {
            self.close(slot, client, CloseReason::TooSlow);
        }
    }

    /// Sends frames in order with as few writes as possible. Bytes that the socket does not accept
    /// wait in the backlog.
    fn send_frames<'f>(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        frames: impl Iterator<Item = &'f Frame>,
    ) -> Result<(), SlowConsumer> {
        let mut frames = frames.peekable();
        while let Some(frame) = frames.next() {
            if matches!(client.state, ConnectionState::Dead(_)) {
                return Ok(());
            }
            if client.outbox.is_some() {
                let ProtocolState::App(app) = &mut client.protocol else {
                    return Ok(());
                };
                app.backlog.get_or_insert_default().push(frame)?;
                continue;
            }
            if frames.peek().is_none() || frame.as_bytes().len() >= WRITE_BYTES {
                self.push_frame(slot, client, frame);
                continue;
            }
            let mut bytes = std::mem::take(&mut self.buffers.scratch);
            bytes.extend_from_slice(frame.as_bytes());
            let mut count = 1;
            while bytes.len() < WRITE_BYTES
                && let Some(frame) = frames.next()
            {
                bytes.extend_from_slice(frame.as_bytes());
                count += 1;
            }
            self.push_bytes(slot, client, count, &bytes);
            bytes.clear();
            self.buffers.scratch = bytes;
        }
        Ok(())
    }

    /// Sends the backlog after the socket has drained, as far as the socket accepts it.
    pub(super) fn flush_backlog(&mut self, slot: u32, client: &mut ShardClient) {
        let mut bytes = std::mem::take(&mut self.buffers.scratch);
        while client.outbox.is_none() && client.state == ConnectionState::Open {
            let ProtocolState::App(app) = &mut client.protocol else {
                break;
            };
            let count = app.drain_backlog(&mut bytes, WRITE_BYTES);
            if count == 0 {
                break;
            }
            self.push_bytes(slot, client, count as u64, &bytes);
            bytes.clear();
        }
        self.buffers.scratch = bytes;
    }

    /// Detaches the handler when the server closes the connection. Its event bus forgets the
    /// connection now. The backlog is sent before the close frame, unless it was the backlog that
    /// grew too large.
    pub(super) fn detach(&mut self, client: &mut ShardClient, reason: CloseReason) {
        let ProtocolState::App(app) = &mut client.protocol else {
            return;
        };
        app.drop_handler();
        let mut last = Vec::new();
        if reason != CloseReason::TooSlow {
            app.drain_backlog(&mut last, FINAL_WRITE_BYTES);
        }
        app.backlog = None;
        if let Some(outbox) = &mut client.outbox {
            outbox.push(&last);
        }
    }
}

/// Encodes an event with the handler of the first recipient that is still connected.
fn encode_event(
    clients: &[Option<Box<ShardClient>>],
    event: &BusEvent,
    encoding: EncodingId,
    to: &[ConnectionSlot],
) -> Option<Frame> {
    to.iter().find_map(|to| {
        let client = clients.get(to.index as usize)?.as_ref()?;
        let ProtocolState::App(app) = &client.protocol else {
            return None;
        };
        let handler = app
            .handler
            .as_ref()
            .filter(|_| client.generation == to.generation)?;
        Some(handler.encode_as(event, encoding))
    })
}

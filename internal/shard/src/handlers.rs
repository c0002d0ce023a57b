//! App connections on their shard: calls to their handlers, the requested actions, and the delivery
//! of events.

use std::sync::Arc;

use crate::async_requests::{AsyncRequest, QueuedRequest};
use crate::client::{ConnectionState, ProtocolState, ShardClient};
use crate::inbox;
use crate::protocol_handler::{
    Action, Actions, AsyncResult, ClientMessage, HandlerContext, HandlerFuture, HandlerSpec,
    InBandUpgrade, ProtocolHandler, Timestamp,
};
use crate::worker::ShardWorker;
use latido_auth::Principal;
use latido_base::clock::monotonic_now;
use latido_base::ident::UserId;
use latido_event_bus::{
    BusEvent, ClientDelivery, ConnectionSlot, DeliveryBatch, DisconnectReason, EventBacklog,
    EventQueue, SlowConsumer,
};
use latido_protocol::Frame;
use latido_protocol::websocket::{WsMessage, close_frame, pong_frame};
use latido_session::{CloseReason, MessageRateLimit, RateDecision, Session, SessionLimits};

/// The clients that receive events in one tick, over all event buses. They take about half a
/// millisecond.
pub(super) const CLIENTS_PER_TICK: usize = 256;
/// The bytes that are gathered for one write.
const WRITE_BYTES: usize = 64 * 1024;
/// The bytes of a client's backlog that are still sent before its close frame.
const FINAL_WRITE_BYTES: usize = 256 * 1024;

/// The connection of this shard to one event bus.
pub(super) struct BusConnection {
    app: &'static str,
    queue: EventQueue,
    /// The events taken from the queue and not delivered yet. The next batch is taken when this one
    /// is empty.
    batch: DeliveryBatch,
}

/// The additional state of an app connection.
pub(super) struct HandlerState {
    pub(super) app: &'static str,
    bus: usize,
    /// The handler, or `None` once the connection is closing; its event bus holds nothing of it
    /// then.
    pub(super) handler: Option<Box<dyn ProtocolHandler>>,
    /// The user, kept after the handler is dropped.
    user: Option<UserId>,
    /// The native session, if the connection also speaks the native protocol.
    pub(super) native_session: Option<Session>,
    pub(super) limits: SessionLimits,
    rate_limit: MessageRateLimit,
    /// The events that follow the outbox. It is empty while there is no outbox.
    backlog: EventBacklog,
}

impl HandlerState {
    pub(super) fn user(&self) -> Option<&UserId> {
        self.handler
            .as_ref()
            .map_or(self.user.as_ref(), |handler| handler.user())
    }

    /// Drops the handler, which removes the connection from its event bus.
    fn drop_handler(&mut self) {
        if let Some(handler) = self.handler.take() {
            self.user = handler.user().cloned();
        }
    }
}

impl ShardWorker {
    /// Creates the state of an app connection, with its handler.
    pub(super) fn attach_handler(
        &mut self,
        spec: HandlerSpec,
        address: ConnectionSlot,
    ) -> Box<HandlerState> {
        let limits = spec.limits.unwrap_or(self.deps.context.limits);
        let bus = self.bus_for(spec.app);
        let queue = self.buses[bus].queue.clone();
        Box::new(HandlerState {
            app: spec.app,
            bus,
            handler: Some((spec.factory)(HandlerContext {
                queue,
                connection_slot: address,
            })),
            user: None,
            native_session: spec
                .principal
                .map(|principal| Session::new(principal, &limits, self.now_s)),
            limits,
            rate_limit: MessageRateLimit::new(&limits, self.now_s),
            backlog: EventBacklog::default(),
        })
    }

    /// Returns the index of an app's bus, and connects the shard to it on first use. There are as
    /// many buses as apps.
    fn bus_for(&mut self, app: &'static str) -> usize {
        self.buses
            .iter()
            .position(|bus| bus.app == app)
            .unwrap_or_else(|| {
                let waker = Arc::clone(self.inbox.waker());
                let queue = EventQueue::new(move || inbox::wake(&waker));
                self.buses.push(BusConnection {
                    app,
                    queue,
                    batch: DeliveryBatch::default(),
                });
                self.buses.len() - 1
            })
    }

    /// Registers an in-band upgrade. Returns its number on this shard, counted from 1.
    pub(super) fn register_upgrade(&mut self, upgrade: Arc<dyn InBandUpgrade>) -> u8 {
        let known = self
            .in_band_upgrades
            .iter()
            .position(|known| Arc::ptr_eq(known, &upgrade));
        let index = known.unwrap_or_else(|| {
            self.in_band_upgrades.push(upgrade);
            self.in_band_upgrades.len() - 1
        });
        u8::try_from(index + 1).unwrap_or_default()
    }

    /// Handles a message that is invalid in the native protocol. If an app claims it, attaches the
    /// app's handler; the native session stays active.
    pub(super) fn try_in_band_upgrade(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        text: &str,
    ) -> bool {
        let Some(upgrade) = usize::from(client.in_band_upgrade)
            .checked_sub(1)
            .and_then(|index| self.in_band_upgrades.get(index))
        else {
            return false;
        };
        let ProtocolState::Native(session) = &client.protocol else {
            return false;
        };
        if !upgrade.matches(text) {
            return false;
        }
        let spec = upgrade.upgrade(session.principal());
        let app = self.attach_handler(
            spec,
            ConnectionSlot {
                index: slot,
                generation: client.generation,
            },
        );
        if let ProtocolState::Native(session) =
            std::mem::replace(&mut client.protocol, ProtocolState::App(app))
            && let ProtocolState::App(app) = &mut client.protocol
        {
            app.native_session = Some(session);
        }
        self.call_handler(slot, client, |handler, now, actions| {
            handler.on_message(ClientMessage::Text(text), now, actions)
        });
        true
    }

    /// Handles a message of an app connection, except a close frame.
    pub(super) fn on_app_message(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        message: WsMessage<'_>,
    ) {
        let now_s = self.now_s;
        let ProtocolState::App(app) = &mut client.protocol else {
            return;
        };
        match app.rate_limit.check(&app.limits, now_s) {
            RateDecision::Allow => {}
            RateDecision::Drop { is_first: true } => {
                return self.call_handler(slot, client, |handler, _, actions| {
                    handler.on_rate_limited(actions)
                });
            }
            RateDecision::Drop { is_first: false } => return,
            RateDecision::Disconnect => {
                return self.close(slot, client, CloseReason::TooManyMessages);
            }
        }
        match message {
            WsMessage::Text(text) => self.call_handler(slot, client, |handler, now, actions| {
                handler.on_message(ClientMessage::Text(&text), now, actions)
            }),
            WsMessage::Binary(bytes) => self.call_handler(slot, client, |handler, now, actions| {
                handler.on_message(ClientMessage::Binary(&bytes), now, actions)
            }),
            WsMessage::Ping(payload) => self.push(slot, client, pong_frame(&payload)),
            WsMessage::Pong | WsMessage::Close { .. } => {}
        }
    }

    /// Passes the output of a spawned future to its handler.
    pub(super) fn on_async_result(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        result: AsyncResult,
    ) {
        self.call_handler(slot, client, |handler, now, actions| {
            handler.on_async_result(result, now, actions)
        });
    }

    /// Calls the handler of a client and applies the actions that it requests.
    pub(super) fn call_handler(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        call: impl FnOnce(&mut dyn ProtocolHandler, Timestamp, &mut Actions<'_>),
    ) {
        let now = Timestamp {
            unix_s: self.deps.clock.unix_s(),
        };
        let generation = client.generation;
        let ProtocolState::App(app) = &mut client.protocol else {
            return;
        };
        let Some(handler) = &mut app.handler else {
            return;
        };
        let (queue, inbox) = (&self.app_queue, &self.inbox);
        let mut spawn = |future: HandlerFuture| {
            let request = AsyncRequest::App(future);
            queue
                .try_send(QueuedRequest {
                    inbox: Arc::clone(inbox),
                    slot,
                    generation,
                    queued_at: monotonic_now(),
                    request,
                })
                .is_ok()
        };
        let mut actions = Actions::new(&mut spawn);
        call(handler.as_mut(), now, &mut actions);
        for action in actions.into_actions() {
            if client.state == ConnectionState::Open {
                self.apply_action(slot, client, action);
            }
        }
    }

    fn apply_action(&mut self, slot: u32, client: &mut ShardClient, action: Action) {
        match action {
            Action::Send(frame) => self.send_or_disconnect(slot, client, &frame),
            Action::SendAfterEvents(frame) => {
                let ProtocolState::App(app) = &client.protocol else {
                    return;
                };
                let Some(bus) = self.buses.get(app.bus) else {
                    return;
                };
                if bus.batch.is_empty() && bus.queue.is_empty() {
                    return self.send_or_disconnect(slot, client, &frame);
                }
                bus.queue.push_reply(
                    ConnectionSlot {
                        index: slot,
                        generation: client.generation,
                    },
                    frame,
                );
            }
            Action::Close(code, reason) => {
                self.close_with(slot, client, CloseReason::App, &close_frame(code, reason))
            }
            Action::AttachNativeSession(principal) => {
                self.attach_native_session(slot, client, principal)
            }
            Action::ForwardNative(text) => {
                let Some(session) = client.session_mut() else {
                    return;
                };
                let effect = session.on_text(&text, &self.deps.context);
                self.apply(slot, client, effect);
            }
        }
    }

    /// Attaches a native session to an app connection, or replaces the principal of the one it has.
    fn attach_native_session(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        principal: Arc<Principal>,
    ) {
        let effects = match client.session_mut() {
            Some(session) if session.principal().user() == principal.user() => {
                session.replace_principal(principal, &self.deps.context)
            }
            _ => {
                self.leave_rooms(client);
                let ProtocolState::App(app) = &mut client.protocol else {
                    return;
                };
                app.native_session = Some(Session::new(principal, &app.limits, self.now_s));
                Vec::new()
            }
        };
        for effect in effects {
            self.apply(slot, client, effect);
        }
    }

    /// Delivers pending events of all buses to at most `clients` clients, and to at least one
    /// client per busy bus.
    pub(super) fn deliver_events(&mut self, clients: usize) {
        if self.buses.is_empty() {
            return;
        }
        let mut buses = std::mem::take(&mut self.buses);
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
                let all = &self.clients;
                let Some((to, work)) = bus
                    .batch
                    .next_client(&|event, to| encode_event(all, event, to))
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
        self.buses = buses;
    }

    /// Returns whether events wait for delivery. Events that arrived during a batch did not wake
    /// the shard, because it was awake.
    pub(super) fn has_pending_events(&self) -> bool {
        self.buses
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
        for slot in 0..u32::try_from(self.clients.len()).unwrap_or(u32::MAX) {
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
        let mut end = None;
        let frames = work.map_while(|work| match work {
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
            Some(DisconnectReason::TooSlow) => self.close(slot, client, CloseReason::TooSlow),
            Some(DisconnectReason::Kicked(reason)) => {
                let ProtocolState::App(app) = &client.protocol else {
                    return;
                };
                let (code, text) = app
                    .handler
                    .as_ref()
                    .map_or((4403, reason), |handler| handler.close_reason(reason));
                self.close_with(slot, client, CloseReason::App, &close_frame(code, text));
            }
            None => {}
        }
    }

    fn send_or_disconnect(&mut self, slot: u32, client: &mut ShardClient, frame: &Frame) {
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
                app.backlog.push(frame)?;
                continue;
            }
            if frames.peek().is_none() || frame.as_bytes().len() >= WRITE_BYTES {
                self.push_frame(slot, client, frame);
                continue;
            }
            let mut bytes = std::mem::take(&mut self.scratch);
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
            self.scratch = bytes;
        }
        Ok(())
    }

    /// Sends the backlog after the socket has drained, as far as the socket accepts it.
    pub(super) fn flush_backlog(&mut self, slot: u32, client: &mut ShardClient) {
        let mut bytes = std::mem::take(&mut self.scratch);
        while client.outbox.is_none() && client.state == ConnectionState::Open {
            let ProtocolState::App(app) = &mut client.protocol else {
                break;
            };
            let count = app.backlog.drain_into(&mut bytes, WRITE_BYTES);
            if count == 0 {
                break;
            }
            self.push_bytes(slot, client, count as u64, &bytes);
            bytes.clear();
        }
        self.scratch = bytes;
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
            app.backlog.drain_into(&mut last, FINAL_WRITE_BYTES);
        }
        app.backlog = EventBacklog::default();
        if let Some(outbox) = &mut client.outbox {
            outbox.push(&last);
        }
    }
}

/// Encodes an event with the handler of the first recipient that is still connected.
fn encode_event(
    clients: &[Option<Box<ShardClient>>],
    event: &BusEvent,
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
        Some(handler.encode(event))
    })
}

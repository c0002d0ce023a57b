//! App connections on their shard: calls to their handlers, and the requested actions.

use std::sync::Arc;

use crate::async_requests::{AsyncRequest, QueuedRequest};
use crate::client::{ConnectionState, ProtocolState, ShardClient};
use crate::handler_state::{BusConnection, HandlerState};
use crate::inbox;
use crate::protocol_handler::{
    Action, Actions, AsyncResult, ClientMessage, HandlerContext, HandlerFuture, HandlerSpec,
    InBandUpgrade, ProtocolHandler, Timestamp,
};
use crate::timer_wheel::TimerEntry;
use crate::worker::ShardWorker;
use latido_auth::Principal;
use latido_base::clock::monotonic_now;
use latido_event_bus::{ConnectionSlot, DeliveryBatch, EventQueue};
use latido_protocol::websocket::{WsMessage, close_frame, pong_frame};
use latido_session::{CloseReason, MessageRateLimit, RateDecision, Session};

impl ShardWorker {
    /// Creates the state of an app connection, with its handler.
    pub(super) fn attach_handler(
        &mut self,
        spec: HandlerSpec,
        address: ConnectionSlot,
    ) -> Box<HandlerState> {
        let limits = spec.limits.unwrap_or(self.deps.context.limits);
        let bus = self.bus_for(spec.app);
        let queue = self.handlers.buses[bus].queue.clone();
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
                .map(|principal| Box::new(Session::new(principal, &limits, self.clock.now_s))),
            limits,
            rate_limit: MessageRateLimit::new(&limits, self.clock.now_s),
            backlog: None,
            requests: self.queues.apps.of(spec.app),
        })
    }

    /// Returns the index of an app's bus, and connects the shard to it on first use. There are as
    /// many buses as apps.
    fn bus_for(&mut self, app: &'static str) -> usize {
        self.handlers
            .buses
            .iter()
            .position(|bus| bus.app == app)
            .unwrap_or_else(|| {
                let waker = Arc::clone(self.inbox.waker());
                let queue = EventQueue::new(move || inbox::wake(&waker));
                self.handlers.buses.push(BusConnection {
                    app,
                    queue,
                    batch: DeliveryBatch::default(),
                });
                self.handlers.buses.len() - 1
            })
    }

    /// Registers an in-band upgrade. Returns its number on this shard, counted from 1.
    pub(super) fn register_upgrade(&mut self, upgrade: Arc<dyn InBandUpgrade>) -> u8 {
        let known = self
            .handlers
            .in_band_upgrades
            .iter()
            .position(|known| Arc::ptr_eq(known, &upgrade));
        let index = known.unwrap_or_else(|| {
            self.handlers.in_band_upgrades.push(upgrade);
            self.handlers.in_band_upgrades.len() - 1
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
            .and_then(|index| self.handlers.in_band_upgrades.get(index))
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
            app.native_session = Some(Box::new(session));
        }
        self.call_handler(slot, client, |handler, now, actions| {
            handler.on_message(ClientMessage::Text(text), now, actions)
        });
        true
    }

    /// Handles a message of an app connection, except a close frame. `cost` is what it counts
    /// against the rate limit.
    pub(super) fn on_app_message(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        message: WsMessage<'_>,
        cost: u32,
    ) {
        let now_s = self.clock.now_s;
        let ProtocolState::App(app) = &mut client.protocol else {
            return;
        };
        match app.rate_limit.check(&app.limits, cost, now_s) {
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
            WsMessage::Pong | WsMessage::Fragment | WsMessage::Close { .. } => {}
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
        let (queue, inbox) = (&app.requests, &self.inbox);
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
                let Some(bus) = self.handlers.buses.get(app.bus) else {
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
            Action::WakeAfter(delay) => {
                let entry = TimerEntry {
                    slot,
                    generation: client.generation,
                };
                self.clock.wakes.put(self.elapsed() + delay, entry);
            }
            Action::LimitMessageBytes(bytes) => {
                client.reader.set_max_message_bytes(bytes);
                if let ProtocolState::App(app) = &mut client.protocol {
                    app.limits.message_bytes = bytes;
                }
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
                let session = Session::new(principal, &app.limits, self.clock.now_s);
                app.native_session = Some(Box::new(session));
                Vec::new()
            }
        };
        for effect in effects {
            self.apply(slot, client, effect);
        }
    }
}

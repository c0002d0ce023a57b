//! App connections on their shard: calls to their handlers, the requested actions, and the delivery
//! of events.

use std::sync::Arc;

use crate::client::{Client, Life, Voice};
use crate::desk::{Asked, Question};
use crate::guest::{Act, Acts, Answered, Asking, Berth, Boarding, Guest, Heard, Interpreter, Now};
use crate::inbox;
use crate::worker::Worker;
use latido_auth::Principal;
use latido_base::clock::monotonic_now;
use latido_base::ident::UserId;
use latido_event_bus::{ConnectionSlot, EventBacklog, DeliveryBatch, DisconnectReason, BusEvent, EventQueue, SlowConsumer, ClientDelivery};
use latido_protocol::Frame;
use latido_protocol::websocket::{WsMessage, close_frame, pong_frame};
use latido_session::{MessageRateLimit, CloseReason, Session, SessionLimits, RateDecision};

/// The clients that receive events in one tick, over all event buses. They take about half a
/// millisecond.
pub(super) const CLIENTS_A_TURN: usize = 256;
/// The bytes that are gathered for one write.
const WRITE_BYTES: usize = 64 * 1024;
/// The bytes of a client's backlog that are still sent before its close frame.
const LAST_BYTES: usize = 256 * 1024;

/// The connection of this shard to one event bus.
pub(super) struct Lane {
    tenant: &'static str,
    port: EventQueue,
    /// The events taken from the queue and not delivered yet. The next batch is taken when this one
    /// is empty.
    batch: DeliveryBatch,
}

/// The additional state of an app connection.
pub(super) struct Visitor {
    pub(super) tenant: &'static str,
    lane: usize,
    /// The handler, or `None` once the connection is closing; its event bus holds nothing of it
    /// then.
    pub(super) guest: Option<Box<dyn Guest>>,
    /// The user, kept after the handler is dropped.
    user: Option<UserId>,
    /// The native session, if the connection also speaks the native protocol.
    pub(super) native: Option<Session>,
    pub(super) limits: SessionLimits,
    bucket: MessageRateLimit,
    /// The events that follow the outbox. It is empty while there is no outbox.
    backlog: EventBacklog,
}

impl Visitor {
    pub(super) fn user(&self) -> Option<&UserId> {
        self.guest
            .as_ref()
            .map_or(self.user.as_ref(), |handler| handler.user())
    }

    /// Drops the handler, which removes the connection from its event bus.
    fn depart(&mut self) {
        if let Some(handler) = self.guest.take() {
            self.user = handler.user().cloned();
        }
    }
}

impl Worker {
    /// Creates the state of an app connection, with its handler.
    pub(super) fn board(&mut self, spec: Boarding, address: ConnectionSlot) -> Box<Visitor> {
        let limits = spec.limits.unwrap_or(self.parts.context.limits);
        let bus = self.lane(spec.tenant);
        let queue = self.lanes[bus].port.clone();
        Box::new(Visitor {
            tenant: spec.tenant,
            lane: bus,
            guest: Some((spec.make)(Berth {
                port: queue,
                address,
            })),
            user: None,
            native: spec
                .principal
                .map(|principal| Session::new(principal, &limits, self.now_s)),
            limits,
            bucket: MessageRateLimit::new(&limits, self.now_s),
            backlog: EventBacklog::default(),
        })
    }

    /// Returns the index of an app's bus, and connects the shard to it on first use. There are as
    /// many buses as apps.
    fn lane(&mut self, app: &'static str) -> usize {
        self.lanes
            .iter()
            .position(|bus| bus.tenant == app)
            .unwrap_or_else(|| {
                let waker = Arc::clone(self.inbox.waker());
                let queue = EventQueue::new(move || inbox::wake(&waker));
                self.lanes.push(Lane {
                    tenant: app,
                    port: queue,
                    batch: DeliveryBatch::default(),
                });
                self.lanes.len() - 1
            })
    }

    /// Registers an in-band upgrade. Returns its number on this shard, counted from 1.
    pub(super) fn tongue(&mut self, upgrade: Arc<dyn Interpreter>) -> u8 {
        let known = self
            .tongues
            .iter()
            .position(|known| Arc::ptr_eq(known, &upgrade));
        let index = known.unwrap_or_else(|| {
            self.tongues.push(upgrade);
            self.tongues.len() - 1
        });
        u8::try_from(index + 1).unwrap_or_default()
    }

    /// Handles a message that is invalid in the native protocol. If an app claims it, attaches the
    /// app's handler; the native session stays active.
    pub(super) fn reinterpret(&mut self, slot: u32, client: &mut Client, text: &str) -> bool {
        let Some(upgrade) = usize::from(client.tongue)
            .checked_sub(1)
            .and_then(|index| self.tongues.get(index))
        else {
            return false;
        };
        let Voice::Native(session) = &client.voice else {
            return false;
        };
        if !upgrade.knows(text) {
            return false;
        }
        let spec = upgrade.board(session.principal());
        let app = self.board(
            spec,
            ConnectionSlot {
                index: slot,
                generation: client.generation,
            },
        );
        if let Voice::Native(session) = std::mem::replace(&mut client.voice, Voice::Guest(app))
            && let Voice::Guest(app) = &mut client.voice
        {
            app.native = Some(session);
        }
        self.tell(slot, client, |handler, now, actions| {
            handler.hear(Heard::Text(text), now, actions)
        });
        true
    }

    /// Handles a message of an app connection, except a close frame.
    pub(super) fn on_guest_message(
        &mut self,
        slot: u32,
        client: &mut Client,
        message: WsMessage<'_>,
    ) {
        let now_s = self.now_s;
        let Voice::Guest(app) = &mut client.voice else {
            return;
        };
        match app.bucket.check(&app.limits, now_s) {
            RateDecision::Allow => {}
            RateDecision::Drop { is_first: true } => {
                return self.tell(slot, client, |handler, _, actions| handler.flooded(actions));
            }
            RateDecision::Drop { is_first: false } => return,
            RateDecision::Disconnect => return self.close(slot, client, CloseReason::TooManyMessages),
        }
        match message {
            WsMessage::Text(text) => self.tell(slot, client, |handler, now, actions| {
                handler.hear(Heard::Text(&text), now, actions)
            }),
            WsMessage::Binary(bytes) => self.tell(slot, client, |handler, now, actions| {
                handler.hear(Heard::Binary(&bytes), now, actions)
            }),
            WsMessage::Ping(payload) => self.push(slot, client, pong_frame(&payload)),
            WsMessage::Pong | WsMessage::Close { .. } => {}
        }
    }

    /// Passes the output of a spawned future to its handler.
    pub(super) fn on_guest_answer(&mut self, slot: u32, client: &mut Client, result: Answered) {
        self.tell(slot, client, |handler, now, actions| {
            handler.answered(result, now, actions)
        });
    }

    /// Calls the handler of a client and applies the actions that it requests.
    pub(super) fn tell(
        &mut self,
        slot: u32,
        client: &mut Client,
        call: impl FnOnce(&mut dyn Guest, Now, &mut Acts<'_>),
    ) {
        let now = Now {
            unix_s: self.parts.clock.unix_s(),
        };
        let generation = client.generation;
        let Voice::Guest(app) = &mut client.voice else {
            return;
        };
        let Some(handler) = &mut app.guest else {
            return;
        };
        let (queue, inbox) = (&self.guests_desk, &self.inbox);
        let mut spawn = |future: Asking| {
            let request = Question::Guest(future);
            queue
                .try_send(Asked {
                    inbox: Arc::clone(inbox),
                    slot,
                    generation,
                    since: monotonic_now(),
                    question: request,
                })
                .is_ok()
        };
        let mut actions = Acts::new(&mut spawn);
        call(handler.as_mut(), now, &mut actions);
        for action in actions.into_acts() {
            if client.life == Life::Open {
                self.perform(slot, client, action);
            }
        }
    }

    fn perform(&mut self, slot: u32, client: &mut Client, action: Act) {
        match action {
            Act::Send(frame) => self.give_or_end(slot, client, &frame),
            Act::Behind(frame) => {
                let Voice::Guest(app) = &client.voice else {
                    return;
                };
                let Some(bus) = self.lanes.get(app.lane) else {
                    return;
                };
                if bus.batch.is_empty() && bus.port.is_empty() {
                    return self.give_or_end(slot, client, &frame);
                }
                bus.port.push_reply(
                    ConnectionSlot {
                        index: slot,
                        generation: client.generation,
                    },
                    frame,
                );
            }
            Act::Close(code, reason) => {
                self.close_with(slot, client, CloseReason::App, &close_frame(code, reason))
            }
            Act::Enter(principal) => self.enter(slot, client, principal),
            Act::Native(text) => {
                let Some(session) = client.conversation_mut() else {
                    return;
                };
                let effect = session.on_text(&text, &self.parts.context);
                self.apply(slot, client, effect);
            }
        }
    }

    /// Attaches a native session to an app connection, or replaces the principal of the one it has.
    fn enter(&mut self, slot: u32, client: &mut Client, principal: Arc<Principal>) {
        let effects = match client.conversation_mut() {
            Some(session) if session.principal().user() == principal.user() => {
                session.replace_principal(principal, &self.parts.context)
            }
            _ => {
                self.leave_rooms(client);
                let Voice::Guest(app) = &mut client.voice else {
                    return;
                };
                app.native = Some(Session::new(principal, &app.limits, self.now_s));
                Vec::new()
            }
        };
        for effect in effects {
            self.apply(slot, client, effect);
        }
    }

    /// Delivers pending events of all buses to at most `clients` clients, and to at least one
    /// client per busy bus.
    pub(super) fn take_events(&mut self, clients: usize) {
        if self.lanes.is_empty() {
            return;
        }
        let mut buses = std::mem::take(&mut self.lanes);
        for (number, bus) in buses.iter_mut().enumerate() {
            if bus.batch.is_empty() {
                let taken = bus.port.drain();
                if taken.is_overrun {
                    self.end_lane(number, bus.tenant)
                } else {
                    bus.batch.extend(taken)
                }
            }
        }
        let busy = buses.iter().filter(|bus| !bus.batch.is_empty()).count();
        for bus in &mut buses {
            for _ in 0..(clients / busy.max(1)).max(1) {
                let all = &self.clients;
                let Some((to, work)) = bus.batch.next_client(&|event, to| encode(all, event, to)) else {
                    break;
                };
                self.with_client(to.index, |worker, client| {
                    if client.generation == to.generation && client.life == Life::Open {
                        worker.on_events(to.index, client, work);
                    }
                });
            }
        }
        self.lanes = buses;
    }

    /// Returns whether events wait for delivery. Events that arrived during a batch did not wake
    /// the shard, because it was awake.
    pub(super) fn has_events(&self) -> bool {
        self.lanes
            .iter()
            .any(|bus| !bus.batch.is_empty() || !bus.port.is_empty())
    }

    /// Closes all clients of a bus after its queue overflowed. The shard lost events for them, so
    /// their state can no longer be correct.
    fn end_lane(&mut self, number: usize, app: &'static str) {
        tracing::warn!(
            app,
            "a shard fell behind; it disconnects its clients of this app, which may reconnect"
        );
        for slot in 0..u32::try_from(self.clients.len()).unwrap_or(u32::MAX) {
            self.with_client(slot, |worker, client| {
                if matches!(&client.voice, Voice::Guest(app) if app.lane == number) {
                    worker.close(slot, client, CloseReason::TooSlow);
                }
            });
        }
    }

    fn on_events<'f>(
        &mut self,
        slot: u32,
        client: &mut Client,
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
        if self.give(slot, client, frames).is_err() {
            end = Some(DisconnectReason::TooSlow);
        }
        match end {
            Some(DisconnectReason::TooSlow) => self.close(slot, client, CloseReason::TooSlow),
            Some(DisconnectReason::Kicked(reason)) => {
                let Voice::Guest(app) = &client.voice else {
                    return;
                };
                let (code, text) = app
                    .guest
                    .as_ref()
                    .map_or((4403, reason), |handler| handler.farewell(reason));
                self.close_with(slot, client, CloseReason::App, &close_frame(code, text));
            }
            None => {}
        }
    }

    fn give_or_end(&mut self, slot: u32, client: &mut Client, frame: &Frame) {
        if self.give(slot, client, std::iter::once(frame)).is_err() {
            self.close(slot, client, CloseReason::TooSlow);
        }
    }

    /// Sends frames in order with as few writes as possible. Bytes that the socket does not accept
    /// wait in the backlog.
    fn give<'f>(
        &mut self,
        slot: u32,
        client: &mut Client,
        frames: impl Iterator<Item = &'f Frame>,
    ) -> Result<(), SlowConsumer> {
        let mut frames = frames.peekable();
        while let Some(frame) = frames.next() {
            if matches!(client.life, Life::Dead(_)) {
                return Ok(());
            }
            if client.outbox.is_some() {
                let Voice::Guest(app) = &mut client.voice else {
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
    pub(super) fn relieve(&mut self, slot: u32, client: &mut Client) {
        let mut bytes = std::mem::take(&mut self.scratch);
        while client.outbox.is_none() && client.life == Life::Open {
            let Voice::Guest(app) = &mut client.voice else {
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
    pub(super) fn depart(&mut self, client: &mut Client, reason: CloseReason) {
        let Voice::Guest(app) = &mut client.voice else {
            return;
        };
        app.depart();
        let mut last = Vec::new();
        if reason != CloseReason::TooSlow {
            app.backlog.drain_into(&mut last, LAST_BYTES);
        }
        app.backlog = EventBacklog::default();
        if let Some(outbox) = &mut client.outbox {
            outbox.push(&last);
        }
    }
}

/// Encodes an event with the handler of the first recipient that is still connected.
fn encode(clients: &[Option<Box<Client>>], event: &BusEvent, to: &[ConnectionSlot]) -> Option<Frame> {
    to.iter().find_map(|to| {
        let client = clients.get(to.index as usize)?.as_ref()?;
        let Voice::Guest(app) = &client.voice else {
            return None;
        };
        let handler = app
            .guest
            .as_ref()
            .filter(|_| client.generation == to.generation)?;
        Some(handler.encode(event))
    })
}

//! The clients in their slots: how one is installed, used and removed.

use mio::net::TcpStream;
use mio::{Interest, Token};

use crate::async_response::AsyncResponse;
use crate::client::{ConnectionState, ProtocolState, ShardClient};
use crate::close_queue::ClosingSocket;
use crate::timer_wheel::TimerEntry;
use crate::upgraded_connection::ConnectionKind;
use crate::worker::ShardWorker;
use latido_admission::PermitSet;
use latido_auth::{Decision, PermissionSubject};
use latido_base::ident::{Channel, UserId};
use latido_event_bus::ConnectionSlot;
use latido_protocol::websocket::FrameReader;
use latido_session::{CloseReason, PermissionAnswer, Session, SessionContext};
use latido_telemetry::RecentEventKind;

impl ShardWorker {
    /// Assigns a slot to a socket and registers it for reading.
    ///
    /// Write readiness is requested only after the socket was full. Otherwise each new socket would
    /// wake the poll just to report that it is empty.
    ///
    /// # Errors
    ///
    /// Returns the socket if the kernel has no room to register it.
    pub(super) fn open_slot(&mut self, mut socket: TcpStream) -> Result<u32, TcpStream> {
        let slot = self.connections.take_free_slot();
        let registered =
            self.poll
                .registry()
                .register(&mut socket, Token(slot as usize), Interest::READABLE);
        if let Err(error) = registered {
            tracing::warn!(%error, "a connection could not be polled");
            self.connections.free_slots.push(slot);
            return Err(socket);
        }
        self.connections.occupy(slot, socket);
        Ok(slot)
    }

    /// Installs a client for the connection in a slot.
    pub(super) fn install_client(&mut self, slot: u32, kind: ConnectionKind, permit: PermitSet) {
        let generation = self.connections.generations[slot as usize];
        let limits = self.deps.context.limits;
        let mut in_band_upgrade = 0;
        let (protocol, message_bytes) = match kind {
            ConnectionKind::Native(principal, upgrade) => {
                in_band_upgrade = upgrade.map_or(0, |upgrade| self.register_upgrade(upgrade));
                (
                    ProtocolState::Native(Session::new(principal, &limits, self.clock.now_s)),
                    limits.message_bytes,
                )
            }
            ConnectionKind::App(spec) => {
                let app = self.attach_handler(
                    *spec,
                    ConnectionSlot {
                        index: slot,
                        generation,
                    },
                );
                let message_bytes = app.limits.message_bytes;
                (ProtocolState::App(app), message_bytes)
            }
        };
        let client = Box::new(ShardClient {
            generation,
            state: ConnectionState::Open,
            protocol,
            reader: FrameReader::new(message_bytes),
            outbox: None,
            has_unread_input: false,
            in_band_upgrade,
            connected_s: self.clock.now_s,
            last_received_s: self.clock.now_s,
            awaiting_pong: false,
            timer_at_s: u32::MAX,
            _permits: permit,
        });
        self.deps.metrics.connections.inc();
        let dialect = if matches!(client.protocol, ProtocolState::Native(_)) {
            "websocket"
        } else {
            client.dialect()
        };
        self.deps.metrics.recent_events.record(
            RecentEventKind::Connected,
            dialect,
            client.user().map(UserId::as_str),
        );
        self.return_client(slot, client);
        self.with_client(slot, |worker, client| {
            worker.call_handler(slot, client, |handler, now, actions| {
                handler.on_open(now, actions)
            });
        });
    }

    pub(super) fn on_async_response(
        &mut self,
        slot: u32,
        generation: u32,
        response: AsyncResponse,
    ) {
        self.with_client(slot, |worker, client| {
            if client.generation != generation || client.state != ConnectionState::Open {
                return;
            }
            let effects = match (response, client.session_mut()) {
                (AsyncResponse::App(output), _) => {
                    return worker.on_async_result(slot, client, output);
                }
                (AsyncResponse::History(name, result), Some(_)) => {
                    return worker.on_history(slot, client, &name, result);
                }
                (AsyncResponse::Permission(_, channel, _), Some(native))
                    if worker.deps.context.catalog.is_retired(channel.topic.stream) =>
                {
                    let context = &worker.deps.context;
                    let effect = native.on_outdated_permission(&channel.name, context);
                    effect.into_iter().collect()
                }
                (AsyncResponse::Permission(subject, channel, answer), Some(native)) => {
                    if is_outdated(&worker.deps.context, native, &subject, &channel, answer) {
                        return;
                    }
                    native.on_permission(channel, answer)
                }
                (AsyncResponse::Token(result), Some(native)) => {
                    native.on_reauth(result, &worker.deps.context)
                }
                (_, None) => return,
            };
            for effect in effects {
                worker.apply(slot, client, effect);
            }
        });
    }

    /// Takes a client out for `act`, and puts it back unless it died.
    pub(super) fn with_client(&mut self, slot: u32, act: impl FnOnce(&mut Self, &mut ShardClient)) {
        let Some(mut client) = self
            .connections
            .clients
            .get_mut(slot as usize)
            .and_then(Option::take)
        else {
            return;
        };
        act(self, &mut client);
        self.return_client(slot, client);
    }

    pub(super) fn return_client(&mut self, slot: u32, mut client: Box<ShardClient>) {
        if let ConnectionState::Dead(reason) = client.state {
            self.remove_client(slot, *client, reason);
            return;
        }
        let unix_s = self.deps.clock.unix_s();
        let deadline = client.next_deadline_s(&self.deps.context, self.clock.now_s, unix_s);
        if deadline < client.timer_at_s {
            client.timer_at_s = self.clock.timers.put(
                deadline,
                TimerEntry {
                    slot,
                    generation: client.generation,
                },
            );
        }
        self.connections.clients[slot as usize] = Some(client);
    }

    /// Removes a client. Its socket is closed later, by the close queue.
    fn remove_client(&mut self, slot: u32, client: ShardClient, reason: CloseReason) {
        self.leave_rooms(&client);
        self.deps.metrics.connections.dec();
        let user = client.user().map(UserId::as_str);
        self.deps.metrics.closes.increment(reason.label());
        self.deps
            .metrics
            .recent_events
            .record(RecentEventKind::Closed, reason.label(), user);
        tracing::debug!(user, reason = reason.label(), "connection ended");
        self.connections.close_queue.put(ClosingSocket {
            slot,
            unsent: client.outbox,
        });
    }

    pub(super) fn drop_all(&mut self) {
        for slot in 0..self.connections.clients.len() {
            if let Some(client) = self.connections.clients[slot].take() {
                self.remove_client(
                    u32::try_from(slot).unwrap_or(u32::MAX),
                    *client,
                    CloseReason::Restarting,
                );
            }
        }
        self.close_all();
    }
}

/// Returns whether the answer about a subject is for another token than the client's. A new token
/// was checked by itself when it came.
fn is_outdated(
    context: &SessionContext,
    session: &Session,
    subject: &PermissionSubject,
    channel: &Channel,
    answer: PermissionAnswer,
) -> bool {
    let (catalog, principal) = (&context.catalog, session.principal());
    let of_token = principal.subject(catalog.get(channel.topic.stream));
    let is_granted = || context.policy.decide(principal, catalog, channel) == Decision::Allowed;
    of_token != *subject || answer == PermissionAnswer::Forbidden && is_granted()
}

//! The end of connections: deadlines, close frames, and the shutdown of the server.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::client::{ConnectionState, ProtocolState, ShardClient};
use crate::outbox::Outbox;
use crate::worker::ShardWorker;
use latido_base::clock::monotonic_now;
use latido_protocol::websocket::{close_frame, ping_frame};
use latido_session::{CloseReason, SessionEffect};

/// The time in which a client must answer the server's close frame, in seconds.
const CLOSE_TIMEOUT_S: u32 = 3;
/// The interval between two batches of clients that a shutdown closes.
const DRAIN_INTERVAL: Duration = Duration::from_millis(20);
/// The smallest batch; so few clients need not be spread.
const MIN_DRAIN_BATCH: usize = 64;

/// The schedule of a shutdown: clients are closed in batches, so that they do not reconnect all at
/// once.
#[derive(Debug)]
pub(super) struct DrainSchedule {
    /// The first slot of the next batch.
    next_slot: u32,
    batch: usize,
    next_batch_at: Instant,
}

impl DrainSchedule {
    pub(super) fn new(clients: usize, spread: Duration) -> Self {
        let steps = usize::try_from(spread.as_millis() / DRAIN_INTERVAL.as_millis())
            .unwrap_or(1)
            .max(1);
        Self {
            next_slot: 0,
            batch: clients.div_ceil(steps).max(MIN_DRAIN_BATCH),
            next_batch_at: monotonic_now(),
        }
    }

    pub(super) fn next_in(&self) -> Duration {
        self.next_batch_at
            .saturating_duration_since(monotonic_now())
    }
}

impl ShardWorker {
    /// Closes the next batch of clients. The shard ends when all have left.
    pub(super) fn drain_step(&mut self) {
        let Some(mut schedule) = self.shutdown.take() else {
            return;
        };
        if monotonic_now() >= schedule.next_batch_at {
            let mut closed = 0;
            while closed < schedule.batch && (schedule.next_slot as usize) < self.clients.len() {
                let slot = schedule.next_slot;
                schedule.next_slot += 1;
                self.with_client(slot, |worker, client| {
                    if client.state == ConnectionState::Open {
                        closed += 1;
                        worker.call_handler(slot, client, |handler, _, actions| {
                            handler.on_shutdown(actions)
                        });
                        worker.close(slot, client, CloseReason::Restarting);
                    }
                });
                self.yield_to_broadcasts();
            }
            if schedule.next_slot as usize >= self.clients.len() {
                // A connection whose upgrade was in progress when the shutdown began may still
                // arrive in a slot that was passed.
                schedule.next_slot = 0;
            }
            schedule.next_batch_at = monotonic_now() + DRAIN_INTERVAL;
        }
        // Sockets that only wait to be closed need no more batches; they are closed together when
        // the shard ends.
        self.is_stopping |= self.slots_in_use() == self.close_queue.len();
        self.shutdown = Some(schedule);
    }

    /// Runs the timers of every client that is due in the timer wheel.
    pub(super) fn run_timers(&mut self) {
        let mut due = Vec::new();
        self.timers.take(self.now_s, &mut due);
        for entry in due {
            if !self.pending.is_empty() {
                self.on_pending_timeout(entry);
            }
            self.with_client(entry.slot, |worker, client| {
                if client.generation == entry.generation && client.timer_at_s <= worker.now_s {
                    client.timer_at_s = u32::MAX;
                    worker.on_timer(entry.slot, client);
                }
            });
            self.yield_to_broadcasts();
        }
    }

    pub(super) fn on_timer(&mut self, slot: u32, client: &mut ShardClient) {
        let limits = *client.limits(&self.deps.context.limits);
        if let ConnectionState::Closing { reason, until_s } = client.state {
            if self.now_s >= until_s {
                client.state = ConnectionState::Dead(reason);
            }
            return;
        }
        if let Some(outbox) = &client.outbox
            && self.now_s >= outbox.progress_s + limits.slow_client_s
        {
            return self.close(slot, client, CloseReason::TooSlow);
        }
        let silent_s = self.now_s.saturating_sub(client.last_received_s);
        let is_pinged = client.awaiting_pong || limits.heartbeat_s >= limits.idle_timeout_s;
        if silent_s >= limits.idle_timeout_s && is_pinged {
            return self.close(slot, client, CloseReason::Silent);
        }
        if silent_s >= limits.heartbeat_s && !client.awaiting_pong {
            client.awaiting_pong = true;
            if client.outbox.is_none() {
                self.push(slot, client, ping_frame());
            }
        }
        let unix_s = self.deps.clock.unix_s();
        self.call_handler(slot, client, |handler, now, actions| {
            handler.on_timer(now, actions)
        });
        let is_app = matches!(client.protocol, ProtocolState::App(_));
        let Some(session) = client.session_mut() else {
            return;
        };
        match session.on_timer(unix_s, &limits) {
            SessionEffect::None => {}
            // An app client that never used the native protocol may not understand its frames.
            SessionEffect::Reply(_) if is_app && session.channels().len() == 0 => {}
            effect => self.apply(slot, client, effect),
        }
    }

    /// Closes a connection from the server's side.
    pub(super) fn close(&mut self, slot: u32, client: &mut ShardClient, reason: CloseReason) {
        self.close_with(
            slot,
            client,
            reason,
            &close_frame(reason.code(), reason.text()),
        );
    }

    /// Closes a connection with this close frame. It gets no more broadcasts, but queued bytes
    /// still leave. If the client closed first, the reply leaves when its socket is closed by the
    /// [close queue](crate::close_queue).
    pub(super) fn close_with(
        &mut self,
        slot: u32,
        client: &mut ShardClient,
        reason: CloseReason,
        frame: &[u8],
    ) {
        if client.state != ConnectionState::Open {
            return;
        }
        self.leave_rooms(client);
        if let Some(session) = client.session_mut() {
            session.clear_subscriptions();
        }
        self.detach(client, reason);
        if reason == CloseReason::Client && client.outbox.is_none() {
            self.count_sent(1, 0);
            client.outbox = Some(Box::new(Outbox::after_bytes(frame.to_vec(), 0, self.now_s)));
            client.state = ConnectionState::Dead(reason);
            return;
        }
        self.push_last(slot, client, frame.to_vec());
        if matches!(client.state, ConnectionState::Dead(_)) {
            client.state = ConnectionState::Dead(reason);
            return;
        }
        client.state = ConnectionState::Closing {
            reason,
            until_s: self.now_s + CLOSE_TIMEOUT_S,
        };
        if client.outbox.is_none() {
            self.finish_closing(slot, client);
        }
    }

    /// Finishes the closing handshake after the close frame was sent.
    ///
    /// A client that closed first has its reply by now. Otherwise the client's reply is awaited:
    /// closing with unread bytes would make the kernel reset the connection and drop the server's
    /// close frame.
    pub(super) fn finish_closing(&mut self, slot: u32, client: &mut ShardClient) {
        if let ConnectionState::Closing {
            reason: CloseReason::Client,
            ..
        } = client.state
        {
            client.state = ConnectionState::Dead(CloseReason::Client);
            return;
        }
        let Some(socket) = self.sockets.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        if socket.shutdown(Shutdown::Write).is_err() {
            client.state = ConnectionState::Dead(CloseReason::Client);
        }
    }
}

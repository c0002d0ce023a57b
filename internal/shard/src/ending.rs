//! The end of connections: deadlines, close frames, and the shutdown of the server.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::client::{Client, Life, Voice};
use crate::outbox::Outbox;
use crate::worker::Worker;
use latido_base::clock::monotonic_now;
use latido_protocol::websocket::{close_frame, ping_frame};
use latido_session::{CloseReason, SessionEffect};

/// The time in which a client must answer the server's close frame, in seconds.
const CLOSING_S: u32 = 3;
/// The interval between two batches of clients that a shutdown closes.
const LEAVE_EVERY: Duration = Duration::from_millis(20);
/// The smallest batch; so few clients need not be spread.
const LEAVE_AT_LEAST: usize = 64;

/// The schedule of a shutdown: clients are closed in batches, so that they do not reconnect all at
/// once.
#[derive(Debug)]
pub(super) struct Leaving {
    /// The first slot of the next batch.
    slot: u32,
    batch: usize,
    next: Instant,
}

impl Leaving {
    pub(super) fn new(clients: usize, spread: Duration) -> Self {
        let steps = usize::try_from(spread.as_millis() / LEAVE_EVERY.as_millis())
            .unwrap_or(1)
            .max(1);
        Self {
            slot: 0,
            batch: clients.div_ceil(steps).max(LEAVE_AT_LEAST),
            next: monotonic_now(),
        }
    }

    pub(super) fn next_in(&self) -> Duration {
        self.next.saturating_duration_since(monotonic_now())
    }
}

impl Worker {
    /// Closes the next batch of clients. The shard ends when all have left.
    pub(super) fn leave_step(&mut self) {
        let Some(mut schedule) = self.leaving.take() else {
            return;
        };
        if monotonic_now() >= schedule.next {
            let mut closed = 0;
            while closed < schedule.batch && (schedule.slot as usize) < self.clients.len() {
                let slot = schedule.slot;
                schedule.slot += 1;
                self.with_client(slot, |worker, client| {
                    if client.life == Life::Open {
                        closed += 1;
                        worker.tell(slot, client, |handler, _, actions| handler.leaving(actions));
                        worker.close(slot, client, CloseReason::Restarting);
                    }
                });
                self.seen_to();
            }
            if schedule.slot as usize >= self.clients.len() {
                // A connection whose upgrade was in progress when the shutdown began may still
                // arrive in a slot that was passed.
                schedule.slot = 0;
            }
            schedule.next = monotonic_now() + LEAVE_EVERY;
        }
        // Sockets that only wait to be closed need no more batches; they are closed together when
        // the shard ends.
        self.stop |= self.count() == self.departures.len();
        self.leaving = Some(schedule);
    }

    /// Runs the timers of every client that is due in the timer wheel.
    pub(super) fn look_at_the_clock(&mut self) {
        let mut due = Vec::new();
        self.wheel.take(self.now_s, &mut due);
        for entry in due {
            if !self.lobby.is_empty() {
                self.lose_patience(entry);
            }
            self.with_client(entry.slot, |worker, client| {
                if client.generation == entry.generation && client.armed_s <= worker.now_s {
                    client.armed_s = u32::MAX;
                    worker.on_deadline(entry.slot, client);
                }
            });
            self.seen_to();
        }
    }

    pub(super) fn on_deadline(&mut self, slot: u32, client: &mut Client) {
        let limits = *client.limits(&self.parts.context.limits);
        if let Life::Closing { reason, until_s } = client.life {
            if self.now_s >= until_s {
                client.life = Life::Dead(reason);
            }
            return;
        }
        if let Some(outbox) = &client.outbox
            && self.now_s >= outbox.since_s + limits.slow_client_s
        {
            return self.close(slot, client, CloseReason::TooSlow);
        }
        let silent_s = self.now_s.saturating_sub(client.heard_s);
        let is_pinged = client.pinged || limits.heartbeat_s >= limits.idle_timeout_s;
        if silent_s >= limits.idle_timeout_s && is_pinged {
            return self.close(slot, client, CloseReason::Silent);
        }
        if silent_s >= limits.heartbeat_s && !client.pinged {
            client.pinged = true;
            if client.outbox.is_none() {
                self.push(slot, client, ping_frame());
            }
        }
        let unix_s = self.parts.clock.unix_s();
        self.tell(slot, client, |handler, now, actions| {
            handler.on_time(now, actions)
        });
        let is_app = matches!(client.voice, Voice::Guest(_));
        let Some(session) = client.conversation_mut() else {
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
    pub(super) fn close(&mut self, slot: u32, client: &mut Client, reason: CloseReason) {
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
        client: &mut Client,
        reason: CloseReason,
        frame: &[u8],
    ) {
        if client.life != Life::Open {
            return;
        }
        self.leave_rooms(client);
        if let Some(session) = client.conversation_mut() {
            session.clear_subscriptions();
        }
        self.depart(client, reason);
        if reason == CloseReason::Client && client.outbox.is_none() {
            self.count_sent(1, 0);
            client.outbox = Some(Box::new(Outbox::after_bytes(frame.to_vec(), 0, self.now_s)));
            client.life = Life::Dead(reason);
            return;
        }
        self.push_last(slot, client, frame.to_vec());
        if matches!(client.life, Life::Dead(_)) {
            client.life = Life::Dead(reason);
            return;
        }
        client.life = Life::Closing {
            reason,
            until_s: self.now_s + CLOSING_S,
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
    pub(super) fn finish_closing(&mut self, slot: u32, client: &mut Client) {
        if let Life::Closing {
            reason: CloseReason::Client,
            ..
        } = client.life
        {
            client.life = Life::Dead(CloseReason::Client);
            return;
        }
        let Some(socket) = self.sockets.get(slot as usize).and_then(Option::as_ref) else {
            return;
        };
        if socket.shutdown(Shutdown::Write).is_err() {
            client.life = Life::Dead(CloseReason::Client);
        }
    }
}

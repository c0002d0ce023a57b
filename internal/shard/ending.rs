//! How connections end: deadlines, close frames, and the server's own end.

use std::net::Shutdown;
use std::time::{Duration, Instant};

use crate::clock::instant;
use crate::session::{CloseReason, Effect};
use crate::shard::client::{Client, Life, Voice};
use crate::shard::outbox::Outbox;
use crate::shard::worker::Worker;
use crate::websocket::{close_frame, ping_frame};

/// How long a client may take to answer our close frame, in seconds.
const CLOSING_S: u32 = 3;
/// How often a batch of clients is asked to leave.
const LEAVE_EVERY: Duration = Duration::from_millis(20);
/// So many leave at once without being spread.
const LEAVE_AT_LEAST: usize = 64;

/// The server stops: clients are asked to leave in batches, so that they don't come back all at once.
#[derive(Debug)]
pub(super) struct Leaving {
    /// The next slot to be asked.
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
            next: instant(),
        }
    }

    pub(super) fn next_in(&self) -> Duration {
        self.next.saturating_duration_since(instant())
    }
}

impl Worker {
    /// Asks the next batch of clients to leave; when all have gone the shard ends.
    pub(super) fn leave_step(&mut self) {
        let Some(mut leaving) = self.leaving.take() else {
            return;
        };
        if instant() >= leaving.next {
            let mut asked = 0;
            while asked < leaving.batch && (leaving.slot as usize) < self.clients.len() {
                let slot = leaving.slot;
                leaving.slot += 1;
                self.with_client(slot, |worker, client| {
                    if client.life == Life::Open {
                        asked += 1;
                        worker.tell(slot, client, |guest, _, acts| guest.leaving(acts));
                        worker.close(slot, client, CloseReason::Restarting);
                    }
                });
                self.seen_to();
            }
            if leaving.slot as usize >= self.clients.len() {
                // Connections that were being upgraded when we began may still arrive in slots that were passed.
                leaving.slot = 0;
            }
            leaving.next = instant() + LEAVE_EVERY;
        }
        // Who only waits to be closed is when the shard ends, all at once.
        self.stop |= self.count() == self.departures.len();
        self.leaving = Some(leaving);
    }

    /// Looks at every client for which the wheel has a reminder.
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
            && self.now_s >= outbox.since_s + limits.behind_s
        {
            return self.close(slot, client, CloseReason::TooSlow);
        }
        let silent_s = self.now_s.saturating_sub(client.heard_s);
        let is_pinged = client.pinged || limits.heartbeat_s >= limits.silence_s;
        if silent_s >= limits.silence_s && is_pinged {
            return self.close(slot, client, CloseReason::Silent);
        }
        if silent_s >= limits.heartbeat_s && !client.pinged {
            client.pinged = true;
            if client.outbox.is_none() {
                self.push(slot, client, ping_frame());
            }
        }
        let unix_s = self.parts.clock.unix_s();
        self.tell(slot, client, |guest, now, acts| guest.on_time(now, acts));
        let is_guest = matches!(client.voice, Voice::Guest(_));
        let Some(conversation) = client.conversation_mut() else {
            return;
        };
        match conversation.on_time(unix_s, &limits) {
            Effect::None => {}
            // Guests that never used the native dialect may not know its frames.
            Effect::Reply(_) if is_guest && conversation.channels().len() == 0 => {}
            effect => self.apply(slot, client, effect),
        }
    }

    /// Ends a connection from our side.
    pub(super) fn close(&mut self, slot: u32, client: &mut Client, reason: CloseReason) {
        self.close_with(
            slot,
            client,
            reason,
            &close_frame(reason.code(), reason.text()),
        );
    }

    /// Ends a connection with this close frame: no more broadcasts, and what is on its way still leaves. Who closed first has its answer when
    /// its socket is closed, in [its turn](crate::shard::departures).
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
        if let Some(conversation) = client.conversation_mut() {
            conversation.leave_all();
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

    /// The close frame is sent. A client that closed first has had its answer; otherwise its answer is awaited, so that the kernel does not
    /// reset the connection, and drop our close frame, over bytes that were not read.
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

//! The timers of the clients: heartbeats, time limits and the timers of sessions and handlers.

use crate::client::{ConnectionState, ProtocolState, ShardClient};
use crate::worker::ShardWorker;
use latido_protocol::websocket::ping_frame;
use latido_session::{CloseReason, SessionEffect};

impl ShardWorker {
    /// Runs the timers of every client that is due in the timer wheel.
    pub(super) fn run_timers(&mut self) {
        let mut due = Vec::new();
        self.clock.timers.take(self.clock.now_s, &mut due);
        for entry in due {
            if !self.listeners.pending.is_empty() {
                self.on_pending_timeout(entry);
            }
            self.with_client(entry.slot, |worker, client| {
                if client.generation == entry.generation && client.timer_at_s <= worker.clock.now_s
                {
                    client.timer_at_s = u32::MAX;
                    worker.on_timer(entry.slot, client);
                }
            });
            self.yield_to_broadcasts();
        }
    }

    /// Calls the handlers that asked for a timer of less than whole seconds.
    pub(super) fn run_wakes(&mut self) {
        let now = self.elapsed();
        while let Some(entry) = self.clock.wakes.take_due(now) {
            self.with_client(entry.slot, |worker, client| {
                if client.generation == entry.generation && client.state == ConnectionState::Open {
                    worker.call_handler(entry.slot, client, |handler, now, actions| {
                        handler.on_timer(now, actions)
                    });
                }
            });
            self.yield_to_broadcasts();
        }
    }

    pub(super) fn on_timer(&mut self, slot: u32, client: &mut ShardClient) {
        let limits = *client.limits(&self.deps.context.limits);
        if let ConnectionState::Closing { reason, until_s } = client.state {
            if self.clock.now_s >= until_s {
                client.state = ConnectionState::Dead(reason);
            }
            return;
        }
        if let Some(outbox) = &client.outbox
            && self.clock.now_s >= outbox.progress_s + limits.slow_client_s
        {
            return self.close(slot, client, CloseReason::TooSlow);
        }
        let silent_s = self.clock.now_s.saturating_sub(client.last_received_s);
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
        let withdrawn = client
            .session_mut()
            .map(|session| session.check_leases(&self.deps.context));
        for effect in withdrawn.into_iter().flatten() {
            self.apply(slot, client, effect);
        }
    }
}

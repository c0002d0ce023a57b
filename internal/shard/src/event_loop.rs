//! The event loop of a shard's thread.

use std::io;
use std::time::Duration;

use mio::Events;
use mio::net::TcpStream;

use crate::broadcast_queue::{SLICE, SMALL_SENDS_PER_TICK};
use crate::command::ShardCommand;
use crate::drain_schedule::DrainSchedule;
use crate::event_delivery::CLIENTS_PER_TICK;
use crate::outbox::send;
use crate::upgraded_connection::UpgradedConnection;
use crate::worker::ShardWorker;
use latido_protocol::websocket::{Chunk, close_frame};
use latido_session::CloseReason;

/// The readiness events taken from one poll. The kernel examines each socket, which takes up to a
/// microsecond when many wake at once, and no frame leaves meanwhile.
const EVENTS_PER_POLL: usize = 64;

/// The clients that are served in a row before pending broadcasts get a short turn.
///
/// Serving one costs 10 to 30 µs, most of it in the kernel (a close, a response), and ten thousand
/// may connect or disconnect at the same moment. No frame waits for more of them than this.
pub(super) const CLIENTS_PER_YIELD: usize = 2;

/// The sends of small rooms, and the clients with events, in a short turn. Under an overload of
/// frames, connecting and disconnecting clients keep a tenth of the time.
const SHORT_SLICE: (usize, usize) = (SLICE, 4);

impl ShardWorker {
    /// Runs until [`ShardCommand::Stop`], or after [`ShardCommand::Shutdown`] until the last client
    /// has left.
    ///
    /// # Errors
    ///
    /// Fails if the poll fails.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_POLL);
        while !self.is_stopping {
            match self.poll.poll(&mut events, self.poll_timeout()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.handle_events(&events);
        }
        self.drop_all();
        self.inbox.close().into_iter().for_each(reject_after_stop);
        Ok(())
    }

    pub(super) fn handle_events(&mut self, events: &Events) {
        self.clock.now_s = u32::try_from(self.elapsed().as_secs()).unwrap_or(u32::MAX);
        for event in events {
            let Ok(slot) = u32::try_from(event.token().0) else {
                self.on_listener_ready(event.token());
                continue;
            };
            if event.is_writable() {
                self.on_writable(slot);
            }
            let ends = event.is_read_closed() || event.is_error();
            if event.is_readable() || ends {
                self.on_readable(slot, ends);
            }
            self.yield_to_broadcasts();
        }
        self.tick();
    }

    /// Does all work that is not a socket event.
    fn tick(&mut self) {
        for _ in 0..self.scheduler.readable.len() {
            if let Some(slot) = self.scheduler.readable.pop_front() {
                self.on_readable(slot, true);
                self.yield_to_broadcasts();
            }
        }
        for command in self.inbox.take() {
            self.handle_command(command);
            self.yield_to_broadcasts();
        }
        self.accept_connections();
        self.continue_replacement();
        self.run_deliveries((SMALL_SENDS_PER_TICK, CLIENTS_PER_TICK));
        self.close_due();
        self.run_timers();
        self.run_wakes();
        self.drain_step();
    }

    /// Counts one served client, and delivers frames after every few. Must be called wherever many
    /// clients may need service at once.
    pub(super) fn yield_to_broadcasts(&mut self) {
        self.scheduler.served_in_a_row += 1;
        if self.scheduler.served_in_a_row >= CLIENTS_PER_YIELD {
            self.run_deliveries(SHORT_SLICE);
        }
    }

    /// Runs one turn of deliveries: at most `sends` sends of small rooms plus a slice of a large
    /// one, and the events of at most `clients` clients.
    fn run_deliveries(&mut self, (sends, clients): (usize, usize)) {
        self.scheduler.served_in_a_row = 0;
        self.take_frames();
        self.run_broadcasts(sends);
        self.deliver_events(clients);
    }

    /// Returns the time that the poll may sleep, or `None` if nothing is due.
    pub(super) fn poll_timeout(&self) -> Option<Duration> {
        if !self.scheduler.broadcasts.is_empty()
            || !self.scheduler.readable.is_empty()
            || self.has_pending_events()
        {
            return Some(Duration::ZERO);
        }
        let now = self.elapsed();
        let (timers, closing) = (
            self.clock.timers.next_in(now),
            self.connections.close_queue.next_in(now),
        );
        let shutdown = self.shutdown.as_ref().map(|schedule| schedule.next_in());
        let wakes = self.clock.wakes.next_in(now);
        let replacement = self.next_replacement_in(now);
        let accepting = self.next_accept_in();
        [timers, wakes, closing, shutdown, accepting, replacement]
            .into_iter()
            .flatten()
            .min()
    }
}

impl ShardWorker {
    fn handle_command(&mut self, command: ShardCommand) {
        match command {
            ShardCommand::AddUpgraded(connection) => self.add_upgraded(*connection),
            ShardCommand::AddPending(pending) => self.add_pending(pending.0, pending.1),
            ShardCommand::RegisterListener(listener) => self.register_listener(listener),
            ShardCommand::AsyncResponse {
                slot,
                generation,
                response,
            } => self.on_async_response(slot, generation, response),
            ShardCommand::Shutdown { spread_ms } => {
                self.flush_pending();
                self.shutdown = Some(DrainSchedule::new(
                    self.slots_in_use(),
                    Duration::from_millis(spread_ms),
                ));
            }
            ShardCommand::SetLimits { limits, done } => {
                self.deps.context.limits = limits;
                // Whoever waited may be gone.
                let _ = done.send(());
            }
            ShardCommand::Admin(request) => self.handle_admin(*request),
            ShardCommand::Stop => self.is_stopping = true,
        }
    }

    fn add_upgraded(&mut self, connection: UpgradedConnection) {
        let UpgradedConnection {
            socket,
            early_bytes: early,
            kind,
            permits: permit,
        } = connection;
        let slot = match self.open_slot(TcpStream::from_std(socket)) {
            Ok(slot) => slot,
            Err(socket) => return self.reject_overloaded(&socket),
        };
        self.install_client(slot, kind, permit);
        let mut early = early.to_vec();
        if !early.is_empty() {
            self.with_client(slot, |worker, client| {
                worker.feed(slot, client, &mut Chunk::new(&mut early))
            });
        }
    }

    /// Rejects a connection for which there is no room; the close reason asks the client to retry.
    fn reject_overloaded(&self, socket: &TcpStream) {
        let reason = CloseReason::Overloaded;
        self.deps.metrics.closes.increment(reason.label());
        // The socket's send buffer is empty, so these few bytes always fit.
        let _gone = send(socket, &close_frame(reason.code(), reason.text()));
    }
}

/// Rejects a command that arrived after its shard had ended because the server stops. Every
/// connection in it still gets a response.
pub(super) fn reject_after_stop(command: ShardCommand) {
    match command {
        ShardCommand::AddPending(pending) => {
            let (connection, context) = *pending;
            context.serve_http(connection, &[]);
        }
        ShardCommand::AddUpgraded(connection) => {
            let reason = CloseReason::Restarting;
            // The socket's send buffer is empty, so these few bytes always fit.
            let _gone = io::Write::write(
                &mut &connection.socket,
                &close_frame(reason.code(), reason.text()),
            );
        }
        _ => {}
    }
}

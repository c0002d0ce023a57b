//! The state and the event loop of a shard's thread.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::async_requests::{AsyncResponse, RequestQueue};
use crate::broadcast_queue::{BroadcastQueue, SLICE, SMALL_SENDS_PER_TICK};
use crate::client::{ConnectionState, ProtocolState, ShardClient};
use crate::close_queue::{CloseQueue, ClosingSocket};
use crate::handlers::{BusConnection, CLIENTS_PER_TICK};
use crate::inbox::{Inbox, ShardCommand};
use crate::listener::ListenerRegistration;
use crate::outbox::send;
use crate::pending_upgrade::PendingSlot;
use crate::rooms::ShardRooms;
use crate::shutdown::DrainSchedule;
use crate::timer_wheel::{TimerEntry, TimerWheel};
use crate::{ConnectionKind, InBandUpgrade, PermitSet, ShardDeps, UpgradedConnection};
use latido_base::clock::monotonic_now;
use latido_base::ident::UserId;
use latido_event_bus::ConnectionSlot;
use latido_hub::ShardFrames;
use latido_protocol::websocket::{Chunk, FrameReader, close_frame};
use latido_session::{CloseReason, Session};
use latido_telemetry::RecentEventKind;

/// The size of the one read buffer of a shard.
const READ_BUFFER_BYTES: usize = 16 * 1024;
/// The readiness events taken from one poll. The kernel examines each socket, which takes up to a
/// microsecond when many wake at once, and no frame leaves meanwhile.
const EVENTS_PER_POLL: usize = 64;
/// The clients that are served in a row before pending broadcasts get a short turn.
///
/// Serving one costs 10 to 30 µs, most of it in the kernel (a close, a response), and ten thousand
/// may connect or disconnect at the same moment. No frame waits for more of them than this.
const CLIENTS_PER_YIELD: usize = 2;
/// The sends of small rooms, and the clients with events, in a short turn. Under an overload of
/// frames, connecting and disconnecting clients keep a tenth of the time.
const SHORT_SLICE: (usize, usize) = (SLICE, 4);

/// The state of a shard; see [`crate`].
pub(super) struct ShardWorker {
    pub(super) poll: Poll,
    pub(super) inbox: Arc<Inbox>,
    pub(super) frames: ShardFrames,
    pub(super) permission_queue: RequestQueue,
    /// The queue for token checks. It is separate so that new subscriptions do not delay connected
    /// clients.
    pub(super) token_queue: RequestQueue,
    /// The queue for the tasks of app handlers.
    pub(super) app_queue: RequestQueue,
    pub(super) deps: ShardDeps,
    /// The sockets by slot. They are separate from the clients because a broadcast needs only them:
    /// four bytes per client, contiguous.
    pub(super) sockets: Vec<Option<TcpStream>>,
    pub(super) clients: Vec<Option<Box<ShardClient>>>,
    /// The listeners at which this shard accepts connections.
    pub(super) listeners: Vec<ListenerRegistration>,
    /// The connections that occupy a slot but are not clients yet.
    pub(super) pending: HashMap<u32, Box<PendingSlot>>,
    /// The removed clients whose slot is in use until the socket is closed.
    pub(super) close_queue: CloseQueue,
    /// The number of times each slot was assigned.
    pub(super) generations: Vec<u32>,
    pub(super) free_slots: Vec<u32>,
    pub(super) rooms: ShardRooms,
    /// The rooms with a broadcast in progress.
    pub(super) broadcasts: BroadcastQueue,
    /// The clients with more to read than one turn allows.
    pub(super) readable: VecDeque<u32>,
    /// The event buses with clients on this shard.
    pub(super) buses: Vec<BusConnection>,
    /// The in-band upgrades of native connections, one per listener that offers one.
    pub(super) in_band_upgrades: Vec<Arc<dyn InBandUpgrade>>,
    pub(super) timers: TimerWheel,
    pub(super) buffer: Vec<u8>,
    /// A buffer for frames of several rooms to one client.
    pub(super) scratch: Vec<u8>,
    /// The clients served since the last delivery of frames.
    served_in_a_row: usize,
    pub(super) started: Instant,
    /// The whole seconds since `started`, as of this tick.
    pub(super) now_s: u32,
    pub(super) shutdown: Option<DrainSchedule>,
    pub(super) is_stopping: bool,
}

impl ShardWorker {
    pub(super) fn new(
        poll: Poll,
        inbox: Arc<Inbox>,
        frames: ShardFrames,
        queues: [RequestQueue; 3],
        deps: ShardDeps,
    ) -> Self {
        let [permission_queue, token_queue, app_queue] = queues;
        Self {
            poll,
            inbox,
            frames,
            permission_queue,
            token_queue,
            app_queue,
            deps,
            sockets: Vec::new(),
            clients: Vec::new(),
            listeners: Vec::new(),
            pending: HashMap::new(),
            close_queue: CloseQueue::new(),
            generations: Vec::new(),
            free_slots: Vec::new(),
            rooms: ShardRooms::default(),
            broadcasts: BroadcastQueue::default(),
            readable: VecDeque::new(),
            buses: Vec::new(),
            in_band_upgrades: Vec::new(),
            timers: TimerWheel::new(),
            buffer: vec![0; READ_BUFFER_BYTES],
            scratch: Vec::new(),
            served_in_a_row: 0,
            started: monotonic_now(),
            now_s: 0,
            shutdown: None,
            is_stopping: false,
        }
    }

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
        self.inbox
            .close()
            .into_iter()
            .for_each(super::reject_after_stop);
        Ok(())
    }

    fn handle_events(&mut self, events: &Events) {
        self.now_s = u32::try_from(self.elapsed().as_secs()).unwrap_or(u32::MAX);
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

    pub(super) fn elapsed(&self) -> Duration {
        monotonic_now().saturating_duration_since(self.started)
    }

    /// Does all work that is not a socket event.
    fn tick(&mut self) {
        for _ in 0..self.readable.len() {
            if let Some(slot) = self.readable.pop_front() {
                self.on_readable(slot, true);
                self.yield_to_broadcasts();
            }
        }
        for command in self.inbox.take() {
            self.handle_command(command);
            self.yield_to_broadcasts();
        }
        self.accept_connections();
        self.run_deliveries((SMALL_SENDS_PER_TICK, CLIENTS_PER_TICK));
        self.close_due();
        self.run_timers();
        self.drain_step();
    }

    /// Counts one served client, and delivers frames after every few. Must be called wherever many
    /// clients may need service at once.
    pub(super) fn yield_to_broadcasts(&mut self) {
        self.served_in_a_row += 1;
        if self.served_in_a_row >= CLIENTS_PER_YIELD {
            self.run_deliveries(SHORT_SLICE);
        }
    }

    /// Runs one turn of deliveries: at most `sends` sends of small rooms plus a slice of a large
    /// one, and the events of at most `clients` clients.
    fn run_deliveries(&mut self, (sends, clients): (usize, usize)) {
        self.served_in_a_row = 0;
        self.take_frames();
        self.run_broadcasts(sends);
        self.deliver_events(clients);
    }

    /// Returns the time that the poll may sleep, or `None` if nothing is due.
    fn poll_timeout(&self) -> Option<Duration> {
        if !self.broadcasts.is_empty() || !self.readable.is_empty() || self.has_pending_events() {
            return Some(Duration::ZERO);
        }
        let now = self.elapsed();
        let (timers, closing) = (self.timers.next_in(now), self.close_queue.next_in(now));
        let shutdown = self.shutdown.as_ref().map(|schedule| schedule.next_in());
        [timers, closing, shutdown, self.next_accept_in()]
            .into_iter()
            .flatten()
            .min()
    }

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

    /// Assigns a slot to a socket and registers it for reading.
    ///
    /// Write readiness is requested only after the socket was full. Otherwise each new socket would
    /// wake the poll just to report that it is empty.
    ///
    /// # Errors
    ///
    /// Returns the socket if the kernel has no room to register it.
    pub(super) fn open_slot(&mut self, mut socket: TcpStream) -> Result<u32, TcpStream> {
        let slot = self.free_slots.pop().unwrap_or_else(|| {
            self.sockets.push(None);
            self.clients.push(None);
            self.generations.push(0);
            u32::try_from(self.sockets.len() - 1).unwrap_or(u32::MAX)
        });
        let index = slot as usize;
        if let Err(error) =
            self.poll
                .registry()
                .register(&mut socket, Token(index), Interest::READABLE)
        {
            tracing::warn!(%error, "a connection could not be polled");
            self.free_slots.push(slot);
            return Err(socket);
        }
        self.generations[index] = self.generations[index].wrapping_add(1);
        self.sockets[index] = Some(socket);
        Ok(slot)
    }

    pub(super) fn close_slot(&mut self, slot: u32) {
        self.sockets[slot as usize] = None;
        self.free_slots.push(slot);
    }

    /// Installs a client for the connection in a slot.
    pub(super) fn install_client(&mut self, slot: u32, kind: ConnectionKind, permit: PermitSet) {
        let generation = self.generations[slot as usize];
        let limits = self.deps.context.limits;
        let mut in_band_upgrade = 0;
        let (protocol, message_bytes) = match kind {
            ConnectionKind::Native(principal, upgrade) => {
                in_band_upgrade = upgrade.map_or(0, |upgrade| self.register_upgrade(upgrade));
                (
                    ProtocolState::Native(Session::new(principal, &limits, self.now_s)),
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
            connected_s: self.now_s,
            last_received_s: self.now_s,
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
    }

    fn on_async_response(&mut self, slot: u32, generation: u32, response: AsyncResponse) {
        self.with_client(slot, |worker, client| {
            if client.generation != generation || client.state != ConnectionState::Open {
                return;
            }
            let effects = match (response, client.session_mut()) {
                (AsyncResponse::App(output), _) => {
                    return worker.on_async_result(slot, client, output);
                }
                (AsyncResponse::Permission(channel, answer), Some(native)) => {
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
        let Some(mut client) = self.clients.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        act(self, &mut client);
        self.return_client(slot, client);
    }

    fn return_client(&mut self, slot: u32, mut client: Box<ShardClient>) {
        if let ConnectionState::Dead(reason) = client.state {
            self.remove_client(slot, *client, reason);
            return;
        }
        let unix_s = self.deps.clock.unix_s();
        let deadline = client.next_deadline_s(&self.deps.context.limits, self.now_s, unix_s);
        if deadline < client.timer_at_s {
            client.timer_at_s = self.timers.put(
                deadline,
                TimerEntry {
                    slot,
                    generation: client.generation,
                },
            );
        }
        self.clients[slot as usize] = Some(client);
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
        self.close_queue.put(ClosingSocket {
            slot,
            unsent: client.outbox,
        });
    }

    /// Returns the number of slots in use: open connections, and sockets waiting to be closed.
    pub(super) fn slots_in_use(&self) -> usize {
        self.sockets.len() - self.free_slots.len()
    }

    fn drop_all(&mut self) {
        for slot in 0..self.clients.len() {
            if let Some(client) = self.clients[slot].take() {
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

#[cfg(test)]
#[path = "burst_tests.rs"]
mod tests;

#[cfg(any(test, feature = "simulation"))]
#[path = "simulated.rs"]
pub mod simulated;

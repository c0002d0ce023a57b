//! The state and the event loop of a shard's thread.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::client::{Client, Life, Voice};
use crate::departures::{Departed, Departures};
use crate::desk::{Answer, Desk};
use crate::ending::Leaving;
use crate::entrance::Post;
use crate::guests::{CLIENTS_A_TURN, Lane};
use crate::inbox::{Command, Inbox};
use crate::lobby::Waiting;
use crate::outbox::send;
use crate::passes::{Passes, SLICE, SMALL_SENDS_A_TURN};
use crate::rooms::Rooms;
use crate::wheel::{Entry, Wheel};
use crate::{Arrival, Entrant, Interpreter, Parts, Permits};
use latido_base::clock::monotonic_now;
use latido_base::ident::UserId;
use latido_event_bus::ConnectionSlot;
use latido_hub::ShardFrames;
use latido_protocol::websocket::{Chunk, FrameReader, close_frame};
use latido_session::{CloseReason, Session};
use latido_telemetry::RecentEventKind;

/// The size of the one read buffer of a shard.
const READ_BUFFER: usize = 16 * 1024;
/// The readiness events taken from one poll. The kernel examines each socket, which takes up to a
/// microsecond when many wake at once, and no frame leaves meanwhile.
const EVENTS: usize = 64;
/// The clients that are served in a row before pending broadcasts get a short turn.
///
/// Serving one costs 10 to 30 µs, most of it in the kernel (a close, a response), and ten thousand
/// may connect or disconnect at the same moment. No frame waits for more of them than this.
const IN_A_ROW: usize = 2;
/// The sends of small rooms, and the clients with events, in a short turn. Under an overload of
/// frames, connecting and disconnecting clients keep a tenth of the time.
const SHORT_TURN: (usize, usize) = (SLICE, 4);

/// The state of a shard; see [`crate`].
pub(super) struct Worker {
    pub(super) poll: Poll,
    pub(super) inbox: Arc<Inbox>,
    pub(super) outlet: ShardFrames,
    pub(super) desk: Desk,
    /// The queue for token checks. It is separate so that new subscriptions do not delay connected
    /// clients.
    pub(super) tokens_desk: Desk,
    /// The queue for the tasks of app handlers.
    pub(super) guests_desk: Desk,
    pub(super) parts: Parts,
    /// The sockets by slot. They are separate from the clients because a broadcast needs only them:
    /// four bytes per client, contiguous.
    pub(super) sockets: Vec<Option<TcpStream>>,
    pub(super) clients: Vec<Option<Box<Client>>>,
    /// The listeners at which this shard accepts connections.
    pub(super) posts: Vec<Post>,
    /// The connections that occupy a slot but are not clients yet.
    pub(super) lobby: HashMap<u32, Box<Waiting>>,
    /// The removed clients whose slot is in use until the socket is closed.
    pub(super) departures: Departures,
    /// The number of times each slot was assigned.
    pub(super) generations: Vec<u32>,
    pub(super) free: Vec<u32>,
    pub(super) rooms: Rooms,
    /// The rooms with a broadcast in progress.
    pub(super) passes: Passes,
    /// The clients with more to read than one turn allows.
    pub(super) readable: VecDeque<u32>,
    /// The event buses with clients on this shard.
    pub(super) lanes: Vec<Lane>,
    /// The in-band upgrades of native connections, one per listener that offers one.
    pub(super) tongues: Vec<Arc<dyn Interpreter>>,
    pub(super) wheel: Wheel,
    pub(super) buffer: Vec<u8>,
    /// A buffer for frames of several rooms to one client.
    pub(super) scratch: Vec<u8>,
    /// The clients served since the last delivery of frames.
    in_a_row: usize,
    pub(super) started: Instant,
    /// The whole seconds since `started`, as of this tick.
    pub(super) now_s: u32,
    pub(super) leaving: Option<Leaving>,
    pub(super) stop: bool,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        inbox: Arc<Inbox>,
        frames: ShardFrames,
        queues: [Desk; 3],
        deps: Parts,
    ) -> Self {
        let [permission_queue, token_queue, app_queue] = queues;
        Self {
            poll,
            inbox,
            outlet: frames,
            desk: permission_queue,
            tokens_desk: token_queue,
            guests_desk: app_queue,
            parts: deps,
            sockets: Vec::new(),
            clients: Vec::new(),
            posts: Vec::new(),
            lobby: HashMap::new(),
            departures: Departures::new(),
            generations: Vec::new(),
            free: Vec::new(),
            rooms: Rooms::default(),
            passes: Passes::default(),
            readable: VecDeque::new(),
            lanes: Vec::new(),
            tongues: Vec::new(),
            wheel: Wheel::new(),
            buffer: vec![0; READ_BUFFER],
            scratch: Vec::new(),
            in_a_row: 0,
            started: monotonic_now(),
            now_s: 0,
            leaving: None,
            stop: false,
        }
    }

    /// Runs until [`ShardCommand::Stop`], or after [`ShardCommand::Shutdown`] until the last client
    /// has left.
    ///
    /// # Errors
    ///
    /// Fails if the poll fails.
    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        while !self.stop {
            match self.poll.poll(&mut events, self.patience()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            self.handle(&events);
        }
        self.drop_all();
        self.inbox.close().into_iter().for_each(super::too_late);
        Ok(())
    }

    fn handle(&mut self, events: &Events) {
        self.now_s = u32::try_from(self.elapsed().as_secs()).unwrap_or(u32::MAX);
        for event in events {
            let Ok(slot) = u32::try_from(event.token().0) else {
                self.on_knock(event.token());
                continue;
            };
            if event.is_writable() {
                self.on_writable(slot);
            }
            let ends = event.is_read_closed() || event.is_error();
            if event.is_readable() || ends {
                self.on_readable(slot, ends);
            }
            self.seen_to();
        }
        self.round();
    }

    pub(super) fn elapsed(&self) -> Duration {
        monotonic_now().saturating_duration_since(self.started)
    }

    /// Does all work that is not a socket event.
    fn round(&mut self) {
        for _ in 0..self.readable.len() {
            if let Some(slot) = self.readable.pop_front() {
                self.on_readable(slot, true);
                self.seen_to();
            }
        }
        for command in self.inbox.take() {
            self.obey(command);
            self.seen_to();
        }
        self.attend();
        self.deliver((SMALL_SENDS_A_TURN, CLIENTS_A_TURN));
        self.see_off();
        self.look_at_the_clock();
        self.leave_step();
    }

    /// Counts one served client, and delivers frames after every few. Must be called wherever many
    /// clients may need service at once.
    pub(super) fn seen_to(&mut self) {
        self.in_a_row += 1;
        if self.in_a_row >= IN_A_ROW {
            self.deliver(SHORT_TURN);
        }
    }

    /// Runs one turn of deliveries: at most `sends` sends of small rooms plus a slice of a large
    /// one, and the events of at most `clients` clients.
    fn deliver(&mut self, (sends, clients): (usize, usize)) {
        self.in_a_row = 0;
        self.take_frames();
        self.turn(sends);
        self.take_events(clients);
    }

    /// Returns the time that the poll may sleep, or `None` if nothing is due.
    fn patience(&self) -> Option<Duration> {
        if !self.passes.is_empty() || !self.readable.is_empty() || self.has_events() {
            return Some(Duration::ZERO);
        }
        let now = self.elapsed();
        let (timers, closing) = (self.wheel.next_in(now), self.departures.next_in(now));
        let shutdown = self.leaving.as_ref().map(|schedule| schedule.next_in());
        [timers, closing, shutdown, self.next_caller_in()]
            .into_iter()
            .flatten()
            .min()
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Adopt(connection) => self.adopt(*connection),
            Command::Knock(pending) => self.receive_caller(pending.0, pending.1),
            Command::Stand(listener) => self.stand(listener),
            Command::Answer {
                slot,
                generation,
                answer: response,
            } => self.answer(slot, generation, response),
            Command::Leave { spread_ms } => {
                self.empty_lobby();
                self.leaving = Some(Leaving::new(self.count(), Duration::from_millis(spread_ms)));
            }
            Command::Operator(request) => self.grant(*request),
            Command::Stop => self.stop = true,
        }
    }

    fn adopt(&mut self, connection: Arrival) {
        let Arrival {
            socket,
            early,
            entrant: kind,
            permit,
        } = connection;
        let slot = match self.open_slot(TcpStream::from_std(socket)) {
            Ok(slot) => slot,
            Err(socket) => return self.turn_away(&socket),
        };
        self.settle(slot, kind, permit);
        let mut early = early.to_vec();
        if !early.is_empty() {
            self.with_client(slot, |worker, client| {
                worker.feed(slot, client, &mut Chunk::new(&mut early))
            });
        }
    }

    /// Rejects a connection for which there is no room; the close reason asks the client to retry.
    fn turn_away(&self, socket: &TcpStream) {
        let reason = CloseReason::Overloaded;
        self.parts.metrics.closes.increment(reason.label());
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
        let slot = self.free.pop().unwrap_or_else(|| {
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
            self.free.push(slot);
            return Err(socket);
        }
        self.generations[index] = self.generations[index].wrapping_add(1);
        self.sockets[index] = Some(socket);
        Ok(slot)
    }

    pub(super) fn close_slot(&mut self, slot: u32) {
        self.sockets[slot as usize] = None;
        self.free.push(slot);
    }

    /// Installs a client for the connection in a slot.
    pub(super) fn settle(&mut self, slot: u32, kind: Entrant, permit: Permits) {
        let generation = self.generations[slot as usize];
        let limits = self.parts.context.limits;
        let mut in_band_upgrade = 0;
        let (protocol, message_bytes) = match kind {
            Entrant::Native(principal, upgrade) => {
                in_band_upgrade = upgrade.map_or(0, |upgrade| self.tongue(upgrade));
                (
                    Voice::Native(Session::new(principal, &limits, self.now_s)),
                    limits.message_bytes,
                )
            }
            Entrant::Guest(spec) => {
                let app = self.board(*spec, ConnectionSlot { index: slot, generation });
                let message_bytes = app.limits.message_bytes;
                (Voice::Guest(app), message_bytes)
            }
        };
        let client = Box::new(Client {
            generation,
            life: Life::Open,
            voice: protocol,
            reader: FrameReader::new(message_bytes),
            outbox: None,
            unread: false,
            tongue: in_band_upgrade,
            since_s: self.now_s,
            heard_s: self.now_s,
            pinged: false,
            armed_s: u32::MAX,
            _permit: permit,
        });
        self.parts.metrics.connections.inc();
        let dialect = if matches!(client.voice, Voice::Native(_)) {
            "websocket"
        } else {
            client.dialect()
        };
        self.parts.metrics.recent_events.record(
            RecentEventKind::Connected,
            dialect,
            client.user().map(UserId::as_str),
        );
        self.put_back(slot, client);
    }

    fn answer(&mut self, slot: u32, generation: u32, response: Answer) {
        self.with_client(slot, |worker, client| {
            if client.generation != generation || client.life != Life::Open {
                return;
            }
            let effects = match (response, client.conversation_mut()) {
                (Answer::Guest(output), _) => return worker.on_guest_answer(slot, client, output),
                (Answer::Allowed(channel, allowed), Some(native)) => {
                    native.on_permission(channel, allowed)
                }
                (Answer::Verified(result), Some(native)) => {
                    native.on_reauth(result, &worker.parts.context)
                }
                (_, None) => return,
            };
            for effect in effects {
                worker.apply(slot, client, effect);
            }
        });
    }

    /// Takes a client out for `act`, and puts it back unless it died.
    pub(super) fn with_client(&mut self, slot: u32, act: impl FnOnce(&mut Self, &mut Client)) {
        let Some(mut client) = self.clients.get_mut(slot as usize).and_then(Option::take) else {
            return;
        };
        act(self, &mut client);
        self.put_back(slot, client);
    }

    fn put_back(&mut self, slot: u32, mut client: Box<Client>) {
        if let Life::Dead(reason) = client.life {
            self.forget(slot, *client, reason);
            return;
        }
        let unix_s = self.parts.clock.unix_s();
        let deadline = client.next_deadline(&self.parts.context.limits, self.now_s, unix_s);
        if deadline < client.armed_s {
            client.armed_s = self.wheel.put(
                deadline,
                Entry {
                    slot,
                    generation: client.generation,
                },
            );
        }
        self.clients[slot as usize] = Some(client);
    }

    /// Removes a client. Its socket is closed later, by the close queue.
    fn forget(&mut self, slot: u32, client: Client, reason: CloseReason) {
        self.leave_rooms(&client);
        self.parts.metrics.connections.dec();
        let user = client.user().map(UserId::as_str);
        self.parts.metrics.closes.increment(reason.label());
        self.parts
            .metrics
            .recent_events
            .record(RecentEventKind::Closed, reason.label(), user);
        tracing::debug!(user, reason = reason.label(), "connection ended");
        self.departures.put(Departed {
            slot,
            last_words: client.outbox,
        });
    }

    /// Returns the number of slots in use: open connections, and sockets waiting to be closed.
    pub(super) fn count(&self) -> usize {
        self.sockets.len() - self.free.len()
    }

    fn drop_all(&mut self) {
        for slot in 0..self.clients.len() {
            if let Some(client) = self.clients[slot].take() {
                self.forget(
                    u32::try_from(slot).unwrap_or(u32::MAX),
                    *client,
                    CloseReason::Restarting,
                );
            }
        }
        self.see_all_off();
    }
}

#[cfg(test)]
#[path = "crowds_tests.rs"]
mod tests;

#[cfg(any(test, feature = "simulation"))]
#[path = "simulated.rs"]
pub mod simulated;

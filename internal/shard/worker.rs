//! A shard's thread: its state and its loop.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::clock::instant;
use crate::hub::Outlet;
use crate::hub::exchange::Address;
use crate::ident::UserId;
use crate::session::{CloseReason, Conversation};
use crate::shard::client::{Client, Life, Voice};
use crate::shard::departures::{Departed, Departures};
use crate::shard::desk::{Answer, Desk};
use crate::shard::ending::Leaving;
use crate::shard::entrance::Post;
use crate::shard::guests::{CLIENTS_A_TURN, Lane};
use crate::shard::inbox::{Command, Inbox};
use crate::shard::lobby::Waiting;
use crate::shard::outbox::send;
use crate::shard::passes::{Passes, SLICE, SMALL_SENDS_A_TURN};
use crate::shard::rooms::Rooms;
use crate::shard::wheel::{Entry, Wheel};
use crate::shard::{Arrival, Entrant, Interpreter, Parts, Permits};
use crate::telemetry::Kind;
use crate::websocket::{Chunk, Reader, close_frame};

/// The one read buffer of a shard, in bytes.
const READ_BUFFER: usize = 16 * 1024;
/// Readiness events taken from one poll. The kernel looks at each socket for it, which takes up to a microsecond where many woke at once,
/// and no frame leaves meanwhile.
const EVENTS: usize = 64;
/// Clients who are seen to in a row before what was published meanwhile has a short turn. To see to one costs 10 to 30 µs, most of it the
/// kernel's (a close, an answer), and ten thousand may come or go in one instant: nobody's frame waits for more of them than this.
const IN_A_ROW: usize = 2;
/// Sends of small rooms, and clients with events, in a short turn: under an overload of frames those who come and go keep a tenth.
const SHORT_TURN: (usize, usize) = (SLICE, 4);

/// See [`crate::shard`].
pub(super) struct Worker {
    pub(super) poll: Poll,
    pub(super) inbox: Arc<Inbox>,
    pub(super) outlet: Outlet,
    pub(super) desk: Desk,
    /// For new tokens: whoever is here is not held up by those who come.
    pub(super) tokens_desk: Desk,
    /// For what guests ask.
    pub(super) guests_desk: Desk,
    pub(super) parts: Parts,
    /// By slot; apart from the clients, because a broadcast needs only this: four bytes a client, side by side.
    pub(super) sockets: Vec<Option<TcpStream>>,
    pub(super) clients: Vec<Option<Box<Client>>>,
    /// Where it stands to let callers in.
    pub(super) posts: Vec<Post>,
    /// Who waits in a slot that is taken but has no client yet.
    pub(super) lobby: HashMap<u32, Box<Waiting>>,
    /// Who has gone, and holds a slot until its socket is closed.
    pub(super) departures: Departures,
    /// How often each slot was given away.
    pub(super) generations: Vec<u32>,
    pub(super) free: Vec<u32>,
    pub(super) rooms: Rooms,
    /// Rooms with a pass under way, served in turn.
    pub(super) passes: Passes,
    /// Clients with more to read than a turn takes.
    pub(super) readable: VecDeque<u32>,
    /// The exchanges with guests here.
    pub(super) lanes: Vec<Lane>,
    /// What clients of the native dialect may speak as well, each a listener's.
    pub(super) tongues: Vec<Arc<dyn Interpreter>>,
    pub(super) wheel: Wheel,
    pub(super) buffer: Vec<u8>,
    /// Frames of several rooms on their way to one client.
    pub(super) scratch: Vec<u8>,
    /// Clients who were seen to since frames had their turn.
    in_a_row: usize,
    pub(super) started: Instant,
    /// Whole seconds since `started`, as of this round.
    pub(super) now_s: u32,
    pub(super) leaving: Option<Leaving>,
    pub(super) stop: bool,
}

impl Worker {
    pub(super) fn new(
        poll: Poll,
        inbox: Arc<Inbox>,
        outlet: Outlet,
        desks: [Desk; 3],
        parts: Parts,
    ) -> Self {
        let [desk, tokens_desk, guests_desk] = desks;
        Self {
            poll,
            inbox,
            outlet,
            desk,
            tokens_desk,
            guests_desk,
            parts,
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
            started: instant(),
            now_s: 0,
            leaving: None,
            stop: false,
        }
    }

    /// Runs until told to stop, or until the last client has left after [`Command::Leave`].
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
        instant().saturating_duration_since(self.started)
    }

    /// Everything that is not a socket's event.
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

    /// One more client was seen to, whatever it wanted. To be called wherever many may want something at once.
    pub(super) fn seen_to(&mut self) {
        self.in_a_row += 1;
        if self.in_a_row >= IN_A_ROW {
            self.deliver(SHORT_TURN);
        }
    }

    /// A turn for what was published: so many sends of small rooms and a slice of a large one, and the events of so many clients.
    fn deliver(&mut self, (sends, clients): (usize, usize)) {
        self.in_a_row = 0;
        self.take_frames();
        self.turn(sends);
        self.take_events(clients);
    }

    /// How long the poll may sleep.
    fn patience(&self) -> Option<Duration> {
        if !self.passes.is_empty() || !self.readable.is_empty() || self.has_events() {
            return Some(Duration::ZERO);
        }
        let now = self.elapsed();
        let (wheel, departures) = (self.wheel.next_in(now), self.departures.next_in(now));
        let leaving = self.leaving.as_ref().map(|leaving| leaving.next_in());
        [wheel, departures, leaving, self.next_caller_in()]
            .into_iter()
            .flatten()
            .min()
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Adopt(arrival) => self.adopt(*arrival),
            Command::Knock(knock) => self.receive_caller(knock.0, knock.1),
            Command::Stand(porch) => self.stand(porch),
            Command::Answer {
                slot,
                generation,
                answer,
            } => self.answer(slot, generation, answer),
            Command::Leave { spread_ms } => {
                self.empty_lobby();
                self.leaving = Some(Leaving::new(self.count(), Duration::from_millis(spread_ms)));
            }
            Command::Operator(wish) => self.grant(*wish),
            Command::Stop => self.stop = true,
        }
    }

    fn adopt(&mut self, arrival: Arrival) {
        let Arrival {
            socket,
            early,
            entrant,
            permit,
        } = arrival;
        let slot = match self.open_slot(TcpStream::from_std(socket)) {
            Ok(slot) => slot,
            Err(socket) => return self.turn_away(&socket),
        };
        self.settle(slot, entrant, permit);
        let mut early = early.to_vec();
        if !early.is_empty() {
            self.with_client(slot, |worker, client| {
                worker.feed(slot, client, &mut Chunk::new(&mut early))
            });
        }
    }

    /// There is no room for a client: it is told to come back.
    fn turn_away(&self, socket: &TcpStream) {
        let reason = CloseReason::Overloaded;
        self.parts.metrics.closes.add(reason.label());
        // An empty socket takes so few bytes at once.
        let _gone = send(socket, &close_frame(reason.code(), reason.text()));
    }

    /// Gives a socket a slot, and watches it for what it says. Whether it can be written to is asked only once it was full: else each new
    /// socket would wake the poll just to say that it is empty. The kernel may have no room for one more; then it is given back.
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

    /// Makes a client of the connection in a slot.
    pub(super) fn settle(&mut self, slot: u32, entrant: Entrant, permit: Permits) {
        let generation = self.generations[slot as usize];
        let limits = self.parts.context.limits;
        let mut tongue = 0;
        let (voice, message_bytes) = match entrant {
            Entrant::Native(principal, interpreter) => {
                tongue = interpreter.map_or(0, |interpreter| self.tongue(interpreter));
                (
                    Voice::Native(Conversation::new(principal, &limits, self.now_s)),
                    limits.message_bytes,
                )
            }
            Entrant::Guest(boarding) => {
                let visitor = self.board(*boarding, Address { slot, generation });
                let message_bytes = visitor.limits.message_bytes;
                (Voice::Guest(visitor), message_bytes)
            }
        };
        let client = Box::new(Client {
            generation,
            life: Life::Open,
            voice,
            reader: Reader::new(message_bytes),
            outbox: None,
            unread: false,
            tongue,
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
        self.parts.metrics.journal.note(
            Kind::Connected,
            dialect,
            client.user().map(UserId::as_str),
        );
        self.put_back(slot, client);
    }

    fn answer(&mut self, slot: u32, generation: u32, answer: Answer) {
        self.with_client(slot, |worker, client| {
            if client.generation != generation || client.life != Life::Open {
                return;
            }
            let effects = match (answer, client.conversation_mut()) {
                (Answer::Guest(answer), _) => return worker.on_guest_answer(slot, client, answer),
                (Answer::Allowed(channel, allowed), Some(native)) => {
                    native.answered(channel, allowed)
                }
                (Answer::Verified(result), Some(native)) => {
                    native.authenticated(result, &worker.parts.context)
                }
                (_, None) => return,
            };
            for effect in effects {
                worker.apply(slot, client, effect);
            }
        });
    }

    /// Lends a client to `act`, and puts it back unless it died.
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

    /// A client that is no more; its socket closes in its turn.
    fn forget(&mut self, slot: u32, client: Client, reason: CloseReason) {
        self.leave_rooms(&client);
        self.parts.metrics.connections.dec();
        let user = client.user().map(UserId::as_str);
        self.parts.metrics.closes.add(reason.label());
        self.parts
            .metrics
            .journal
            .note(Kind::Closed, reason.label(), user);
        tracing::debug!(user, reason = reason.label(), "connection ended");
        self.departures.put(Departed {
            slot,
            last_words: client.outbox,
        });
    }

    /// Slots that are taken: open connections, and those still to be closed.
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

#[cfg(test)]
#[path = "simulated_tests.rs"]
pub(crate) mod simulated;

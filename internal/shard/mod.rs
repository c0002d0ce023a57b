//! The threads that own the sockets.
//!
//! A shard is a thread, and sole owner of its sockets: one poll, one inbox with a waker, no lock, no task and no timer a client. It
//! accepts connections itself, or is handed one that HTTP has upgraded; once it is a WebSocket, bytes in become effects ([`crate::session`]), and frames out of the hub are sent inline
//! over an array of members. A client whose socket is full costs one reference to a frame, and is caught up with the newest when it drains.
//!
//! What must hold: a client gets the frames of a room in the order of their versions, each at most once but for an explicit repeat;
//! whoever leaves takes its place in every room along; a turn sends a bounded number of frames of one room.
//!
//! A *guest* speaks an app's dialect. What it has more than others lies in a box of its own, and its events come through a port an exchange,
//! worked off in bounded turns beside the rooms' passes.

mod client;
mod departures;
mod desk;
mod ending;
mod entrance;
mod guest;
mod guests;
mod inbox;
mod lobby;
mod outbox;
mod passes;
mod reading;
mod rooms;
mod roster;
mod sending;
mod wheel;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mio::{Poll, Token, Waker};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::auth::Principal;
use crate::clock::Clock;
use crate::drain::Drain;
use crate::hub::Hub;
use crate::protocol::ErrorCode;
use crate::session::{CloseReason, Context};
use crate::telemetry::Metrics;
use crate::websocket::close_frame;

use desk::Answer;
pub use desk::Clerk;
use entrance::Porch;
pub use entrance::{BackOff, Entrance, is_the_peers};
pub use guest::{Act, Acts, Answered, Berth, Boarding, Guest, Heard, Interpreter, MakeGuest, Now};
use inbox::{Command, Inbox};
pub use lobby::{Admitted, Caller, Porter};
pub use roster::{ClientId, ClientView, InvalidClientId, Roster, Swept};
use worker::Worker;
#[cfg(test)]
pub(crate) use worker::simulated::{Asking, Asks, Thread};

/// Bytes the kernel may keep for one client; it allows itself as much again. Left alone it would grow this to megabytes for a client that
/// does not read: memory that nobody counts, full of numbers that nobody wants any more. To be set by whoever makes the sockets.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// How the shards work.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// Threads; one a core is right.
    pub threads: usize,
}

/// A connection's place among all of the server's, and one for each limit more that it counts against. Free again when dropped.
#[derive(Debug)]
pub struct Permits {
    _permit: OwnedSemaphorePermit,
    _more: Option<Box<Self>>,
}

impl Permits {
    /// A place.
    pub fn new(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _permit: permit,
            _more: None,
        }
    }

    /// The same, and another.
    #[must_use]
    pub fn and(self, permit: Option<OwnedSemaphorePermit>) -> Self {
        match permit {
            Some(permit) => Self {
                _permit: permit,
                _more: Some(Box::new(self)),
            },
            None => self,
        }
    }
}

/// Who comes in.
pub enum Entrant {
    /// A client of the native dialect, with a token, and who makes a guest of it if it speaks another one too.
    Native(Arc<Principal>, Option<Arc<dyn Interpreter>>),
    /// An app's.
    Guest(Box<Boarding>),
}

impl std::fmt::Debug for Entrant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Native(principal, _) => f.debug_tuple("Native").field(principal).finish(),
            Self::Guest(boarding) => f.debug_tuple("Guest").field(boarding).finish(),
        }
    }
}

/// A connection that was just upgraded.
#[derive(Debug)]
pub struct Arrival {
    /// Non-blocking, and with a send buffer of [`SEND_BUFFER_BYTES`].
    pub socket: std::net::TcpStream,
    /// What the client sent behind its request, read already.
    pub early: Bytes,
    /// Who is there.
    pub entrant: Entrant,
    /// Count the connection against the limits while it lives.
    pub permit: Permits,
}

/// What shards work with.
#[derive(Debug, Clone)]
pub struct Parts {
    /// Where frames come from.
    pub hub: Arc<Hub>,
    /// Streams, policy, limits.
    pub context: Context,
    /// Answers what must await.
    pub clerk: Clerk,
    /// For token expiry.
    pub clock: Clock,
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Stopped if a shard dies, for the others can't take over its clients.
    pub drain: Drain,
}

/// All shards of a server.
#[derive(Debug)]
pub struct Shards {
    shards: Vec<Handle>,
    /// Who gets the next arrival.
    next: AtomicUsize,
    /// Opened so far.
    entrances: AtomicUsize,
    /// Operators' wishes that may be under way at a time.
    operators: Semaphore,
}

struct Handle {
    inbox: Arc<Inbox>,
    /// Resolves when the thread has ended.
    ended: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").finish_non_exhaustive()
    }
}

impl Shards {
    /// Starts the threads. Must be called on the runtime that is to answer the shards' questions.
    pub fn start(config: Config, parts: &Parts) -> io::Result<Self> {
        parts
            .metrics
            .closes
            .expect(CloseReason::ALL.map(CloseReason::label));
        parts
            .metrics
            .errors_sent
            .expect(ErrorCode::ALL.map(ErrorCode::as_str));
        // Each has a desk of its own: permissions for those who come, new tokens of those who are here, and what apps wait for.
        let desks = std::array::from_fn(|_| desk::open(parts.clerk.clone(), &parts.drain));
        let shards =
            (0..config.threads.max(1)).map(|number| start_shard(number, parts, desks.clone()));
        Ok(Self {
            shards: shards.collect::<io::Result<_>>()?,
            next: AtomicUsize::new(0),
            entrances: AtomicUsize::new(0),
            operators: Semaphore::new(roster::WISHES),
        })
    }

    /// Hands a connection over for good.
    pub fn adopt(&self, arrival: Arrival) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        self.shards[turn]
            .inbox
            .put(Command::Adopt(Box::new(arrival)))
            .into_iter()
            .for_each(too_late);
    }

    /// Lets callers in at a listening socket, which must be non-blocking, until the entrance is closed; `porter` judges them.
    pub fn open(&self, socket: std::net::TcpListener, porter: Arc<dyn Porter>) -> Entrance {
        let number = self.entrances.fetch_add(1, Ordering::Relaxed);
        Porch::open(
            number,
            socket,
            porter,
            self.shards
                .iter()
                .map(|shard| Arc::clone(&shard.inbox))
                .collect(),
        )
    }

    /// Lets a connection wait for its first words; `porter` judges them.
    pub fn knock(&self, caller: Caller, porter: Arc<dyn Porter>) {
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        self.shards[turn]
            .inbox
            .put(Command::Knock(Box::new((caller, porter))))
            .into_iter()
            .for_each(too_late);
    }

    /// Asks every client to leave, in batches over `spread`, and waits for them at most `grace`; returns whether all went in time.
    pub async fn leave(&self, spread: Duration, grace: Duration) -> bool {
        let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        for shard in &self.shards {
            shard.inbox.put(Command::Leave { spread_ms });
        }
        let all = async {
            for shard in &self.shards {
                shard.wait().await;
            }
        };
        let in_time = tokio::time::timeout(grace, all).await.is_ok();
        if !in_time {
            for shard in &self.shards {
                shard.inbox.put(Command::Stop);
            }
        }
        in_time
    }
}

impl Handle {
    async fn wait(&self) {
        if let Some(ended) = self.ended.lock().await.take() {
            // An error means that the thread died, which is an end as well.
            let _ = ended.await;
        }
    }
}

/// What came when its shard had ended, because the server stops: nobody is left without an answer.
fn too_late(command: Command) {
    match command {
        Command::Knock(knock) => {
            let (caller, porter) = *knock;
            porter.take_back(caller, &[]);
        }
        Command::Adopt(arrival) => {
            let reason = CloseReason::Restarting;
            // An empty socket takes so few bytes at once.
            let _gone = io::Write::write(
                &mut &arrival.socket,
                &close_frame(reason.code(), reason.text()),
            );
        }
        _ => {}
    }
}

fn start_shard(number: usize, parts: &Parts, desks: [desk::Desk; 3]) -> io::Result<Handle> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), Token(usize::MAX))?);
    let inbox = Arc::new(Inbox::new(Arc::clone(&waker)));
    let outlet = parts.hub.add_outlet(move || inbox::wake(&waker));
    let (tell, ended) = oneshot::channel();
    let worker = Worker::new(poll, Arc::clone(&inbox), outlet, desks, parts.clone());
    let drain = parts.drain.clone();
    std::thread::Builder::new().name(format!("latido-shard-{number}")).spawn(move || {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| worker.run()));
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::error!(%error, shard = number, "a shard's poll failed; the server stops");
                drain.stop();
            }
            Err(_) => {
                tracing::error!(shard = number, "a shard panicked; the server stops");
                drain.stop();
            }
        }
        // Nobody waits if the server is dropped without a drain.
        let _ = tell.send(());
    })?;
    Ok(Handle {
        inbox,
        ended: tokio::sync::Mutex::new(Some(ended)),
    })
}

impl Drop for Shards {
    fn drop(&mut self) {
        for shard in &self.shards {
            shard.inbox.put(Command::Stop);
        }
    }
}

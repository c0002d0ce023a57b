//! Shards: the threads that own the WebSocket connections.
//!
//! A shard is a thread and the only owner of its sockets. It has one poll and one inbox with a
//! waker; it uses no lock, no task and no timer per client. A shard accepts connections itself or
//! receives them from HTTP after the upgrade. Once a connection is a WebSocket, incoming bytes
//! become effects ([`latido_session`]), and frames from the hub are written inline, by iterating
//! over an array of room members. A client whose socket is full costs one reference to a frame.
//! When its socket drains, it gets the newest frame.
//!
//! # Invariants
//!
//! - A client receives the frames of a room in version order, each at most once, except for an
//!   explicit repeat.
//! - A client that is removed gives up its membership in every room in the same step.
//! - One turn sends a bounded number of frames of one room.
//!
//! # App connections
//!
//! An app connection speaks an app's protocol through a [`ProtocolHandler`]. Its additional state
//! lives in a box, so that native clients do not pay for it. Its events arrive through one queue
//! per event bus. The shard works them off in bounded turns, alternating with the broadcasts of the
//! rooms.

mod admin;
mod async_requests;
mod broadcast;
mod broadcast_queue;
mod client;
mod close_queue;
mod handlers;
mod inbox;
mod listener;
mod outbox;
mod pending_upgrade;
mod protocol_handler;
mod reading;
mod rooms;
mod settings;
mod shutdown;
mod timer_wheel;
mod worker;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use mio::{Poll, Token, Waker};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use latido_auth::Principal;
use latido_base::clock::Clock;
use latido_base::drain::Drain;
use latido_hub::Hub;
use latido_protocol::ErrorCode;
use latido_protocol::websocket::close_frame;
use latido_session::{CloseReason, SessionContext};
use latido_telemetry::Metrics;

pub use admin::{ClientId, ClientList, ClientSummary, InvalidClientId, SweepResult};
use async_requests::AsyncResponse;
pub use async_requests::RequestHandler;
use inbox::{Inbox, ShardCommand};
use listener::SharedListener;
pub use listener::{AcceptBackoff, ShardListener, is_peer_error};
pub use pending_upgrade::{AcceptedUpgrade, ConnectionHandler, PendingConnection};
pub use protocol_handler::{
    Action, Actions, AsyncResult, ClientMessage, HandlerContext, HandlerFactory, HandlerSpec,
    InBandUpgrade, ProtocolHandler, Timestamp,
};
pub use settings::VARIABLES;
use worker::ShardWorker;
#[cfg(any(test, feature = "simulation"))]
pub use worker::simulated::{PendingRequest, RequestContent, SimulatedShard};

/// The size of the send buffer that the kernel may keep for one client, in bytes; the kernel
/// doubles it.
///
/// Without a limit it would grow to megabytes for a client that does not read: uncounted memory,
/// full of outdated frames. The code that creates a socket sets it.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// The settings of the shard threads.
#[derive(Debug, Clone, Copy)]
pub struct Config {
    /// The number of shard threads; one per core is the best value.
    pub threads: usize,
}

/// The permits that one connection holds: one of the server-wide limit and one per further limit
/// that applies to it.
///
/// Dropping the set releases all of them.
#[derive(Debug)]
pub struct PermitSet {
    _permit: OwnedSemaphorePermit,
    _others: Option<Box<Self>>,
}

impl PermitSet {
    /// Creates a set with the server-wide permit only.
    pub fn new(permit: OwnedSemaphorePermit) -> Self {
        Self {
            _permit: permit,
            _others: None,
        }
    }

    /// Adds a permit of another limit; returns the set unchanged for `None`.
    #[must_use]
    pub fn with(self, permit: Option<OwnedSemaphorePermit>) -> Self {
        match permit {
            Some(permit) => Self {
                _permit: permit,
                _others: Some(Box::new(self)),
            },
            None => self,
        }
    }
}

/// The protocol of a new connection, with the data that its setup needs.
pub enum ConnectionKind {
    /// A client of the native protocol: its verified principal, and the in-band upgrade to an app's
    /// protocol if the listener offers one.
    Native(Arc<Principal>, Option<Arc<dyn InBandUpgrade>>),
    /// A client of an app's protocol.
    App(Box<HandlerSpec>),
}

impl std::fmt::Debug for ConnectionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Native(principal, _) => f.debug_tuple("Native").field(principal).finish(),
            Self::App(spec) => f.debug_tuple("App").field(spec).finish(),
        }
    }
}

/// A connection whose WebSocket handshake is complete.
#[derive(Debug)]
pub struct UpgradedConnection {
    /// The non-blocking socket, with a send buffer of [`SEND_BUFFER_BYTES`].
    pub socket: std::net::TcpStream,
    /// The bytes that the client sent after its request and that were already read.
    pub early_bytes: Bytes,
    /// The protocol of the connection and its principal.
    pub kind: ConnectionKind,
    /// The connection's permits, held as long as the connection exists.
    pub permits: PermitSet,
}

/// The dependencies of the shards.
#[derive(Debug, Clone)]
pub struct ShardDeps {
    /// The source of the frames of all rooms.
    pub hub: Arc<Hub>,
    /// The streams, the policy and the limits.
    pub context: SessionContext,
    /// The handler of requests that need to await.
    pub request_handler: RequestHandler,
    /// The wall clock, for token expiry.
    pub clock: Clock,
    /// The server's metrics registry.
    pub metrics: Arc<Metrics>,
    /// The shutdown signal. A shard that dies triggers it, because the other shards cannot take
    /// over its clients.
    pub drain: Drain,
}

/// The handle to all shards of a server.
#[derive(Debug)]
pub struct Shards {
    shards: Vec<ShardHandle>,
    /// The counter that assigns new connections to the shards in rotation.
    next_shard: AtomicUsize,
    /// The number of listeners served so far; it gives each its poll token.
    listener_count: AtomicUsize,
    /// The permits for concurrent admin requests.
    admin_permits: Semaphore,
}

struct ShardHandle {
    inbox: Arc<Inbox>,
    /// Resolves when the thread has ended.
    ended: tokio::sync::Mutex<Option<oneshot::Receiver<()>>>,
}

impl std::fmt::Debug for ShardHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").finish_non_exhaustive()
    }
}

impl Shards {
    /// Starts the shard threads. Must be called on the runtime that will handle the shards'
    /// asynchronous requests.
    ///
    /// # Errors
    ///
    /// Fails if a poll, its waker or a thread cannot be created.
    pub fn start(config: Config, deps: &ShardDeps) -> io::Result<Self> {
        deps.metrics
            .closes
            .init_labels(CloseReason::ALL.map(CloseReason::label));
        deps.metrics
            .errors_sent
            .init_labels(ErrorCode::ALL.map(ErrorCode::as_str));
        // Three separate queues: permission checks of new subscriptions, token checks of connected
        // clients, and app tasks. A full one does not delay the others.
        let queues = std::array::from_fn(|_| {
            async_requests::start_queue(deps.request_handler.clone(), &deps.drain)
        });
        let shards =
            (0..config.threads.max(1)).map(|number| start_shard(number, deps, queues.clone()));
        Ok(Self {
            shards: shards.collect::<io::Result<_>>()?,
            next_shard: AtomicUsize::new(0),
            listener_count: AtomicUsize::new(0),
            admin_permits: Semaphore::new(admin::MAX_ADMIN_REQUESTS),
        })
    }

    /// Hands an upgraded connection to the next shard, which owns it from then on.
    pub fn add_upgraded(&self, connection: UpgradedConnection) {
        let index = self.next_shard.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        self.shards[index]
            .inbox
            .put(ShardCommand::AddUpgraded(Box::new(connection)))
            .into_iter()
            .for_each(reject_after_stop);
    }

    /// Accepts connections at a listening socket until the returned listener is closed. The socket
    /// must be non-blocking; `handler` upgrades the connections.
    pub fn serve_listener(
        &self,
        socket: std::net::TcpListener,
        handler: Arc<dyn ConnectionHandler>,
    ) -> ShardListener {
        let number = self.listener_count.fetch_add(1, Ordering::Relaxed);
        SharedListener::start(
            number,
            socket,
            handler,
            self.shards
                .iter()
                .map(|shard| Arc::clone(&shard.inbox))
                .collect(),
        )
    }

    /// Hands a connection to the next shard, where it waits for its request bytes; `porter`
    /// upgrades it.
    pub fn add_pending(&self, connection: PendingConnection, handler: Arc<dyn ConnectionHandler>) {
        let index = self.next_shard.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        self.shards[index]
            .inbox
            .put(ShardCommand::AddPending(Box::new((connection, handler))))
            .into_iter()
            .for_each(reject_after_stop);
    }

    /// Closes every client, in batches spread over `spread`, and waits for them for at most
    /// `grace`.
    ///
    /// Returns whether all of them ended in time.
    pub async fn shutdown(&self, spread: Duration, grace: Duration) -> bool {
        let spread_ms = u64::try_from(spread.as_millis()).unwrap_or(u64::MAX);
        for shard in &self.shards {
            shard.inbox.put(ShardCommand::Shutdown { spread_ms });
        }
        let all = async {
            for shard in &self.shards {
                shard.wait_until_ended().await;
            }
        };
        let in_time = tokio::time::timeout(grace, all).await.is_ok();
        if !in_time {
            for shard in &self.shards {
                shard.inbox.put(ShardCommand::Stop);
            }
        }
        in_time
    }
}

impl ShardHandle {
    async fn wait_until_ended(&self) {
        if let Some(ended) = self.ended.lock().await.take() {
            // An error means that the thread died, which also ends it.
            let _ = ended.await;
        }
    }
}

/// Rejects a command that arrived after its shard had ended because the server stops. Every
/// connection in it still gets a response.
fn reject_after_stop(command: ShardCommand) {
    match command {
        ShardCommand::AddPending(pending) => {
            let (connection, handler) = *pending;
            handler.serve_http(connection, &[]);
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

fn start_shard(
    number: usize,
    deps: &ShardDeps,
    queues: [async_requests::RequestQueue; 3],
) -> io::Result<ShardHandle> {
    let poll = Poll::new()?;
    let waker = Arc::new(Waker::new(poll.registry(), Token(usize::MAX))?);
    let inbox = Arc::new(Inbox::new(Arc::clone(&waker)));
    let frames = deps.hub.register_shard(move || inbox::wake(&waker));
    let (done, ended) = oneshot::channel();
    let worker = ShardWorker::new(poll, Arc::clone(&inbox), frames, queues, deps.clone());
    let drain = deps.drain.clone();
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
        // The receiver is gone if the server was dropped without a drain.
        let _ = done.send(());
    })?;
    Ok(ShardHandle {
        inbox,
        ended: tokio::sync::Mutex::new(Some(ended)),
    })
}

impl Drop for Shards {
    fn drop(&mut self) {
        for shard in &self.shards {
            shard.inbox.put(ShardCommand::Stop);
        }
    }
}

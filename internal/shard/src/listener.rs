//! Listening sockets at which the shards accept connections in turn.
//!
//! One shard at a time is registered at a listener. It keeps the connections that it accepts, so
//! none moves between threads. After a bounded number it passes the turn to the next shard. Each
//! shard gets its share this way, and a new connection wakes one shard only.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use rustix::io::Errno;

use crate::ConnectionHandler;
use crate::inbox::{Inbox, ShardCommand};
use crate::worker::ShardWorker;
use latido_base::backoff::Backoff;
use latido_base::clock::monotonic_now;

/// The connections that a shard accepts before its clients are served, and before the next shard
/// takes over.
const ACCEPT_BATCH: usize = 16;
/// The first and the longest pause after an accept that failed for lack of descriptors or memory.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
/// The poll token of the first listener. Further listeners count down; the tokens of slots count
/// up.
const FIRST_LISTENER_TOKEN: usize = usize::MAX - 1;

/// A listening socket that the shards serve. Dropping it closes the socket.
#[derive(Debug)]
pub struct ShardListener(Arc<SharedListener>);

impl ShardListener {
    /// Takes the socket back. When this returns, no shard accepts from it any more; the connections
    /// in its backlog are left to the code that calls this. Returns `None` if it was taken before.
    pub fn close(&self) -> Option<TcpListener> {
        self.0.lock().take().map(|listener| listener.socket.into())
    }
}

impl Drop for ShardListener {
    fn drop(&mut self) {
        self.close();
    }
}

/// The part of a listener that the shards share.
pub(super) struct SharedListener {
    token: Token,
    /// The listening socket, or `None` once it is closed. The lock is held for one system call.
    listener: Mutex<Option<OpenListener>>,
    /// The inboxes of all shards, and the number of turns given so far.
    inboxes: Vec<Arc<Inbox>>,
    turns: AtomicUsize,
}

/// The result of one accept(2) call.
type AcceptResult = io::Result<(mio::net::TcpStream, SocketAddr)>;

struct OpenListener {
    socket: mio::net::TcpListener,
    handler: Arc<dyn ConnectionHandler>,
}

impl std::fmt::Debug for SharedListener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedListener")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl SharedListener {
    /// Starts to serve the listener with this number, and gives the first turn.
    pub(super) fn start(
        number: usize,
        socket: TcpListener,
        handler: Arc<dyn ConnectionHandler>,
        inboxes: Vec<Arc<Inbox>>,
    ) -> ShardListener {
        let listener = Mutex::new(Some(OpenListener {
            socket: mio::net::TcpListener::from_std(socket),
            handler,
        }));
        let shared = Arc::new(Self {
            token: Token(FIRST_LISTENER_TOKEN - number),
            listener,
            inboxes,
            turns: AtomicUsize::new(number),
        });
        shared.pass_accept_turn();
        ShardListener(shared)
    }

    fn lock(&self) -> MutexGuard<'_, Option<OpenListener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the turn to the next shard that has not ended.
    fn pass_accept_turn(self: &Arc<Self>) {
        for _ in 0..self.inboxes.len() {
            let index = self.turns.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
            if self.inboxes[index]
                .put(ShardCommand::RegisterListener(Arc::clone(self)))
                .is_none()
            {
                return;
            }
        }
    }

    /// Registers the socket with a poll. Returns `false` if it is closed.
    fn register(&self, registry: &Registry) -> io::Result<bool> {
        let mut listener = self.lock();
        let Some(OpenListener { socket, .. }) = &mut *listener else {
            return Ok(false);
        };
        registry.register(socket, self.token, Interest::READABLE)?;
        Ok(true)
    }

    fn deregister(&self, registry: &Registry) -> io::Result<()> {
        self.lock()
            .as_mut()
            .map_or(Ok(()), |listener| registry.deregister(&mut listener.socket))
    }

    /// Accepts one connection. Returns it with its handler, or `None` if the listener is closed.
    fn accept(&self) -> Option<(AcceptResult, Arc<dyn ConnectionHandler>)> {
        let listener = self.lock();
        let OpenListener { socket, handler } = listener.as_ref()?;
        Some((socket.accept(), Arc::clone(handler)))
    }
}

/// A shard's registration at a listener.
#[derive(Debug)]
pub(super) struct ListenerRegistration {
    listener: Arc<SharedListener>,
    /// Set if a connection may be waiting; the poll reports it only once.
    pub(super) is_ready: bool,
    /// The connections accepted since this shard got the turn.
    accepted: usize,
    backoff: AcceptBackoff,
    /// The end of the pause after a failed accept, if there is one.
    pub(super) retry_at: Option<Instant>,
}

impl ShardWorker {
    /// Registers this shard at a listener for its turn.
    pub(super) fn register_listener(&mut self, listener: Arc<SharedListener>) {
        match listener.register(self.poll.registry()) {
            Ok(true) => {
                self.listeners.push(ListenerRegistration {
                    listener,
                    is_ready: false,
                    accepted: 0,
                    backoff: AcceptBackoff::default(),
                    retry_at: None,
                });
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "a listening socket could not be polled; the server stops");
                self.deps.drain.stop();
            }
        }
    }

    /// Notes that a connection waits at the listener with this token.
    pub(super) fn on_listener_ready(&mut self, token: Token) {
        if let Some(registration) = self
            .listeners
            .iter_mut()
            .find(|registration| registration.listener.token == token)
        {
            // During a pause nothing is accepted; its end sets the flag.
            registration.is_ready = registration.retry_at.is_none();
        }
    }

    /// Accepts connections at all listeners of this shard, a bounded number at each.
    pub(super) fn accept_connections(&mut self) {
        let mut listeners = std::mem::take(&mut self.listeners);
        // Drops closed listeners, and those whose turn went to another shard.
        listeners.retain_mut(|registration| self.accept_batch(registration));
        self.listeners = listeners;
    }

    /// Accepts the connections of one listener, up to the end of the turn. Returns whether the
    /// shard stays registered there.
    fn accept_batch(&mut self, registration: &mut ListenerRegistration) -> bool {
        if registration
            .retry_at
            .is_some_and(|until| monotonic_now() >= until)
        {
            (registration.is_ready, registration.retry_at) = (true, None);
        }
        for _ in 0..ACCEPT_BATCH {
            if !registration.is_ready || registration.accepted == ACCEPT_BATCH {
                break;
            }
            let Some((accepted, handler)) = registration.listener.accept() else {
                return false;
            };
            match accepted {
                Ok((socket, address)) => {
                    registration.backoff.reset();
                    registration.accepted += 1;
                    if let Some(connection) = handler.accept(socket.into(), address) {
                        self.add_pending(connection, handler);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    registration.is_ready = false
                }
                Err(error) if is_peer_error(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                // Closing the sockets in the close queue may free the missing descriptors.
                Err(_) if self.close_all() => {}
                Err(error) => {
                    let open = self.deps.metrics.connections.get();
                    let pause = registration
                        .backoff
                        .next_pause(&error, usize::try_from(open).unwrap_or(0));
                    (registration.is_ready, registration.retry_at) =
                        (false, Some(monotonic_now() + pause));
                }
            }
        }
        if registration.accepted < ACCEPT_BATCH {
            return true;
        }
        registration.accepted = 0;
        if registration.listener.inboxes.len() == 1
            || registration
                .listener
                .deregister(self.poll.registry())
                .is_err()
        {
            return true;
        }
        registration.listener.pass_accept_turn();
        false
    }

    /// Returns the time until the next accept, or `None` if no listener needs one.
    pub(super) fn next_accept_in(&self) -> Option<Duration> {
        let next = |registration: &ListenerRegistration| match registration.retry_at {
            Some(until) => Some(until.saturating_duration_since(monotonic_now())),
            None => registration.is_ready.then_some(Duration::ZERO),
        };
        self.listeners.iter().filter_map(next).min()
    }
}

/// The pauses between failed accepts, with exponential growth.
#[derive(Debug)]
pub struct AcceptBackoff(Backoff);

impl Default for AcceptBackoff {
    fn default() -> Self {
        Self(BACKOFF)
    }
}

impl AcceptBackoff {
    /// Resets the pause after a successful accept.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Returns the pause after this error: 20 ms first, then doubled up to 1 s. The first error of
    /// a run is logged with `open`, the number of open connections.
    pub fn next_pause(&mut self, error: &io::Error, open: usize) -> Duration {
        if !self.0.has_failed() {
            tracing::warn!(%error, open, "can't accept connections; trying again with growing pauses");
        }
        self.0.next_pause()
    }
}

/// Returns whether an error concerns the accepted connection only, as accept(2) passes such errors
/// on; the next accept may succeed.
///
/// Any other error, above all a lack of file descriptors, would repeat at once. The accepting loop
/// must [pause](AcceptBackoff) after it.
pub fn is_peer_error(error: &io::Error) -> bool {
    let Some(errno) = Errno::from_io_error(error) else {
        return false;
    };
    matches!(
        errno,
        Errno::CONNABORTED
            | Errno::CONNRESET
            | Errno::INTR
            | Errno::PROTO
            | Errno::PERM
            | Errno::TIMEDOUT
    )
}

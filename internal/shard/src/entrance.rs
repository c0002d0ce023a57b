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

use crate::Porter;
use crate::inbox::{Command, Inbox};
use crate::worker::Worker;
use latido_base::clock::monotonic_now;

/// The connections that a shard accepts before its clients are served, and before the next shard
/// takes over.
const A_TURN: usize = 16;
/// The first and the longest pause after an accept that failed for lack of descriptors or memory.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// The poll token of the first listener. Further listeners count down; the tokens of slots count
/// up.
const FIRST: usize = usize::MAX - 1;

/// A listening socket that the shards serve. Dropping it closes the socket.
#[derive(Debug)]
pub struct Entrance(Arc<Porch>);

impl Entrance {
    /// Takes the socket back. When this returns, no shard accepts from it any more; the connections
    /// in its backlog are left to the code that calls this. Returns `None` if it was taken before.
    pub fn close(&self) -> Option<TcpListener> {
        self.0.lock().take().map(|listener| listener.socket.into())
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.close();
    }
}

/// The part of a listener that the shards share.
pub(super) struct Porch {
    token: Token,
    /// The listening socket, or `None` once it is closed. The lock is held for one system call.
    open: Mutex<Option<Open>>,
    /// The inboxes of all shards, and the number of turns given so far.
    inboxes: Vec<Arc<Inbox>>,
    calls: AtomicUsize,
}

/// The result of one accept(2) call.
type Accepted = io::Result<(mio::net::TcpStream, SocketAddr)>;

struct Open {
    socket: mio::net::TcpListener,
    porter: Arc<dyn Porter>,
}

impl std::fmt::Debug for Porch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedListener")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl Porch {
    /// Starts to serve the listener with this number, and gives the first turn.
    pub(super) fn open(
        number: usize,
        socket: TcpListener,
        handler: Arc<dyn Porter>,
        inboxes: Vec<Arc<Inbox>>,
    ) -> Entrance {
        let listener = Mutex::new(Some(Open {
            socket: mio::net::TcpListener::from_std(socket),
            porter: handler,
        }));
        let shared = Arc::new(Self {
            token: Token(FIRST - number),
            open: listener,
            inboxes,
            calls: AtomicUsize::new(number),
        });
        shared.call_next();
        Entrance(shared)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the turn to the next shard that has not ended.
    fn call_next(self: &Arc<Self>) {
        for _ in 0..self.inboxes.len() {
            let index = self.calls.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
            if self.inboxes[index]
                .put(Command::Stand(Arc::clone(self)))
                .is_none()
            {
                return;
            }
        }
    }

    /// Registers the socket with a poll. Returns `false` if it is closed.
    fn watch(&self, registry: &Registry) -> io::Result<bool> {
        let mut listener = self.lock();
        let Some(Open { socket, .. }) = &mut *listener else {
            return Ok(false);
        };
        registry.register(socket, self.token, Interest::READABLE)?;
        Ok(true)
    }

    fn unwatch(&self, registry: &Registry) -> io::Result<()> {
        self.lock()
            .as_mut()
            .map_or(Ok(()), |listener| registry.deregister(&mut listener.socket))
    }

    /// Accepts one connection. Returns it with its handler, or `None` if the listener is closed.
    fn accept(&self) -> Option<(Accepted, Arc<dyn Porter>)> {
        let listener = self.lock();
        let Open {
            socket,
            porter: handler,
        } = listener.as_ref()?;
        Some((socket.accept(), Arc::clone(handler)))
    }
}

/// A shard's registration at a listener.
#[derive(Debug)]
pub(super) struct Post {
    porch: Arc<Porch>,
    /// Set if a connection may be waiting; the poll reports it only once.
    pub(super) ready: bool,
    /// The connections accepted since this shard got the turn.
    let_in: usize,
    back_off: BackOff,
    /// The end of the pause after a failed accept, if there is one.
    pub(super) rests_until: Option<Instant>,
}

impl Worker {
    /// Registers this shard at a listener for its turn.
    pub(super) fn stand(&mut self, listener: Arc<Porch>) {
        match listener.watch(self.poll.registry()) {
            Ok(true) => {
                self.posts.push(Post {
                    porch: listener,
                    ready: false,
                    let_in: 0,
                    back_off: BackOff::default(),
                    rests_until: None,
                });
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(%error, "a listening socket could not be polled; the server stops");
                self.parts.drain.stop();
            }
        }
    }

    /// Notes that a connection waits at the listener with this token.
    pub(super) fn on_knock(&mut self, token: Token) {
        if let Some(registration) = self
            .posts
            .iter_mut()
            .find(|registration| registration.porch.token == token)
        {
            // During a pause nothing is accepted; its end sets the flag.
            registration.ready = registration.rests_until.is_none();
        }
    }

    /// Accepts connections at all listeners of this shard, a bounded number at each.
    pub(super) fn attend(&mut self) {
        let mut listeners = std::mem::take(&mut self.posts);
        // Drops closed listeners, and those whose turn went to another shard.
        listeners.retain_mut(|registration| self.attend_one(registration));
        self.posts = listeners;
    }

    /// Accepts the connections of one listener, up to the end of the turn. Returns whether the
    /// shard stays registered there.
    fn attend_one(&mut self, registration: &mut Post) -> bool {
        if registration
            .rests_until
            .is_some_and(|until| monotonic_now() >= until)
        {
            (registration.ready, registration.rests_until) = (true, None);
        }
        for _ in 0..A_TURN {
            if !registration.ready || registration.let_in == A_TURN {
                break;
            }
            let Some((accepted, handler)) = registration.porch.accept() else {
                return false;
            };
            match accepted {
                Ok((socket, address)) => {
                    registration.back_off.end();
                    registration.let_in += 1;
                    if let Some(connection) = handler.welcome(socket.into(), address) {
                        self.receive_caller(connection, handler);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    registration.ready = false
                }
                Err(error) if is_the_peers(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                // Closing the sockets in the close queue may free the missing descriptors.
                Err(_) if self.see_all_off() => {}
                Err(error) => {
                    let open = self.parts.metrics.connections.get();
                    let pause = registration
                        .back_off
                        .pause(&error, usize::try_from(open).unwrap_or(0));
                    (registration.ready, registration.rests_until) =
                        (false, Some(monotonic_now() + pause));
                }
            }
        }
        if registration.let_in < A_TURN {
            return true;
        }
        registration.let_in = 0;
        if registration.porch.inboxes.len() == 1
            || registration.porch.unwatch(self.poll.registry()).is_err()
        {
            return true;
        }
        registration.porch.call_next();
        false
    }

    /// Returns the time until the next accept, or `None` if no listener needs one.
    pub(super) fn next_caller_in(&self) -> Option<Duration> {
        let next = |registration: &Post| match registration.rests_until {
            Some(until) => Some(until.saturating_duration_since(monotonic_now())),
            None => registration.ready.then_some(Duration::ZERO),
        };
        self.posts.iter().filter_map(next).min()
    }
}

/// The pauses between failed accepts, with exponential growth.
#[derive(Debug, Default)]
pub struct BackOff {
    /// The last pause, or `None` if the last accept succeeded.
    last: Option<Duration>,
}

impl BackOff {
    /// Resets the pause after a successful accept.
    pub fn end(&mut self) {
        self.last = None;
    }

    /// Returns the pause after this error: 20 ms first, then doubled up to 1 s. The first error of
    /// a run is logged with `open`, the number of open connections.
    pub fn pause(&mut self, error: &io::Error, open: usize) -> Duration {
        if self.last.is_none() {
            tracing::warn!(%error, open, "can't accept connections; trying again with growing pauses");
        }
        let pause = self
            .last
            .map_or(BACK_OFF.0, |last| (last * 2).min(BACK_OFF.1));
        self.last = Some(pause);
        pause
    }
}

/// Returns whether an error concerns the accepted connection only, as accept(2) passes such errors
/// on; the next accept may succeed.
///
/// Any other error, above all a lack of file descriptors, would repeat at once. The accepting loop
/// must [pause](AcceptBackoff) after it.
pub fn is_the_peers(error: &io::Error) -> bool {
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

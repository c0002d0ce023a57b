//! Listening sockets at which the shards accept connections in turn.
//!
//! One shard at a time is registered at a listener. It keeps the connections that it accepts, so
//! none moves between threads. After a bounded number it passes the turn to the next shard. Each
//! shard gets its share this way, and a new connection wakes one shard only.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::{Interest, Registry, Token};

use crate::inbox::Inbox;
use crate::listener_context::ListenerContext;

/// The poll token of the first listener. Further listeners count down; the tokens of slots count
/// up.
const FIRST_LISTENER_TOKEN: usize = usize::MAX - 1;

/// The part of a listener that the shards share.
pub(super) struct SharedListener<C> {
    pub(super) token: Token,
    /// The listening socket, or `None` once it is closed. The lock is held for one system call.
    listener: Mutex<Option<OpenListener>>,
    /// The inboxes of all shards, and the number of turns given so far.
    pub(super) inboxes: Vec<Arc<Inbox<C>>>,
    turns: AtomicUsize,
}

/// The result of one accept(2) call.
pub(super) type AcceptResult = io::Result<(mio::net::TcpStream, SocketAddr)>;

pub(super) struct OpenListener {
    pub(super) socket: mio::net::TcpListener,
    context: Arc<ListenerContext>,
}

impl<C> std::fmt::Debug for SharedListener<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SharedListener")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl<C: From<Arc<Self>>> SharedListener<C> {
    /// Starts to serve the listener with this number, and gives the first turn.
    pub(super) fn start(
        number: usize,
        socket: TcpListener,
        context: Arc<ListenerContext>,
        inboxes: Vec<Arc<Inbox<C>>>,
    ) -> Arc<Self> {
        let listener = Mutex::new(Some(OpenListener {
            socket: mio::net::TcpListener::from_std(socket),
            context,
        }));
        let shared = Arc::new(Self {
            token: Token(FIRST_LISTENER_TOKEN - number),
            listener,
            inboxes,
            turns: AtomicUsize::new(number),
        });
        shared.pass_accept_turn();
        shared
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<OpenListener>> {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives the turn to the next shard that has not ended.
    pub(super) fn pass_accept_turn(self: &Arc<Self>) {
        for _ in 0..self.inboxes.len() {
            let index = self.turns.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
            if self.inboxes[index].put(Arc::clone(self).into()).is_none() {
                return;
            }
        }
    }

    /// Registers the socket with a poll. Returns `false` if it is closed.
    pub(super) fn register(&self, registry: &Registry) -> io::Result<bool> {
        let mut listener = self.lock();
        let Some(OpenListener { socket, .. }) = &mut *listener else {
            return Ok(false);
        };
        registry.register(socket, self.token, Interest::READABLE)?;
        Ok(true)
    }

    pub(super) fn deregister(&self, registry: &Registry) -> io::Result<()> {
        self.lock()
            .as_mut()
            .map_or(Ok(()), |listener| registry.deregister(&mut listener.socket))
    }

    /// Accepts one connection. Returns it with its handler, or `None` if the listener is closed.
    pub(super) fn accept(&self) -> Option<(AcceptResult, Arc<ListenerContext>)> {
        let listener = self.lock();
        let OpenListener { socket, context } = listener.as_ref()?;
        Some((socket.accept(), Arc::clone(context)))
    }
}

//! Listening sockets, where shards let people in by turns.
//!
//! One shard at a time stands at an entrance. It keeps whom it accepts, so nobody is carried from thread to thread; and after a bounded number
//! it calls the next, so that each has its share, and one caller wakes one shard.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mio::{Interest, Registry, Token};
use rustix::io::Errno;

use crate::clock::instant;
use crate::shard::Porter;
use crate::shard::inbox::{Command, Inbox};
use crate::shard::worker::Worker;

/// Callers that are let in before a shard's clients have their turn, and before the next shard has its own.
const A_TURN: usize = 16;
/// First and longest pause after an accept that failed for want of files or memory.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// The poll's name for the first entrance; further ones count down, and slots count up.
const FIRST: usize = usize::MAX - 1;

/// A listening socket that the shards watch. Closed when dropped.
#[derive(Debug)]
pub struct Entrance(Arc<Porch>);

impl Entrance {
    /// Takes the socket back; when this returns, no shard accepts from it any more. Whoever was connected by the kernel and is not accepted
    /// yet is the caller's. None: it was taken before.
    pub fn close(&self) -> Option<TcpListener> {
        self.0.lock().take().map(|open| open.socket.into())
    }
}

impl Drop for Entrance {
    fn drop(&mut self) {
        self.close();
    }
}

/// An entrance as shards see it.
pub(super) struct Porch {
    token: Token,
    /// None: closed. Held for one system call.
    open: Mutex<Option<Open>>,
    /// All shards', and how many were called so far.
    inboxes: Vec<Arc<Inbox>>,
    calls: AtomicUsize,
}

/// What accept(2) says.
type Accepted = io::Result<(mio::net::TcpStream, SocketAddr)>;

struct Open {
    socket: mio::net::TcpListener,
    porter: Arc<dyn Porter>,
}

impl std::fmt::Debug for Porch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Porch")
            .field("token", &self.token)
            .finish_non_exhaustive()
    }
}

impl Porch {
    /// Opens the entrance of this number, and calls the first shard.
    pub(super) fn open(
        number: usize,
        socket: TcpListener,
        porter: Arc<dyn Porter>,
        inboxes: Vec<Arc<Inbox>>,
    ) -> Entrance {
        let open = Mutex::new(Some(Open {
            socket: mio::net::TcpListener::from_std(socket),
            porter,
        }));
        let porch = Arc::new(Self {
            token: Token(FIRST - number),
            open,
            inboxes,
            calls: AtomicUsize::new(number),
        });
        porch.call_next();
        Entrance(porch)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks the next shard that has not ended to stand here.
    fn call_next(self: &Arc<Self>) {
        for _ in 0..self.inboxes.len() {
            let turn = self.calls.fetch_add(1, Ordering::Relaxed) % self.inboxes.len();
            if self.inboxes[turn]
                .put(Command::Stand(Arc::clone(self)))
                .is_none()
            {
                return;
            }
        }
    }

    /// Has a poll watch the socket; false: it is closed.
    fn watch(&self, registry: &Registry) -> io::Result<bool> {
        let mut open = self.lock();
        let Some(Open { socket, .. }) = &mut *open else {
            return Ok(false);
        };
        registry.register(socket, self.token, Interest::READABLE)?;
        Ok(true)
    }

    fn unwatch(&self, registry: &Registry) -> io::Result<()> {
        self.lock()
            .as_mut()
            .map_or(Ok(()), |open| registry.deregister(&mut open.socket))
    }

    /// The next caller, and who is to judge it; None: closed.
    fn accept(&self) -> Option<(Accepted, Arc<dyn Porter>)> {
        let open = self.lock();
        let Open { socket, porter } = open.as_ref()?;
        Some((socket.accept(), Arc::clone(porter)))
    }
}

/// A shard's place at an entrance.
#[derive(Debug)]
pub(super) struct Post {
    porch: Arc<Porch>,
    /// There may be somebody: the poll says so once.
    pub(super) ready: bool,
    /// Let in since the shard was called.
    let_in: usize,
    back_off: BackOff,
    /// Nobody can be let in before.
    pub(super) rests_until: Option<Instant>,
}

impl Worker {
    /// Takes the place at an entrance.
    pub(super) fn stand(&mut self, porch: Arc<Porch>) {
        match porch.watch(self.poll.registry()) {
            Ok(true) => {
                self.posts.push(Post {
                    porch,
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

    /// Somebody stands at an entrance.
    pub(super) fn on_knock(&mut self, token: Token) {
        if let Some(post) = self.posts.iter_mut().find(|post| post.porch.token == token) {
            // Whoever rests looks by itself when it is over.
            post.ready = post.rests_until.is_none();
        }
    }

    /// Lets callers in, a bounded number.
    pub(super) fn attend(&mut self) {
        let mut posts = std::mem::take(&mut self.posts);
        // Closed ones and those that another shard stands at go.
        posts.retain_mut(|post| self.attend_one(post));
        self.posts = posts;
    }

    /// Whether the shard stays there.
    fn attend_one(&mut self, post: &mut Post) -> bool {
        if post.rests_until.is_some_and(|until| instant() >= until) {
            (post.ready, post.rests_until) = (true, None);
        }
        for _ in 0..A_TURN {
            if !post.ready || post.let_in == A_TURN {
                break;
            }
            let Some((accepted, porter)) = post.porch.accept() else {
                return false;
            };
            match accepted {
                Ok((socket, address)) => {
                    post.back_off.end();
                    post.let_in += 1;
                    if let Some(caller) = porter.welcome(socket.into(), address) {
                        self.receive_caller(caller, porter);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => post.ready = false,
                Err(error) if is_the_peers(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted");
                }
                // Descriptors may be what it wants.
                Err(_) if self.see_all_off() => {}
                Err(error) => {
                    let open = self.parts.metrics.connections.get();
                    let pause = post
                        .back_off
                        .pause(&error, usize::try_from(open).unwrap_or(0));
                    (post.ready, post.rests_until) = (false, Some(instant() + pause));
                }
            }
        }
        if post.let_in < A_TURN {
            return true;
        }
        post.let_in = 0;
        if post.porch.inboxes.len() == 1 || post.porch.unwatch(self.poll.registry()).is_err() {
            return true;
        }
        post.porch.call_next();
        false
    }

    /// How long nothing is to be done for those at the entrances.
    pub(super) fn next_caller_in(&self) -> Option<Duration> {
        let next = |post: &Post| match post.rests_until {
            Some(until) => Some(until.saturating_duration_since(instant())),
            None => post.ready.then_some(Duration::ZERO),
        };
        self.posts.iter().filter_map(next).min()
    }
}

/// The pauses of whoever can't accept.
#[derive(Debug, Default)]
pub struct BackOff {
    /// None: the last accept went well.
    last: Option<Duration>,
}

impl BackOff {
    /// An accept went well.
    pub fn end(&mut self) {
        self.last = None;
    }

    /// How long to rest after this error, twice as long as the last time: 20 ms to 1 s. The first of a row is logged; `open`: how many
    /// connections there are.
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

/// Errors of the connection that was to be accepted (accept(2) hands them on); the next one may be fine. Any other, above all the want
/// of file descriptors, would come again at once, so whoever accepts must [rest](BackOff).
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

//! The polling sessions of a mount, by their ids.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::engine::PollBody;
use crate::host::SocketOutput;
use crate::session::Session;
use crate::session_id::SessionId;
use latido_socketio_protocol::engineio::Version;

/// The requests that may wait for a session's task.
const QUEUE_CAPACITY: usize = 16;

/// The polling sessions of a mount.
#[derive(Default)]
pub(crate) struct PollingTable {
    /// Locked for one look-up.
    sessions: Mutex<HashMap<SessionId, PollingHandle>>,
}

/// The way to a session's task. Clones lead to the same session.
#[derive(Clone)]
pub(crate) struct PollingHandle {
    commands: mpsc::Sender<PollingCommand>,
    state: Arc<PollingState>,
}

/// The facts about a session that its requests need at once. Relaxed ordering suffices: each is
/// independent of the others.
pub(crate) struct PollingState {
    pub(crate) version: Version,
    pub(crate) is_identified: AtomicBool,
    /// Whether a WebSocket is tried out, or was upgraded to.
    pub(crate) is_probed: AtomicBool,
}

/// A request to a session's task.
pub(crate) enum PollingCommand {
    /// A poll. Dropping the receiver aborts it.
    Poll(oneshot::Sender<PollBody>),
    /// Packets from the client. The answer is `false` if they, or the session, are not valid.
    Post {
        body: Bytes,
        is_binary: bool,
        answer: oneshot::Sender<bool>,
    },
    /// A WebSocket is tried out. The sender is dropped when that ends.
    ProbeStarted(oneshot::Receiver<()>),
    /// The client has sent its probe.
    Probed,
    /// The client has upgraded: gives the session to its WebSocket.
    Take(oneshot::Sender<Option<Box<MovedSession>>>),
}

/// A session that moves to a shard.
pub(crate) struct MovedSession {
    pub(crate) session: Box<Session>,
    /// The outputs of the sockets' futures that are still running.
    pub(crate) outputs: mpsc::Receiver<SocketOutput>,
    /// The number of these futures.
    pub(crate) pending: usize,
}

/// The entry of a session in the table, removed when it is dropped.
pub(crate) struct PollingEntry {
    table: Arc<PollingTable>,
    sid: SessionId,
    pub(crate) state: Arc<PollingState>,
    pub(crate) commands: mpsc::Receiver<PollingCommand>,
}

impl PollingTable {
    pub(crate) fn find(&self, sid: &str) -> Option<PollingHandle> {
        self.lock().get(&SessionId::parse(sid)?).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SessionId, PollingHandle>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PollingEntry {
    /// Adds a session to the table.
    pub(crate) fn add(table: &Arc<PollingTable>, sid: SessionId, version: Version) -> Self {
        let (sender, commands) = mpsc::channel(QUEUE_CAPACITY);
        let state = Arc::new(PollingState {
            version,
            is_identified: AtomicBool::new(false),
            is_probed: AtomicBool::new(false),
        });
        let handle = PollingHandle {
            commands: sender,
            state: Arc::clone(&state),
        };
        table.lock().insert(sid, handle);
        Self {
            table: Arc::clone(table),
            sid,
            state,
            commands,
        }
    }
}

impl Drop for PollingEntry {
    fn drop(&mut self) {
        self.table.lock().remove(&self.sid);
    }
}

impl PollingHandle {
    pub(crate) fn version(&self) -> Version {
        self.state.version
    }

    pub(crate) fn is_identified(&self) -> bool {
        self.state.is_identified.load(Ordering::Relaxed)
    }

    /// Polls for packets. Returns `None` if the session has ended or refuses the poll.
    pub(crate) async fn poll(&self) -> Option<PollBody> {
        let (sender, answer) = oneshot::channel();
        self.send(PollingCommand::Poll(sender)).await?;
        answer.await.ok()
    }

    /// Passes packets on. Returns `false` if they, or the session, are not valid.
    pub(crate) async fn post(&self, body: Bytes, is_binary: bool) -> bool {
        let (answer, received) = oneshot::channel();
        let post = PollingCommand::Post {
            body,
            is_binary,
            answer,
        };
        self.send(post).await.is_some() && received.await.unwrap_or(false)
    }

    /// Registers a WebSocket that is tried out. Returns the guard of the try, or `None` if there was
    /// one already.
    pub(crate) fn start_probe(&self) -> Option<oneshot::Sender<()>> {
        if self.state.is_probed.swap(true, Ordering::Relaxed) {
            return None;
        }
        let (alive, ended) = oneshot::channel();
        let started = self
            .commands
            .try_send(PollingCommand::ProbeStarted(ended))
            .is_ok();
        if !started {
            self.state.is_probed.store(false, Ordering::Relaxed);
        }
        started.then_some(alive)
    }

    /// Reports that the client has sent its probe.
    pub(crate) async fn notify_probe(&self) {
        // A session that has ended needs no notification.
        let _ = self.send(PollingCommand::Probed).await;
    }

    /// Takes the session from its task. Returns `None` if it has ended.
    pub(crate) async fn take(&self) -> Option<Box<MovedSession>> {
        let (sender, session) = oneshot::channel();
        self.send(PollingCommand::Take(sender)).await?;
        session.await.ok().flatten()
    }

    async fn send(&self, command: PollingCommand) -> Option<()> {
        self.commands.send(command).await.ok()
    }
}

//! The handle to all shards of a server: it starts them, gives them connections, and stops them.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use mio::{Poll, Token, Waker};
use tokio::sync::{Semaphore, oneshot};

use crate::admin_request::MAX_ADMIN_REQUESTS;
use crate::async_requests::{AppQueues, AsyncQueues};
use crate::command::{ShardCommand, ShardInbox};
use crate::deps::{Config, ShardDeps};
use crate::event_loop::reject_after_stop;
use crate::inbox::Inbox;
use crate::listener::ShardListener;
use crate::listener_context::ListenerContext;
use crate::shared_listener::SharedListener;
use crate::upgraded_connection::UpgradedConnection;
use crate::worker::ShardWorker;
use crate::{async_requests, inbox};
use latido_admission::PendingConnection;
use latido_protocol::ErrorCode;
use latido_session::{CloseReason, SessionLimits};

/// The handle to all shards of a server.
#[derive(Debug)]
pub struct Shards {
    pub(super) shards: Vec<ShardHandle>,
    /// The counter that assigns new connections to the shards in rotation.
    next_shard: AtomicUsize,
    /// The number of listeners served so far; it gives each its poll token.
    listener_count: AtomicUsize,
    /// The permits for concurrent admin requests.
    pub(super) admin_permits: Semaphore,
}

pub(super) struct ShardHandle {
    pub(super) inbox: Arc<ShardInbox>,
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
        // Separate queues: permission checks of new subscriptions, token checks of connected clients,
        // and the tasks of each app. A full one does not delay the others.
        let queue = || async_requests::start_queue(deps.request_handler.clone(), &deps.drain);
        let queues = AsyncQueues {
            permissions: queue(),
            tokens: queue(),
            apps: AppQueues::start(deps.request_handler.clone(), deps.drain.clone()),
        };
        let shards =
            (0..config.threads.max(1)).map(|number| start_shard(number, deps, queues.clone()));
        Ok(Self {
            shards: shards.collect::<io::Result<_>>()?,
            next_shard: AtomicUsize::new(0),
            listener_count: AtomicUsize::new(0),
            admin_permits: Semaphore::new(MAX_ADMIN_REQUESTS),
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
    /// must be non-blocking; `context` holds the rules for its connections.
    pub fn serve_listener(
        &self,
        socket: std::net::TcpListener,
        context: Arc<ListenerContext>,
    ) -> ShardListener {
        let number = self.listener_count.fetch_add(1, Ordering::Relaxed);
        ShardListener(SharedListener::start(
            number,
            socket,
            context,
            self.shards
                .iter()
                .map(|shard| Arc::clone(&shard.inbox))
                .collect(),
        ))
    }

    /// Hands a connection to the next shard, where it waits for its request bytes; `context`
    /// belongs to its listener.
    pub fn add_pending(&self, connection: PendingConnection, context: Arc<ListenerContext>) {
        let index = self.next_shard.fetch_add(1, Ordering::Relaxed) % self.shards.len();
        self.shards[index]
            .inbox
            .put(ShardCommand::AddPending(Box::new((connection, context))))
            .into_iter()
            .for_each(reject_after_stop);
    }

    /// Applies other limits to the clients of the native protocol. Connections keep their size of a
    /// message, and those of apps all of their limits. Returns once every shard has them.
    pub async fn set_limits(&self, limits: SessionLimits) {
        let sent = self.shards.iter().map(|shard| {
            let (done, applied) = oneshot::channel();
            shard.inbox.put(ShardCommand::SetLimits { limits, done });
            applied
        });
        // A shard that has ended drops the command, and needs no limits.
        join_all(sent).await;
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

fn start_shard(number: usize, deps: &ShardDeps, queues: AsyncQueues) -> io::Result<ShardHandle> {
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

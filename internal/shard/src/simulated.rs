//! A shard driven by the simulator, which replaces its thread, its clock and its request handler.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token, Waker};
use tokio::sync::mpsc;

use crate::async_requests::{AppQueues, AsyncQueues, AsyncRequest, QueuedRequest};
use crate::async_response::AsyncResponse;
use crate::command::ShardCommand;
use crate::deps::ShardDeps;
use crate::inbox;
use crate::inbox::Inbox;
use crate::listener::ShardListener;
use crate::listener_context::ListenerContext;
use crate::shared_listener::SharedListener;
use crate::upgraded_connection::UpgradedConnection;
use crate::worker::ShardWorker;
use latido_auth::Principal;
use latido_base::clock::monotonic_now;
use latido_base::ident::{Channel, UserId};
use latido_session::{PermissionAnswer, ReauthError};

/// The rounds without time passing after which the loop counts as busy forever.
const MAX_BUSY_ROUNDS: usize = 10_000;

/// The capacity of each request queue.
pub(super) const QUEUE_CAPACITY: usize = 64;

/// A request of the shard, to be answered later.
#[expect(missing_debug_implementations, reason = "only the simulator uses it")]
pub struct PendingRequest(QueuedRequest);

/// The content of a request.
#[expect(missing_debug_implementations, reason = "only the simulator uses it")]
pub enum RequestContent {
    /// May the user read the channel?
    CheckPermission(UserId, Channel),
    /// Is the token valid?
    VerifyToken(String),
}

/// A shard that runs only when its owner calls it.
#[expect(missing_debug_implementations, reason = "only the simulator uses it")]
pub struct SimulatedShard {
    worker: ShardWorker,
    events: Events,
    /// The permission and the token requests.
    requests: [mpsc::Receiver<QueuedRequest>; 2],
    /// The requests of apps; there are none in the simulation.
    _app_requests: mpsc::Receiver<QueuedRequest>,
}

impl SimulatedShard {
    /// Creates a shard that is connected to a hub.
    pub fn new(deps: ShardDeps) -> Self {
        let poll = Poll::new().expect("the kernel has an epoll instance");
        let waker = Arc::new(
            Waker::new(poll.registry(), Token(usize::MAX)).expect("the kernel has an eventfd"),
        );
        let inbox = Arc::new(Inbox::new(Arc::clone(&waker)));
        let frames = deps.hub.register_shard(move || inbox::wake(&waker));
        let [
            (permission_queue, permissions),
            (token_queue, tokens),
            (app_queue, app_requests),
        ] = std::array::from_fn(|_| mpsc::channel(QUEUE_CAPACITY));
        let worker = ShardWorker::new(
            poll,
            inbox,
            frames,
            AsyncQueues {
                permissions: permission_queue,
                tokens: token_queue,
                apps: AppQueues::new(move || app_queue.clone()),
            },
            deps,
        );
        Self {
            worker,
            events: Events::with_capacity(64),
            requests: [permissions, tokens],
            _app_requests: app_requests,
        }
    }

    /// Adds an upgraded client.
    pub fn add_upgraded(&self, connection: UpgradedConnection) {
        self.worker
            .inbox
            .put(ShardCommand::AddUpgraded(Box::new(connection)));
    }

    /// Serves a listening socket with this shard alone.
    pub fn serve_listener(
        &self,
        socket: std::net::TcpListener,
        context: Arc<ListenerContext>,
    ) -> ShardListener {
        let inboxes = vec![Arc::clone(&self.worker.inbox)];
        ShardListener(SharedListener::start(0, socket, context, inboxes))
    }

    /// Starts the shutdown of the shard.
    pub fn shutdown(&self, spread_ms: u64) {
        self.worker.inbox.put(ShardCommand::Shutdown { spread_ms });
    }

    /// Returns whether the shard's loop has ended.
    pub fn has_ended(&self) -> bool {
        self.worker.is_stopping
    }

    /// Returns the number of open connections.
    pub fn slots_in_use(&self) -> usize {
        self.worker.slots_in_use()
    }

    /// Does everything that `ShardWorker::run` would do before time passes. Returns `false` if it
    /// would never sleep.
    pub fn run_until_idle(&mut self) -> bool {
        for _ in 0..MAX_BUSY_ROUNDS {
            if self.worker.is_stopping {
                return true;
            }
            let due = self.worker.poll_timeout() == Some(Duration::ZERO);
            self.worker
                .poll
                .poll(&mut self.events, Some(Duration::ZERO))
                .expect("a poll without waiting");
            if self.events.is_empty() && !due {
                return true;
            }
            self.worker.handle_events(&self.events);
        }
        false
    }

    /// Runs at most this number of rounds, even if work is left.
    pub fn run_rounds(&mut self, count: usize) {
        for _ in 0..count {
            if !self.worker.is_stopping {
                self.worker
                    .poll
                    .poll(&mut self.events, Some(Duration::ZERO))
                    .expect("a poll without waiting");
                self.worker.handle_events(&self.events);
            }
        }
    }

    /// Returns the time of the next action that needs no event.
    pub fn next_wakeup(&self) -> Option<Instant> {
        self.worker
            .poll_timeout()
            .filter(|_| !self.worker.is_stopping)
            .map(|timeout| monotonic_now() + timeout)
    }

    /// Takes the next pending request.
    pub fn next_request(&mut self) -> Option<PendingRequest> {
        self.requests
            .iter_mut()
            .find_map(|requests| requests.try_recv().ok())
            .map(PendingRequest)
    }
}

impl PendingRequest {
    /// Returns the content of the request.
    pub fn content(&self) -> RequestContent {
        match &self.0.request {
            AsyncRequest::CheckPermission(subject, channel) => {
                RequestContent::CheckPermission(subject.user.clone(), channel.clone())
            }
            AsyncRequest::VerifyToken(_, token) => RequestContent::VerifyToken(token.clone()),
            AsyncRequest::App(_) => unreachable!("the simulation has no app"),
        }
    }

    /// Responds with the result of a permission check.
    pub fn respond_permission(self, channel: Channel, answer: PermissionAnswer) {
        let QueuedRequest {
            inbox,
            slot,
            generation,
            request,
            ..
        } = self.0;
        if let AsyncRequest::CheckPermission(subject, _) = request {
            inbox.put(ShardCommand::permission_response(
                slot, generation, subject, channel, answer,
            ));
        }
    }

    /// Responds with the result of a token check.
    pub fn respond_token(self, result: Result<Principal, ReauthError>) {
        let QueuedRequest {
            inbox,
            slot,
            generation,
            ..
        } = self.0;
        let response = AsyncResponse::Token(result);
        inbox.put(ShardCommand::AsyncResponse {
            slot,
            generation,
            response,
        });
    }
}

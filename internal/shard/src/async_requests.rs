//! Requests of a shard that must await: it queues them here, and the response comes back as a
//! command.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};

use crate::async_response::AsyncResponse;
use crate::command::{ShardCommand, ShardInbox};
use crate::protocol_handler::HandlerFuture;
use latido_auth::{PermissionSubject, Policy, TokenError, TokenSender, Verifier};
use latido_base::clock::monotonic_now;
use latido_base::drain::Drain;
use latido_base::ident::{Channel, UserId};
use latido_session::{PermissionAnswer, ReauthError};
use latido_stream::{Catalog, PermissionLookupError};

/// The requests that may wait in a queue. Beyond that, the client receives an error and may retry.
pub(super) const QUEUE_CAPACITY: usize = 4096;

/// The requests handled concurrently; the database pool is smaller still.
const CONCURRENCY: usize = 64;

/// The time within which a client gets its response, including the time in the queue. After it the
/// response is an error that allows a retry. An app's future has its own deadline.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// The error message for a token that could not be checked in time.
pub(super) const BUSY_MESSAGE: &str = "the server is busy; send the token again later";

/// A request that must await.
pub(super) enum AsyncRequest {
    CheckPermission(PermissionSubject, Channel),
    /// A token to verify, from a client of this user. It is a secret and must never be logged.
    VerifyToken(UserId, String),
    /// A future of an app's handler.
    App(HandlerFuture),
}

/// A request with its sender.
pub(super) struct QueuedRequest {
    pub(super) inbox: Arc<ShardInbox>,
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) queued_at: Instant,
    pub(super) request: AsyncRequest,
}

/// The sending half of a request queue; a full queue means that the client must retry later.
pub(super) type RequestQueue = mpsc::Sender<QueuedRequest>;

/// The request queues of a shard, one per kind: a full one does not delay the others.
#[derive(Clone)]
pub(super) struct AsyncQueues {
    /// The queue for permission checks of new subscriptions.
    pub(super) permissions: RequestQueue,
    /// The queue for token checks of connected clients.
    pub(super) tokens: RequestQueue,
    /// The queues for the tasks of app handlers.
    pub(super) apps: AppQueues,
}

/// The request queues of the apps, one per app: one that waits for a slow service delays no other.
#[derive(Clone)]
pub(super) struct AppQueues(Arc<AppQueuesShared>);

struct AppQueuesShared {
    start: Box<dyn Fn() -> RequestQueue + Send + Sync>,
    /// The queues by app. Locked for one look-up per connection.
    queues: Mutex<Vec<(&'static str, RequestQueue)>>,
}

impl AppQueues {
    /// Creates the queues, each of which is opened with `start` when it is first used.
    pub(super) fn new(start: impl Fn() -> RequestQueue + Send + Sync + 'static) -> Self {
        Self(Arc::new(AppQueuesShared {
            start: Box::new(start),
            queues: Mutex::default(),
        }))
    }

    /// Opens the queues on the current runtime.
    pub(super) fn start(handler: RequestHandler, drain: Drain) -> Self {
        let runtime = Handle::current();
        Self::new(move || {
            // The shard's thread is not one of the runtime's.
            let _runtime = runtime.enter();
            start_queue(handler.clone(), &drain)
        })
    }

    /// Returns the queue of an app.
    pub(super) fn of(&self, app: &'static str) -> RequestQueue {
        let mut queues = self.0.queues.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, queue)) = queues.iter().find(|(known, _)| *known == app) {
            return queue.clone();
        }
        let queue = (self.0.start)();
        queues.push((app, queue.clone()));
        queue
    }
}

/// The handler of all requests.
#[derive(Debug, Clone)]
pub struct RequestHandler {
    /// The verifier of new tokens.
    pub verifier: Arc<Verifier>,
    /// The policy that decides which user may read a topic.
    pub policy: Arc<Policy>,
    /// The catalog of the streams.
    pub catalog: Arc<Catalog>,
}

/// Opens a request queue and starts its task, which runs until the server stops.
pub(super) fn start_queue(handler: RequestHandler, drain: &Drain) -> RequestQueue {
    let (queue, requests) = mpsc::channel(QUEUE_CAPACITY);
    let tasks = drain.clone();
    drain.spawn_until_stop(serve(requests, handler, tasks));
    queue
}

async fn serve(mut requests: mpsc::Receiver<QueuedRequest>, handler: RequestHandler, drain: Drain) {
    let permits = Arc::new(Semaphore::new(CONCURRENCY));
    while let Some(request) = requests.recv().await {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let handler = handler.clone();
        drain.spawn_until_stop(async move {
            handler.handle(request).await;
            drop(permit);
        });
    }
}

impl RequestHandler {
    async fn handle(&self, request: QueuedRequest) {
        let QueuedRequest {
            inbox,
            slot,
            generation,
            queued_at,
            request,
        } = request;
        let remaining =
            RESPONSE_TIMEOUT.saturating_sub(monotonic_now().saturating_duration_since(queued_at));
        let command = match request {
            AsyncRequest::CheckPermission(subject, channel) => {
                let id = channel.topic.stream;
                let stream = self.catalog.get(id);
                let authorize = self.policy.authorize(&subject, stream, &channel.topic);
                let answer = match within(remaining, authorize).await {
                    Some(Ok(true)) => PermissionAnswer::Allowed,
                    Some(Ok(false)) => PermissionAnswer::Forbidden,
                    Some(Err(PermissionLookupError::Broken(problem))) => {
                        self.catalog.status(id).set_permissions_broken(problem);
                        PermissionAnswer::Broken
                    }
                    Some(Err(PermissionLookupError::Unavailable(_))) | None => {
                        PermissionAnswer::Unknown
                    }
                };
                ShardCommand::permission_response(slot, generation, subject, channel, answer)
            }
            AsyncRequest::VerifyToken(user, token) => {
                let sender = TokenSender::User(user);
                let verified = within(remaining, self.verifier.verify(&token, &sender))
                    .await
                    .map(|verified| verified.map_err(reauth_error));
                let verified = verified
                    .unwrap_or_else(|| Err(ReauthError::Unavailable(BUSY_MESSAGE.to_owned())));
                ShardCommand::AsyncResponse {
                    slot,
                    generation,
                    response: AsyncResponse::Token(verified),
                }
            }
            AsyncRequest::App(future) => ShardCommand::AsyncResponse {
                slot,
                generation,
                response: AsyncResponse::App(future.await),
            },
        };
        inbox.put(command);
    }
}

/// Awaits a response for at most `remaining`. A request that has waited too long is not
/// started.
async fn within<T>(remaining: Duration, response: impl Future<Output = T>) -> Option<T> {
    if remaining.is_zero() {
        return None;
    }
    tokio::time::timeout(remaining, response).await.ok()
}

fn reauth_error(error: TokenError) -> ReauthError {
    let reason = error.to_string();
    if error.is_temporary() {
        ReauthError::Unavailable(reason)
    } else {
        ReauthError::Invalid(reason)
    }
}

#[cfg(test)]
#[path = "async_requests_tests.rs"]
mod tests;

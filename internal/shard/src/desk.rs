//! Requests of a shard that must await: it queues them here, and the response comes back as a
//! command.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

use crate::guest::{Answered, Asking};
use crate::inbox::{Command, Inbox};
use latido_auth::{Policy, Principal, TokenError, Verifier};
use latido_base::clock::monotonic_now;
use latido_base::drain::Drain;
use latido_base::ident::{Channel, UserId};
use latido_session::ReauthError;
use latido_stream::Catalog;

/// The requests that may wait in a queue. Beyond that, the client receives an error and may retry.
const QUEUE: usize = 4096;
/// The requests handled concurrently; the database pool is smaller still.
const AT_ONCE: usize = 64;
/// The time within which a client gets its response, including the time in the queue. After it the
/// response is an error that allows a retry. An app's future has its own deadline.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// The error message for a token that could not be checked in time.
pub(super) const BUSY: &str = "the server is busy; send the token again later";

/// The response to a request.
pub(super) enum Answer {
    /// The result of a permission check, or `None` if the database was unavailable.
    Allowed(Channel, Option<bool>),
    /// The principal of a new token, or the reason for its rejection.
    Verified(Result<Principal, ReauthError>),
    /// The output of an app's future.
    Guest(Answered),
}

/// A request that must await.
pub(super) enum Question {
    MayRead(UserId, Channel),
    /// A token to verify. It is a secret and must never be logged.
    Verify(String),
    /// A future of an app's handler.
    Guest(Asking),
}

/// A request with its sender.
pub(super) struct Asked {
    pub(super) inbox: Arc<Inbox>,
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) since: Instant,
    pub(super) question: Question,
}

/// The sending half of a request queue; a full queue means that the client must retry later.
pub(super) type Desk = mpsc::Sender<Asked>;

/// The handler of all requests.
#[derive(Debug, Clone)]
pub struct Clerk {
    /// The verifier of new tokens.
    pub verifier: Arc<Verifier>,
    /// The policy that decides which user may read a topic.
    pub policy: Arc<Policy>,
    /// The catalog of the streams.
    pub catalog: Arc<Catalog>,
}

/// Opens a request queue and starts its task, which runs until the server stops.
pub(super) fn open(handler: Clerk, drain: &Drain) -> Desk {
    let (queue, requests) = mpsc::channel(QUEUE);
    let tasks = drain.clone();
    drain.spawn_until_stop(serve(requests, handler, tasks));
    queue
}

async fn serve(mut requests: mpsc::Receiver<Asked>, handler: Clerk, drain: Drain) {
    let permits = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(request) = requests.recv().await {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let handler = handler.clone();
        drain.spawn_until_stop(async move {
            handler.answer(request).await;
            drop(permit);
        });
    }
}

impl Clerk {
    async fn answer(&self, request: Asked) {
        let Asked {
            inbox,
            slot,
            generation,
            since: queued_at,
            question: request,
        } = request;
        let remaining =
            ANSWER_WITHIN.saturating_sub(monotonic_now().saturating_duration_since(queued_at));
        let command = match request {
            Question::MayRead(user, channel) => {
                let stream = self.catalog.get(channel.topic.stream);
                let allowed =
                    in_time(remaining, self.policy.authorize(&user, stream, &channel.topic)).await;
                Command::asked(slot, generation, channel, allowed.and_then(Result::ok))
            }
            Question::Verify(token) => {
                let verified = in_time(remaining, self.verifier.verify(&token))
                    .await
                    .map(|verified| verified.map_err(unverified));
                let verified = verified.unwrap_or_else(|| Err(ReauthError::Unavailable(BUSY.to_owned())));
                Command::Answer {
                    slot,
                    generation,
                    answer: Answer::Verified(verified),
                }
            }
            Question::Guest(future) => Command::Answer {
                slot,
                generation,
                answer: Answer::Guest(future.await),
            },
        };
        inbox.put(command);
    }
}

/// Awaits a response for at most `remaining`. A request that has waited too long is not
/// started.
async fn in_time<T>(remaining: Duration, response: impl Future<Output = T>) -> Option<T> {
    if remaining.is_zero() {
        return None;
    }
    tokio::time::timeout(remaining, response).await.ok()
}

fn unverified(error: TokenError) -> ReauthError {
    let reason = error.to_string();
    if error.is_temporary() {
        ReauthError::Unavailable(reason)
    } else {
        ReauthError::Invalid(reason)
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;

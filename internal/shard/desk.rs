//! What a shard can't answer itself, because it must await: it asks here, and the answer comes back as a command.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{Semaphore, mpsc};

use crate::auth::{Policy, Principal, TokenError, Verifier};
use crate::clock::instant;
use crate::drain::Drain;
use crate::ident::{Channel, UserId};
use crate::session::Unverified;
use crate::shard::guest::{Answered, Asking};
use crate::shard::inbox::{Command, Inbox};
use crate::stream::Catalog;

/// Questions that may wait; beyond that the client is told to ask again later.
const QUEUE: usize = 4096;
/// Questions that are worked on at a time; the database's pool is smaller still.
const AT_ONCE: usize = 64;
/// A client has its answer within this, waiting for its turn included; then the answer is to ask again later. A guest's future has a deadline
/// of its own.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// What whoever brings a token is told then.
pub(super) const BUSY: &str = "the server is busy; send the token again later";

/// What came of a question.
pub(super) enum Answer {
    /// Whether the user may read the channel; `None`: the database could not be asked.
    Allowed(Channel, Option<bool>),
    /// Who the new token says is there, or why it says nothing.
    Verified(Result<Principal, Unverified>),
    /// What a guest's future gave.
    Guest(Answered),
}

/// What is asked.
pub(super) enum Question {
    MayRead(UserId, Channel),
    /// Holds a token: never printed.
    Verify(String),
    /// A guest's own.
    Guest(Asking),
}

/// A question and who asks.
pub(super) struct Asked {
    pub(super) inbox: Arc<Inbox>,
    pub(super) slot: u32,
    pub(super) generation: u32,
    pub(super) since: Instant,
    pub(super) question: Question,
}

/// Where shards put their questions; full means «later».
pub(super) type Desk = mpsc::Sender<Asked>;

/// What answers them.
#[derive(Debug, Clone)]
pub struct Clerk {
    /// Verifies tokens.
    pub verifier: Arc<Verifier>,
    /// Knows who may read what.
    pub policy: Arc<Policy>,
    /// The streams.
    pub catalog: Arc<Catalog>,
}

/// Opens the desk.
pub(super) fn open(clerk: Clerk, drain: &Drain) -> Desk {
    let (desk, questions) = mpsc::channel(QUEUE);
    let tasks = drain.clone();
    drain.spawn_until_stop(serve(questions, clerk, tasks));
    desk
}

async fn serve(mut questions: mpsc::Receiver<Asked>, clerk: Clerk, drain: Drain) {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    while let Some(asked) = questions.recv().await {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let clerk = clerk.clone();
        drain.spawn_until_stop(async move {
            clerk.answer(asked).await;
            drop(place);
        });
    }
}

impl Clerk {
    async fn answer(&self, asked: Asked) {
        let Asked {
            inbox,
            slot,
            generation,
            since,
            question,
        } = asked;
        let left = ANSWER_WITHIN.saturating_sub(instant().saturating_duration_since(since));
        let command = match question {
            Question::MayRead(user, channel) => {
                let stream = self.catalog.get(channel.topic.stream);
                let allowed = in_time(left, self.policy.ask(&user, stream, &channel.topic)).await;
                Command::asked(slot, generation, channel, allowed.and_then(Result::ok))
            }
            Question::Verify(token) => {
                let verified = in_time(left, self.verifier.verify(&token))
                    .await
                    .map(|verified| verified.map_err(unverified));
                let verified = verified.unwrap_or_else(|| Err(Unverified::Later(BUSY.to_owned())));
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

/// Waits so long and no longer; whoever has waited too long for a turn does not take it.
async fn in_time<T>(left: Duration, answer: impl Future<Output = T>) -> Option<T> {
    if left.is_zero() {
        return None;
    }
    tokio::time::timeout(left, answer).await.ok()
}

fn unverified(error: TokenError) -> Unverified {
    let reason = error.to_string();
    if error.is_temporary() {
        Unverified::Later(reason)
    } else {
        Unverified::Refused(reason)
    }
}

#[cfg(test)]
#[path = "desk_tests.rs"]
mod tests;
